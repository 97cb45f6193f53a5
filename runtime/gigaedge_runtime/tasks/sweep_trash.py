"""Sweeping: two small pieces are pushed into a marked zone with the closed gripper, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import Side
from gigaedge_runtime.physics.scene import Object, Scene
from gigaedge_runtime.tasks.grasping import outward, side_of, wrapped
from gigaedge_runtime.tasks.moves import CLOSED, Hands, OutOfReach
from gigaedge_runtime.tasks.task import View
from gigaedge_runtime.tasks.variation import distractors, place_apart, surrounded

Array = NDArray[np.float64]

PIECE: Final = (0.022, 0.022, 0.018)
ZONE: Final = (0.15, 0.15, 0.002)
"""m."""
PIECES: Final = ("piece_0", "piece_1")
ORANGE: Final = (0.90, 0.45, 0.05)
WHITE: Final = (0.92, 0.92, 0.90)

_X: Final = (0.24, 0.40)
_Y: Final = (0.10, 0.40)
_ZONE_X: Final = (0.30, 0.34)
_ZONE_Y: Final = (0.22, 0.28)
"""m, to either side."""
_FROM_ZONE: Final = 0.115
"""m from the zone's middle to a piece, at least: it lies outside."""
_APART: Final = 0.06
_BEHIND: Final = 0.045
"""m from a piece to where the hand comes down behind it."""
_FRONT: Final = 0.022
"""m from the fingertips' middle to the middle of what they push."""
_INSIDE: Final = 0.03
"""m short of the zone's middle, where a push ends: there is room for the others."""
_LOW: Final = 0.012
_HIGH: Final = 0.05
"""m of the fingertips above the table, pushing and going elsewhere."""
_PUSH_SPEED: Final = 0.25
"""m/s; faster, a piece slides on."""
_BACK: Final = 0.03
"""m that the hand goes back before it rises."""
_TILTS: Final = (0.15, 0.0, 0.3, 0.45)
_PUSHES: Final = 6


class SweepTrash:
    """Push both orange pieces into the white zone."""

    name = "sweep-trash"
    instruction = "sweep the trash into the white zone"
    limit = 25.0
    targets = PIECES

    def scene(self, seed: int) -> Scene:
        """A zone on the left or on the right, and two pieces around it."""
        random = np.random.default_rng(seed)
        sign = float(random.choice((1.0, -1.0)))
        zone = float(random.uniform(*_ZONE_X)), sign * float(random.uniform(*_ZONE_Y))
        y = (_Y[0], _Y[1]) if sign > 0 else (-_Y[1], -_Y[0])
        places: list[tuple[float, float]] = []
        while len(places) < len(PIECES):
            place = place_apart(random, places, _X, y, _APART)
            if place is None:
                places.clear()
            elif np.hypot(place[0] - zone[0], place[1] - zone[1]) > _FROM_ZONE:
                places.append(place)
        pieces = [
            Object(
                name,
                "box",
                PIECE,
                ORANGE,
                (*place, PIECE[2] / 2),
                float(random.uniform(-np.pi, np.pi)),
                mass=0.01,
            )
            for name, place in zip(PIECES, places, strict=True)
        ]
        marked = Object("zone", "marker", ZONE, WHITE, (*zone, ZONE[2] / 2))
        around = [*places, zone, *((zone[0] + dx, zone[1] + dy) for dx in (-0.1, 0.1) for dy in (-0.1, 0.1))]
        return surrounded(random, (marked, *pieces, *distractors(random, around, at_most=1)))

    def succeeded(self, world: View) -> bool:
        """Both pieces lie on the zone."""
        return all(_inside(world, name) for name in PIECES)

    def expert(self, world: View, random: np.random.Generator) -> Iterator[Array]:
        """Come down behind the piece that is farthest outside, push it in, and look again."""
        hands = Hands(world)
        zone = world.pose("zone")
        side = side_of(zone)
        try:
            for _ in range(_PUSHES):
                outside = [name for name in PIECES if not _inside(world, name)]
                if not outside:
                    return
                places = {name: world.pose(name)[:3, 3] for name in outside}
                piece = max(outside, key=lambda name: float(np.hypot(*(places[name] - zone[:3, 3])[:2])))
                yield from _push(hands, side, places[piece], zone[:3, 3])
        except OutOfReach:
            return


def _push(hands: Hands, side: Side, piece: Array, goal: Array) -> Iterator[Array]:
    """Push what is at `piece` towards `goal`, m, (3,) each. Raises OutOfReach."""
    low = _HIGH - hands.tip(side)[2]
    if low > 0:
        yield from hands.line(side, np.array((0.0, 0.0, low)))
    way = goal[:2] - piece[:2]
    distance = float(np.linalg.norm(way))
    ahead = np.array((*(way / distance), 0.0))
    behind = np.array((*(piece - _BEHIND * ahead)[:2], _HIGH))
    stroke = (_BEHIND + distance - _FRONT - _INSIDE) * ahead
    down = np.array((0.0, 0.0, _LOW - _HIGH))
    joints = _all_the_way(hands, side, (behind, behind + down, behind + down + stroke), ahead)
    yield from hands.swing(side, joints, CLOSED)
    yield from hands.line(side, down)
    yield from hands.line(side, stroke, _PUSH_SPEED)
    yield from hands.line(side, -_BACK * ahead)
    yield from hands.line(side, -down)


def _all_the_way(hands: Hands, side: Side, points: tuple[Array, ...], ahead: Array) -> Array:
    """Joints, rad, (6,), at the first point, from where the others can be reached without turning the hand.

    The closed fingers are broader across the hand's heading: that side pushes. Raises OutOfReach.
    """
    direction = float(np.arctan2(ahead[1], ahead[0]))
    outwards = outward(points[0], side)
    headings = sorted(
        (outwards + wrapped(direction + turn - outwards) for turn in (0.0, np.pi)),
        key=lambda heading: abs(heading - outwards),
    )
    for heading, tilt in itertools.product(headings, _TILTS):
        with suppress(OutOfReach):
            joints, *_ = [hands.reach(side, point, heading, (tilt,)) for point in points]
            return joints
    raise OutOfReach


def _inside(world: View, name: str) -> bool:
    apart = np.abs(world.pose(name)[:2, 3] - world.pose("zone")[:2, 3])
    return bool((apart < np.array(ZONE[:2]) / 2).all())
