"""The same run again, without hardware: the control loop on what was recorded, tick by tick.

The loop of `control.py`, unchanged, gets a clock, arms, lifelines and a board that answer as they answered then. It
has no other inputs, so what it sends must be what was sent. It starts as the recorded loop started and carries its
state from tick to tick; where a tick is missing it stops: what a loop would have become in between can only be
guessed, and a guess would be taken for a difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import ArmError, InputError
from gigaedge.robot import DIM_NAMES, ROBOT_DIM, SIDES, Side, arm_slice
from gigaedge.site import Site
from gigaedge_runtime.control import ControlLoop
from gigaedge_runtime.devices import ArmState
from gigaedge_runtime.flight_packets import Sending
from gigaedge_runtime.flight_reader import FlightRecord, Progress, Reading, RecordedTick
from gigaedge_runtime.mailbox import Board
from gigaedge_runtime.report import ControlReport

TOLERANCE = 1e-12
"""rad or m; the same code on the same numbers gives the same bits, and another CPU's libraries nearly."""


@dataclass(frozen=True)
class ControlReplay:
    """How a replayed loop compares with the recorded one."""

    ticks: int
    """Compared, from the first one on."""
    values: int
    """Sent joint and gripper values compared."""
    worst: float
    """Largest difference of a sent value, rad or m."""
    differing: int
    """Ticks that differ."""
    first: str | None
    """The first tick that differs, in words."""
    broken_off: str | None
    """Why the comparison ends before the record does; None when it does not."""

    @property
    def equal(self) -> bool:
        """Everything was compared, and nothing differs."""
        return self.first is None and self.broken_off is None


@dataclass(frozen=True)
class WhatIf:
    """What would have been sent under other limits. Dictionaries go by a name of gigaedge.robot.DIM_NAMES."""

    ticks: int
    largest: dict[str, float]
    """Largest difference to what was sent, rad or m, of the arms that were commanded."""
    first_time: float | None
    """When a value differs for the first time, s since the first tick; None when none does."""
    clamps: dict[str, tuple[int, int]]
    """By kind of limit: how often it was hit, all joints together, under the recorded and under the other limits."""
    state: str
    """The last one under the other limits."""
    fault: str | None
    """Why it would have latched."""
    broken_off: str | None
    """Why the record could not be followed to its end; None when it could."""


def replay_control(flight: FlightRecord, advance: Progress = lambda count: None) -> ControlReplay:
    """Run a record's ticks again under its own site and compare everything that was sent.

    Raises InputError: a damaged file, or one without a tick.
    """
    ticks = values = differing = 0
    worst = 0.0
    first = None
    with replayed_loop(flight.site, dry_run=flight.dry_run) as loop:
        follow = _Follow(flight, advance)
        for tick in follow:
            loop.step(tick)
            ticks += 1
            told, replayed = tick.told, loop.told
            values += int(np.isfinite(told).sum())
            difference = np.abs(told - replayed)
            if np.isfinite(difference).any():
                worst = max(worst, float(np.nanmax(difference)))
            found = _compare(tick, loop, difference)
            if found is not None:
                differing += 1
                first = first or f"tick {tick.number} ({tick.now - follow.begin:.3f} s): {found}"
    return ControlReplay(ticks, values, worst, differing, first, follow.broken_off)


def replay_limits(flight: FlightRecord, site: Site, advance: Progress = lambda count: None) -> WhatIf:
    """Run a record's ticks under the limits of another `site`, the arms answering as they did then.

    Recorded arms cannot follow another command, so that it is not judged how far they are from it. Raises
    InputError: a damaged file, or one without a tick.
    """
    ticks = 0
    first_time = None
    largest = np.zeros(ROBOT_DIM)
    commanded = np.zeros(ROBOT_DIM, dtype=bool)
    limits = site.limits
    free = limits.model_copy(update={"tracking_error": np.inf, "lead": limits.measured_lead})
    site = site.model_copy(update={"limits": free})
    with (
        replayed_loop(flight.site, dry_run=flight.dry_run) as same,
        replayed_loop(site, dry_run=flight.dry_run) as other,
    ):
        follow = _Follow(flight, advance)
        for tick in follow:
            same.step(tick)
            other.step(tick)
            ticks += 1
            difference = np.abs(other.told - tick.told)
            both = np.isfinite(difference)
            commanded |= both
            difference[~both] = 0.0
            np.maximum(largest, difference, out=largest)
            if first_time is None and difference.max() > TOLERANCE:
                first_time = tick.now - follow.begin
        before, after = same.report(), other.report()
    return WhatIf(
        ticks=ticks,
        largest={DIM_NAMES[column]: float(largest[column]) for column in np.flatnonzero(commanded)},
        first_time=first_time,
        clamps={kind: (count, after.clamps.totals()[kind]) for kind, count in before.clamps.totals().items()},
        state=after.state,
        fault=after.fault,
        broken_off=follow.broken_off,
    )


@contextmanager
def replayed_loop(site: Site, *, dry_run: bool) -> Iterator[ReplayedLoop]:
    """A loop of a site that is to run on recorded ticks."""
    fd = Board.create()
    try:
        yield ReplayedLoop(site, fd, dry_run)
    finally:
        os.close(fd)


