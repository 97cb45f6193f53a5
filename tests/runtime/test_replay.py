"""A recorded loop run again: bit-equal, and what differs or is missing is named."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigaedge.errors import InputError
from gigaedge.robot import DIM_NAMES
from gigaedge.site import LimitsConfig
from gigaedge_runtime import flight_packets
from gigaedge_runtime.devices import ArmState
from gigaedge_runtime.flight_packets import Sending
from gigaedge_runtime.flight_reader import FlightRecord
from gigaedge_runtime.mailbox import Order
from gigaedge_runtime.replay import replay_control, replay_limits
from gigaedge_runtime.states import State
from tests.flight_cell import HOME, START, FlightCell, rewrite, two_arms


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> FlightCell:
    with FlightCell(tmp_path_factory.mktemp("flight") / "story.mcap") as cell:
        cell.story()
    return cell


def test_a_whole_story_is_replayed_to_the_bit(story: FlightCell) -> None:
    found = replay_control(FlightRecord(story.path))
    assert found.equal, found
    assert found.ticks == len(story.commands)
    assert (found.worst, found.differing) == (0.0, 0)
    assert found.values == sum(int(np.isfinite(tick.told).sum()) for tick in FlightRecord(story.path).ticks())


def test_a_tick_is_recorded_as_it_was(story: FlightCell) -> None:
    ticks = list(FlightRecord(story.path).ticks())
    assert [tick.number for tick in ticks] == list(range(len(story.commands)))
    assert {tick.state for tick in ticks} == {"disarmed", "approach", "running", "hold", "fault"}
    for tick, command in zip(ticks, story.commands, strict=True):
        if len(tick.sent) == 2:
            np.testing.assert_array_equal(tick.told, command)
    assert [tick.chunk["id"][0] for tick in ticks if tick.chunk is not None] == [1, 2, 3, 4, 5, 6]
    armed = next(tick for tick in ticks if tick.sent)
    assert [len(readings) for readings in armed.readings.values()] == [2, 2]
    first, second = armed.readings["left"]
    assert first.state is not None
    assert second.state is not None
    assert (first.state.enabled, second.state.enabled) == (False, True)
    assert second.clock is not None
    assert second.clock > armed.now
    refused = [tick for tick in ticks if tick.sent and tick.sent["left"].outcome is Sending.REFUSED]
    assert len(refused) == 1
    last = ticks[-1]
    assert last.readings["right"][0].state is not None
    assert last.readings["right"][0].state.fault == "emergency stop"
    assert "right" not in last.sent
    assert (last.fault, last.order, last.target) == ("arm", Order.RUN, None)
    assert all(tick.took > 0 for tick in ticks)


def test_events_tell_the_story(story: FlightCell) -> None:
    texts = [event.text for event in FlightRecord(story.path).events()]
    assert texts[0] == "approach: first chunk (1)"
    assert "nearly there" in texts
    assert texts[-1] == "fault: right arm: emergency stop"


def test_every_field_of_an_arms_state_is_recorded() -> None:
    recorded = {"joints", "gripper", "stamp", "enabled", "fault", "code"}
    assert {field.name for field in fields(ArmState)} == recorded, "record, and read back, the new ones"


@pytest.mark.parametrize("what", ["read", "send", "nan", "policy", "signal", "order"])
def test_whatever_ends_a_run_is_replayed(tmp_path: Path, what: str) -> None:
    with FlightCell(tmp_path / "end.mcap") as cell:
        cell.start()
        cell.publish(slope=0.5)
        cell.run(0.3)
        if what == "read":
            cell.arms["left"].read_error = "the bus is gone"
        elif what == "send":
            cell.arms["left"].send_error = "left arm is gone"
        elif what == "nan":
            cell.publish(np.where(np.arange(14) == 3, np.nan, START))
        elif what == "policy":
            cell.policy = False
        elif what == "signal":
            cell.signal = True
        else:
            cell.board.order.give(Order.STOP)
        cell.run(0.3)
        expected = State.STOPPED if what in ("signal", "order") else State.FAULT
        assert cell.state is expected
    found = replay_control(FlightRecord(cell.path))
    assert found.equal, found
    assert found.worst == 0.0


def test_a_dry_run_and_an_absent_arm(tmp_path: Path) -> None:
    right = {"side": "right", "driver": "absent", "pose": tuple(HOME)}
    site = two_arms(arms=[{"side": "left", "driver": "sim"}, right])
    with FlightCell(tmp_path / "one.mcap", site=site) as cell:
        cell.start()
    found = replay_control(FlightRecord(cell.path))
    assert found.equal
    assert found.values > 0
    assert found.values % 7 == 0
    with FlightCell(tmp_path / "dry.mcap", dry_run=True) as cell:
        cell.board.order.give(Order.RUN)
        cell.publish()
        cell.run(0.2)
    found = replay_control(FlightRecord(cell.path))
    assert (found.equal, found.ticks, found.values) == (True, 40, 0)


def test_a_value_that_was_not_sent_is_found(story: FlightCell, tmp_path: Path) -> None:
    def tamper(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any]:
        if topic == "/sent" and sequence in (100, 103):
            content["left_joint_2"] += 1e-9
        return content

    found = replay_control(FlightRecord(rewrite(story.path, tmp_path / "t.mcap", tamper)))
    assert found.first is not None
    assert found.first.startswith("tick 100 (")
    assert "left_joint_2 was sent" in found.first
    assert found.differing == 2
    assert found.worst == pytest.approx(1e-9, rel=1e-3)


def test_an_arm_that_was_somewhere_else_changes_what_is_sent(story: FlightCell, tmp_path: Path) -> None:
    def tamper(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any]:
        if topic == "/tick":
            for reading in (r for readings in content["arms"].values() for r in readings if "values" in r):
                reading["values"][0] += 0.01
        return content

    found = replay_control(FlightRecord(rewrite(story.path, tmp_path / "t.mcap", tamper)))
    assert found.first is not None
    assert "left_joint_1 was sent" in found.first


def test_a_state_that_differs_is_found(story: FlightCell, tmp_path: Path) -> None:
    def tamper(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any]:
        if topic == "/tick" and sequence == 5:
            content["state"] = "hold"
        if topic == "/tick" and sequence == 6:
            content["fault"] = "arm"
        return content

    found = replay_control(FlightRecord(rewrite(story.path, tmp_path / "t.mcap", tamper)))
    assert found.first is not None
    assert found.first.endswith("the state was hold, replayed it is disarmed")
    assert found.differing == 2


def test_an_arm_that_was_not_told_is_found(story: FlightCell, tmp_path: Path) -> None:
    def tamper(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any]:
        if topic == "/tick" and sequence == 100:
            del content["sends"]["right"]
        return content

    found = replay_control(FlightRecord(rewrite(story.path, tmp_path / "t.mcap", tamper)))
    assert found.first is not None
    assert found.first.endswith("the right arm was not commanded, replayed it is commanded")


@pytest.mark.parametrize(
    ("topic", "sequences", "words"),
    [
        ("/tick", range(80, 85), "ticks 80 to 84 were not recorded"),
        ("/tick", range(3), "ticks 0 to 2 were not recorded"),
        ("/chunk", [2], "chunk 2 was not recorded"),
    ],
)
def test_what_was_dropped_ends_the_comparison_in_words(
    story: FlightCell, tmp_path: Path, topic: str, sequences: Any, words: str
) -> None:
    def drop(each: str, sequence: int, content: dict[str, Any]) -> dict[str, Any] | None:
        return None if each == topic and sequence in sequences else content

    found = replay_control(FlightRecord(rewrite(story.path, tmp_path / "d.mcap", drop)))
    assert found.broken_off is not None
    assert words in found.broken_off
    assert not found.equal
    assert (found.differing, found.worst) == (0, 0.0)


def test_dropped_last_ticks_are_missed(story: FlightCell, tmp_path: Path) -> None:
    last = len(story.commands) - 1

    def drop(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any] | None:
        return None if sequence >= last - 1 and topic in ("/tick", "/joints", "/sent") else content

    found = replay_control(FlightRecord(rewrite(story.path, tmp_path / "d.mcap", drop)))
    assert found.broken_off == f"ticks {last - 1} to {last} were not recorded"


def test_a_recorder_that_cannot_keep_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight_packets, "BUFFER", 1 << 16)
    with FlightCell(tmp_path / "slow.mcap") as cell:
        cell.start()
        cell.writing = False
        cell.publish()
        while cell.sender.dropped < 20:
            cell.run(0.5)
            cell.publish()
        cell.drain()
        cell.writing = True
        cell.run(0.1)
        lost = cell.writer.counts.ticks_dropped
        assert 0 < lost <= cell.writer.counts.packets_dropped
        assert cell.state is State.RUNNING, "the loop saw nothing of it"
    found = replay_control(FlightRecord(cell.path))
    assert found.broken_off is not None
    assert "not recorded" in found.broken_off
    assert found.differing == 0


def test_other_limits(story: FlightCell) -> None:
    flight = FlightRecord(story.path)
    same = replay_limits(flight, flight.site)
    assert same.first_time is None
    assert max(same.largest.values()) == 0.0
    assert same.ticks == len(story.commands)
    slower = flight.site.model_copy(update={"limits": LimitsConfig(velocity=0.15)})
    found = replay_limits(flight, slower)
    assert found.first_time is not None
    assert 0.1 < found.first_time < 1.0
    assert set(found.largest) == set(DIM_NAMES)
    assert found.largest["left_joint_1"] > 0.05
    assert found.largest["left_gripper"] < 0.3
    before, after = found.clamps["velocity"]
    assert after > before
    assert found.fault == "right arm: emergency stop"


def test_a_record_without_a_tick(tmp_path: Path) -> None:
    with FlightCell(tmp_path / "empty.mcap"):
        pass
    with pytest.raises(InputError, match="holds no tick of control"):
        replay_control(FlightRecord(tmp_path / "empty.mcap"))
