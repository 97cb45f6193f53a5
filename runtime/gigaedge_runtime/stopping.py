"""The quickest stop of every joint from any state, in closed form: what the limiter falls back on.

A `Motion` is an array (3, n): position, velocity and acceleration of n joints. From it a joint comes to rest in at most
three pieces: its acceleration is led to the braking one, held, and led back to zero, as fast as the jerk limit allows.
Joints stop independently of each other. Nothing here iterates or can fail on finite numbers.

Joint by joint in plain numbers, because it is done in every tick: for 14 joints that takes a third of the time of as
many numpy calls. A path of many ticks is computed with numpy.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Motion = NDArray[np.float64]
"""Position, velocity, acceleration: rows 0, 1, 2 of an array (3, n); rad or m, per s, per s^2."""

State = tuple[float, float, float]
"""Position, velocity, acceleration of one joint."""


def advance(position: float, velocity: float, acceleration: float, jerk: float, time: float) -> State:
    """One joint after `time` (s) under a constant `jerk`."""
    return (
        position + time * (velocity + time * (acceleration / 2 + time * jerk / 6)),
        velocity + time * (acceleration + time * jerk / 2),
        acceleration + time * jerk,
    )


def coasting(velocity: float, acceleration: float, jerk: float) -> float:
    """Velocity that is left once the acceleration has been led to zero at `jerk` (> 0)."""
    return velocity + acceleration * abs(acceleration) / (2 * jerk)


class Way(NamedTuple):
    """One joint's stop."""

    position: float
    """Where it begins; rad or m."""
    velocity: float
    acceleration: float
    rise: float
    """How long the acceleration is led to the braking one, s."""
    hold: float
    """How long that is held, s."""
    fall: float
    """How long it is led back to zero, s."""
    jerk: float
    """Of the first piece; of the last one with the other sign."""
    risen_position: float
    """After the first piece."""
    risen_velocity: float
    pull: float
    """The acceleration that is held."""
    end: float
    """Where it comes to rest."""
    duration: float
    """Until it is at rest, s."""

    @classmethod
    def of(cls, position: float, velocity: float, acceleration: float, limit: float, jerk: float) -> Way:
        """From a state, with |acceleration| <= `limit` and `jerk` (both positive) to use."""
        left = coasting(velocity, acceleration, jerk)
        # Which way to push: against what would be left; with the acceleration there is, if that alone does it.
        if left > 0.0:
            way = -1.0
        elif left < 0.0:
            way = 1.0
        else:
            way = float((acceleration > 0.0) - (acceleration < 0.0))
        along = way * acceleration
        peak_squared = jerk * abs(left) + (along * along if along > 0.0 else 0.0)
        peak = sqrt(peak_squared)
        if peak > limit:
            peak = limit
        rise = (peak - along) / jerk if peak > along else 0.0
        beyond = peak_squared - limit * limit
        hold = beyond / (jerk * limit) if beyond > 0.0 else 0.0
        fall = peak / jerk
        push = way * jerk
        place, speed, pull = advance(position, velocity, acceleration, push, rise)
        # What is held is `pull`; from there on velocity falls to zero as a parabola does, a third of its box.
        held = place + hold * (speed + hold * pull / 2)
        end = held + fall * (speed + hold * pull) / 3
        duration = rise + hold + fall
        return cls(
            position, velocity, acceleration, rise, hold, fall, push, place, speed, pull, end, duration
        )

    def extrema(self) -> tuple[float, float]:
        """The least and the greatest position on the way."""
        position, velocity, acceleration, end = self.position, self.velocity, self.acceleration, self.end
        low, high = (position, end) if position < end else (end, position)
        # A joint turns back at most once: where it still goes the way it is being pushed, late in a reversal.
        if velocity * self.jerk > 0.0:
            # Not zero: without an acceleration nothing would push that way.
            pull = abs(acceleration)
            time = 2 * abs(velocity) / (pull + sqrt(max(pull * pull - 2 * self.jerk * velocity, 0.0)))
            turn = advance(position, velocity, acceleration, self.jerk, time)[0]
            low, high = min(low, turn), max(high, turn)
        return low, high

    def after(self, time: float) -> State:
        """The state `time` (s, >= 0) later; exactly at rest from `duration` on."""
        if time >= self.duration:
            return self.end, 0.0, 0.0
        held = time - self.rise
        rise, hold = min(time, self.rise), min(max(held, 0.0), self.hold)
        fall = min(max(held - self.hold, 0.0), self.fall)
        state = advance(self.position, self.velocity, self.acceleration, self.jerk, rise)
        state = advance(*state, 0.0, hold)
        return advance(*state, -self.jerk, fall)


class Stop:
    """The way to rest from one `Motion`, a function of the time since then."""

    def __init__(self, motion: Motion, acceleration: Iterable[float], jerk: Iterable[float]) -> None:
        """`acceleration` and `jerk`: what may be used, n each, positive; |motion[2]| <= acceleration."""
        self.ways = [Way.of(*state) for state in zip(*motion.tolist(), acceleration, jerk, strict=True)]
        """Joint by joint."""

    @property
    def end(self) -> Array:
        """Where each joint comes to rest, shape (n,)."""
        return np.asarray(self._columns[10])

    @property
    def durations(self) -> Array:
        """Until each joint is at rest, s, shape (n,)."""
        return np.asarray(self._columns[11])

    @cached_property
    def extrema(self) -> list[tuple[float, float]]:
        """The least and the greatest position of each joint on the way."""
        return [way.extrema() for way in self.ways]

    def after(self, time: float) -> Motion:
        """The motion `time` (s, >= 0) later; exactly at rest from `durations` on."""
        return np.array([*zip(*(way.after(time) for way in self.ways), strict=True)])

    def positions(self, times: Array) -> Array:
        """Positions at `times` (s, shape (m,)), shape (m, n)."""
        time = times[:, np.newaxis]
        position, velocity, acceleration, rise, hold, fall, jerk, _, speed, pull, end, durations = (
            self._columns
        )
        held = time - rise
        risen = np.minimum(time, rise)
        path = position + risen * (velocity + risen * (acceleration / 2 + risen * (jerk / 6)))
        part = np.minimum(np.maximum(held, 0.0), hold)
        path += part * (speed + part * (pull / 2))
        part = np.minimum(np.maximum(held - hold, 0.0), fall)
        path += part * (speed + hold * pull + part * (pull / 2 - part * (jerk / 6)))
        return np.asarray(np.where(time >= durations, end, path))

    @cached_property
    def _columns(self) -> Array:
        """The fields of `Way`, one a row, shape (12, n)."""
        return np.ascontiguousarray(np.array(self.ways).T)
