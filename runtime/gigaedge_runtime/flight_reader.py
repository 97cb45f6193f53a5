"""From an MCAP file of `gigaedge run --record` back to what control and policy saw and did.

Everything is read as a stream, in the order it was written: a file without its end, as a killed recorder leaves it,
is read as far as it goes.
"""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from mcap.exceptions import McapError
from mcap.records import Channel, Header, McapRecord, Message, Metadata
from mcap.stream_reader import StreamReader
from numpy.typing import NDArray
from pydantic import ValidationError
from zstandard import ZstdError

from gigaedge.bundle import Manifest
from gigaedge.errors import InputError
from gigaedge.robot import DIM_NAMES, JOINTS, ROBOT_DIM, SIDES, Side, arm_slice
from gigaedge.site import Site
from gigaedge_runtime import flight_topics as topics
from gigaedge_runtime.devices import ArmState
from gigaedge_runtime.flight_packets import Sending
from gigaedge_runtime.flight_taps import INPUT
from gigaedge_runtime.mailbox import ChunkMailbox, Order
from gigaedge_runtime.states import FaultCode

MCAP0_MAGIC: Final = b"\x89MCAP0\r\n"
_MAX_RECORD: Final = 1 << 28

_P = ParamSpec("_P")
_T = TypeVar("_T")

Progress = Callable[[int], None]
"""Called with how many more bytes of the file were read."""


@dataclass(frozen=True)
class Reading:
    """What an arm answered when it was read: a state, or the text of its error."""

    state: ArmState | None
    error: str = ""
    clock: float | None = None
    """What the clock said just before, s; None for a tick's first reading."""


@dataclass(frozen=True)
class Sent:
    """What an arm was told."""

    values: NDArray[np.float64]
    """Joints (rad) and gripper (m), shape (7,)."""
    outcome: Sending
    error: str = ""


@dataclass(frozen=True)
class RecordedTick:
    """One tick of control: all that it took in and gave out. Times in s on CLOCK_MONOTONIC."""

    number: int
    now: float
    took: float
    order: Order
    policy_alive: bool
    supervisor_alive: bool
    stop_asked: bool
    readings: Mapping[Side, tuple[Reading, ...]]
    chunk: NDArray[np.void] | None
    """The chunk that was taken in this tick, as it lay in the mailbox; `ChunkMailbox.layout`, shape (1,)."""
    newest: int
    """Number of the newest chunk; 0 before the first."""
    state: str
    fault: str
    """Its code; `none`."""
    target: NDArray[np.float64] | None
    """What the chunk asked for, shape (14,); None when no chunk moved the arms."""
    sent: Mapping[Side, Sent]
    missing: str | None
    """What of this tick was not recorded, in words; None when it is whole."""

    @property
    def measured(self) -> NDArray[np.float64]:
        """What the tick's first readings said, shape (14,); NaN for an arm that did not answer."""
        values = np.full(ROBOT_DIM, np.nan)
        for side, readings in self.readings.items():
            if (state := readings[0].state) is not None:
                values[arm_slice(side)] = (*state.joints, state.gripper)
        return values

    @property
    def told(self) -> NDArray[np.float64]:
        """What both arms were told, shape (14,); NaN for an arm that was told nothing."""
        values = np.full(ROBOT_DIM, np.nan)
        for side, sent in self.sent.items():
            values[arm_slice(side)] = sent.values
        return values


@dataclass(frozen=True)
class RecordedObservation:
    """What a chunk was computed from, and what came of it."""

    id: int
    observed: float
    composite: NDArray[np.uint8]
    """RGB, (height, width, 3)."""
    state: NDArray[np.float32]
    """(14,)."""
    inputs: Mapping[str, NDArray[Any]]
    """By further field of `policy.Observation`."""
    actions: NDArray[np.float32]
    """Absolute targets, rad and m, (n, 14)."""


@dataclass(frozen=True)
class Event:
    """A line for people."""

    time: float
    """s on CLOCK_MONOTONIC."""
    level: int
    source: str
    text: str


