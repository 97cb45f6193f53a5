"""What the arms are doing and why: the state machine of a run, free of time-keeping, devices and arithmetic.

    disarmed --> approach --> running <--> hold      hold --> approach when the next chunk starts far away
        any of them --> stopped                      asked to stop: decelerate, hold, end
        any of them --> fault                        latched: decelerate, hold; a person looks into it

`Machine.step` takes what one tick saw and says which state the tick is in; it never raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

HISTORY: int = 500
"""Transitions that are kept in words; later ones are only counted, so that a week's run does not grow."""


class State(IntEnum):
    """What the arms are doing."""

    DISARMED = 0
    """Read, never commanded."""
    APPROACH = 1
    """Moving slowly to the target that is due."""
    RUNNING = 2
    """Following the chunk."""
    HOLD = 3
    """Nothing is due: slowing down, then standing at the last target, powered."""
    STOPPED = 4
    """Asked to end: slowing down, then standing, powered."""
    FAULT = 5
    """Latched: slowing down, then standing, powered."""

    @property
    def moves(self) -> bool:
        """True where a chunk moves the arms."""
        return self in (State.APPROACH, State.RUNNING)


class FaultCode(IntEnum):
    """Why a run was latched into `fault`."""

    NONE = 0
    NON_FINITE = 1
    """A chunk holds NaN or infinity."""
    ARM = 2
    """An arm reports that it cannot be commanded."""
    POWER = 3
    """An arm lost the power of its motors."""
    FEEDBACK = 4
    """Joint feedback is older than `timing.max_feedback_age`."""
    SEND = 5
    """The bus refused three commands in a row."""
    POLICY = 6
    """The policy process died."""
    TRACKING = 7
    """An arm is further from its command than `limits.tracking_error`."""
    APPROACH = 8
    """The first target was not reached within `timing.approach_timeout`."""


@dataclass(frozen=True)
class Fault:
    """A reason to latch."""

    code: FaultCode
    text: str
    """One line in words: which arm or joint, what was seen, what was expected."""


@dataclass(frozen=True)
class Thresholds:
    """The numbers the machine compares with."""

    resume_tolerance: float
    """rad; largest distance of the due target from the measured pose at which a fresh chunk is followed."""
    approach_tolerance: float
    """rad; distance of the due target from the commanded pose at which an approach has arrived."""
    approach_timeout: float
    """s."""


@dataclass(slots=True)
class Seen:
    """What one tick saw. Reused from tick to tick."""

    now: float = 0.0
    """s on CLOCK_MONOTONIC."""
    stop: bool = False
    """Someone asked for an end: the supervisor, a signal, or the supervisor's death."""
    armed: bool = False
    """The arms are enabled and may be commanded."""
    fault: Fault | None = None
    due: bool = False
    """The newest chunk has an action for now."""
    chunk: int = 0
    """Its number; grows from chunk to chunk."""
    from_measured: float = 0.0
    """Largest distance of any joint from measured to due, rad."""
    from_commanded: float = 0.0
    """Largest distance of any joint from commanded to due, rad."""


@dataclass(frozen=True)
class Transition:
    """One change of state."""

    time: float
    """s on CLOCK_MONOTONIC."""
    state: State
    reason: str


@dataclass
class Machine:
    """The state of a run and how it came to be."""

    thresholds: Thresholds
    state: State = State.DISARMED
    fault: Fault | None = None
    history: list[Transition] = field(default_factory=list)
    """Oldest first, the first `HISTORY` of them."""
    transitions: int = 0
    _since: float = 0.0
    _chunk: int = 0
    """The chunk that was last followed or given up; only a later one is fresh."""

    def step(self, seen: Seen) -> State:
        """Take what a tick saw; return the state this tick is in."""
        if self.state is State.FAULT:
            return self.state
        if seen.fault is not None:
            return self._latch(seen.now, seen.fault)
        if self.state is State.STOPPED:
            return self.state
        if seen.stop:
            self._enter(seen.now, State.STOPPED, "asked to stop")
        elif seen.armed:
            self._follow(seen)
        return self.state

    def _follow(self, seen: Seen) -> None:
        if self.state is State.DISARMED:
            if seen.due:
                self._enter(seen.now, State.APPROACH, f"first chunk ({seen.chunk})")
            else:
                self._enter(seen.now, State.HOLD, "enabled; no chunk is due yet")
        elif self.state is State.HOLD:
            self._try_to_resume(seen)
        elif not seen.due:
            self._enter(seen.now, State.HOLD, f"chunk {seen.chunk} has ended and no newer one came")
        elif self.state is State.APPROACH:
            self._try_to_arrive(seen)
        elif seen.chunk != self._chunk and seen.from_measured > self.thresholds.resume_tolerance:
            self._enter(seen.now, State.APPROACH, _far(seen))
        self._chunk = max(self._chunk, seen.chunk)

    def _try_to_resume(self, seen: Seen) -> None:
        if not seen.due or seen.chunk <= self._chunk:
            return
        if seen.from_measured <= self.thresholds.resume_tolerance:
            self._enter(seen.now, State.RUNNING, f"chunk {seen.chunk} starts near the measured pose")
        else:
            self._enter(seen.now, State.APPROACH, _far(seen))

    def _try_to_arrive(self, seen: Seen) -> None:
        near = (
            seen.from_commanded <= self.thresholds.approach_tolerance
            and seen.from_measured <= self.thresholds.resume_tolerance
        )
        if near:
            self._enter(seen.now, State.RUNNING, f"arrived at chunk {seen.chunk}")
        elif seen.chunk > self._chunk and seen.from_measured <= self.thresholds.resume_tolerance:
            # A policy that plans a swift motion from wherever the arm is would outrun an approach for ever.
            self._enter(seen.now, State.RUNNING, f"chunk {seen.chunk} starts near the measured pose")
        elif seen.now - self._since > self.thresholds.approach_timeout:
            text = (
                f"the target was not reached within approach_timeout {self.thresholds.approach_timeout:g} s; "
                f"it is {seen.from_measured:.3f} rad away"
            )
            self._latch(seen.now, Fault(FaultCode.APPROACH, text))

    def _latch(self, now: float, fault: Fault) -> State:
        self.fault = fault
        self._enter(now, State.FAULT, fault.text)
        return self.state

    def _enter(self, now: float, state: State, reason: str) -> None:
        self.state = state
        self._since = now
        self.transitions += 1
        if len(self.history) < HISTORY:
            self.history.append(Transition(now, state, reason))


def _far(seen: Seen) -> str:
    return f"chunk {seen.chunk} starts {seen.from_measured:.3f} rad from the measured pose"
