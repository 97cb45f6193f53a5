"""Shared memory between the processes of a run: newest chunk and its way, measured states, status, command.

The memory is anonymous (`memfd_create`) and handed over by file descriptor, so that a process killed at any
moment leaves nothing behind, not even a name. Every block is a fixed numpy layout behind a sequence lock
(`seqlock.py`) and has one writer. No pickling. Times are s on CLOCK_MONOTONIC.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import zlib
from dataclasses import dataclass
from enum import IntEnum
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import InputError, ObservationError, ProcessError
from gigaedge.robot import ROBOT_DIM
from gigaedge_runtime.latency_path import HANDOVER_LAYOUT, HandoverBlock
from gigaedge_runtime.seqlock import HEADER, Block
from gigaedge_runtime.states import Fault, FaultCode, State

MAX_ACTIONS = 256
"""Longest chunk the mailbox takes, actions."""

RING_LENGTH = 256
"""Measured states that are kept: 1.28 s at 200 Hz, far more than an image may be old."""

_TEXT = 240

_CHUNK = np.dtype(
    [
        ("id", "<i8"),
        ("observed", "<f8"),
        ("rate", "<f8"),
        ("delay", "<f8"),
        ("count", "<i8"),
        ("actions", "<f4", (MAX_ACTIONS, ROBOT_DIM)),
    ]
)
_RING = np.dtype([("count", "<i8")])
_SLOT = np.dtype([("index", "<i8"), ("time", "<f8"), ("values", "<f8", (ROBOT_DIM,))])
_STATUS = np.dtype(
    [
        ("heartbeat", "<f8"),
        ("phase", "<i8"),
        ("state", "<i8"),
        ("fault", "<i8"),
        ("text", f"S{_TEXT}"),
        ("at_rest", "<i8"),
        ("settled", "<i8"),
        ("chunk", "<i8"),
        ("chunks", "<i8"),
        ("sends", "<i8"),
        ("failed_sends", "<i8"),
        ("missed", "<i8"),
    ]
)
_STATUS_NUMBERS = tuple(name for name in _STATUS.names or () if name not in ("fault", "text"))
_status_numbers = attrgetter(*_STATUS_NUMBERS)
_PLANNER = np.dtype(
    [("heartbeat", "<f8"), ("phase", "<i8"), ("chunks", "<i8"), ("refused", "<i8"), ("reason", f"S{_TEXT}")]
)
_ORDER = np.dtype([("order", "<i8")])
_LAYOUT = (_CHUNK, _RING, *([_SLOT] * RING_LENGTH), _STATUS, _PLANNER, _ORDER, HANDOVER_LAYOUT)
_MAGIC = zlib.crc32(repr([(d.descr, d.itemsize) for d in dict.fromkeys(_LAYOUT)]).encode(), RING_LENGTH)


class Phase(IntEnum):
    """How far a child process has come."""

    STARTING = 0
    READY = 1
    """Control: the arms answer. Policy: bundle loaded, cameras deliver."""
    ARMING = 2
    """Control only: the motors are being enabled, which may take seconds without a heartbeat."""
    LOOPING = 3


class Order(IntEnum):
    """What the supervisor wants."""

    WAIT = 0
    RUN = 1
    STOP = 2
    HOLD = 3
    """Power the arms without a policy, and hold where they are."""
    PARK = 4
    """Power the arms if they are not, and move them slowly to the park pose."""


@dataclass(frozen=True)
class ChunkRecord:
    """One chunk as it lay in the mailbox."""

    id: int
    """Grows by one from chunk to chunk, from 1."""
    observed: float
    """When its images were taken, s."""
    rate: float
    """Actions per second, Hz."""
    actions: NDArray[np.float32]
    """Absolute targets, rad and m, shape (n, 14); k is due at `observed + k / rate`. May be non-finite."""
    delay: float = 0.0
    """From the observation to the hand-over at which the chunk was made to continue the one before, s; 0: at none."""


@dataclass(frozen=True)
class ControlStatus:
    """What the control process tells the others, every tick."""

    heartbeat: float = 0.0
    phase: Phase = Phase.STARTING
    state: State = State.DISARMED
    fault: Fault | None = None
    at_rest: bool = False
    """The command stands still."""
    settled: bool = False
    """The command has stood still long enough for the arms to have followed."""
    chunk: int = 0
    """Number of the newest chunk taken."""
    chunks: int = 0
    sends: int = 0
    failed_sends: int = 0
    missed: int = 0
    """Ticks that were skipped because the loop was late by whole periods."""


@dataclass(frozen=True)
class PlannerStatus:
    """What the policy process tells the others, every observation."""

    heartbeat: float = 0.0
    phase: Phase = Phase.STARTING
    chunks: int = 0
    refused: int = 0
    """Observations that were not used: stale, skewed, or without a measured state."""
    reason: str = ""
    """Why the last one was refused; empty once a chunk was published after it."""


class ChunkMailbox(Block):
    """Newest chunk, policy process to control process."""

    layout = _CHUNK

    def publish(
        self, id: int, observed: float, rate: float, actions: NDArray[np.floating], delay: float = 0.0
    ) -> None:
        """Replace the chunk; see `ChunkRecord`. NaN is passed on, for control to latch upon.

        Raises InputError: actions not of shape (n, 14) with 1 <= n <= `MAX_ACTIONS`.
        """
        if actions.ndim != 2 or actions.shape[1] != ROBOT_DIM or not 1 <= len(actions) <= MAX_ACTIONS:
            raise InputError(f"a chunk is (1..{MAX_ACTIONS}, {ROBOT_DIM}) actions; got shape {actions.shape}")
        record = self.record
        record["id"], record["observed"], record["rate"], record["count"] = id, observed, rate, len(actions)
        record["delay"] = delay
        record["actions"][0, : len(actions)] = actions
        self.write()

    def newest(self) -> ChunkRecord | None:
        """The newest chunk, once; None when it was fetched before, or none can be read."""
        if not self.changed or not self.read():
            return None
        record = self.record[0]
        return ChunkRecord(
            id=int(record["id"]),
            observed=float(record["observed"]),
            rate=float(record["rate"]),
            actions=record["actions"][: int(record["count"])].copy(),
            delay=float(record["delay"]),
        )


class StateRing:
    """The last measured states of both arms, control process to policy process."""

    def __init__(self, count: Block, slots: list[Block]) -> None:
        self._count = count
        self._counted = count.record["count"]
        self._slots = slots
        self._fields = [tuple(slot.record[name] for name in ("index", "time", "values")) for slot in slots]
        self._pushed = 0

    def push(self, time: float, values: NDArray[np.float64]) -> None:
        """Append a state: measured at `time` (s, later than the one before), rad and m, shape (14,)."""
        place = self._pushed % len(self._slots)
        # Views, made once: naming a field makes a new one.
        index, stamp, held = self._fields[place]
        index[0], stamp[0], held[0] = self._pushed, time, values
        self._slots[place].write()
        self._pushed += 1
        self._counted[0] = self._pushed
        self._count.write()

    def newest(self) -> tuple[float, NDArray[np.float64]] | None:
        """Time (s) and values (rad and m, shape (14,)) of the newest state; None before the first."""
        return self._get(self._length() - 1)

    def at(self, time: float, max_gap: float) -> NDArray[np.float64]:
        """The state at `time` (s), linear between its two neighbours; rad and m, shape (14,).

        Raises ObservationError: `time` lies after the newest state or before the oldest kept, or the arms
        were silent for longer than `max_gap` (s) around it.
        """
        later: tuple[float, NDArray[np.float64]] | None = None
        length = self._length()
        for index in range(length - 1, max(-1, length - 1 - len(self._slots)), -1):
            entry = self._get(index)
            if entry is None:
                break
            if entry[0] > time:
                later = entry
                continue
            if entry[0] == time:
                return entry[1]
            if later is None:
                raise ObservationError(
                    f"the newest measured state is {1e3 * (time - entry[0]):.1f} ms older than the image"
                )
            gap = later[0] - entry[0]
            if gap > max_gap:
                raise ObservationError(
                    f"the arms were silent for {1e3 * gap:.0f} ms around the image, "
                    f"more than {1e3 * max_gap:.0f} ms"
                )
            share = (time - entry[0]) / gap
            return entry[1] + share * (later[1] - entry[1])
        raise ObservationError("the image is older than every measured state that is kept")

    def _length(self) -> int:
        return int(self._count.record["count"][0]) if self._count.read() else 0

    def _get(self, index: int) -> tuple[float, NDArray[np.float64]] | None:
        slot = self._slots[index % len(self._slots)]
        if index < 0 or not slot.read() or int(slot.record["index"][0]) != index:
            return None
        return float(slot.record["time"][0]), slot.record["values"][0].copy()


class StatusBlock(Block):
    """State of the control process, to everyone."""

    def __init__(self, memory: mmap.mmap, offset: int, layout: np.dtype[np.void]) -> None:
        super().__init__(memory, offset, layout)
        # Views, made once: naming a field makes a new one.
        self._fields = [self.record[name] for name in _STATUS_NUMBERS]

    def publish(self, status: ControlStatus) -> None:
        """Replace the status."""
        record = self.record
        for field, value in zip(self._fields, _status_numbers(status), strict=True):
            field[0] = value
        record["fault"] = status.fault.code if status.fault else FaultCode.NONE
        record["text"] = _encode(status.fault.text) if status.fault else b""
        self.write()

    def latest(self) -> ControlStatus | None:
        """The newest status; None before the first or when none can be read."""
        if not self.read():
            return None
        record = self.record[0]
        code = FaultCode(int(record["fault"]))
        return ControlStatus(
            heartbeat=float(record["heartbeat"]),
            phase=Phase(int(record["phase"])),
            state=State(int(record["state"])),
            fault=Fault(code, _decode(record["text"])) if code else None,
            at_rest=bool(record["at_rest"]),
            settled=bool(record["settled"]),
            chunk=int(record["chunk"]),
            chunks=int(record["chunks"]),
            sends=int(record["sends"]),
            failed_sends=int(record["failed_sends"]),
            missed=int(record["missed"]),
        )


class PlannerBlock(Block):
    """State of the policy process, to everyone."""

    def publish(self, status: PlannerStatus) -> None:
        """Replace the status."""
        record = self.record
        record["heartbeat"], record["phase"] = status.heartbeat, status.phase
        record["chunks"], record["refused"] = status.chunks, status.refused
        record["reason"] = _encode(status.reason)
        self.write()

    def latest(self) -> PlannerStatus | None:
        """The newest status; None before the first or when none can be read."""
        if not self.read():
            return None
        record = self.record[0]
        return PlannerStatus(
            heartbeat=float(record["heartbeat"]),
            phase=Phase(int(record["phase"])),
            chunks=int(record["chunks"]),
            refused=int(record["refused"]),
            reason=_decode(record["reason"]),
        )


class OrderBlock(Block):
    """What the supervisor wants, to both children."""

    def give(self, order: Order) -> None:
        """Replace the order."""
        self.record["order"] = order
        self.write()

    def latest(self) -> Order:
        """The newest order; WAIT before the first. An order that cannot be read leaves the one before."""
        if self.changed:
            self.read()
        return Order(int(self.record["order"][0]))


class Board:
    """All blocks of a run in one shared memory."""

    def __init__(self, fd: int) -> None:
        """Map the memory behind `fd`, made by `create`. The caller keeps `fd` and closes it.

        Raises ProcessError when the memory was laid out by another version.
        """
        size, offsets = _place()
        if os.fstat(fd).st_size != size:
            raise ProcessError(
                "the shared memory is not of this version of gigaedge; start all processes alike"
            )
        memory = mmap.mmap(fd, size)
        self._magic: NDArray[np.uint64] = np.frombuffer(memory, np.uint64, 1, 0)
        if self._magic[0] not in (0, _MAGIC):
            raise ProcessError("the shared memory is laid out by another version of gigaedge")
        self._magic[0] = _MAGIC
        last = 2 + RING_LENGTH
        self.chunks = ChunkMailbox(memory, offsets[0], _CHUNK)
        self.states = StateRing(
            Block(memory, offsets[1], _RING), [Block(memory, offset, _SLOT) for offset in offsets[2:last]]
        )
        self.status = StatusBlock(memory, offsets[last], _STATUS)
        self.planner = PlannerBlock(memory, offsets[last + 1], _PLANNER)
        self.order = OrderBlock(memory, offsets[last + 2], _ORDER)
        self.handover = HandoverBlock(memory, offsets[last + 3], HANDOVER_LAYOUT)

    @staticmethod
    def create() -> int:
        """New shared memory, zeroed, of fixed size; returns its file descriptor (close-on-exec)."""
        fd = os.memfd_create("gigaedge-board", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, _place()[0])
        # Nobody can shrink it under a reader, which would end that reader with SIGBUS.
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return fd


def _place() -> tuple[int, list[int]]:
    """Size of the memory and the offset of each block, each on a cache line of its own."""
    offsets, end = [], 64
    for layout in _LAYOUT:
        offsets.append(end)
        end += -(-(HEADER + layout.itemsize) // 64) * 64
    return end, offsets


def _encode(text: str) -> bytes:
    return text.encode()[:_TEXT]


def _decode(text: bytes) -> str:
    return text.decode(errors="ignore")