class ReplayedLoop:
    """A control loop whose surroundings answer as they did in a recorded tick."""

    def __init__(self, site: Site, board: int, dry_run: bool) -> None:
        """`board`: a descriptor of `Board.create`."""
        self.now = 0.0
        self._tick: RecordedTick
        self._writer = Board(board)
        arms = [side for side in SIDES if site.arm(side).driver != "absent"]
        self._arms = {side: ReplayedArm(side, self) for side in arms}
        self.loop = ControlLoop(
            site,
            self._arms,
            Board(board),
            policy_alive=lambda: self._tick.policy_alive,
            supervisor_alive=lambda: self._tick.supervisor_alive,
            stop_asked=lambda: self._tick.stop_asked,
            dry_run=dry_run,
            clock=lambda: self.now,
        )

    def step(self, tick: RecordedTick) -> None:
        """Run one tick."""
        self._tick, self.now = tick, tick.now
        for side, arm in self._arms.items():
            arm.begin(tick.readings.get(side, ()), tick)
        self._writer.order.give(tick.order)
        if tick.chunk is not None:
            self._writer.chunks.record[:] = tick.chunk
            self._writer.chunks.write()
        self.loop.tick(tick.now)

    @property
    def told(self) -> NDArray[np.float64]:
        """What both arms were told in this tick, shape (14,); NaN for an arm that was told nothing."""
        values = np.full(ROBOT_DIM, np.nan)
        for side, arm in self._arms.items():
            if arm.told is not None:
                values[arm_slice(side)] = arm.told
        return values

    def report(self) -> ControlReport:
        """What the loop counted."""
        return self.loop.report("replayed")


class ReplayedArm:
    """An arm that answers as it did, and keeps what it is told."""

    side: Side

    def __init__(self, side: Side, loop: ReplayedLoop) -> None:
        self.side = side
        self.told: NDArray[np.float64] | None = None
        """In this tick, joints (rad) and gripper (m), shape (7,)."""
        self._loop = loop
        self._tick: RecordedTick
        self._readings: tuple[Reading, ...] = ()
        self._read = 0

    def begin(self, readings: tuple[Reading, ...], tick: RecordedTick) -> None:
        """A tick begins in which reading gives these answers, in order."""
        self.told, self._readings, self._tick, self._read = None, readings, tick, 0

    @property
    def sent_at(self) -> float:
        """Now: how long sending took was not recorded."""
        return self._loop.now

    def connect(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def reconnect(self) -> None:
        """Nothing to do: what came of it is in the readings."""

    def enable(self) -> None:
        """Succeeds, as it did; the clock goes on to where it was then."""
        if self._read < len(self._readings):
            self._loop.now = self._readings[self._read].clock or self._loop.now

    def read(self) -> ArmState:
        """The next answer of this tick. Raises ArmError where the arm did."""
        if not self._readings:
            raise InputError(
                f"tick {self._tick.number}: the {self.side} arm is read, but was not when it was recorded"
            )
        reading = self._readings[min(self._read, len(self._readings) - 1)]
        self._read += 1
        if reading.state is None:
            raise ArmError(reading.error)
        return reading.state

    def send(self, joints: NDArray[np.float64], gripper: float) -> bool:
        """Keep the command; taken or refused as it was then. Raises ArmError where the arm did."""
        self.told = np.array((*joints, gripper))
        recorded = self._tick.sent.get(self.side)
        if recorded is not None and recorded.outcome is Sending.ERROR:
            raise ArmError(recorded.error)
        return recorded is None or recorded.outcome is Sending.TAKEN


class _Follow:
    """The ticks of a record, up to the first gap."""

    def __init__(self, flight: FlightRecord, advance: Progress) -> None:
        self._flight = flight
        self._advance = advance
        self.begin = 0.0
        """Time of the first tick, s."""
        self.broken_off: str | None = None

    def __iter__(self) -> Iterator[RecordedTick]:
        expected = 0
        for tick in self._flight.ticks(self._advance):
            if expected == 0:
                self.begin = tick.now
            if tick.number != expected:
                last = tick.number - 1
                self.broken_off = f"ticks {expected} to {last} were not recorded"
                return
            if tick.missing is not None:
                self.broken_off = f"tick {tick.number}: {tick.missing} was not recorded"
                return
            yield tick
            expected += 1
        total = self._flight.ticks_total
        if total is not None and total > expected:
            self.broken_off = f"ticks {expected} to {total - 1} were not recorded"
        elif expected == 0:
            raise InputError(f"{self._flight.path}: holds no tick of control; the run ended before its first")


def _compare(tick: RecordedTick, loop: ReplayedLoop, difference: NDArray[np.float64]) -> str | None:
    """What differs in a tick, in words."""
    told, replayed = tick.told, loop.told
    for side in SIDES:
        columns = arm_slice(side)
        was, would = np.isfinite(told[columns]).any(), np.isfinite(replayed[columns]).any()
        if was != would:
            return f"the {side} arm was {_told(bool(was))}, replayed it is {_told(bool(would))}"
    worst = int(np.nanargmax(difference)) if np.isfinite(difference).any() else 0
    if difference[worst] > TOLERANCE:
        return f"{DIM_NAMES[worst]} was sent {told[worst]!r}, replayed it is {replayed[worst]!r}"
    machine = loop.loop.machine
    state = machine.state.name.lower()
    if state != tick.state:
        return f"the state was {tick.state}, replayed it is {state}"
    fault = machine.fault.code.name.lower() if machine.fault else "none"
    if fault != tick.fault:
        return f"the fault was {tick.fault}, replayed it is {fault}"
    return None


def _told(something: bool) -> str:
    return "commanded" if something else "not commanded"
