"""How a joint goes after a moving target: feed-forward, plus an error taken back no faster than it can be braked.

Planning anew to a moving target in every tick, time-optimally, saturates the jerk without end (measured: 10 mrad of
median error on a sine). A cascade of proportional steps follows it within 1 mrad: position error -> velocity ->
acceleration -> jerk, each step's output cut to what the limit of the next one can take back in time. The result is a
proposal: the limiter still checks it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigaedge_runtime.stopping import Motion, advance

ROUNDING = 1e-6
"""rad or m, and per s, s^2, s^3: what goes beyond a limit by less is float32 rounding: held back, but not counted."""

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

QUICKEST = 80.0
"""1/s; the gain from acceleration error to jerk, where the control period is short enough for it."""

PER_PERIOD = 0.4
"""The same gain times the period, at most: above 1, the acceleration would overshoot in a single tick."""

SHARE = 0.5
"""Of acceleration and jerk, planned for braking; the rest is left for feed-forward and for what a tick rounds off."""


@dataclass(frozen=True)
class Proposal:
    """The next motion, and which limits formed it; the masks have shape (n,)."""

    motion: Motion
    velocity_bound: Bools
    acceleration_bound: Bools
    jerk_bound: Bools


class Pursuit:
    """The cascade, for n joints. All limits are per joint, shape (n,)."""

    def __init__(
        self, lower: Array, upper: Array, velocity: Array, acceleration: Array, jerk: Array, period: float
    ) -> None:
        """Range (rad or m), velocity, acceleration and jerk (per s, s^2, s^3), and the control period, s."""
        self._lower, self._upper = lower, upper
        self._acceleration, self._jerk, self._period = acceleration, jerk, period
        self._limit = velocity
        # Within a tick, velocity may rise above both of its ends, by less than this.
        self._velocity = np.maximum(velocity - jerk * period * period / 4, velocity / 2)
        self._quick = min(QUICKEST, PER_PERIOD / period)
        self._ramp = SHARE * acceleration * acceleration / (2 * jerk)
        self._twice = 2 * SHARE * acceleration

    def step(self, motion: Motion, target: Array, velocity: Array, acceleration: Array) -> Proposal:
        """One period on from `motion`, towards `target` (n,) within the range, moving at `velocity`, `acceleration`."""
        period = self._period
        ahead = motion[0] + period * motion[1]
        error = target - ahead
        size = np.abs(error)
        # The outer steps are slower than the inner ones by 2 and 5: small steps are then taken without overshoot.
        closing = np.minimum(self._quick / 5 * size, self._braked(size))
        wanted = velocity + np.copysign(closing, error)
        # Never faster towards the end of the range than can be braked; outside of it, only inwards.
        least = -np.minimum(self._velocity, self._braked(np.maximum(ahead - self._lower, 0.0)))
        most = np.minimum(self._velocity, self._braked(np.maximum(self._upper - ahead, 0.0)))
        aim = np.minimum(np.maximum(wanted, least), most)
        missing = aim - motion[1]
        size = np.abs(missing)
        push = np.minimum(self._quick / 2 * size, np.sqrt(2 * SHARE * self._jerk * size))
        free = aim == wanted
        pushed = np.copysign(push, missing) + np.where(free, acceleration, 0.0)
        held = np.minimum(np.maximum(pushed, -self._acceleration), self._acceleration)
        change = self._quick * (held - motion[2])
        jerk = np.minimum(np.maximum(change, -self._jerk), self._jerk)
        # The acceleration reached must be led back to zero before the velocity limit is.
        slowest = np.where(motion[0] < self._lower, 0.0, -self._velocity)
        fastest = np.where(motion[0] > self._upper, 0.0, self._velocity)
        middle = motion[1] + period / 2 * motion[2]
        reached = motion[2] + period * jerk
        reached = np.minimum(
            np.maximum(reached, -self._steepest(middle - slowest)), self._steepest(fastest - middle)
        )
        within = np.minimum(np.maximum((reached - motion[2]) / period, -self._jerk), self._jerk)
        return Proposal(
            advance(motion, within, period),
            np.abs(wanted) > self._limit + ROUNDING,
            np.abs(pushed) > self._acceleration + ROUNDING,
            np.abs(change) > self._jerk + ROUNDING,
        )

    def _braked(self, distance: Array) -> Array:
        """The speed that ends after `distance` (>= 0) at the planned share of acceleration and jerk.

        At constant acceleration that is sqrt(2 a d); the ramp of the acceleration costs v a / 2j more.
        """
        return np.sqrt(self._ramp * self._ramp + self._twice * distance) - self._ramp

    def _steepest(self, headroom: Array) -> Array:
        """The greatest acceleration after this tick that, led back to zero, uses up no more than `headroom`.

        With jerk j and period t, the a that solves a|a| / 2j + a t / 2 = headroom; odd in the headroom.
        """
        half = self._period / 2
        root = np.sqrt(half * half + 2 * np.abs(headroom) / self._jerk)
        return np.copysign(self._jerk * (root - half), headroom)
