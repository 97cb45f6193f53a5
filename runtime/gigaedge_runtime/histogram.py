"""Durations counted in constant memory, whatever a run's length."""

from __future__ import annotations

import math

import numpy as np

from gigaedge_runtime.report import Spread


class Histogram:
    """Durations in constant memory: bins of 10 us up to 0.2 s; mean, deviation and extremes exactly."""

    BIN = 1e-5
    """s."""
    BINS = 20_000

    def __init__(self) -> None:
        # A list: counting up one element of a numpy array takes twice as long.
        self._bins = [0] * (self.BINS + 1)
        self._sum = self._squares = self._max = 0.0
        self._min = math.inf

    def add(self, duration: float) -> None:
        """Count one duration, s (>= 0)."""
        self._bins[self._bin(duration)] += 1
        self._sum += duration
        self._squares += duration * duration
        if duration > self._max:
            self._max = duration
        if duration < self._min:
            self._min = duration

    def spread(self) -> Spread:
        """Percentiles to a bin's width (the bin's middle)."""
        total = sum(self._bins)
        if total == 0:
            return Spread(0, 0.0, 0.0, 0.0, 0.0)
        ranks = np.searchsorted(np.cumsum(self._bins), np.ceil(np.array((0.5, 0.9, 0.99, 0.999)) * total))
        p50, p90, p99, p999 = (min(max(self._middle(int(rank)), self._min), self._max) for rank in ranks)
        mean = self._sum / total
        sd = math.sqrt(max(self._squares / total - mean * mean, 0.0))
        return Spread(total, p50, p99, p999, self._max, p90, mean, sd, self._min)

    def _bin(self, duration: float) -> int:
        return min(int(duration / self.BIN), self.BINS)

    def _middle(self, index: int) -> float:
        return (index + 0.5) * self.BIN


class FineHistogram(Histogram):
    """The same for stages as short as a microsecond and as long as a minute: bins of 0.2 % from 0.1 us to 100 s."""

    BINS = 10_372
    LEAST = 1e-7
    """s; what is shorter is in the first bin."""
    GROWTH = 1.002
    _PER_BIN = 1.0 / math.log(GROWTH)

    def _bin(self, duration: float) -> int:
        if duration <= self.LEAST:
            return 0
        return min(int(math.log(duration / self.LEAST) * self._PER_BIN), self.BINS)

    def _middle(self, index: int) -> float:
        return self.LEAST * math.exp((index + 0.5) / self._PER_BIN)
