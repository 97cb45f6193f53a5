"""What the control loop counts while it runs, in constant memory and without allocating much per tick."""

from __future__ import annotations

from collections import Counter, deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import DELTA_MASK, DIM_NAMES, ROBOT_DIM, SIDES, Side, arm_slice
from gigaedge_runtime.histogram import FineHistogram, Histogram
from gigaedge_runtime.limits import Clamps, Limiter
from gigaedge_runtime.report import ClampCounts, ControlReport, LateCause, LateTick, StateChange
from gigaedge_runtime.scheduling import ThreadAccount, Usage
from gigaedge_runtime.seam import Seams
from gigaedge_runtime.states import Machine

MOTION = 2e-3
"""rad; a joint that stays within this of where it was seen counts as standing (PiPER reports 2e-5 rad)."""

LATE = 0.02
"""s; a tick that comes so long after the one before is accounted for."""

_LATE_KEPT = 100

STOLEN_EVERY = 200
"""Ticks between two looks at what a hypervisor took: too costly for every one."""

_STILL = np.where(DELTA_MASK, MOTION, np.inf)

TICK_STAGES: Final = ("feedback", "decide", "limits", "send", "publish")
"""What a tick consists of, in order.

feedback: the lifelines, and what both arms report; decide: a new chunk, the state machine and the target that is due;
limits: from target to command; send: both arms' SDK; publish: status for the others, and the flight record. A tick of
arms without power has no `limits` and no `send`."""

Array = NDArray[np.float64]


