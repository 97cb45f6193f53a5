"""How sure a success rate is, and a difference of two: intervals that hold for few trials and for rates near 0 or 1."""

from __future__ import annotations

from math import sqrt
from typing import Final

CONFIDENCE: Final = 0.95
_Z: Final = 1.959963984540054
"""Of the standard normal distribution, two-sided, at `CONFIDENCE`."""


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a rate of which `successes` of `trials` were seen, (low, high).

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927): the score interval. Raises ValueError: not 0 <= successes <= trials,
    or no trial.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"expected 0 <= successes <= trials and a trial, got {successes} of {trials}")
    rate = successes / trials
    scale = 1 + _Z**2 / trials
    middle = (rate + _Z**2 / (2 * trials)) / scale
    half = _Z * sqrt(rate * (1 - rate) / trials + _Z**2 / (4 * trials**2)) / scale
    # At either end the bound is the end itself, but for rounding.
    low = 0.0 if successes == 0 else middle - half
    high = 1.0 if successes == trials else middle + half
    return low, high


def newcombe(successes: int, trials: int, successes_before: int, trials_before: int) -> tuple[float, float]:
    """The 95 % interval of how much higher a rate is than another one, (low, high), both from -1 to 1.

    R. G. Newcombe, Statist. Med. 17, 873 (1998), method 10: from the Wilson intervals of both, taken as independent.
    Rows of trials try the same scenes, which makes the truth rather narrower. Raises ValueError as `wilson`.
    """
    low, high = wilson(successes, trials)
    low_before, high_before = wilson(successes_before, trials_before)
    rate, before = successes / trials, successes_before / trials_before
    difference = rate - before
    return (
        difference - sqrt((rate - low) ** 2 + (high_before - before) ** 2),
        difference + sqrt((high - rate) ** 2 + (before - low_before) ** 2),
    )
