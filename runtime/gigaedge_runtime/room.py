"""How far both arms may turn before any limit of their workspace could be met: it spares most ticks a whole check.

Where the points of a pose are known, so is their distance to the arm's box and to the other arm. A joint that turns by
dq moves no point further than dq times the longest lever from its axis. As long as the joints of a path stay so near to
that pose that the sum of this is less than the distance, every sample of the path keeps the limit, and checking them
one by one could not find otherwise. Nothing is ever refused here: what is not surely kept is checked in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.kinematics import FINGERTIP, A, D
from gigaedge.robot import ARM_DIM, JOINTS, SIDES
from gigaedge_runtime.workspace import Workspace

Array = NDArray[np.float64]

_HAND: Final = D[5] + FINGERTIP
_FOREARM: Final = (A[3] ** 2 + D[3] ** 2) ** 0.5
LEVERS: Final = (
    *(A[2] + _FOREARM + _HAND,) * 2,
    _FOREARM + _HAND,
    *(_HAND,) * 2,
    0.0,
)
"""The furthest that elbow, wrist or fingertip can be from the axis of each joint, m: the arm stretched out."""

HAIR: Final = 1e-6
"""m; so much of the room is never used: rounding is far less."""


class Room:
    """The room that was left around the last pose whose points were computed."""

    def __init__(self) -> None:
        self._pose: list[float] | None = None
        """Angles and openings of both arms, rad and m, 14 of them."""
        self._boxes: list[float] = []
        """To the nearest face of its box, by arm, m."""
        self._gap = 0.0
        """Between the arms beyond their clearance, m; inf where that is not watched."""

    def measure(self, workspace: Workspace, pose: Array, points: Array, shortfall: float) -> None:
        """Remember a pose, shape (14,), and the room at its points, shape (2, 3, 3), with their `shortfall`, m."""
        inside = np.minimum(points - workspace.low[:, np.newaxis], workspace.high[:, np.newaxis] - points)
        self._boxes = inside.min(axis=(1, 2)).tolist()
        self._gap = -shortfall
        self._pose = pose.tolist()

    def surely_holds(self, last: Sequence[float], extrema: Sequence[tuple[float, float]]) -> bool:
        """True where no sample of a path can meet a limit.

        `last`: the command that it begins with; `extrema`: the least and the greatest value on it from there; each of
        14 joints and grippers, rad and m.
        """
        if self._pose is None:
            return False
        moved = [0.0, 0.0]
        for arm in range(len(SIDES)):
            for joint in range(JOINTS):
                column = arm * ARM_DIM + joint
                place, before = self._pose[column], last[column]
                low, high = extrema[column]
                furthest = max(high - place, place - low, before - place, place - before)
                moved[arm] += LEVERS[joint] * furthest
        return (
            moved[0] + HAIR < self._boxes[0]
            and moved[1] + HAIR < self._boxes[1]
            and moved[0] + moved[1] + HAIR < self._gap
        )
