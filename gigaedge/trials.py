"""What trials found: the document that `gigaedge trials` writes. Times in s, simulated unless a person judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from pydantic import Field

from gigaedge.documents import Part
from gigaedge.sampling import Solver
from gigaedge.trials_statistics import newcombe, wilson

SCHEMA: Final = "gigaedge.trials/1"

Mode = Literal["rtc", "fade", "synchronous"]
MODES: Final[tuple[Mode, ...]] = ("rtc", "fade", "synchronous")
"""How chunks follow each other: each is sampled to continue the one before (`execution.handover: rtc`), or the step
between two is faded out (`crossfade`), or the arms stand still while the policy thinks."""

Outcome = Literal["success", "time", "fault", "dropped", "judged"]
"""How an attempt ended. `time`: its limit; `fault`: control latched; `dropped`: a thing that the task is about lies off
the table, which ends the episode; `judged`: a person said that it failed."""

EXPERT: Final = "expert"
"""What the row of a task's scripted expert is called in the place of a bundle."""


class AttemptInfo(Part):
    """One attempt."""

    outcome: Outcome
    seconds: float = Field(ge=0)
    """Until it ended."""
    chunks: int | None = Field(None, ge=0)
    """That the policy made; None where nobody counted."""
    reason: str | None = None
    """Of a fault, in words."""


class EpisodeInfo(Part):
    """One scene, tried until it succeeded or the attempts were used up; every attempt goes on from where things are."""

    seed: int | None = Field(None, ge=0)
    """Of the scene; None on a robot."""
    attempts: tuple[AttemptInfo, ...] = Field(min_length=1)

    @property
    def outcome(self) -> Outcome:
        """Of the last attempt."""
        return self.attempts[-1].outcome

    @property
    def seconds(self) -> float:
        """Of all attempts together."""
        return sum(attempt.seconds for attempt in self.attempts)


class IntervalInfo(Part):
    """A 95 % interval."""

    low: float
    high: float


class SummaryInfo(Part):
    """The episodes of a row, summed up."""

    episodes: int = Field(ge=1)
    successes: int = Field(ge=0)
    """Within the attempts allowed."""
    rate: float
    interval: IntervalInfo
    """Of `rate`, after Wilson."""
    first_successes: int = Field(ge=0)
    """At the first attempt."""
    first_interval: IntervalInfo
    attempts_mean: float | None
    """Needed, of those that succeeded; None where none did, as the next two."""
    seconds_p50: float | None
    """To success, all attempts of the episode together."""
    seconds_p90: float | None
    failures: dict[Outcome, int]
    """Of those that did not succeed, by how the last attempt ended."""

    @classmethod
    def of(cls, episodes: Sequence[EpisodeInfo]) -> SummaryInfo:
        """Of at least one episode. Raises ValueError when there is none."""
        done = [episode for episode in episodes if episode.outcome == "success"]
        first = sum(len(episode.attempts) == 1 for episode in done)
        times = np.percentile([episode.seconds for episode in done], (50, 90)) if done else None
        return cls(
            episodes=len(episodes),
            successes=len(done),
            rate=len(done) / max(len(episodes), 1),
            interval=_interval(wilson(len(done), len(episodes))),
            first_successes=first,
            first_interval=_interval(wilson(first, len(episodes))),
            attempts_mean=float(np.mean([len(episode.attempts) for episode in done])) if done else None,
            seconds_p50=None if times is None else float(times[0]),
            seconds_p90=None if times is None else float(times[1]),
            failures=dict(Counter(episode.outcome for episode in episodes if episode.outcome != "success")),
        )


class DifferenceInfo(Part):
    """How a row's success rate differs from that of the first row of its task."""

    rate: float
    """Its rate minus the first row's."""
    interval: IntervalInfo
    """After Newcombe."""

    @property
    def verdict(self) -> Literal["better", "worse", "no difference shown"]:
        """What the interval says."""
        if self.interval.low > 0:
            return "better"
        return "worse" if self.interval.high < 0 else "no difference shown"


class RowInfo(Part):
    """One way of doing a task, and how it went."""

    task: str
    instruction: str | None = None
    """What the policy was told; None where only its prompt's name is known."""
    policy: str
    """A bundle's label, or `expert`."""
    precision: str | None = None
    """Of the bundle."""
    steps: int | None = Field(None, ge=1)
    """Of its sampler."""
    solver: Solver | None = None
    mode: Mode
    blind: bool = False
    """All pictures were grey."""
    latency: float | None = Field(None, ge=0)
    """From an observation to its chunk, s; None on a robot, where it is what it is."""
    episodes: tuple[EpisodeInfo, ...] = Field(min_length=1)
    summary: SummaryInfo
    difference: DifferenceInfo | None = None
    """None for the first row of a task."""

    @property
    def name(self) -> str:
        """As in `int8, 5 steps, rtc`, without the task."""
        parts = [self.policy, f"{self.steps} steps" if self.steps is not None else "", self.mode]
        return ", ".join(part for part in (*parts, "blind" if self.blind else "") if part)


class TrialsReport(Part):
    """All rows, and how they were made."""

    schema_: Literal["gigaedge.trials/1"] = Field(SCHEMA, alias="schema")
    gigaedge: str
    """The version that wrote it."""
    created: str
    """ISO 8601, UTC."""
    command: str
    """What was typed."""
    machine: str
    """`gigaedge.machine.describe_machine`."""
    site: str
    """The site file."""
    judge: Literal["simulation", "person"]
    episodes: int = Field(ge=1)
    """Asked for, per row."""
    attempts: int = Field(ge=1)
    """Allowed per episode."""
    seed: int | None = Field(None, ge=0)
    """Of the first scene; the others follow. None on a robot."""
    interrupted: bool = False
    """It was broken off: rows may have fewer episodes, or be missing."""
    notices: tuple[str, ...] = ()
    rows: tuple[RowInfo, ...]


def compared(rows: Sequence[RowInfo]) -> tuple[RowInfo, ...]:
    """The same rows, each with its difference from the first one of its task."""
    first: dict[str, SummaryInfo] = {}
    found = []
    for row in rows:
        before = first.setdefault(row.task, row.summary)
        found.append(
            row
            if before is row.summary
            else row.model_copy(update={"difference": _difference(row.summary, before)})
        )
    return tuple(found)


def _difference(summary: SummaryInfo, before: SummaryInfo) -> DifferenceInfo:
    bounds = newcombe(summary.successes, summary.episodes, before.successes, before.episodes)
    return DifferenceInfo(rate=summary.rate - before.rate, interval=_interval(bounds))


def _interval(bounds: tuple[float, float]) -> IntervalInfo:
    return IntervalInfo(low=bounds[0], high=bounds[1])
