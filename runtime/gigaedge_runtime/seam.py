"""How well chunks join: the jump from the old to the new curve at every hand-over, in constant memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import DELTA_MASK, ROBOT_DIM, Side, arm_slice
from gigaedge_runtime.histogram import Histogram
from gigaedge_runtime.report import SeamReport
from gigaedge_runtime.trajectory import Trajectory

JOINTS = np.array(DELTA_MASK)
"""Where a target is an angle, (14,)."""


def jumps(
    now: float, before: Trajectory, after: Trajectory, counted: NDArray[np.bool_] = JOINTS
) -> tuple[float, float, float]:
    """Largest jump of position (rad), velocity (rad/s) and acceleration (rad/s^2) at `now` of the `counted` targets."""
    old, new = np.zeros((3, ROBOT_DIM)), np.zeros((3, ROBOT_DIM))
    before.sample(now, *old)
    after.sample(now, *new)
    position, velocity, acceleration = np.abs(new - old)[:, counted].max(axis=1)
    return float(position), float(velocity), float(acceleration)


class _Positions(Histogram):
    """Bins of 0.1 mrad up to 0.5 rad."""

    BIN, BINS = 1e-4, 5000


class _Velocities(Histogram):
    """Bins of 2 mrad/s up to 10 rad/s."""

    BIN, BINS = 2e-3, 5000


class _Accelerations(Histogram):
    """Bins of 0.1 rad/s^2 up to 500 rad/s^2."""

    BIN, BINS = 0.1, 5000


class _Delays(Histogram):
    """Bins of 0.5 ms up to 2.5 s."""

    BIN, BINS = 5e-4, 5000


class Seams:
    """The hand-overs of a run."""

    def __init__(self, present: tuple[Side, ...]) -> None:
        """`present`: the arms that exist; the others count for nothing."""
        exists = np.zeros(ROBOT_DIM, dtype=bool)
        for side in present:
            exists[arm_slice(side)] = True
        self._counted = exists & JOINTS
        self._jumps: tuple[Histogram, ...] = (_Positions(), _Velocities(), _Accelerations())
        self._delay, self._planned, self._late = _Delays(), _Delays(), _Delays()

    def add(self, now: float, before: Trajectory | None, after: Trajectory, planned: float) -> None:
        """`after` takes over from `before` at `now` (s); its sampler expected that `planned` s after observing, or 0.

        Nothing is counted where one of them has no action for the instant: there is no seam between the two.
        """
        if before is None or not (before.due(now) and after.due(now)):
            return
        for histogram, jump in zip(self._jumps, jumps(now, before, after, self._counted), strict=True):
            histogram.add(jump)
        delay = now - after.start
        self._delay.add(delay)
        if planned > 0.0:
            self._planned.add(planned)
            self._late.add(max(0.0, delay - planned))

    def report(self) -> SeamReport:
        """All of them."""
        position, velocity, acceleration = (histogram.spread() for histogram in self._jumps)
        return SeamReport(
            position,
            velocity,
            acceleration,
            delay=self._delay.spread(),
            planned_delay=self._planned.spread(),
            late=self._late.spread(),
        )
