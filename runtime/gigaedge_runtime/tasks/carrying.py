"""Sentences of the experts' grammar: pick something up, put it down; planned from where it is when they begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import SIDES, Side
from gigaedge_runtime.physics.scene import Object
from gigaedge_runtime.tasks.grasping import DEPTH, grasps, outward
from gigaedge_runtime.tasks.moves import CLOSED, OPEN, TILTS, Hands, OutOfReach
from gigaedge_runtime.tasks.task import View

Array = NDArray[np.float64]

_ABOVE: Final = 0.075
"""m over the place of the grasp, where the hand begins to descend."""
_CLEAR: Final = 0.10
"""m; a hand lower than this rises before it goes anywhere."""
_OPEN_ENOUGH: Final = 0.9 * OPEN
_SETTLE: Final = 0.1
"""s that the fingers are given to press."""


def holder(world: View, name: str) -> Side | None:
    """The arm both of whose fingers touch a thing; None: there is none."""
    for side in SIDES:
        if all(world.touching(f"{side}_finger_{finger}", name) for finger in ("a", "b")):
            return side
    return None


def retreat(hands: Hands, side: Side) -> Iterator[Array]:
    """Rise to where the hand knocks nothing over, the gripper open, so that what is between the fingers stays."""
    low = _CLEAR - hands.tip(side)[2]
    if low > 0.01:
        if hands.opening(side) < _OPEN_ENOUGH:
            yield from hands.grip(side, OPEN)
        yield from hands.line(side, np.array((0.0, 0.0, low)))


def pick(
    hands: Hands,
    world: View,
    side: Side,
    thing: Object,
    heading: float | None = None,
    depth: float = DEPTH,
) -> Iterator[Array]:
    """Close the gripper around a thing, coming from above; where it is, the world says. Raises OutOfReach.

    `heading`: about which to take, rad about z, default the hand's own; `depth`: see `grasps`.
    """
    yield from retreat(hands, side)
    near = hands.heading(side) if heading is None else heading
    for way in grasps(thing, world.pose(thing.name), side, near, depth):
        with suppress(OutOfReach):
            above = way.point + np.array((0.0, 0.0, _ABOVE))
            joints = hands.reach(side, above, way.heading)
            break
    else:
        raise OutOfReach
    yield from hands.swing(side, joints, OPEN)
    yield from hands.line(side, way.point - hands.tip(side))
    yield from hands.grip(side, CLOSED)
    yield from hands.wait(_SETTLE)


def put(hands: Hands, side: Side, over: Array, drop: float, leave: float) -> Iterator[Array]:
    """Carry what is held to `over`, lower it, let go and rise; it stays as upright as it is, where that can be.

    `over`: where the fingertips are to meet, m, (3,), in the cell; `drop` and `leave`: down and up from there, m.
    Raises OutOfReach.
    """
    joints = hands.reach(side, over, outward(over, side), (hands.tilt(side), *TILTS))
    yield from hands.swing(side, joints, CLOSED)
    yield from hands.line(side, np.array((0.0, 0.0, -drop)))
    yield from hands.grip(side, OPEN)
    yield from hands.line(side, np.array((0.0, 0.0, leave)))
