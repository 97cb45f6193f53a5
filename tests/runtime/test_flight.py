"""What lies in a flight record, for Foxglove and for us; files that are none; and the record as a page."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer
from PIL import Image

from gigaedge.errors import InputError
from gigaedge_runtime import flight_topics as topics
from gigaedge_runtime.capture import CapturedViews
from gigaedge_runtime.devices import Frame
from gigaedge_runtime.flight_packets import Kind, Packet
from gigaedge_runtime.flight_reader import FlightRecord
from gigaedge_runtime.flight_story import Envelope, read_story
from gigaedge_runtime.flight_taps import ChunkTap
from tests.flight_cell import START, FlightCell, rewrite

RANDOM = np.random.default_rng(3)


class Captured:
    """Stands for a sender: keeps the files it is given."""

    def __init__(self) -> None:
        self.files: list[bytes] = []

    def send_file(self, number: int, time: float, content: bytes) -> bool:
        self.files.append(content)
        return True


class Chunk:
    actions = RANDOM.standard_normal((48, 14)).astype(np.float32)
    rate_hz = 30.0
    timings: dict[str, float] = {}  # noqa: RUF012
    inputs = {  # noqa: RUF012
        "noise": RANDOM.standard_normal((48, 16)).astype(np.float32),
        "more": np.array([1 / 3, np.nan, np.inf]),
    }


COMPOSITE = RANDOM.integers(0, 255, (40, 32, 3), np.uint8)
STATE = RANDOM.standard_normal(14).astype(np.float32)


@pytest.fixture(scope="module")
def flight(tmp_path_factory: pytest.TempPathFactory) -> FlightCell:
    with FlightCell(tmp_path_factory.mktemp("flight") / "f.mcap") as cell:
        cell.story()
        sender = Captured()
        frames = {"cam_high": Frame("cam_high", np.zeros((2, 2, 3), np.uint8), 17, 999.5, 999.51)}
        views = CapturedViews(frames, 0.01, 0.0, True)  # type: ignore[arg-type]
        tap = ChunkTap(sender, cell.clock)  # type: ignore[arg-type]
        tap.planned(1, views, COMPOSITE, STATE, Chunk(), {"context": 0.1, "total": 0.2})
        cell.writer.take(Packet(Kind.PLANNED, 0, 1, cell.now, b"", sender.files[0]), "policy")
    return cell


def messages(path: Path, topic: str) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        found = make_reader(file).iter_messages(topics=[topic])
        return [json.loads(message.data) for _, _, message in found]


def test_observations_come_back_exactly(flight: FlightCell) -> None:
    (seen,) = FlightRecord(flight.path).observations()
    np.testing.assert_array_equal(seen.composite, COMPOSITE)
    np.testing.assert_array_equal(seen.state, STATE)
    np.testing.assert_array_equal(seen.actions, Chunk.actions)
    assert seen.state.dtype == np.float32
    assert seen.inputs.keys() == Chunk.inputs.keys()
    for name, values in Chunk.inputs.items():
        np.testing.assert_array_equal(seen.inputs[name], values)
        assert seen.inputs[name].dtype == values.dtype
    assert (seen.id, seen.observed) == (1, 999.5)
    (raw,) = messages(flight.path, topics.OBSERVATION)
    assert raw["frames"] == {"cam_high": {"number": 17, "captured": 999.5, "received": 999.51}}
    assert messages(flight.path, topics.TIMINGS) == [{"context": 0.1, "total": 0.2}]


def test_foxglove_finds_its_own_schemas(flight: FlightCell) -> None:
    with flight.path.open("rb") as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        assert summary is not None
        schemas = {c.topic: summary.schemas[c.schema_id] for c in summary.channels.values()}
        assert reader.get_header().profile == "gigaedge-flight"
    assert schemas["/composite"].name == "foxglove.CompressedImage"
    assert schemas["/events"].name == "foxglove.Log"
    assert all(schema.encoding == "jsonschema" for schema in schemas.values())
    (image,) = messages(flight.path, topics.COMPOSITE)
    shown = Image.open(io.BytesIO(base64.b64decode(image["data"])))
    assert (image["format"], shown.format, shown.size) == ("jpeg", "JPEG", (32, 40))
    assert set(image) == {"timestamp", "frame_id", "data", "format"}
    log = messages(flight.path, topics.EVENTS)[0]
    assert set(log) == {"timestamp", "level", "message", "name", "file", "line"}
    assert set(log["timestamp"]) == {"sec", "nsec"}


def test_messages_hold_what_their_schema_says(flight: FlightCell) -> None:
    for topic, (_, schema) in topics.SCHEMAS.items():
        for message in messages(flight.path, topic)[:50]:
            known = schema.get("properties")
            assert known is None or set(message) <= set(known), topic


def test_times_are_of_one_clock(flight: FlightCell) -> None:
    with flight.path.open("rb") as file:
        reader = make_reader(file)
        about = next(each.metadata for each in reader.iter_metadata() if each.name == topics.FORMAT)
        offset = int(about["monotonic_to_epoch_ns"])
        times = [(m.log_time - offset) / 1e9 for _, _, m in reader.iter_messages(topics=["/tick"])]
    recorded = [tick.now for tick in FlightRecord(flight.path).ticks()]
    np.testing.assert_allclose(times, recorded, atol=1e-6)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_comes_back(value: float) -> None:
    data = topics.encode({"x": topics.write_number(value)})
    back = float(json.loads(data)["x"])
    assert back == value or (np.isnan(back) and np.isnan(value))


def test_files_that_are_no_flight_records(flight: FlightCell, tmp_path: Path) -> None:
    def refused(path: Path, words: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            list(FlightRecord(path).ticks())
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "none.mcap", "no such file; `gigaedge run SITE --record F.mcap` writes one")
    text = tmp_path / "text.mcap"
    text.write_text("hello, this is a text")
    refused(text, "no MCAP file")
    (tmp_path / "nothing.mcap").touch()
    refused(tmp_path / "nothing.mcap", "no MCAP file")
    other = tmp_path / "other.mcap"
    with other.open("wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        channel = writer.register_channel("/x", "json", writer.register_schema("x", "", b""))
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    refused(other, "an MCAP file, but no flight record")
    whole = flight.path.read_bytes()
    head = tmp_path / "head.mcap"
    head.write_bytes(whole[:40])
    refused(head, "cut off before its first record")
    damaged = tmp_path / "damaged.mcap"
    middle = len(whole) // 2
    damaged.write_bytes(whole[:middle] + bytes(200) + whole[middle + 200 :])
    refused(damaged, "damaged near byte")
    newer = tmp_path / "newer.mcap"
    newer.write_bytes(whole.replace(b"version\x01\0\0\x001", b"version\x01\0\0\x009"))
    refused(newer, "a flight record of version 9; this gigaedge reads version 1")

    def lose(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any]:
        content.pop("order", None)
        return content

    refused(
        rewrite(flight.path, tmp_path / "field.mcap", lose), "not as gigaedge writes it .KeyError: 'order'"
    )


def test_a_file_without_its_end_is_read_as_far_as_it_goes(flight: FlightCell, tmp_path: Path) -> None:
    whole = flight.path.read_bytes()
    record = FlightRecord(flight.path)
    complete = [tick.number for tick in record.ticks()]
    assert not record.ended_early
    for share in (0.5, 0.9):
        part = tmp_path / "part.mcap"
        part.write_bytes(whole[: int(share * len(whole))])
        record = FlightRecord(part)
        read = [tick.number for tick in record.ticks()]
        assert record.ended_early
        assert 0 < len(read) < len(complete)
        assert read == complete[: len(read)]


def test_progress_adds_up_to_the_file(flight: FlightCell) -> None:
    record, seen = FlightRecord(flight.path), [0]
    for _ in record.ticks(seen.append):
        pass
    assert sum(seen) == record.size


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=200))
def test_an_envelope_loses_no_peak(values: list[float]) -> None:
    envelope = Envelope(1, buckets=4)
    for time, value in enumerate(values):
        envelope.add(float(time), np.array([value]))
    times, line = envelope.lines()
    assert len(times) == len(line) <= 16
    assert (np.diff(times) >= 0).all()
    assert (times[0], times[-1]) == (0, len(values) - 1)
    assert (line.min(), line.max()) == (min(values), max(values))


def test_an_envelope_knows_no_value() -> None:
    envelope = Envelope(2, buckets=1)
    for time in range(8):
        envelope.add(float(time), np.array([np.nan, 1.0 if time == 5 else np.nan]))
    _, line = envelope.lines()
    assert np.isnan(line[:, 0]).all()
    assert np.nanmax(line[:, 1]) == 1.0


def test_a_page_shows_the_whole_story(flight: FlightCell) -> None:
    from gigaedge.cli.flight_page import render

    record = FlightRecord(flight.path)
    story = read_story(record)
    assert [band.state for band in story.bands] == [
        "disarmed", "approach", "running", "hold", "approach", "running", "fault",
    ]  # fmt: skip
    assert story.bands[-1].end == story.duration
    assert (story.ticks, story.dropped, len(story.chunks)) == (len(flight.commands), 0, 6)
    html = render(record, story)
    assert html.startswith("<!DOCTYPE html>")
    for words in (
        "Flight record f.mcap", "Left arm", "Right arm", "right arm: emergency stop", "nearly there",
        "approach: first chunk (1)", "0 dropped in between", "Joints and gripper of the left arm over time",
        "Period of the control loop over time",
    ):  # fmt: skip
        assert words in html
    assert html.count("<svg") == 3
    assert "http://" not in html.replace("http://www.w3.org", "").replace("http://purl.org", "")
    assert len(html) < 4e6


def test_a_page_of_a_run_that_moved_nothing(tmp_path: Path) -> None:
    from gigaedge.cli.flight_page import render

    with FlightCell(tmp_path / "dry.mcap", dry_run=True) as cell:
        cell.publish(START)
        cell.run(0.1)
        cell.arms["left"].read_error = "gone"
        cell.arms["right"].read_error = "gone"
        cell.run(0.01)
    record = FlightRecord(cell.path)
    html = render(record, read_story(record))
    assert "dry run" in html
    assert "fault: right arm: gone" in html
