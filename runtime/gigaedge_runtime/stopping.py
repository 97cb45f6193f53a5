"""The quickest stop of every joint from any state, in closed form: what the limiter falls back on.

A `Motion` is an array (3, n): position, velocity and acceleration of n joints. From it a joint comes to rest in at most
three pieces: its acceleration is led to the braking one, held, and led back to zero, as fast as the jerk limit allows.
Joints stop independently of each other. Nothing here iterates or can fail on finite numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Motion = NDArray[np.float64]
"""Position, velocity, acceleration: rows 0, 1, 2 of an array (3, n); rad or m, per s, per s^2."""


def advance(motion: Motion, jerk: Array | float, time: Array | float) -> Motion:
    """`motion` after `time` (s) under a constant `jerk`; either may differ from joint to joint, shape (n,)."""
    position, velocity, acceleration = motion
    after = np.empty_like(motion)
    after[0] = position + time * (velocity + time * (acceleration / 2 + time * jerk / 6))
    after[1] = velocity + time * (acceleration + time * jerk / 2)
    after[2] = acceleration + time * jerk
    return after


def coasting(motion: Motion, jerk: Array) -> Array:
    """Velocity, shape (n,), that is left once the acceleration has been led to zero at `jerk` (> 0)."""
    acceleration = motion[2]
    return np.asarray(motion[1] + acceleration * np.abs(acceleration) / (2 * jerk))


class Stop:
    """The way to rest from one `Motion`, a function of the time since then."""

    def __init__(self, motion: Motion, acceleration: Array, jerk: Array) -> None:
        """`acceleration` and `jerk`: what may be used, shape (n,), positive; |motion[2]| <= acceleration."""
        left = coasting(motion, jerk)
        # Which way to push: against what would be left; with the acceleration there is, if that alone does it.
        way = np.where(left == 0.0, np.sign(motion[2]), -np.sign(left))
        along = way * motion[2]
        peak_squared = jerk * np.abs(left) + np.square(np.maximum(along, 0.0))
        peak = np.minimum(np.sqrt(peak_squared), acceleration)
        rise = np.maximum(peak - along, 0.0) / jerk
        hold = np.maximum(peak_squared - acceleration * acceleration, 0.0) / (jerk * acceleration)
        fall = peak / jerk
        self._rise, self._hold, self._fall, self._jerk = rise, hold, fall, way * jerk
        self._begin = motion
        self._risen = advance(motion, self._jerk, rise)
        position, velocity, pull = self._risen
        # What is held is `pull`; from there on velocity falls to zero as a parabola does, a third of its box.
        held = position + hold * (velocity + hold * pull / 2)
        self.end: Array = held + fall * (velocity + hold * pull) / 3
        """Where each joint comes to rest, shape (n,)."""
        self.durations: Array = rise + hold + fall
        """Until each joint is at rest, s, shape (n,)."""

    def extrema(self) -> tuple[Array, Array]:
        """The least and the greatest position on the way, shapes (n,)."""
        position, velocity, acceleration = self._begin
        low, high = np.minimum(position, self.end), np.maximum(position, self.end)
        # A joint turns back at most once: where it still goes the way it is being pushed, late in a reversal.
        turns = velocity * self._jerk > 0
        if turns.any():
            pull = np.abs(acceleration)
            root = np.sqrt(np.maximum(pull * pull - 2 * self._jerk * velocity, 0.0))
            time = np.zeros_like(pull)
            np.divide(2 * np.abs(velocity), pull + root, out=time, where=turns)
            turn = advance(self._begin, self._jerk, time)[0]
            low, high = np.minimum(low, turn), np.maximum(high, turn)
        return low, high

    def after(self, time: float) -> Motion:
        """The motion `time` (s, >= 0) later; exactly at rest from `durations` on."""
        rise, hold, fall = self._pieces(time)
        motion = advance(self._begin, self._jerk, rise)
        motion = advance(motion, 0.0, hold)
        motion = advance(motion, -self._jerk, fall)
        rests = time >= self.durations
        motion[0] = np.where(rests, self.end, motion[0])
        motion[1:, rests] = 0.0
        return motion

    def positions(self, times: Array) -> Array:
        """Positions at `times` (s, shape (m,)), shape (m, n)."""
        time = times[:, np.newaxis]
        rise, hold, fall = self._pieces(time)
        position, velocity, acceleration = self._begin
        path = position + rise * (velocity + rise * (acceleration / 2 + rise * (self._jerk / 6)))
        _, velocity, pull = self._risen
        path += hold * (velocity + hold * (pull / 2))
        velocity = velocity + self._hold * pull
        path += fall * (velocity + fall * (pull / 2 - fall * (self._jerk / 6)))
        return np.where(time >= self.durations, self.end, path)

    def _pieces(self, time: Array | float) -> tuple[Array, Array, Array]:
        """How much of each piece has passed at `time`, s."""
        held = time - self._rise
        falls = held - self._hold
        return (
            np.minimum(time, self._rise),
            np.minimum(np.maximum(held, 0.0), self._hold),
            np.minimum(np.maximum(falls, 0.0), self._fall),
        )
