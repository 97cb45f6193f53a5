"""Where a hand takes hold of a thing: two faces that fit between the fingers, from above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import Side
from gigaedge_runtime.physics.arm import BASE_Y
from gigaedge_runtime.physics.scene import STROKE, Object

Array = NDArray[np.float64]

_CLEARANCE: Final = 0.008
"""m of opening that has to be left when the fingers come down around a thing."""
_LEVEL: Final = 0.35
"""Sine of the steepest angle at which a face counts as upright."""
_MOST_TURNED: Final = 1.8
"""rad that joint 6 turns a hand that points down from where its arm points."""
_LOWEST_TIP: Final = 0.012
"""m above the table: tilted fingers are lower at one corner."""
DEPTH: Final = 0.014
"""m from the thing's middle down to the fingertips, so that the pads and not their ends hold it."""


@dataclass(frozen=True)
class Grasp:
    """Where the fingertips meet, and how the hand is turned."""

    point: Array
    """m in the cell, (3,)."""
    heading: float
    """rad about z, see `moves.hand_pose`."""


def side_of(place: Array) -> Side:
    """The arm on whose side of the table a thing is; `place`: `T_cell_object`, (4, 4)."""
    return "left" if place[1, 3] > 0 else "right"


def grasps(thing: Object, place: Array, side: Side, near: float, depth: float = DEPTH) -> list[Grasp]:
    """The ways to take hold of a thing, the best one first; none where it is too wide, or leans.

    Args:
        thing: what it is.
        place: where it is, `T_cell_object`, (4, 4).
        side: the arm.
        near: the heading, rad about z, from which the hand should turn the least.
        depth: from the thing's middle down to the fingertips, m.
    """
    point = place[:3, 3].copy()
    point[2] = max(_LOWEST_TIP, point[2] - depth)
    outwards = outward(point, side)
    if thing.shape in ("cylinder", "cup"):
        upright = abs(place[2, 2]) > 1 - _LEVEL and thing.size[0] + _CLEARANCE <= STROKE
        return [Grasp(point, outwards)] if upright else []
    headings = []
    for axis in range(3):
        direction = place[:3, axis]
        if abs(direction[2]) < _LEVEL and thing.size[axis] + _CLEARANCE <= STROKE:
            across = float(np.arctan2(-direction[0], direction[1]))
            headings += [outwards + wrapped(across + turn - outwards) for turn in (0.0, np.pi)]
    within = [heading for heading in headings if abs(heading - outwards) < _MOST_TURNED]
    return [Grasp(point, heading) for heading in sorted(within, key=lambda angle: abs(wrapped(angle - near)))]


def outward(point: Array, side: Side) -> float:
    """The heading, rad about z, from an arm's base to a point, m, (3,): joint 6 has to turn the least for it."""
    return float(np.arctan2(point[1] - BASE_Y[side], point[0]))


def wrapped(angle: float) -> float:
    """The same angle from -pi to pi, rad."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
