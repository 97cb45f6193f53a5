"""Time is passed in: seconds on CLOCK_MONOTONIC, shared by every process of one machine."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns seconds; the same clock for everything that is compared."""

monotonic: Clock = time.monotonic


class Deadlines:
    """A fixed grid of deadlines: sleeping to the next one never accumulates drift.

    A loop that falls behind by whole periods skips those grid points and counts them in `missed`.
    """

    def __init__(
        self, period: float, clock: Clock = monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Start a grid at now; `period` in seconds."""
        self.period = period
        self.missed = 0
        self._clock = clock
        self._sleep = sleep
        self._next = clock() + period

    def wait(self) -> float:
        """Sleep to the next deadline; return how late we woke, s (>= 0)."""
        remaining = self._next - self._clock()
        if remaining > 0:
            self._sleep(remaining)
        late = max(0.0, self._clock() - self._next)
        skipped = int(late / self.period)
        self.missed += skipped
        self._next += self.period * (skipped + 1)
        return late
