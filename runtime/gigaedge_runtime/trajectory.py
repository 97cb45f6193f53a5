"""A chunk as a function of time: 30 Hz actions become targets for any instant, without overshoot.

Between two actions the curve is a cubic whose slopes obey Fritsch and Carlson's condition for monotonicity
(SIAM J. Numer. Anal. 17, 1980), chosen as the harmonic mean of the neighbouring secants (Fritsch and Butland,
SIAM J. Sci. Stat. Comput. 5, 1984). It passes through every action and never leaves the interval between two
neighbours; a spline through the same points would swing beyond them, on an arm perhaps into the table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import InputError

Array = NDArray[np.float64]


class Trajectory:
    """One chunk: action k is due at `start + k / rate`."""

    def __init__(self, actions: NDArray[np.floating], start: float, rate: float, chunk: int = 0) -> None:
        """Compute all slopes at once.

        Args:
            actions: absolute targets, rad and m, shape (n, d), n >= 1, finite.
            start: when action 0 is due (the observation's time), s on CLOCK_MONOTONIC.
            rate: actions per second, Hz.
            chunk: the chunk's number.

        Raises:
            InputError: actions of another shape, or a value that is not finite.
        """
        knots = np.array(actions, dtype=np.float64)
        if knots.ndim != 2 or len(knots) == 0:
            raise InputError(f"a chunk is an array (n >= 1, d); got shape {knots.shape}")
        if not (np.isfinite(knots).all() and np.isfinite(start) and 0 < rate < np.inf):
            raise InputError("a chunk must be finite; this one holds NaN or infinity")
        self.chunk = chunk
        self.start = start
        self.rate = rate
        self.end = start + (len(knots) - 1) / rate
        """When the last action is due, s."""
        self.count = len(knots)
        """Number of actions."""
        self._last = float(len(knots) - 1)
        if len(knots) == 1:
            knots = np.repeat(knots, 2, axis=0)
        slopes = _slopes(np.diff(knots, axis=0))
        # One contiguous (4, d) block per segment, both ends and both slopes: a tick is one small product.
        self._segments = np.ascontiguousarray(
            np.stack((knots[:-1], knots[1:], slopes[:-1], slopes[1:]), axis=1)
        )
        self._weights = np.zeros(4)

    def due(self, t: float) -> bool:
        """True while there is an action for time `t`, s; False before the first and after the last."""
        return self.start <= t <= self.end

    def position(self, t: float, out: Array) -> Array:
        """Target at time `t` (s) into `out`, shape (d,); outside the chunk, its first or last action."""
        segment, u = self._place(t)
        # Hermite's basis; the slopes are per action, so no factor of the period appears.
        v = 1.0 - u
        weights = self._weights
        weights[0] = v * v * (1.0 + 2.0 * u)
        weights[1] = u * u * (3.0 - 2.0 * u)
        weights[2] = u * v * v
        weights[3] = -u * u * v
        return np.dot(weights, self._segments[segment], out=out)

    def sample(self, t: float, position: Array, velocity: Array, acceleration: Array) -> None:
        """Target at `t` (s) with its first two derivatives by time, each into an array of shape (d,).

        Units are those of the actions, per second and per second squared; outside the chunk both are zero. The
        curve's acceleration jumps from action to action: at an action it is that of the interval that begins there.
        """
        self.position(t, position)
        if not self.due(t):
            velocity[:] = 0.0
            acceleration[:] = 0.0
            return
        segment, u = self._place(t)
        block, weights, rate = self._segments[segment], self._weights, self.rate
        weights[0] = 6.0 * u * (u - 1.0) * rate
        weights[1] = -weights[0]
        weights[2] = (3.0 * u - 1.0) * (u - 1.0) * rate
        weights[3] = u * (3.0 * u - 2.0) * rate
        np.dot(weights, block, out=velocity)
        weights[0] = (12.0 * u - 6.0) * rate * rate
        weights[1] = -weights[0]
        weights[2] = (6.0 * u - 4.0) * rate * rate
        weights[3] = (6.0 * u - 2.0) * rate * rate
        np.dot(weights, block, out=acceleration)

    def _place(self, t: float) -> tuple[int, float]:
        """Segment that holds `t`, and how far into it, 0..1."""
        place = min(max((t - self.start) * self.rate, 0.0), self._last)
        segment = min(int(place), len(self._segments) - 1)
        return segment, place - segment


def _slopes(secants: Array) -> Array:
    """Slopes at n knots from n - 1 differences between neighbours, per action; shape (n, d)."""
    slopes = np.empty((len(secants) + 1, secants.shape[1]))
    slopes[0] = secants[0]
    slopes[-1] = secants[-1]
    before, after = secants[:-1], secants[1:]
    same_way = np.sign(before) * np.sign(after) > 0
    total = np.where(same_way, before + after, 1.0)
    # before * (after / total) cannot overflow, and is at most twice the smaller secant: no overshoot.
    slopes[1:-1] = np.where(same_way, 2.0 * before * (after / total), 0.0)
    return slopes
