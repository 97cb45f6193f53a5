"""What the arms are doing and why: the state machine of a run, free of time-keeping, devices and arithmetic.

    disarmed --> approach --> running <--> hold      hold --> approach when the next chunk starts far away
    any of these, once armed --> parking --> parked  asked to park: slowly to the park pose; stands, powered
    any of these but parked --> stopped              asked to stop: decelerate, hold, end
    any of these --> fault                           latched: decelerate, hold; a person looks into it

Nothing leads out of `parked`, `stopped` and `fault` but a fault: what comes next is another run.

`Machine.step` takes what one tick saw and says which state the tick is in; it never raises.
"""

from __future__ import annotations

import math
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
    PARKING = 6
    """Moving slowly to the park pose."""
    PARKED = 7
    """Standing at the park pose, powered."""

    @property
    def follows(self) -> bool:
        """True where a chunk moves the arms."""
        return self in (State.APPROACH, State.RUNNING)

    @property
    def moves(self) -> bool:
        """True where the command goes somewhere; in every other state it comes to rest."""
        return self.follows or self is State.PARKING


class FaultCode(IntEnum):
    """Why a run was latched into `fault`."""

    NONE = 0
    NON_FINITE = 1
    """A chunk holds NaN or infinity."""
    ARM = 2
    """An arm reports that it cannot be commanded, for a reason without a code of its own."""
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
    """The first target, or the park pose, was not reached within `timing.approach_timeout`."""
    ESTOP = 9
    """An arm's emergency stop."""
    TEACH = 10
    """Teach mode: the button on an arm, or a person guiding it."""
    COLLISION = 11
    """An arm felt a collision, or a joint stalls."""
    JOINT = 12
    """A joint or the gripper reports an error, or the arm stands beyond a joint limit."""
    TEMPERATURE = 13
    """A motor or a driver is too hot."""
    MODE = 14
    """An arm left CAN control by itself."""
    BUS = 15
    """The CAN interface itself is in an error state, off or gone."""
    CONTROL = 16
    """The control process died or hangs; only the supervisor can say so."""


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
    """rad; distance of the due target from the commanded pose at which an approach has arrived;
    of the measured from the park pose at which the arms are parked."""
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
    park: bool = False
    """Someone asked for the park pose."""
    at_park: bool = False
    """The command has arrived at the park pose."""
    from_park: float = math.inf
    """Largest distance of any joint from the measured to the park pose, rad."""
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
        if self.state in (State.STOPPED, State.PARKED):
            return self.state
        if seen.stop:
            self._enter(seen.now, State.STOPPED, "asked to stop")
        elif self.state is State.PARKING:
            self._try_to_park(seen)
        elif seen.armed and seen.park:
            self._enter(seen.now, State.PARKING, "asked to park")
        elif seen.armed:
            self._follow(seen)
        return self.state

    def _try_to_park(self, seen: Seen) -> None:
        if seen.at_park and seen.from_park <= self.thresholds.approach_tolerance:
            self._enter(seen.now, State.PARKED, "arrived at the park pose")
        elif seen.now - self._since > self.thresholds.approach_timeout:
            self._latch(seen.now, Fault(FaultCode.APPROACH, self._late("park pose", seen.from_park)))

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
            self._latch(seen.now, Fault(FaultCode.APPROACH, self._late("target", seen.from_measured)))

    def _late(self, what: str, distance: float) -> str:
        return (
            f"the {what} was not reached within approach_timeout {self.thresholds.approach_timeout:g} s; "
            f"it is {distance:.3f} rad away"
        )

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
