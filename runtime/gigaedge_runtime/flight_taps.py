"""What the loops hand to the recorder, taken at their borders: the loops themselves know nothing of records.

Control is a function of what it reads: the clock, the arms, the board and three lifelines. `ControlTap` stands in
between and notes every answer, so that `replay.py` can give the same answers again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gigaedge.clock import Clock, monotonic
from gigaedge.errors import ArmError
from gigaedge.robot import JOINTS, SIDES, Side
from gigaedge.site import Site
from gigaedge_runtime.control import ControlLoop
from gigaedge_runtime.devices import Arm, ArmState
from gigaedge_runtime.flight_packets import READ, TICK, Kind, Level, Reading, Sender, Sending
from gigaedge_runtime.mailbox import Board
from gigaedge_runtime.states import State

if TYPE_CHECKING:
    from gigaedge_runtime.capture import CapturedViews
    from gigaedge_runtime.policy_process import Planned

MAX_TEXTS = 1000
"""Different texts that are remembered as sent; then all are sent anew."""

TEXT_LOST = -1
"""Stands for a text that could not be sent."""

INPUT = "input."
"""Prefix of the arrays, beside composite and state, that a chunk was computed from."""


class ControlTap:
    """Notes what the control loop that it makes sees and does; one packet per tick, at its end."""

    def __init__(self, sender: Sender, board: Board, clock: Clock = monotonic) -> None:
        """`board`: the one that the loop will read."""
        self._sender = sender
        self._board = board
        self._clock = clock
        self.now = 0.0
        """What the clock said last, s."""
        self.ticks = 0
        record: NDArray[np.void] = np.zeros(1, TICK)
        record["kind"] = Kind.TICK
        self._bytes = record.view(np.uint8).data
        self._fields = {name: record[name] for name in TICK.names or ()}
        self._target = record["target"][0]
        self._arms: NDArray[np.void] = record["arms"][0]
        self._texts: dict[str, int] = {}
        self._numbered = 0
        self._fetched = board.chunks.fetched
        self._transitions = 0

    def loop(
        self,
        site: Site,
        arms: Mapping[Side, Arm],
        board: Board,
        *,
        dry_run: bool,
        **asked: Callable[[], bool],
    ) -> ControlLoop:
        """A loop on these arms, made as `ControlLoop` is; `asked` are its lifelines by name."""
        return ControlLoop(
            site,
            {side: TappedArm(arm, self, self._slot(side)) for side, arm in arms.items()},
            board,
            **{name: self._answer(name, ask) for name, ask in asked.items()},
            dry_run=dry_run,
            clock=self._read_clock,
            on_tick=self.ticked,
        )

    def text(self, text: str | None) -> int:
        """The number that stands for a text in a packet, after sending the text when it is new."""
        if not text:
            return 0
        number = self._texts.get(text)
        if number is None:
            if len(self._texts) >= MAX_TEXTS:
                self._texts.clear()
            self._numbered += 1
            if not self._sender.send_text(Kind.TEXT, self._numbered, self.now, text):
                return TEXT_LOST
            number = self._texts[text] = self._numbered
        return number

    def event(self, level: Level, text: str) -> None:
        """A line for people, as of now."""
        self._sender.send_text(Kind.EVENT, level, self.now, text)

    def send_read(self, packet: NDArray[np.void]) -> None:
        """Send a reading that is not a tick's first."""
        packet["large"], packet["time"] = self.ticks, self.now
        self._sender.send(packet.view(np.uint8).data)

    def ticked(self, loop: ControlLoop, now: float) -> None:
        """One tick, begun at `now` (s), is over: send it, and begin the record of the next."""
        fields, board, machine = self._fields, self._board, loop.machine
        taken = 0
        if board.chunks.fetched != self._fetched:
            self._fetched = board.chunks.fetched
            taken = self._send_chunk()
        fields["small"][0] = self._sender.dropped
        fields["large"][0] = self.ticks
        fields["time"][0] = now
        fields["order"][0] = board.order.record["order"][0]
        fields["state"][0] = machine.state
        fields["fault"][0] = machine.fault.code if machine.fault else 0
        fields["taken"][0] = taken
        fields["chunk"][0] = board.chunks.record["id"][0]
        fields["has_target"][0] = machine.state.moves
        self._target[:] = loop.target
        fields["done"][0] = self._clock()
        self._sender.send(self._bytes)
        self.ticks += 1
        self._arms["reads"] = 0
        self._arms["reading"] = Reading.NONE
        self._arms["sending"] = Sending.NONE
        if machine.transitions != self._transitions:
            self._transitions = machine.transitions
            known = machine.transitions == len(machine.history)
            reason = machine.history[-1].reason if known else "see the tick"
            level = Level.ERROR if machine.state is State.FAULT else Level.INFO
            self.event(level, f"{machine.state.name.lower()}: {reason}")

    def end(self) -> None:
        """Say how many ticks there were; after the loop."""
        self._sender.end(self.ticks, self._clock())

    def _read_clock(self) -> float:
        self.now = self._clock()
        return self.now

    def _slot(self, side: Side) -> NDArray[np.void]:
        index = SIDES.index(side)
        return self._arms[index : index + 1]

    def _answer(self, name: str, ask: Callable[[], bool]) -> Callable[[], bool]:
        """The lifeline whose answers go into the tick's field of the same name."""
        field = self._fields[name]

        def asked() -> bool:
            answer = ask()
            field[0] = answer
            return answer

        return asked

    def _send_chunk(self) -> int:
        record = self._board.chunks.record
        number = int(record["id"][0])
        self._sender.send_taken(number, self.now, record)
        return number


