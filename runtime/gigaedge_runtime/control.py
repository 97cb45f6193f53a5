"""The control loop: the arms follow the newest chunk through the limits, and hold when anything is wrong.

One tick: read both arms, take a new chunk, look after the other processes, ask the state machine, compute the
next command, send it. All of it happens in one thread; nothing in a tick waits, logs or touches a file. The
process around it is `control_process.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from gigaedge.clock import Clock, Deadlines, monotonic
from gigaedge.errors import ArmError, InputError
from gigaedge.robot import DELTA_MASK, DIM_NAMES, JOINTS, ROBOT_DIM, SIDES, Side, arm_slice
from gigaedge.site import Site
from gigaedge_runtime.devices import Arm, ArmState
from gigaedge_runtime.latency_path import Reaching
from gigaedge_runtime.limits import Command, Limiter, Limits
from gigaedge_runtime.mailbox import Board, ControlStatus, Order, Phase
from gigaedge_runtime.parking import find_swap, park_pose
from gigaedge_runtime.report import ControlReport
from gigaedge_runtime.schedule import Schedule
from gigaedge_runtime.scheduling import READERS, ThreadAccount
from gigaedge_runtime.states import Fault, FaultCode, Machine, Seen, State, Thresholds
from gigaedge_runtime.statistics import ControlStatistics
from gigaedge_runtime.trajectory import Trajectory

SETTLING = 0.4
"""s; so long the command stands still before the arms count as settled."""

FAILED_SENDS = 3
"""Commands in a row that a bus must refuse to be a fault; a single one is a full queue."""

STALL = 4
"""Periods; a tick that comes so late says nothing about the arms: their feedback waits in this process's queues."""

LOST = 0.5
"""s; an arm that is not commanded and silent for so long has its bus opened anew."""

PARKED_COMMAND = 2e-3
"""rad or m; the command has arrived at the park pose."""

STALL_EVERY = 1.0
"""s; at most so often a stall excuses old feedback, for one more `max_feedback_age`."""

_JOINTS = np.array(DELTA_MASK)


