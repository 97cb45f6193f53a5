"""Is something really slower than before, on a machine that is never quite the same?

What is compared is the logarithm of times, so that a difference is a ratio. The unit is the process: chunks of one
process share its addresses and its luck, so that the spread between processes, and not that between chunks, says how
sure a difference is.

A machine that does something else meanwhile makes everything slower. A fixed piece of work, the yardstick, was timed
before every chunk, and what it says is taken away: an analysis of covariance in logarithms. How much of what slows the
yardstick slows chunks too depends on the policy (products of a large one suffer as the yardstick does, the many small
calls of a small one less), so the processes themselves say it, as far as their yardsticks differ by more than chance;
otherwise it is one, give or take `UNLIKE`. The doubt that is left counts the
more, the more the two measurements differ in how busy the machine was: at the same load they are compared sharply. The
rest is B. L. Welch's test (The generalization of Student's problem when several different population variances are
involved, Biometrika 34, 1947).

Two currencies are compared so: time by the clock, which is what counts, and processor time, which is less disturbed and
says nothing of a GPU. Each test may be wrong in half of `ALPHA`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ALPHA: Final = 0.01
"""How often a bundle that takes just what the tolerance permits may be called slower."""
POWER: Final = 0.9
"""How often a slowdown is seen that a measurement is said to be able to see."""
UNLIKE: Final = 0.3
"""Standard deviation of the share of the yardstick's slowness, in logarithms, that chunks have, before anything is
known. From a load of two to one of eight the demo's policy departed by 0.2 from one for one (AMD EPYC, 2 cores)."""
LUCK: Final = 0.04
"""By so much the logarithms of processes' yardsticks may differ by chance alone; that says nothing about chunks. On a
quiet machine their standard deviation was 0.02."""
MIN_PROCESSES: Final = 3
"""With two, t quantiles are so large that nothing is ever seen."""
_TERMS: Final = 30
"""Of a continued fraction, and as many more as its parameters' square root: enough for 1e-9."""

Samples = Sequence[Sequence[float]]
"""One sequence of times per process."""
Array = NDArray[np.float64]
Groups = tuple[Array, Array]
"""One value per process, of two measurements."""


@dataclass(frozen=True)
class Timed:
    """Chunks and the yardstick's runs before them, in one currency; both of the same shape."""

    chunk: Samples
    yardstick: Samples

    def __post_init__(self) -> None:
        """Raises ValueError: too few processes, times that are not positive, or not as many of both."""
        if len(self.chunk) < MIN_PROCESSES:
            raise ValueError(f"needs at least {MIN_PROCESSES} processes, got {len(self.chunk)}")
        if [*map(len, self.chunk)] != [*map(len, self.yardstick)] or not all(map(len, self.chunk)):
            raise ValueError("needs a time of the yardstick for every chunk, and a chunk in every process")
        if not all(time > 0 for group in (*self.chunk, *self.yardstick) for time in group):
            raise ValueError("needs times above zero")


@dataclass(frozen=True)
class Measured:
    """One group of processes."""

    clock: Timed
    work: Timed | None = None
    """Processor time; None where it says nothing."""


@dataclass(frozen=True)
class Ratio:
    """Times now over times before, what the machine did taken out."""

    estimate: float
    low: float
    """One-sided bounds at half of `ALPHA` each: together an interval of 99 %."""
    high: float
    raw: float
    """Without regard to what the machine did."""
    visible: float
    """The smallest ratio that would have been called a regression in `POWER` of all measurements like these."""


@dataclass(frozen=True)
class Comparison:
    """A measurement beside its baseline."""

    clock: Ratio
    work: Ratio | None
    tolerance: float
    """Fraction."""

    @property
    def slower(self) -> bool:
        """Beyond doubt by more than the tolerance in one currency, raw times too; the other does not contradict."""
        limit = 1 + self.tolerance
        return (self.clock.low > limit and self.clock.raw > limit) or (
            self.work is not None
            and self.work.low > limit
            and self.work.raw > limit
            and self.clock.estimate > 1
        )

    @property
    def faster(self) -> bool:
        """As `slower`, the other way round."""
        limit = 1 / (1 + self.tolerance)
        return (self.clock.high < limit and self.clock.raw < limit) or (
            self.work is not None
            and self.work.high < limit
            and self.work.raw < limit
            and self.clock.estimate < 1
        )

    @property
    def visible(self) -> float:
        """The smallest ratio that the sharper test would have shown."""
        return min(self.clock.visible, self.work.visible) if self.work else self.clock.visible

    def __str__(self) -> str:
        """One line with the figures."""
        word = "slower" if self.slower else "faster" if self.faster else "no difference that counts"
        work = f", {_interval(self.work)} by processor time" if self.work else ""
        return (
            f"{word}: {_interval(self.clock)} times the baseline by the clock{work}; tolerance {self.tolerance:.0%}, "
            f"a slowdown of {self.visible - 1:.0%} would have been seen"
        )


