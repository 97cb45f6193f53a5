"""The supervisor of a run: its children, what joins them, and what their ends mean for the arms."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from gigaedge.clock import monotonic
from gigaedge.errors import ArmError, CheckFailedError, GigaedgeError, ProcessError
from gigaedge.robot import Side
from gigaedge.site import Site
from gigaedge_runtime.children import Child, Launch, StopFlag, memory_file, python_module, wait_until
from gigaedge_runtime.flight_packets import Level
from gigaedge_runtime.latch import latchable, set_latch
from gigaedge_runtime.mailbox import Board, ControlStatus, Order, Phase, PlannerStatus
from gigaedge_runtime.memory import resident
from gigaedge_runtime.recording import Recording
from gigaedge_runtime.recovery import recovery_of
from gigaedge_runtime.report import ControlReport, PhysicsReport, PolicyReport, RunReport
from gigaedge_runtime.states import Fault, FaultCode, State

PROGRESS = 0.5
"""s between two calls of `on_progress`."""

_POLL = 0.02
_REST_TIMEOUT = 5.0
"""s; stopping from full speed takes less than one."""
_CONTROL_JOIN = 10.0
"""s; enabling two arms, which may take three seconds each, is not interrupted."""
_SILENCE = 2.0
"""s; control publishes 200 times a second: this long without one, it hangs."""
_POLICY_JOIN = 15.0
"""s; a chunk that is being computed is not interrupted. Loading is."""


@dataclass(frozen=True)
class Programs:
    """What the supervisor starts as its children; each gets `--launch FD` appended."""

    control: tuple[str, ...] = python_module("gigaedge_runtime.control_process")
    policy: tuple[str, ...] = python_module("gigaedge_runtime.policy_process")
    recorder: tuple[str, ...] = python_module("gigaedge_runtime.record_process")


@dataclass(frozen=True)
class Progress:
    """A look at a run that goes on."""

    elapsed: float
    """Since the order to run, s."""
    control: ControlStatus
    policy: PlannerStatus

    def __str__(self) -> str:
        """One line for a person; while the arms hold, with what they wait for."""
        state = self.control.state
        line = f"{state.name.lower()}, {self.policy.chunks} chunks, {self.control.sends} commands"
        return f"{line} ({self.policy.reason or 'the next chunk is late'})" if state is State.HOLD else line


class Run:
    """Shared memory, lifelines and children of one run."""

    def __init__(
        self,
        site: Site,
        hosted: tuple[Side, ...],
        dry_run: bool,
        programs: Programs,
        stop: StopFlag,
        recording: Recording | None,
    ) -> None:
        self._site = site
        self._hosted = hosted
        self._dry_run = dry_run
        self._programs = programs
        self._stop = stop
        self._recording = recording
        self._fds: list[int] = []
        self._children: list[Child] = []
        self._control: Child
        self._policy: Child | None = None
        self._hanging: set[Child] = set()
        self._began: float | None = None
        self._ended: float | None = None
        self._last_status = ControlStatus()
        self._last_planner = PlannerStatus()
        board = self._keep(Board.create())
        self._board = Board(board)
        self._supervisor, _ = (self._keep(fd) for fd in os.pipe())
        self._policy_read, self._policy_write = (self._keep(fd) for fd in os.pipe())
        self._board_fd = board

    @classmethod
    @contextmanager
    def started(
        cls,
        site: Site,
        hosted: tuple[Side, ...],
        dry_run: bool,
        programs: Programs,
        stop: StopFlag,
        recording: Recording | None,
    ) -> Iterator[Run]:
        """A run whose control process is being started; leaving ends everything that is left."""
        run = cls(site, hosted, dry_run, programs, stop, recording)
        try:
            if recording is not None:
                recording.start(run._recorder)
            run._control = run._child("control", programs.control, run._policy_read)
            yield run
        finally:
            for child in run._children:
                child.close()
            for fd in run._fds:
                os.close(fd)
            # The mapping goes now, not when the last traceback that mentions this run does.
            del run._board

    def start_arms(self) -> None:
        """Wait for the arms. Raises what control ended with."""
        timeout = self._site.timing.startup_timeout
        self._await(lambda: self._status().phase >= Phase.READY, timeout, "the arms did not connect")

    def start_policy(self) -> None:
        """Start the policy and wait for it. Raises what a child ended with."""
        timeout = self._site.timing.startup_timeout
        if self._stop.requested:
            return
        self._policy = self._child("policy", self._programs.policy, self._policy_write)
        # From now on the policy process alone holds that end: control sees its death.
        self._drop(self._policy_write)
        self._await(
            lambda: self._planner().phase >= Phase.READY, timeout, "bundle and cameras were not ready"
        )

    def watch(self, duration: float | None, on_progress: Callable[[Progress], None] | None) -> None:
        """Let it run until the end. Raises when a child died or control is at fault, once the arms hold."""
        if self._stop.requested:
            return
        began = self._began = monotonic()
        self._board.order.give(Order.RUN)
        self._say("the order to run")
        told = -PROGRESS
        while not self._stop.requested:
            elapsed = monotonic() - began
            if duration is not None and elapsed >= duration:
                return
            self._check(self._status())
            if on_progress is not None and elapsed - told >= PROGRESS:
                told = elapsed
                on_progress(Progress(elapsed, self._status(), self._planner()))
            wait_until(lambda: self._stop.requested, _POLL, _POLL)

    def attend(self, order: Order) -> None:
        """Without a policy: order the arms to hold or to park, and wait until they do. Raises as `watch`."""
        self._began = monotonic()
        wanted = State.PARKED if order is Order.PARK else State.HOLD
        self._bring_to(order, wanted, self._stop.times)

    def park(self) -> None:
        """Order powered arms to their park poses, and wait until they stand there. Raises as `watch`."""
        if self._status().sends:
            self._bring_to(Order.PARK, State.PARKED, self._stop.times)

    def _bring_to(self, order: Order, wanted: State, signals: int) -> None:
        self._board.order.give(order)
        while self._stop.times <= signals:
            status = self._status()
            self._check(status)
            if status.state is wanted and status.settled:
                return
            wait_until(lambda: self._stop.times > signals, _POLL, _POLL)

    def end(self) -> None:
        """Order an end and wait for it: control first, it needs the arms to come to rest."""
        self._ended = monotonic()
        self._board.order.give(Order.STOP)
        # One that never came up has no arms to bring to rest, and one that hangs will not.
        patient = self._status().phase >= Phase.READY and self._control not in self._hanging
        self._control.join(_CONTROL_JOIN if patient else _POLL)
        if self._policy is not None:
            patient = self._began is not None and self._policy not in self._hanging
            self._policy.join(_POLICY_JOIN if patient else _POLL)

    def failure(self) -> GigaedgeError | None:
        """What went wrong while it ended."""
        for child in reversed(self._children):
            # Whoever interrupts a start does not want to hear that the start was interrupted.
            interrupted = child.forced and self._began is None
            if not interrupted and (error := child.error()) is not None:
                return error
        fault = self._status().fault
        return self._error_of(fault) if fault else None

    def latch_lost_control(self, error: GigaedgeError | None) -> None:
        """Leave a latch where control, which else does that, ended without a word over powered arms."""
        status = self._status()
        if self._control.report() is not None or not status.sends:
            return
        fault = status.fault or Fault(FaultCode.CONTROL, str(error or "the control process ended by itself"))
        arms = [arm for arm in latchable(self._site) if arm.side not in self._hosted]
        with suppress(OSError):  # control's death is what is reported, disk or no disk
            set_latch(arms, fault, datetime.now(timezone.utc))

    def report(self, error: GigaedgeError | None, physics: PhysicsReport | None = None) -> RunReport:
        """What there is to say of an ended run; `physics` is the simulated cell's part."""
        control = self._control.report()
        policy = self._policy.report() if self._policy else None
        began, ended = self._began, self._ended
        if error is not None:
            ended_by = type(error).__name__
        else:
            ended_by = "signal" if self._stop.requested else "duration"
        pids = {"supervisor": os.getpid(), **{child.name: child.pid for child in self._children}}
        peaks = {child.name: child.peak_memory() for child in self._children}
        memory = {"supervisor": resident("VmHWM"), **{name: peak for name, peak in peaks.items() if peak}}
        recording = None
        if self._recording is not None:
            self._say(f"ended by {ended_by}" + (f": {error}" if error else ""), _level(error))
            recording = self._recording.finish()
        return RunReport(
            ended_by=ended_by,
            error=str(error) if error else None,
            duration=ended - began if began is not None and ended is not None else 0.0,
            dry_run=self._dry_run,
            pids=pids,
            chunks=self._planner().chunks,
            control=ControlReport.parse(control) if control else None,
            policy=PolicyReport.parse(policy) if policy else None,
            recording=recording,
            physics=physics,
            memory=memory,
        )

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        if self._recording is not None:
            self._recording.say(text, level)

    def _check(self, status: ControlStatus) -> None:
        if not self._control.running:
            error = self._control.error() or ProcessError("the control process ended by itself")
            raise self._with_arms(error, "the arms hold their last target")
        if self._policy is not None and not self._policy.running:
            self._await_rest()
            raise self._with_arms(self._policy.error() or ProcessError("the policy process ended by itself"))
        if status.state is State.FAULT:
            self._await_rest()
            raise self._error_of(
                status.fault or Fault(FaultCode.NONE, "control is at fault without a reason")
            )
        if status.phase is Phase.LOOPING and monotonic() - status.heartbeat > _SILENCE:
            self._hanging.add(self._control)
            raise ProcessError(
                f"the control process (pid {self._control.pid}) hangs: no sign of life for {_SILENCE:g} s; "
                "the arms hold their last target"
            )
        patience = self._site.timing.policy_timeout
        silence = monotonic() - self._planner().heartbeat
        if self._policy is not None and silence > patience and not self._dry_run:
            # Control has let the arms hold since the last chunk ended.
            self._hanging.add(self._policy)
            error = ProcessError(
                f"the policy process (pid {self._policy.pid}) hangs: no sign of life for policy_timeout "
                f"{patience:g} s"
            )
            raise self._with_arms(error)

    def _error_of(self, fault: Fault) -> GigaedgeError:
        """The error a run at fault ends with."""
        if fault.code is FaultCode.POLICY:
            error = self._policy.error() if self._policy else None
            return self._with_arms(error or ProcessError(fault.text))
        kind = CheckFailedError if fault.code is FaultCode.NON_FINITE else ArmError
        short = recovery_of(fault.code).short
        return self._with_arms(kind(fault.text), "the arms hold" + (f"; {short}" if short else ""))

    def _with_arms(self, error: GigaedgeError, how: str = "the arms hold") -> GigaedgeError:
        """The error, with what the arms do now if they were commanded at all."""
        return type(error)(f"{error}; {how}") if self._status().sends else error

    def _await_rest(self) -> None:
        """Wait until control has brought the arms to hold (or has ended itself)."""
        wait_until(
            lambda: (
                not self._control.running or (self._status().state is State.FAULT and self._status().settled)
            ),
            _REST_TIMEOUT,
        )

    def _await(self, condition: Callable[[], bool], timeout: float, problem: str) -> None:
        """Wait for a start; at a signal return early. Raises a child's error, or ProcessError in time."""

        def over() -> bool:
            return self._stop.requested or condition() or not all(c.running for c in self._children)

        if not wait_until(over, timeout):
            raise ProcessError(f"{problem} within startup_timeout {timeout:g} s")
        # The policy first: control's complaint about its death is only the consequence.
        for child in reversed(self._children):
            if not child.running:
                raise child.error() or ProcessError(f"the {child.name} process ended during the start")

    def _child(self, name: str, command: tuple[str, ...], lifeline: int) -> Child:
        launch = Launch(
            site=self._site,
            board=self._board_fd,
            supervisor=self._supervisor,
            policy=lifeline,
            outcome=memory_file(f"gigaedge-{name}-outcome"),
            dry_run=self._dry_run,
            hosted=self._hosted,
            record=self._recording.ends(name) if self._recording else (),
        )
        child = Child(name, command, launch)
        self._children.append(child)
        if self._recording is not None:
            self._recording.hand_over(name)
        return child

    def _recorder(self, site: Site, ends: tuple[int, ...], target: Path) -> Child:
        """Start the recorder. It is none of `_children`: a run goes on without it."""
        launch = Launch(
            site=site,
            board=self._board_fd,
            supervisor=self._supervisor,
            policy=self._policy_read,
            outcome=memory_file("gigaedge-recorder-outcome"),
            dry_run=self._dry_run,
            record=ends,
            record_to=target,
        )
        return Child("recorder", self._programs.recorder, launch)

    def _status(self) -> ControlStatus:
        latest = self._board.status.latest()
        self._last_status = latest or self._last_status
        return self._last_status

    def _planner(self) -> PlannerStatus:
        latest = self._board.planner.latest()
        self._last_planner = latest or self._last_planner
        return self._last_planner

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd

    def _drop(self, fd: int) -> None:
        self._fds.remove(fd)
        os.close(fd)


def _level(error: GigaedgeError | None) -> Level:
    return Level.INFO if error is None else Level.ERROR