class ControlLoop:
    """The loop of one run, on arms that are connected."""

    def __init__(
        self,
        site: Site,
        arms: Mapping[Side, Arm],
        board: Board,
        *,
        policy_alive: Callable[[], bool],
        supervisor_alive: Callable[[], bool],
        stop_asked: Callable[[], bool],
        dry_run: bool = False,
        clock: Clock = monotonic,
        on_tick: Callable[[ControlLoop, float], None] | None = None,
    ) -> None:
        """`arms`: those that exist. The three callables are asked once per tick and must not block.

        `on_tick` is called at the end of every tick with the loop and the tick's time; it must not block either.
        Raises ConfigError: a park pose outside the limits.
        """
        timing = site.timing
        self._arms = arms
        self._board = board
        self._policy_alive = policy_alive
        self._supervisor_alive = supervisor_alive
        self._stop_asked = stop_asked
        self._dry_run = dry_run
        self._clock = clock
        self._on_tick = on_tick
        self._period = 1.0 / timing.control_rate
        self._max_age = timing.max_feedback_age
        self._reconnect_timeout = timing.startup_timeout
        self._tracking_error = site.limits.tracking_error
        self.machine = Machine(
            Thresholds(timing.resume_tolerance, timing.approach_tolerance, timing.approach_timeout)
        )
        self.limiter = Limiter(Limits.of(site), self._period)
        self._park = park_pose(site, self.limiter.limits.lower, self.limiter.limits.upper)
        self.statistics = ControlStatistics(tuple(arms))
        self.armed = False
        limits = self.limiter.limits
        self._schedule = Schedule(limits.acceleration, limits.jerk, site.execution.fade, site.execution.decay)
        self._reaching = Reaching(board.handover)
        self._seen = Seen()
        self._states: dict[Side, ArmState] = {}
        self._failed: dict[Side, int] = dict.fromkeys(arms, 0)
        self._send_errors: dict[Side, str] = {}
        self._muted: set[Side] = set()
        self._silent: set[Side] = set()
        """Arms whose feedback is too old to begin with."""
        self._measured = np.zeros(ROBOT_DIM)
        self._places = {side: self._measured[arm_slice(side)] for side in SIDES}
        self._target = np.zeros(ROBOT_DIM)
        self._target_velocity, self._target_acceleration = np.zeros(ROBOT_DIM), np.zeros(ROBOT_DIM)
        self._absent = np.zeros(ROBOT_DIM, dtype=bool)
        for side in SIDES:
            pose = site.arm(side).pose
            if pose is not None:
                self._absent[arm_slice(side)] = True
                self._measured[arm_slice(side)] = pose
        self._compared = (_JOINTS & ~self._absent).astype(np.float64)
        """1 for the joints that exist, 0 elsewhere."""
        self._scratch = np.zeros(ROBOT_DIM)
        self._stamp = -np.inf
        self._last_tick = np.inf
        self._excused_at = -np.inf
        self._rest_since: float | None = None
        self._regrid = False

    @property
    def target(self) -> NDArray[np.float64]:
        """What the chunk asked for last, rad and m, shape (14,), before the limits."""
        return self._target

    def run(self) -> None:
        """Tick until asked to stop and at rest. Raises ArmError when an arm cannot be enabled."""
        deadlines = Deadlines(self._period, self._clock)
        with ThreadAccount() as account:
            self.statistics.watch(account)
            while self._tick_undisturbed():
                if self._regrid:
                    self._regrid = False
                    self.statistics.restart_period()
                    deadlines = Deadlines(self._period, self._clock)
                deadlines.wait()
                self.statistics.missed = deadlines.missed

    def _tick_undisturbed(self) -> bool:
        with READERS:
            return self.tick(self._clock())

    def tick(self, now: float) -> bool:
        """One tick at `now`, s; False when the run is over. Raises ArmError when an arm cannot be enabled."""
        self.statistics.tick(now)
        seen = self._seen
        seen.now = now
        # First the lifelines, then the order: a child that ends because of an order is never seen without it.
        policy_alive, supervisor_alive = self._policy_alive(), self._supervisor_alive()
        order = self._board.order.latest()
        seen.stop = order is Order.STOP or not supervisor_alive or self._stop_asked()
        seen.park = order is Order.PARK and self._park is not None
        if now - self._last_tick > STALL * self._period and now - self._excused_at > STALL_EVERY:
            self._excused_at = now
        self._last_tick = now
        fault = self._read_arms(now)
        self._lap("feedback")
        fault = self._take_chunk(now) or fault
        if not policy_alive and not (seen.stop or seen.park):
            fault = Fault(FaultCode.POLICY, "the policy process died")
        if order is not Order.WAIT and not (self.armed or self._dry_run or seen.stop or fault):
            self._arm_when_there_is_a_chunk(now, needed=order is Order.RUN)
        seen.armed = self.armed
        seen.fault = fault or self._send_fault() or self._tracking_fault()
        self._compare(now)
        self._compare_with_park()
        state = self._step(now)
        if self.armed:
            self._aim(now, state)
            self._lap("decide")
            command = self._limit(state)
            self._lap("limits")
            self._send(command, now)
            self._lap("send")
        else:
            self._lap("decide")
        settled = self._settled(now, state)
        self._publish(now, settled)
        if self._on_tick is not None:
            self._on_tick(self, now)
        self.statistics.worked(self._lap("publish") - now)
        return not (seen.stop and settled)

    def report(self, scheduling: str) -> ControlReport:
        """Everything that was counted; `scheduling` says how the process was scheduled."""
        enabled = {side: state.enabled for side, state in self._states.items()}
        return self.statistics.report(self.machine, self.limiter, enabled, scheduling)

    def _lap(self, stage: str) -> float:
        """Say that a stage of the tick has ended; returns when, s."""
        now = self._clock()
        self.statistics.lap(stage, now)
        return now

    def _read_arms(self, now: float) -> Fault | None:
        """Read both arms, append to the ring of measured states; say what is wrong with them."""
        fault: Fault | None = None
        oldest = np.inf
        for side, arm in self._arms.items():
            try:
                state = self._states[side] = arm.read()
            except ArmError as error:
                self._muted.add(side)
                fault = Fault(FaultCode.ARM, f"{side} arm: {error}")
                continue
            place = self._places[side]
            place[:JOINTS] = state.joints
            place[JOINTS] = state.gripper
            oldest = min(oldest, state.stamp)
            # An arm's own word counts only from the moment it was to obey: before, it is in standby by right.
            if self.armed and (state.fault is not None or not state.enabled):
                self._muted.add(side)
                if state.fault is not None:
                    fault = Fault(state.code, f"{side} arm: {state.fault}")
                else:
                    fault = Fault(FaultCode.POWER, f"{side} arm: a motor lost its power")
            elif now - state.stamp > self._max_age and now - self._excused_at > self._max_age:
                fault = fault or self._judge_silence(side, arm, now - state.stamp)
            else:
                self._silent.discard(side)
        if self._stamp < oldest < np.inf:
            self._stamp = oldest
            self._board.states.push(oldest, self._measured)
            self.statistics.measured(now, self._measured)
        return fault

    def _judge_silence(self, side: Side, arm: Arm, age: float) -> Fault | None:
        """An arm's feedback is `age` s old: a fault while it is commanded, before that a cable to plug in again."""
        if self.armed:
            text = (
                f"{side} arm: feedback is {1e3 * age:.0f} ms old, "
                f"more than max_feedback_age {1e3 * self._max_age:.0f} ms; check power and CAN cable"
            )
            return Fault(FaultCode.FEEDBACK, text)
        self._silent.add(side)
        if age > self._reconnect_timeout:
            text = (
                f"{side} arm: no feedback for {age:.0f} s, nor when its bus was opened anew; "
                "check power and CAN cable"
            )
            return Fault(FaultCode.FEEDBACK, text)
        if age > LOST:
            arm.reconnect()
        return None

    def _take_chunk(self, now: float) -> Fault | None:
        record = self._board.chunks.newest()
        if record is None:
            return None
        actions = record.actions.astype(np.float64)
        if np.isfinite(actions).all():
            actions[:, self._absent] = self._measured[self._absent]
        try:
            trajectory = Trajectory(actions, record.observed, record.rate, record.id)
        except InputError as error:
            return Fault(FaultCode.NON_FINITE, f"chunk {record.id} is refused: {error}")
        before = self._schedule.trajectory
        self._schedule.accept(trajectory)
        self.statistics.chunks_late += not trajectory.due(now)
        if self.machine.state is State.RUNNING:
            self.statistics.seams.add(now, before, trajectory, record.delay)
            self._schedule.align(now, self.limiter.position)
        return None

    def _arm_when_there_is_a_chunk(self, now: float, needed: bool) -> None:
        """Power the motors, once, and not before the policy has shown that it works, where one is `needed`.

        Raises ArmError, and powers nothing, when the arms seem to be swapped.
        """
        if self._silent or (needed and self._schedule.trajectory is None):
            return
        if self._park is not None and len(self._arms) == len(SIDES):
            swap = find_swap(self._park, self._measured)
            if swap is not None:
                raise ArmError(swap)
        self._publish(now, settled=False, phase=Phase.ARMING)
        self._refuse_unfit()
        # What an arm answers has to be read.
        with READERS.opened():
            for arm in self._arms.values():
                arm.enable()
        self._reaching.powered = self._clock()
        self._read_arms(self._reaching.powered)
        self.limiter.reset(self._measured)
        self.armed = True
        self._regrid = True

    def _refuse_unfit(self) -> None:
        """Raise ArmError when any arm cannot be enabled, before the other one gets power."""
        for side, state in self._states.items():
            if state.fault is not None:
                raise ArmError(f"{side} arm cannot be enabled: {state.fault}; clear this first")

    def _send_fault(self) -> Fault | None:
        for side, failed in self._failed.items():
            if failed >= FAILED_SENDS:
                why = self._send_errors.get(side, "check cabling and that the arm has power")
                return Fault(FaultCode.SEND, f"{side} arm: the bus refused {failed} commands in a row; {why}")
        return None

    def _tracking_fault(self) -> Fault | None:
        if not self.armed:
            return None
        if self._distance(self.limiter.position, self._measured) <= self._tracking_error:
            return None
        error, worst = self._scratch, int(self._scratch.argmax())
        text = (
            f"{DIM_NAMES[worst]} is {error[worst]:.2f} rad from its command, more than tracking_error "
            f"{self._tracking_error:g} rad; look for an obstacle, a collision or an arm that does not obey"
        )
        return Fault(FaultCode.TRACKING, text)

    def _compare(self, now: float) -> None:
        """How far the due target is from the measured and from the commanded pose."""
        seen, trajectory = self._seen, self._schedule.trajectory
        if trajectory is None:
            return
        seen.chunk = trajectory.chunk
        seen.due = trajectory.due(now)
        if seen.due:
            target = trajectory.position(now, self._target)
            # As near as the limits let it come: a target beyond them must not keep an approach from arriving.
            limits = self.limiter.limits
            np.minimum(np.maximum(target, limits.lower, out=target), limits.upper, out=target)
            seen.from_measured = self._distance(target, self._measured)
            seen.from_commanded = self._distance(target, self.limiter.position) if self.armed else 0.0

    def _compare_with_park(self) -> None:
        """How far the command and the arms are from where they are to be parked."""
        seen = self._seen
        if seen.park and self.armed and self._park is not None:
            away = np.abs(self._park - self.limiter.position)
            seen.at_park = bool(away[~self._absent].max() <= PARKED_COMMAND)
            seen.from_park = self._distance(self._park, self._measured)

    def _distance(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        """Largest of any joint that exists, rad; leaves all of them in `_scratch`."""
        away = np.abs(np.subtract(a, b, out=self._scratch), out=self._scratch)
        return float(np.maximum.reduce(np.multiply(away, self._compared, out=away)))

    def _step(self, now: float) -> State:
        before = self.machine.state
        state = self.machine.step(self._seen)
        if state is not before:
            if state is State.FAULT:
                self.statistics.faulted_at = now
            if state is State.RUNNING:
                self._schedule.restart(now, self.limiter.position)
        return state

    def _aim(self, now: float, state: State) -> None:
        """Where the arms are to go at `now`, s."""
        if state is State.PARKING and self._park is not None:
            np.copyto(self._target, self._park)
        elif state is State.RUNNING:
            self._schedule.sample(now, self._target, self._target_velocity, self._target_acceleration)
        elif state is State.APPROACH:
            self._schedule.target(now, self._target)
        if not state.follows:
            self._reaching.left()
        elif not self.statistics.chunks or self.statistics.chunks[-1] != self._seen.chunk:
            self.statistics.chunks.append(self._seen.chunk)
            self._reaching.followed(self._seen.chunk)

    def _limit(self, state: State) -> Command:
        """The next command on the way there."""
        if state is State.RUNNING:
            return self.limiter.track(
                self._target, self._target_velocity, self._target_acceleration, self._measured
            )
        if state is State.APPROACH or (state is State.PARKING and self._park is not None):
            return self.limiter.approach(self._target, self._measured)
        return self.limiter.decelerate()

    def _send(self, command: Command, tick: float) -> None:
        """Send to every arm that can be commanded, in the tick that began at `tick`, s.

        An arm that reported a fault or lost its power gets nothing more in this run: once a person frees it,
        it would jump to a target of the past.
        """
        self.statistics.commanded(command)
        called = self._clock()
        for side, arm in self._arms.items():
            if side in self._muted:
                continue
            columns = arm_slice(side)
            self.statistics.sends += 1
            try:
                taken = arm.send(command[columns][:-1], float(command[columns][-1]))
            except ArmError as error:
                taken = False
                self._send_errors[side] = str(error)
            self._failed[side] = 0 if taken else self._failed[side] + 1
            self.statistics.failed_sends += not taken
        if self._reaching.pending:
            self._reaching.sent(tick, called, [arm.sent_at for arm in self._arms.values()], self._clock())

    def _settled(self, now: float, state: State) -> bool:
        """True when nothing is commanded, or the command has stood still for `SETTLING`."""
        if not self.armed:
            return True
        if state.moves or not self.limiter.at_rest:
            self._rest_since = None
            return False
        if self._rest_since is None:
            self._rest_since = now
        if state is State.FAULT and self.statistics.rested_at is None:
            self.statistics.rested_at = now
        return now - self._rest_since >= SETTLING

    def _publish(self, now: float, settled: bool, phase: Phase = Phase.LOOPING) -> None:
        statistics = self.statistics
        self._board.status.publish(
            ControlStatus(
                heartbeat=now,
                phase=phase,
                state=self.machine.state,
                fault=self.machine.fault,
                at_rest=not self.armed or (self.limiter.at_rest and not self.machine.state.moves),
                settled=settled,
                chunk=self._seen.chunk,
                chunks=len(statistics.chunks),
                sends=statistics.sends,
                failed_sends=statistics.failed_sends,
                missed=statistics.missed,
            )
        )