def compare(now: Measured, before: Measured, tolerance: float) -> Comparison:
    """Compare two measurements of the same thing; `tolerance` is a fraction."""
    work = None
    if now.work is not None and before.work is not None:
        work = _ratio(now.work, before.work, tolerance)
    return Comparison(_ratio(now.clock, before.clock, tolerance), work, tolerance)


def _ratio(now: Timed, before: Timed, tolerance: float) -> Ratio:
    chunks = _medians(now.chunk), _medians(before.chunk)
    busy = _medians(now.yardstick), _medians(before.yardstick)
    share, doubt = _share(chunks, busy)
    times = [chunk - share * yardstick for chunk, yardstick in zip(chunks, busy, strict=True)]
    difference = float(times[0].mean() - times[1].mean())
    parts = [float(group.var(ddof=1)) / group.size for group in times]
    unlike = doubt * float(busy[0].mean() - busy[1].mean())
    error = math.sqrt(sum(parts) + unlike**2)
    freedom = _welch_satterthwaite(parts, [group.size for group in times])
    reach = student_quantile(1 - ALPHA / 2, freedom) * error
    power = student_quantile(POWER, freedom) * error
    return Ratio(
        estimate=math.exp(difference),
        low=math.exp(difference - reach),
        high=math.exp(difference + reach),
        raw=math.exp(float(chunks[0].mean() - chunks[1].mean())),
        visible=(1 + tolerance) * math.exp(reach + power),
    )


def _share(chunks: Groups, busy: Groups) -> tuple[float, float]:
    """How much of what slows the yardstick slows chunks, and that figure's standard deviation.

    A regression within the two groups, with one and `UNLIKE` as what is known before.
    """
    x, y = (np.concatenate([group - group.mean() for group in groups]) for groups in (busy, chunks))
    freedom = x.size - 2
    spread, common = float(x @ x), float(x @ y)
    beyond_luck = spread - freedom * LUCK**2
    if beyond_luck <= 0:
        return 1.0, UNLIKE
    residual = max(float(y @ y) - common**2 / spread, 0.0) / (freedom - 1)
    told = (
        beyond_luck * UNLIKE**2
    )  # against `residual`: what the processes know against what was known before
    weight = told / (told + residual)
    return 1 + weight * (common / spread - 1), UNLIKE * math.sqrt(1 - weight)


def _welch_satterthwaite(parts: Sequence[float], sizes: Sequence[int]) -> float:
    """Degrees of freedom of a sum of squared standard errors, less the one of `_share`; without any spread, all."""
    if not sum(parts):
        return float(sum(sizes) - len(sizes))
    terms = (part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    return max(sum(parts) ** 2 / sum(terms) - 1, 1.0)


def _medians(samples: Samples) -> Array:
    """Of the logarithms, one per process."""
    return np.array([np.median(np.log(times)) for times in samples], np.float64)


def _interval(ratio: Ratio) -> str:
    return f"{ratio.estimate:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def student_quantile(probability: float, freedom: float) -> float:
    """The value that Student's t with `freedom` (above 0) degrees of freedom stays below with `probability` (0 to 1).

    By bisection of the distribution's regularised incomplete beta function.
    """
    if probability < 0.5:
        return -student_quantile(1 - probability, freedom)
    low, high = 0.0, 1.0
    while student_cdf(high, freedom) < probability:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, freedom) < probability else (low, middle)
    return high


def student_cdf(value: float, freedom: float) -> float:
    """How often Student's t with `freedom` degrees of freedom is below `value` (Abramowitz and Stegun, 26.7.1)."""
    tail = _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value)) / 2
    return 1 - tail if value > 0 else tail


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised I_x(a, b), by its continued fraction (Abramowitz and Stegun, 26.5.8), evaluated from its end."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, its mirror image does not
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    fraction = 1.0
    for m in range(_TERMS + int(math.sqrt(a + b)), 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m - 1) * (a + b + m - 1) * x / ((a + 2 * m - 2) * (a + 2 * m - 1))
        fraction = 1 + odd / (1 + even / fraction)
    return front / (a * fraction)
