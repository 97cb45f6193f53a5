"""How a check went: pass, warn or fail, with the number, the limit and the reason for the limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """The graver, the greater."""

    PASS = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True)
class Limit:
    """Where a quantity stops being good, and where it stops being usable; smaller is better."""

    warn: float
    """Above: warn."""
    fail: float
    """Above: fail."""
    unit: str
    why: str
    """What the numbers rest on."""

    def judge(self, value: float) -> Verdict:
        """NaN fails."""
        if value <= self.warn:
            return Verdict.PASS
        return Verdict.WARN if value <= self.fail else Verdict.FAIL


@dataclass(frozen=True)
class Judgement:
    """One row of a check or a report."""

    check: str
    """What was looked at, such as `view shift, vertical`."""
    subject: str
    """A camera's role, an arm's side, or `board`."""
    verdict: Verdict
    value: float | None = None
    """In the unit of `limit`; None where there is no number."""
    sigma: float | None = None
    """Standard deviation of `value`."""
    limit: Limit | None = None
    cause: str = ""
    """What is wrong, in words; empty when nothing is."""
    mend: str = ""
    """What a person can do, in words."""
    measured: bool = True
    """False: nobody measured it yet, and `cause` says what that costs."""


def judged(
    check: str,
    subject: str,
    value: float,
    limit: Limit,
    *,
    sigma: float | None = None,
    cause: str = "",
    mend: str = "",
) -> Judgement:
    """A number against its limit; `cause` and `mend` are kept only where it is not good."""
    verdict = limit.judge(value)
    if verdict is Verdict.PASS:
        cause = mend = ""
    return Judgement(check, subject, verdict, value, sigma, limit, cause, mend)


def gravest(judgements: Iterable[Judgement]) -> Verdict:
    """PASS where there is none."""
    return max((judgement.verdict for judgement in judgements), default=Verdict.PASS)
