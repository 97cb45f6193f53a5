"""Is something really slower than before, on a machine that is never quite the same?

What is compared is the logarithm of times, so that a difference is a ratio. The unit is the process: chunks of one
process share its addresses and its luck, so that the spread between processes, and not that between chunks, says how
sure a difference is. Two groups of processes are compared by B. L. Welch's test (The generalization of Student's
problem when several different population variances are involved, Biometrika 34, 1947).

A machine that does something else meanwhile makes everything slower. A fixed piece of work, the yardstick, was timed
before every chunk; chunks in units of the yardstick are not moved by what moves both. But nothing says that both are
moved alike. So a difference counts only when it is seen both ways, by the clock and by the yardstick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ALPHA: Final = 0.01
"""How often equal times may be called different, one-sided."""
POWER: Final = 0.9
"""How often a slowdown is to be seen that the run is said to be able to see."""
MIN_PROCESSES: Final = 3
"""With two, t quantiles are so large that nothing is ever seen."""

_TERMS: Final = 30
"""Of a continued fraction, and as many more as its parameters' square root: enough for 1e-9."""

Samples = Sequence[Sequence[float]]
"""One sequence of times per process."""


@dataclass(frozen=True)
class Measured:
    """One group of processes."""

    chunk: Samples
    yardstick: Samples
    """Of the same shape: the yardstick's time just before each chunk."""

    def __post_init__(self) -> None:
        """Raises ValueError: too few processes, times that are not positive, or not as many of both."""
        if len(self.chunk) < MIN_PROCESSES:
            raise ValueError(f"needs at least {MIN_PROCESSES} processes, got {len(self.chunk)}")
        if [*map(len, self.chunk)] != [*map(len, self.yardstick)] or not all(map(len, self.chunk)):
            raise ValueError("needs a time of the yardstick for every chunk, and a chunk in every process")
        if not all(time > 0 for group in (*self.chunk, *self.yardstick) for time in group):
            raise ValueError("needs times above zero")


@dataclass(frozen=True)
class Ratio:
    """Times now over times before."""

    estimate: float
    low: float
    """One-sided bounds at `ALPHA` each: together an interval of 98 %."""
    high: float
    visible: float
    """The smallest ratio above 1 + tolerance that would have been called a regression in `POWER` of all runs."""


@dataclass(frozen=True)
class Comparison:
    """A measurement beside its baseline."""

    by_clock: Ratio
    by_yardstick: Ratio
    tolerance: float
    """Fraction."""

    @property
    def slower(self) -> bool:
        """Beyond doubt by more than the tolerance, both ways."""
        return min(self.by_clock.low, self.by_yardstick.low) > 1 + self.tolerance

    @property
    def faster(self) -> bool:
        """Beyond doubt by more than the tolerance, both ways."""
        return max(self.by_clock.high, self.by_yardstick.high) < 1 / (1 + self.tolerance)

    @property
    def deciding(self) -> Ratio:
        """The one that says less."""
        return min(self.by_clock, self.by_yardstick, key=lambda ratio: ratio.low)

    @property
    def visible(self) -> float:
        """The smallest ratio that both would have shown."""
        return max(self.by_clock.visible, self.by_yardstick.visible)

    def __str__(self) -> str:
        """One line with the figures."""
        word = "slower" if self.slower else "faster" if self.faster else "no difference that counts"
        return (
            f"{word}: {_interval(self.by_clock)} of the baseline by the clock, {_interval(self.by_yardstick)} by the "
            f"yardstick; tolerance {self.tolerance:.0%}, a slowdown of {self.visible - 1:.0%} would have been seen"
        )


def compare(now: Measured, before: Measured, tolerance: float) -> Comparison:
    """Compare two measurements of the same thing; `tolerance` is a fraction."""
    return Comparison(
        by_clock=_welch(_medians(now.chunk), _medians(before.chunk), tolerance),
        by_yardstick=_welch(
            *(_medians(each.chunk) - _medians(each.yardstick) for each in (now, before)), tolerance
        ),
        tolerance=tolerance,
    )


def _medians(samples: Samples) -> NDArray[np.float64]:
    """Of the logarithms, one per process."""
    return np.array([np.median(np.log(times)) for times in samples], np.float64)


def _welch(now: NDArray[np.float64], before: NDArray[np.float64], tolerance: float) -> Ratio:
    difference = float(now.mean() - before.mean())
    parts = [float(group.var(ddof=1)) / group.size for group in (now, before)]
    error = math.sqrt(sum(parts))
    # Welch-Satterthwaite; two groups without any spread are as sure as can be.
    freedom = (
        sum(parts) ** 2
        / sum(part**2 / (group.size - 1) for part, group in zip(parts, (now, before), strict=True))
        if error
        else float(now.size + before.size - 2)
    )
    reach = student_quantile(1 - ALPHA, freedom) * error
    power = student_quantile(POWER, freedom) * error
    return Ratio(
        estimate=math.exp(difference),
        low=math.exp(difference - reach),
        high=math.exp(difference + reach),
        visible=(1 + tolerance) * math.exp(reach + power),
    )


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