class FlightRecord:
    """One file. Each of the iterators reads it anew."""

    def __init__(self, path: Path) -> None:
        """Read the head. Raises InputError: no such file, no MCAP, or one of another program or version."""
        self.path = path
        self.ended_early = False
        """Set once the file was read: it lacks its end."""
        self.ticks_total: int | None = None
        """Set once the file was read: ticks there were, recorded or not."""
        if not path.is_file():
            raise InputError(f"{path}: no such file; `gigaedge run SITE --record F.mcap` writes one")
        about = self._head()
        self._offset = int(about["monotonic_to_epoch_ns"])
        self.about = about
        """What the head says; texts."""
        self.dry_run = about["dry_run"] == "true"
        try:
            self.site = Site.model_validate_json(about["site"])
            text = about.get("manifest")
            self.manifest = Manifest.model_validate_json(text) if text else None
            """Of the bundle that made the chunks; None when there was none."""
        except ValidationError as error:
            raise InputError(
                f"{path}: written by another version of gigaedge ({about['gigaedge']})"
            ) from error
        self.bundle = Path(about["bundle"]) if "bundle" in about else None

    @property
    def size(self) -> int:
        """Bytes; what the calls of a `Progress` add up to."""
        return self.path.stat().st_size

    def ticks(self, advance: Progress = lambda count: None) -> Iterator[RecordedTick]:
        """Every tick that was recorded, in order. Raises InputError when the file is damaged."""
        parts: dict[str, dict[str, Any]] = {}
        chunk: NDArray[np.void] | None = None
        for topic, message in self._messages((*topics.TICK_TOPICS, topics.CHUNK), advance):
            content = self._decode(message)
            if topic == topics.CHUNK:
                chunk = self._build(_chunk, content)
                continue
            parts[topic] = content
            if topic == topics.TICK:
                yield self._build(_tick, message.sequence, parts, chunk)
                parts, chunk = {}, None

    def observations(self, advance: Progress = lambda count: None) -> Iterator[RecordedObservation]:
        """Every chunk's observation, in order. Raises InputError when the file is damaged."""
        for _, message in self._messages((topics.OBSERVATION,), advance):
            yield self._build(_observation, self._decode(message))

    def events(self, advance: Progress = lambda count: None) -> Iterator[Event]:
        """Every event, as they were written. Raises InputError when the file is damaged."""
        for _, message in self._messages((topics.EVENTS,), advance):
            content, moment = self._decode(message), (message.log_time - self._offset) / 1e9
            yield self._build(_event, content, moment)

    def _head(self) -> dict[str, str]:
        for record in self._records():
            if isinstance(record, Metadata) and record.name == topics.FORMAT:
                if record.metadata.get("version") != topics.VERSION:
                    raise InputError(
                        f"{self.path}: a flight record of version {record.metadata.get('version')}; "
                        f"this gigaedge reads version {topics.VERSION}"
                    )
                return dict(record.metadata)
            if not isinstance(record, Header):
                break
        if self.ended_early:
            raise InputError(f"{self.path}: the file is cut off before its first record; copy it again")
        raise InputError(
            f"{self.path}: an MCAP file, but no flight record; `gigaedge run SITE --record F.mcap` writes one"
        )

    def _messages(self, wanted: Collection[str], advance: Progress) -> Iterator[tuple[str, Message]]:
        channels: dict[int, str] = {}
        for record in self._records(advance):
            if isinstance(record, Channel):
                channels[record.id] = record.topic
            elif isinstance(record, Metadata) and record.name == topics.SUMMARY:
                self.ticks_total = self._build(lambda ended: int(ended["ticks"]), record.metadata)
            elif isinstance(record, Message):
                topic = channels.get(record.channel_id, "")
                if topic in wanted:
                    yield topic, record

    def _records(self, advance: Progress = lambda count: None) -> Iterator[McapRecord]:
        self.ended_early = False
        size, told = self.size, 0
        with self.path.open("rb") as file:
            if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
                raise InputError(f"{self.path}: no MCAP file; `gigaedge run SITE --record F.mcap` writes one")
            file.seek(0)
            try:
                for record in StreamReader(file, validate_crcs=True, record_size_limit=_MAX_RECORD).records:
                    position = file.tell()
                    advance(position - told)
                    told = position
                    yield record
            except (McapError, ZstdError, ValueError, struct.error) as error:
                if file.tell() < size:
                    raise InputError(
                        f"{self.path}: damaged near byte {file.tell()}; copy it again"
                    ) from error
                self.ended_early = True
            advance(size - told)

    def _decode(self, message: Message) -> dict[str, Any]:
        return self._build(_decode, message.data)

    def _build(self, make: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        try:
            return make(*arguments, **named)
        except (KeyError, TypeError, ValueError, OSError) as error:
            text = " ".join(str(error).split())
            raise InputError(
                f"{self.path}: a message is not as gigaedge writes it ({type(error).__name__}: {text})"
            ) from error


def _decode(data: bytes) -> dict[str, Any]:
    content = json.loads(data)
    if not isinstance(content, dict):
        raise TypeError("expected an object")
    return content


def _event(content: dict[str, Any], moment: float) -> Event:
    return Event(moment, content["level"], content["name"], content["message"])


def _tick(number: int, parts: dict[str, dict[str, Any]], chunk: NDArray[np.void] | None) -> RecordedTick:
    tick = parts[topics.TICK]
    joints, told, target = (parts.get(topic, {}) for topic in (topics.JOINTS, topics.SENT, topics.TARGETS))
    readings: dict[Side, tuple[Reading, ...]] = {}
    sent: dict[Side, Sent] = {}
    missing = None
    for side in SIDES:
        names = DIM_NAMES[arm_slice(side)]
        found = tick["arms"].get(side, [])
        if any("lost" in reading for reading in found):
            missing = f"a reading of the {side} arm"
        elif found:
            first = _values(joints, names) if "stamp" in found[0] else None
            readings[side] = (_reading(found[0], first), *(_reading(each, None) for each in found[1:]))
        if (outcome := tick["sends"].get(side)) is not None:
            error = tick["send_errors"].get(side, "")
            sent[side] = Sent(_values(told, names), Sending[outcome.upper()], error)
    taken = tick["taken"]
    if taken is not None and (chunk is None or chunk["id"][0] != taken):
        missing = f"chunk {taken}"
    return RecordedTick(
        number=number,
        now=tick["now"],
        took=tick["took"],
        order=Order(tick["order"]),
        policy_alive=tick["policy_alive"],
        supervisor_alive=tick["supervisor_alive"],
        stop_asked=tick["stop_asked"],
        readings=readings,
        chunk=chunk if taken is not None else None,
        newest=tick["chunk"],
        state=tick["state"],
        fault=tick["fault"],
        target=_values(target, DIM_NAMES) if target else None,
        sent=sent,
        missing=missing,
    )


def _reading(content: dict[str, Any], values: NDArray[np.float64] | None) -> Reading:
    clock = content.get("clock")
    if "error" in content:
        return Reading(None, content["error"], clock)
    if values is None:
        values = np.array([float(value) for value in content["values"]])
    state = ArmState(
        joints=values[:JOINTS],
        gripper=float(values[JOINTS]),
        stamp=float(content["stamp"]),
        enabled=content["enabled"],
        fault=content["fault"],
        code=FaultCode[content["code"].upper()],
    )
    return Reading(state, clock=clock)


def _values(by_joint: dict[str, Any], names: Collection[str]) -> NDArray[np.float64]:
    return np.array([float(by_joint[name]) for name in names])


def _chunk(content: dict[str, Any]) -> NDArray[np.void]:
    record: NDArray[np.void] = np.zeros(1, ChunkMailbox.layout)
    for name in ChunkMailbox.layout.names or ():
        if name != "actions":
            record[name] = float(content[name]) if isinstance(content[name], str) else content[name]
    actions = np.array([[float(value) for value in row] for row in content["actions"]], np.float32)
    record["actions"][0, : len(actions)] = actions
    return record


def _observation(content: dict[str, Any]) -> RecordedObservation:
    from PIL import Image

    arrays = {name: _array(each) for name, each in content["arrays"].items()}
    return RecordedObservation(
        id=content["id"],
        observed=content["observed"],
        composite=np.array(Image.open(io.BytesIO(base64.b64decode(content["composite"])))),
        state=arrays.pop("state"),
        actions=arrays.pop("actions"),
        inputs={name.removeprefix(INPUT): values for name, values in arrays.items()},
    )


def _array(content: dict[str, Any]) -> NDArray[Any]:
    layout = np.dtype(content["dtype"]).newbyteorder("<")
    values: NDArray[Any] = np.frombuffer(base64.b64decode(content["data"]), layout)
    shape: list[int] = content["shape"]
    return values.reshape(shape)