class ControlStatistics:
    """Counters of one run. The arrays handed in are copied where they are kept."""

    def __init__(self, present: tuple[Side, ...]) -> None:
        """`present`: the arms that exist; the others appear in no figure."""
        self.present = present
        self.ticks = 0
        self.sends = 0
        self.failed_sends = 0
        self.chunks: deque[int] = deque(maxlen=1000)
        self.chunks_late = 0
        self.seams = Seams(present)
        self.missed = 0
        self.faulted_at: float | None = None
        self.rested_at: float | None = None
        self.moved_at = -np.inf
        """The last measured movement, s."""
        self._begin: float | None = None
        self._last_tick: float | None = None
        self._account: ThreadAccount | None = None
        self._usage = Usage(0.0, 0.0, 0)
        self._stolen = 0.0
        self._worked = 0.0
        self._late: Counter[LateCause] = Counter()
        self._late_ticks: list[LateTick] = []
        self._period = Histogram()
        self._work = FineHistogram()
        self._stages = {name: FineHistogram() for name in TICK_STAGES}
        self._lap_began = 0.0
        self._travel_commanded = np.zeros(ROBOT_DIM)
        self._travel_measured = np.zeros(ROBOT_DIM)
        self._commanded = np.full(ROBOT_DIM, np.nan)
        self._measured = np.full(ROBOT_DIM, np.nan)
        self._standing = np.full(ROBOT_DIM, np.nan)
        self._scratch = np.empty(ROBOT_DIM)
        self._near = np.empty(ROBOT_DIM, dtype=bool)

    def tick(self, now: float) -> None:
        """One tick began at `now`, s."""
        self._lap_began = now
        if self._begin is None:
            self._begin = now
        before, self._usage = self._usage, self._account.read() if self._account else self._usage
        if self._last_tick is not None:
            period = now - self._last_tick
            self._period.add(period)
            if period > LATE:
                self._account_for(now - self._begin, period, before, self._usage)
        self._last_tick = now
        self.ticks += 1
        if self._account is not None and self.ticks % STOLEN_EVERY == 0:
            self._stolen = self._account.stolen()

    def watch(self, account: ThreadAccount) -> None:
        """Say from now on why a tick was late; `account` is the control thread's own."""
        self._account = account
        self._usage = account.read()
        self._stolen = account.stolen()

    def _account_for(self, time: float, period: float, before: Usage, after: Usage) -> None:
        computed, queued = after.computed - before.computed, after.queued - before.queued
        others = after.others - before.others
        stolen = self._account.stolen() - self._stolen if self._account else 0.0
        cause: LateCause = "blocked"
        if after.faults > before.faults:
            cause = "paging"
        elif max(computed, queued) > period / 2:
            cause = "computing" if computed > queued else "queued"
        elif stolen > period / 3:
            cause = "stolen"
        elif others > period / 3:
            cause = "interpreter"
        elif self._worked < period / 2:
            cause = "timer"
        self._late[cause] += 1
        if len(self._late_ticks) < _LATE_KEPT:
            self._late_ticks.append(
                LateTick(time, period, computed, queued, stolen, others, self._worked, cause)
            )

    def lap(self, stage: str, now: float) -> None:
        """A stage of the tick, by `TICK_STAGES`, ended at `now`, s."""
        self._stages[stage].add(now - self._lap_began)
        self._lap_began = now

    def worked(self, duration: float) -> None:
        """A tick took `duration`, s."""
        self._worked = duration
        self._work.add(duration)

    def restart_period(self) -> None:
        """Forget the periods so far: enabling an arm takes longer than a tick, by design."""
        self._period = Histogram()
        self._work = FineHistogram()
        self._stages = {name: FineHistogram() for name in TICK_STAGES}
        self._last_tick = None
        self._late.clear()
        self._late_ticks.clear()
        self.missed = 0

    def measured(self, now: float, values: Array) -> None:
        """Feedback of both arms, shape (14,)."""
        self._add_travel(self._travel_measured, self._measured, values)
        np.abs(np.subtract(values, self._standing, out=self._scratch), out=self._scratch)
        # NaN, the very first time, counts as one.
        if not np.logical_and.reduce(np.less_equal(self._scratch, _STILL, out=self._near)):
            self._standing[:] = values
            self.moved_at = now

    def commanded(self, values: Array) -> None:
        """What was sent to both arms, shape (14,)."""
        self._add_travel(self._travel_commanded, self._commanded, values)

    def report(
        self, machine: Machine, limiter: Limiter, enabled: dict[Side, bool], scheduling: str
    ) -> ControlReport:
        """Everything, as of now."""
        commanded = not bool(np.isnan(self._commanded).any())
        begin = self._begin or 0.0
        held = standstill = None
        if self.faulted_at is not None and self.rested_at is not None and commanded:
            held = max(0.0, self.rested_at - self.faulted_at)
            standstill = max(0.0, self.moved_at - self.faulted_at)
        fault = machine.fault
        return ControlReport(
            state=machine.state.name.lower(),
            states=[StateChange(c.time - begin, c.state.name.lower(), c.reason) for c in machine.history],
            fault=fault.text if fault else None,
            fault_code=fault.code.name.lower() if fault else None,
            period=self._period.spread(),
            work=self._work.spread(),
            ticks=self.ticks,
            missed=self.missed,
            late=dict(self._late),
            late_ticks=list(self._late_ticks),
            clamps=self._clamps(limiter.clamps),
            travel_commanded=self._named(self._travel_commanded),
            travel_measured=self._named(self._travel_measured),
            end_error=self._named(self._commanded - self._measured) if commanded else {},
            sends=self.sends,
            failed_sends=self.failed_sends,
            chunks=list(self.chunks),
            chunks_late=self.chunks_late,
            seam=self.seams.report(),
            held_after=held,
            standstill_after=standstill,
            enabled={str(side): on for side, on in enabled.items()},
            scheduling=scheduling,
            stages={name: spread for name, each in self._stages.items() if (spread := each.spread()).count},
        )

    def _clamps(self, clamps: Clamps) -> ClampCounts:
        def counted(values: NDArray[np.int64]) -> dict[str, int]:
            return {name: int(value) for name, value in self._named(values).items()}

        return ClampCounts(
            position=counted(clamps.position),
            velocity=counted(clamps.velocity),
            acceleration=counted(clamps.acceleration),
            jerk=counted(clamps.jerk),
            lead=counted(clamps.lead),
            workspace={
                side: int(count)
                for side, count in zip(SIDES, clamps.workspace, strict=True)
                if side in self.present
            },
            clearance=clamps.clearance,
        )

    def _named(self, values: NDArray[np.generic]) -> dict[str, float]:
        columns = [
            column for side in SIDES if side in self.present for column in range(ROBOT_DIM)[arm_slice(side)]
        ]
        return {DIM_NAMES[column]: float(values[column]) for column in columns}

    def _add_travel(self, travel: Array, last: Array, values: Array) -> None:
        np.abs(np.subtract(values, last, out=self._scratch), out=self._scratch)
        # NaN, the very first time, is no way.
        if self._scratch[0] == self._scratch[0]:
            travel += self._scratch
        last[:] = values
