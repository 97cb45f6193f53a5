"""Scanning: a box with a tag on one face is lifted and held so that the high camera sees the tag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import Side
from gigaedge_runtime.physics.arm import BASE_Y
from gigaedge_runtime.physics.cameras import mount
from gigaedge_runtime.physics.scene import Object, Scene
from gigaedge_runtime.tasks.carrying import holder, pick
from gigaedge_runtime.tasks.grasping import side_of
from gigaedge_runtime.tasks.moves import CLOSED, Hands, OutOfReach
from gigaedge_runtime.tasks.task import View, thing
from gigaedge_runtime.tasks.variation import distractors, surrounded

Array = NDArray[np.float64]

BOX: Final = (0.030, 0.034, 0.060)
"""m; the tag is on its +x face."""
CARDBOARD: Final = (0.72, 0.52, 0.30)
SHOWN: Final = np.radians(40)
"""rad between the tag's normal and the line to the camera, at most."""
ZONE: Final = (0.30, 0.20, 0.28)
"""m in x, to either side, and above the table: the middle of the place before the camera."""
NEAR: Final = 0.08
"""m from there, at most."""

_X: Final = (0.25, 0.36)
_Y: Final = (0.12, 0.34)
_TURN: Final = np.radians(25)
"""rad by which the tag looks aside; but for that, it looks away from its arm."""
_RISE: Final = 0.08
_TILTS: Final = (1.7, 1.6, 1.8, 1.5)
"""rad from straight down: the hand points ahead and a little up, and what looked ahead looks up and back."""
_HOLD: Final = 0.3
"""s."""
_ATTEMPTS: Final = 3


class Scan:
    """Hold the tagged box before the high camera, its tag towards it."""

    name = "scan"
    instruction = "show the tag to the camera"
    limit = 15.0
    targets = ("box",)

    def scene(self, seed: int) -> Scene:
        """A tagged box on the left or on the right, the tag away from the arm."""
        random = np.random.default_rng(seed)
        side: Side = "left" if random.random() < 0.5 else "right"
        sign = 1.0 if side == "left" else -1.0
        place = float(random.uniform(*_X)), sign * float(random.uniform(*_Y))
        away = float(np.arctan2(place[1] - BASE_Y[side], place[0]))
        yaw = away + float(random.uniform(-_TURN, _TURN))
        box = Object("box", "box", BOX, CARDBOARD, (*place, BOX[2] / 2), yaw, mass=0.05, tagged=True)
        return surrounded(random, (box, *distractors(random, [place])))

    def succeeded(self, world: View) -> bool:
        """The box is held in the zone, and its tag faces the camera."""
        box = world.pose("box")
        side = side_of(box)
        to_camera = mount("cam_high", world.scene)[:3, 3] - box[:3, 3]
        facing = float(box[:3, 0] @ to_camera / np.linalg.norm(to_camera)) > np.cos(SHOWN)
        near = float(np.linalg.norm(box[:3, 3] - _zone(side))) < NEAR
        return facing and near and holder(world, "box") is not None

    def expert(self, world: View, random: np.random.Generator) -> Iterator[Array]:
        """Take the box, lift it and turn the hand up until the tag looks at the camera."""
        hands = Hands(world)
        try:
            for _ in range(_ATTEMPTS):
                side = holder(world, "box")
                if side is None:
                    side = side_of(world.pose("box"))
                    tag = world.pose("box")[:2, 0]
                    away = float(np.arctan2(tag[1], tag[0]))
                    yield from pick(hands, world, side, thing(world, "box"), heading=away)
                else:
                    hands.keep_closed(side)
                rise = _RISE + BOX[2] / 2 - world.pose("box")[2, 3]
                if rise > 0:
                    yield from hands.line(side, np.array((0.0, 0.0, rise)))
                goal = _zone(side)
                inwards = float(np.arctan2(goal[1] - BASE_Y[side], goal[0]))
                yield from hands.swing(side, hands.reach(side, goal, inwards, _TILTS), CLOSED)
                yield from hands.wait(_HOLD)
                if self.succeeded(world):
                    return
        except OutOfReach:
            return


def _zone(side: Side) -> Array:
    x, y, z = ZONE
    return np.array((x, y if side == "left" else -y, z))