class TappedArm:
    """An arm whose every answer is noted."""

    side: Side

    def __init__(self, arm: Arm, tap: ControlTap, slot: NDArray[np.void]) -> None:
        """`slot`: the arm's part of the tap's record, shape (1,)."""
        self.side = arm.side
        self._arm = arm
        self._tap = tap
        self._reads = slot["reads"]
        self._first = _Fields(slot)
        self._sending, self._send_text, self._sent = slot["sending"], slot["send_text"], slot["sent"][0]
        self._again: NDArray[np.void] = np.zeros(1, READ)
        self._again["kind"], self._again["small"] = Kind.READ, SIDES.index(arm.side)
        self._later = _Fields(self._again["arm"])

    @property
    def sent_at(self) -> float:
        """As the arm's."""
        return self._arm.sent_at

    def connect(self) -> None:
        """As the arm's; nothing is noted."""
        self._arm.connect()

    def close(self) -> None:
        """As the arm's; nothing is noted."""
        self._arm.close()

    def reconnect(self) -> None:
        """As the arm's; nothing is noted but what it reads from then on."""
        self._arm.reconnect()

    def enable(self) -> None:
        """As the arm's; that it failed is an event."""
        try:
            self._arm.enable()
        except ArmError as error:
            self._tap.event(Level.ERROR, f"{self.side} arm: {error}")
            raise

    def read(self) -> ArmState:
        """As the arm's. What is read after a tick's first time goes in a packet of its own."""
        first = self._reads[0] == 0
        fields = self._first if first else self._later
        self._reads[0] += 1
        try:
            state = self._arm.read()
        except ArmError as error:
            fields.failed(self._tap.text(str(error)))
            raise
        else:
            fields.hold(state, self._tap.text(state.fault))
            return state
        finally:
            if not first:
                self._tap.send_read(self._again)

    def send(self, joints: NDArray[np.float64], gripper: float) -> bool:
        """As the arm's."""
        self._sent[:-1] = joints
        self._sent[-1] = gripper
        self._send_text[0] = 0
        try:
            taken = self._arm.send(joints, gripper)
        except ArmError as error:
            self._sending[0] = Sending.ERROR
            self._send_text[0] = self._tap.text(str(error))
            raise
        self._sending[0] = Sending.TAKEN if taken else Sending.REFUSED
        return taken


class _Fields:
    """Where one reading is put: views into a packet."""

    def __init__(self, arm: NDArray[np.void]) -> None:
        self._reading, self._enabled, self._text = arm["reading"], arm["enabled"], arm["text"]
        self._code, self._stamp, self._values = arm["code"], arm["stamp"], arm["values"][0]

    def hold(self, state: ArmState, text: int) -> None:
        self._reading[0] = Reading.STATE
        self._enabled[0] = state.enabled
        self._text[0] = text
        self._code[0] = state.code
        self._stamp[0] = state.stamp
        self._values[:JOINTS] = state.joints
        self._values[JOINTS] = state.gripper

    def failed(self, text: int) -> None:
        self._reading[0] = Reading.ERROR
        self._text[0] = text


class ChunkTap:
    """Notes what each chunk was computed from, and what came of it."""

    def __init__(self, sender: Sender, clock: Clock = monotonic) -> None:
        self._sender = sender
        self._clock = clock
        self._chunks = 0

    def planned(
        self,
        number: int,
        views: CapturedViews,
        composite: NDArray[np.uint8],
        state: NDArray[np.float32],
        chunk: Planned,
        stages: Mapping[str, float],
    ) -> None:
        """Chunk `number` was made of `composite` (H, W, 3) and `state` (14,); `stages`: s by stage."""
        from safetensors.numpy import save

        frames = {
            role: {"number": frame.number, "captured": frame.captured, "received": frame.received}
            for role, frame in views.frames.items()
        }
        about = {
            "observed": views.captured,
            "rate": chunk.rate_hz,
            "frames": frames,
            "stages": {name: float(duration) for name, duration in stages.items()},
        }
        arrays = {"composite": composite, "state": state, "actions": chunk.actions}
        arrays |= {INPUT + name: values for name, values in chunk.inputs.items()}
        tensors = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        self._sender.send_file(number, self._clock(), save(tensors, {"about": json.dumps(about)}))
        self._chunks += 1

    def end(self) -> None:
        """Say how many chunks there were; after the loop."""
        self._sender.end(self._chunks, self._clock())
