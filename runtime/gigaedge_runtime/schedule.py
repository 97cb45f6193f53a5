"""Which chunk is followed at an instant, and how one hands over to the next.

    newest      the newest chunk alone; what the arm was commanded before is faded out (`Schedule.align`)
    ensemble    every chunk that has an action for the instant, averaged with weights exp(-decay * i), i = 0 for the
                oldest: temporal ensembling (Zhao et al., arXiv 2304.13705)

Fades are polynomials of fifth degree with no velocity and no acceleration at either end: they change where the target
is, never how fast it moves there. They take longer where the arm could not follow them otherwise: what it cannot
follow, it would overshoot.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import InputError
from gigaedge_runtime.trajectory import Trajectory

Array = NDArray[np.float64]

MEMBERS = 8
"""Chunks that an ensemble averages at most; with replanning every 6 of 48 actions that is all of them."""
LONGEST = 2.0
"""s; no fade is made longer than this or than it was asked for."""
PULL, JOLT = 10.0 / 3.0**0.5, 60.0
"""Largest second and third derivative of a fade of duration 1 from an offset of 1."""
LEAST_WEIGHT = 1e-9
"""Sum of an ensemble's weights below which there is nothing to divide by."""


class Schedule:
    """Follows the newest trajectory, or the average of those that are due.

    After a hand-over the distance between the command and the new curve is added to the curve and faded out, so that
    the target is continuous however far apart two chunks are; the limits after it still hold.
    """

    def __init__(self, acceleration: Array, jerk: Array, blend: float, decay: float | None = None) -> None:
        """Follow nothing yet.

        Args:
            acceleration: what the arm may be told, per s^2, shape (d,).
            jerk: likewise, per s^3, shape (d,).
            blend: how long a hand-over takes at least, s (0: at once); in an ensemble, how long a chunk comes and goes.
            decay: of an ensemble's weights from chunk to chunk; None: only the newest chunk counts.
        """
        dimensions = len(acceleration)
        self._acceleration, self._jerk = acceleration, jerk
        self._blend = blend
        self._fading = blend
        self._decay = decay
        self._members: deque[_Member] = deque(maxlen=1 if decay is None else MEMBERS)
        self._taken = -np.inf
        self._offset = np.zeros(dimensions)
        self._sums = tuple(np.zeros(dimensions) for _ in range(3))
        self._sampled = tuple(np.zeros(dimensions) for _ in range(3))
        self._scratch = np.zeros(dimensions)

    @property
    def trajectory(self) -> Trajectory | None:
        """The newest one."""
        return self._members[-1].trajectory if self._members else None

    def accept(self, trajectory: Trajectory) -> None:
        """Let a newer trajectory take over at once (no hand-over until `align`)."""
        self._members.append(_Member(trajectory))
        self._taken = -np.inf

    def restart(self, now: float, commanded: Array) -> None:
        """`align` an arm that did not follow the chunks before: they are forgotten."""
        while len(self._members) > 1:
            self._members.popleft()
        self.align(now, commanded)

    def align(self, now: float, commanded: Array) -> None:
        """Begin a hand-over at `now` (s) from the command (rad, m; shape (d,)) to the trajectory accepted last."""
        if not self._members:
            return
        self._taken = -np.inf
        if len(self._members) > 1:
            self._members[-1].taken = now
        self.sample(now, *self._sampled)
        np.subtract(commanded, self._sampled[0], out=self._offset)
        self._fading = max(self._blend, self._followable()) if self._blend > 0.0 else 0.0
        self._taken = now

    def _followable(self) -> float:
        """The shortest fade of the present offset within the arm's acceleration and jerk, s, up to `LONGEST`."""
        offset = np.abs(self._offset)
        pulled = np.sqrt(PULL * offset / self._acceleration).max()
        jolted = np.cbrt(JOLT * offset / self._jerk).max()
        return min(float(max(pulled, jolted)), LONGEST)

    def target(self, now: float, out: Array) -> Array:
        """The bare target of the newest trajectory at `now` into `out`, shape (d,). Needs one accepted."""
        return self._newest().position(now, out)

    def sample(self, now: float, position: Array, velocity: Array, acceleration: Array) -> None:
        """The target with what is left of a hand-over, and its first two derivatives by time, each into shape (d,).

        Raises InputError before a trajectory was accepted.
        """
        newest = self._newest()
        if self._decay is None or not self._average(now, self._decay, (position, velocity, acceleration)):
            newest.sample(now, position, velocity, acceleration)
        age = now - self._taken
        if not 0.0 <= age < self._fading:
            return
        rise, speed, pull = _rise(age / self._fading, self._fading)
        for out, left in ((position, 1.0 - rise), (velocity, -speed), (acceleration, -pull)):
            out += np.multiply(self._offset, left, out=self._scratch)

    def _average(self, now: float, decay: float, outs: tuple[Array, Array, Array]) -> bool:
        """The weighted average of all that are due; False where that is one or none."""
        sums = self._sums
        for total in sums:
            total[:] = 0.0
        weight = slope = bend = 0.0
        count = 0
        for index, member in enumerate(self._members):
            if not member.trajectory.due(now):
                continue
            count += 1
            w, dw, ddw = (exp(-decay * index) * part for part in member.share(now, self._blend))
            weight, slope, bend = weight + w, slope + dw, bend + ddw
            member.trajectory.sample(now, *outs)
            # The product rule, from the highest derivative down.
            for order, factors in ((2, (ddw, 2.0 * dw, w)), (1, (dw, w)), (0, (w,))):
                for value, factor in zip(outs, factors, strict=False):
                    np.add(sums[order], np.multiply(value, factor, out=self._scratch), out=sums[order])
        if count < 2 or weight < LEAST_WEIGHT:
            return False
        position, velocity, acceleration = outs
        np.divide(sums[0], weight, out=position)
        np.subtract(sums[1], np.multiply(position, slope, out=self._scratch), out=velocity)
        velocity /= weight
        np.subtract(sums[2], np.multiply(position, bend, out=self._scratch), out=acceleration)
        acceleration -= np.multiply(velocity, 2.0 * slope, out=self._scratch)
        acceleration /= weight
        return True

    def _newest(self) -> Trajectory:
        if not self._members:
            raise InputError("no chunk was accepted yet")
        return self._members[-1].trajectory


@dataclass(slots=True)
class _Member:
    """A trajectory, and since when it has been part of an ensemble."""

    trajectory: Trajectory
    taken: float = -np.inf

    def share(self, now: float, blend: float) -> tuple[float, float, float]:
        """0..1, with two derivatives by time: rises after it was taken and falls before it ends, each in `blend`."""
        if blend <= 0.0:
            return 1.0, 0.0, 0.0
        f, df, ddf = _rise((now - self.taken) / blend, blend)
        g, dg, ddg = _rise((self.trajectory.end - now) / blend, blend)
        # Time runs against the second ramp: its odd derivative changes sign.
        return f * g, df * g - f * dg, ddf * g - 2.0 * df * dg + f * ddg


def _rise(s: float, duration: float) -> tuple[float, float, float]:
    """From 0 at s = 0 to 1 at s = 1, and two derivatives by time, all continuous."""
    if not 0.0 < s < 1.0:
        return float(s >= 1.0), 0.0, 0.0
    return (
        s**3 * (10.0 - 15.0 * s + 6.0 * s * s),
        30.0 * (s * (1.0 - s)) ** 2 / duration,
        60.0 * s * (1.0 - s) * (1.0 - 2.0 * s) / duration**2,
    )
