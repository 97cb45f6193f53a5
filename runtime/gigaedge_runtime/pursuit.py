"""How a joint goes after a moving target: feed-forward, plus an error taken back no faster than it can be braked.

Planning anew to a moving target in every tick, time-optimally, saturates the jerk without end (measured: 10 mrad of
median error on a sine). A cascade of proportional steps follows it within 1 mrad: position error -> velocity ->
acceleration -> jerk, each step's output cut to what the limit of the next one can take back in time. The result is a
proposal: the limiter still checks it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from gigaedge_runtime.stopping import Motion

ROUNDING = 1e-6
"""rad or m, and per s, s^2, s^3: what goes beyond a limit by less is float32 rounding: held back, but not counted."""

Array = NDArray[np.float64]

QUICKEST = 80.0
"""1/s; the gain from acceleration error to jerk, where the control period is short enough for it."""

PER_PERIOD = 0.4
"""The same gain times the period, at most: above 1, the acceleration would overshoot in a single tick."""

SHARE = 0.5
"""Of acceleration and jerk, planned for braking; the rest is left for feed-forward and for what a tick rounds off."""


@dataclass(frozen=True)
class Proposal:
    """The next motion, and which limits formed it; the masks have length n."""

    motion: Motion
    velocity_bound: list[bool]
    acceleration_bound: list[bool]
    jerk_bound: list[bool]


class Pursuit:
    """The cascade, for n joints. All limits are per joint, shape (n,)."""

    def __init__(
        self, lower: Array, upper: Array, velocity: Array, acceleration: Array, jerk: Array, period: float
    ) -> None:
        """Range (rad or m), velocity, acceleration and jerk (per s, s^2, s^3), and the control period, s."""
        self._period = period
        self._quick = min(QUICKEST, PER_PERIOD / period)
        # Within a tick, velocity may rise above both of its ends, by less than a quarter of what the jerk changes.
        speed = np.maximum(velocity - jerk * period * period / 4, velocity / 2)
        ramp = SHARE * acceleration * acceleration / (2 * jerk)
        twice = 2 * SHARE * acceleration
        of_all = (lower, upper, velocity, acceleration, jerk, speed, ramp, twice)
        self._limits = list(zip(*(values.tolist() for values in of_all), strict=True))

    def step(
        self,
        motion: Motion,
        target: Iterable[float],
        velocity: Iterable[float],
        acceleration: Iterable[float],
    ) -> Proposal:
        """One period on from `motion`, towards `target` (n) within the range, moving at `velocity`, `acceleration`.

        Written out for one joint in plain numbers, without calls that can be spared: it runs 14 times in every tick.
        """
        period, half, quick = self._period, self._period / 2, self._quick
        outer, inner = quick / 5, quick / 2
        places, speeds, pulls = motion.tolist()
        states: tuple[list[float], list[float], list[float]] = ([], [], [])
        bound: tuple[list[bool], list[bool], list[bool]] = ([], [], [])
        for limits, place, speed, pull, goal, feed, feed_pull in zip(
            self._limits, places, speeds, pulls, target, velocity, acceleration, strict=True
        ):
            lower, upper, limit, hardest, most_jerk, fastest, ramp, twice = limits
            ahead = place + period * speed
            error = goal - ahead
            size = abs(error)
            # The outer steps are slower than the inner ones by 2 and 5: small steps are then taken without overshoot.
            closing, slower = outer * size, braked(size, ramp, twice)
            if slower < closing:
                closing = slower
            wanted = feed + (closing if error >= 0.0 else -closing)
            # Never faster towards the end of the range than can be braked; outside of it, only inwards.
            room = ahead - lower
            least = braked(room, ramp, twice) if room > 0.0 else 0.0
            room = upper - ahead
            most = braked(room, ramp, twice) if room > 0.0 else 0.0
            least, most = -least if least < fastest else -fastest, most if most < fastest else fastest
            aim = wanted if wanted > least else least
            if aim > most:
                aim = most
            missing = aim - speed
            size = abs(missing)
            push, slower = inner * size, sqrt(2 * SHARE * most_jerk * size)
            if slower < push:
                push = slower
            pushed = push if missing >= 0.0 else -push
            if aim == wanted:
                pushed += feed_pull
            held = pushed if pushed > -hardest else -hardest
            if held > hardest:
                held = hardest
            change = quick * (held - pull)
            jerk = change if change > -most_jerk else -most_jerk
            if jerk > most_jerk:
                jerk = most_jerk
            # The acceleration reached must be led back to zero before the velocity limit is.
            middle = speed + half * pull
            down = steepest(middle if place < lower else middle + fastest, most_jerk, half)
            up = steepest(-middle if place > upper else fastest - middle, most_jerk, half)
            reached = pull + period * jerk
            if reached < -down:
                reached = -down
            if reached > up:
                reached = up
            jerk = (reached - pull) / period
            if jerk < -most_jerk:
                jerk = -most_jerk
            elif jerk > most_jerk:
                jerk = most_jerk
            states[0].append(place + period * (speed + period * (pull / 2 + period * jerk / 6)))
            states[1].append(speed + period * (pull + period * jerk / 2))
            states[2].append(pull + period * jerk)
            bound[0].append(abs(wanted) > limit + ROUNDING)
            bound[1].append(abs(pushed) > hardest + ROUNDING)
            bound[2].append(abs(change) > most_jerk + ROUNDING)
        return Proposal(np.array(states), *bound)


def braked(distance: float, ramp: float, twice: float) -> float:
    """The speed that ends after `distance` (>= 0) at the planned share of acceleration and jerk.

    At constant acceleration that is sqrt(`twice` d), `twice` being 2 a; the `ramp` of the acceleration costs v a / 2j
    more.
    """
    return sqrt(ramp * ramp + twice * distance) - ramp


def steepest(headroom: float, jerk: float, half: float) -> float:
    """The greatest acceleration after this tick that, led back to zero, uses up no more than `headroom`.

    With jerk j and `half` of the period t, the a that solves a|a| / 2j + a t / 2 = headroom; odd in the headroom.
    """
    if headroom < 0.0:
        return -jerk * (sqrt(half * half - 2 * headroom / jerk) - half)
    return jerk * (sqrt(half * half + 2 * headroom / jerk) - half)
