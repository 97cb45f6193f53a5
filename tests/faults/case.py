"""What a case is: a fault, how it is put in, and what the runtime promises to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gigaedge.robot import SIDES, Side
from tests.faults.cell import Cell, Vector


class Reaction(Enum):
    """What happens to the run."""

    LATCHED = "both arms hold, latched; the run ends"
    RESUMED = "both arms hold, then resume"
    ENDED = "both arms hold; then the run ends"
    ABANDONED = "the arms hold their last target; the run ends"
    GOES_ON = "the run goes on"
    REFUSED = "refused at the start; no arm gets power"


class Since(Enum):
    """What counts as the last valid input, from which the time to the reaction is taken."""

    FEEDBACK = "last feedback"
    """The last packet of the hurt arm before the fault."""
    FAULT = "fault"
    """The moment the fault was put in."""
    SEND = "first refused frame"
    CHUNK = "end of the last chunk"
    PUBLISHED = "bad chunk"
    """The moment the bad chunk was published."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    """Unique; words joined by hyphens."""
    injected: str
    """What is done, in words."""
    detector: str
    """Expected: a fault code of `FaultCode`, a reason of `capture.Refusal`, or what else notices it."""
    reaction: Reaction
    within: float
    """s; from the last valid input to the first tick that acts (ABANDONED: to the end of the run)."""
    since: Since
    reads: str
    """Regular expression, found in the one line that a person reads; `^$`: there is nothing to read."""
    inject: Callable[[Cell], None]
    """Called while the arms move; before the start, where the run is to be refused."""
    undo: Callable[[Cell], None] | None = None
    lasts: float = 0.8
    """s; how long the fault is left in once it has been reacted to, or at all where the run goes on."""
    exit_code: int = 3
    record: bool = False
    """The run writes a flight record."""
    hurt: Side = "left"
    """The arm that a fault of an arm is put into."""
    obedient: tuple[Side, ...] = SIDES
    """Arms that must stand still at the end; an arm in emergency stop or teach mode obeys a person."""
    before: Callable[[Cell], None] | None = None
    """Called when both arms are connected, and before they get power."""
    homes: Mapping[Side, Vector] = field(default_factory=dict)
    """Where an arm stands at the start, if not where all do: six joints (rad), gripper (m)."""
    parks: Mapping[Side, Vector] = field(default_factory=dict)
    """Park poses of the site."""
    timing: Mapping[str, Any] = field(default_factory=dict)
    """Of the site, where the case needs other than the harness's."""


@dataclass(frozen=True)
class Outcome:
    """What a case did."""

    case: str
    problems: tuple[str, ...]
    """Empty: everything as promised."""
    detected_by: str
    reaction: str
    milliseconds: float | None
    """From the last valid input to the first tick that acts; None where the run goes on."""
    standing: float | None
    """From there to arms that stand, ms."""
    lost: str
    read: str
    """The line for a person."""
    seconds: float
    """The whole case took."""
    stall: float = 0.0
    """Longest time that this computer kept the control loop, or the simulated arms, from running, s."""
    attempts: int = 1

    @property
    def passed(self) -> bool:
        return not self.problems
