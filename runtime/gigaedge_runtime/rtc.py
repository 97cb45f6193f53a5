"""Real-time chunking: what the chunk before asks of the next one (Black, Galliker and Levine, arXiv 2506.07339).

While a chunk is computed the arms go on with the one before it. `Continuity` remembers that one, says which of its
targets will have been reached by the time the new chunk takes over, and how firmly those after them bind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import ROBOT_DIM
from gigaedge_runtime.trajectory import Trajectory

REMEMBERED = 5
"""Chunks whose duration is remembered; the slowest counts, so that a hand-over is rarely later than was planned."""


@dataclass(frozen=True)
class Guidance:
    """The chunk before, as the sampler takes it."""

    previous: NDArray[np.float32]
    """Its absolute targets at the times of the new actions, rad and m, (chunk, 14)."""
    weight: NDArray[np.float32]
    """How much each binds the new action, 0..1, (chunk,)."""
    limit: float
    """Bound of the strength with which a step of the sampler is drawn (`gigaedge.sampling.guidance_strengths`)."""
    delay: float = 0.0
    """From the observation to the hand-over, as expected, s."""

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What the sampler sees of it, by name, as it is recorded."""
        return {"previous": self.previous, "weight": self.weight, "limit": np.array([self.limit], np.float32)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Guidance:
        """From what `arrays` returned."""
        return cls(arrays["previous"], arrays["weight"], float(arrays["limit"][0]))

    @classmethod
    def make_example(cls, chunk: int) -> Guidance:
        """Arms that stood at zero, and a third of the chunk gone by."""
        previous = np.zeros((chunk, ROBOT_DIM), np.float32)
        return cls(previous, soft_mask(chunk, chunk // 3, chunk), limit=5.0)


def soft_mask(chunk: int, frozen: int, overlap: int) -> NDArray[np.float32]:
    """Weights (chunk,): 1 for the first `frozen` actions, falling from there, 0 from number `overlap` on.

    Between the two, equation 5 of the paper: c * (exp(c) - 1) / (e - 1) with c falling linearly from 1 to 0.
    """
    k = np.arange(chunk)
    c = np.clip((overlap - k) / max(overlap - frozen + 1, 1), 0.0, 1.0)
    weights = np.where(k < frozen, 1.0, c * np.expm1(c) / np.expm1(1.0))
    return np.where(k < overlap, weights, 0.0).astype(np.float32)


def guide(
    before: Trajectory, observed: float, delay: float, chunk: int, rate: float, limit: float
) -> Guidance | None:
    """What a chunk of `chunk` actions at `rate` (Hz) from an observation at `observed` (s) owes to `before`.

    The actions up to the hand-over, `delay` (s) after the observation, and the one after it are bound in full: the
    curve at the hand-over passes through both. None where `before` ends before that, or begins after the observation.
    """
    times = observed + np.arange(chunk) / rate
    frozen = ceil(delay * rate) + 1
    overlap = int(np.searchsorted(times, before.end, side="right"))
    if before.start > observed or frozen > overlap:
        return None
    previous = np.empty((chunk, ROBOT_DIM))
    for time, row in zip(times, previous, strict=True):
        before.position(time, row)
    return Guidance(previous.astype(np.float32), soft_mask(chunk, frozen, overlap), limit, delay)


class Continuity:
    """The chunk published last and how long chunks have taken: from one to the next."""

    def __init__(self, limit: float, pickup: float) -> None:
        """`limit`: see `Guidance`. `pickup`: how long a published chunk may wait for control to take it, s."""
        self._limit = limit
        self._pickup = pickup
        self._before: Trajectory | None = None
        self._durations: deque[float] = deque(maxlen=REMEMBERED)

    def guidance(self, observed: float, now: float, followed: int) -> Guidance | None:
        """For a chunk whose inference begins `now` (s) on an observation of `observed` (s).

        `followed` is the number of the chunk that the arms follow, 0 for none. None where the new chunk cannot
        continue it: it is not the one published last (or there was none), or will have ended too soon.
        """
        before = self._before
        if before is None or before.chunk != followed:
            return None
        delay = now - observed + max(self._durations) + self._pickup
        return guide(before, observed, delay, before.count, before.rate, self._limit)

    def published(self, trajectory: Trajectory | None, duration: float) -> None:
        """A chunk (None: one that nothing can continue) was published, `duration` s after its inference began."""
        self._before = trajectory
        self._durations.append(duration)
