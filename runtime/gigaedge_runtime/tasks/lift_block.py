"""The simplest task that needs eyes: one of two arms lifts a red block, whose side, place and turn are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge_runtime.physics.scene import Object, Scene
from gigaedge_runtime.tasks.carrying import holder, pick
from gigaedge_runtime.tasks.grasping import side_of
from gigaedge_runtime.tasks.moves import Hands, OutOfReach
from gigaedge_runtime.tasks.task import View, thing
from gigaedge_runtime.tasks.variation import distractors, surrounded

Array = NDArray[np.float64]

SIZE: Final = (0.028, 0.028, 0.056)
"""m; half as wide as the open gripper, so that an aim that is off by 2 cm may still hold it."""
RED: Final = (0.80, 0.10, 0.08)
LIFTED: Final = 0.05
"""m that the block's middle has to rise."""

_X: Final = (0.25, 0.38)
_Y: Final = (0.08, 0.32)
"""m from the middle line, to either side."""
_YAW: Final = np.radians(20)
_RISE: Final = 0.10
"""m that the expert lifts it."""
_HOLD: Final = 0.3
"""s that it is held there."""
_ATTEMPTS: Final = 3


class LiftBlock:
    """Lift the red block by more than 5 cm, held by an arm."""

    name = "lift-block"
    instruction = "lift the red block"
    limit = 10.0
    targets = ("block",)

    def scene(self, seed: int) -> Scene:
        """A block on the left or on the right, and up to two things of other colours."""
        random = np.random.default_rng(seed)
        side = float(random.choice((1.0, -1.0)))
        place = float(random.uniform(*_X)), side * float(random.uniform(*_Y))
        yaw = float(random.uniform(-_YAW, _YAW))
        block = Object("block", "box", SIZE, RED, (*place, SIZE[2] / 2), yaw, mass=0.05)
        return surrounded(random, (block, *distractors(random, [place])))

    def succeeded(self, world: View) -> bool:
        """The block is off the table, between the fingers of one hand."""
        return self._risen(world) > LIFTED and holder(world, "block") is not None

    def expert(self, world: View, random: np.random.Generator) -> Iterator[Array]:
        """Take the block from above with the arm of its side, lift it, and try again if it slipped."""
        hands = Hands(world)
        try:
            for _ in range(_ATTEMPTS):
                side = holder(world, "block")
                if side is None:
                    side = side_of(world.pose("block"))
                    yield from pick(hands, world, side, thing(world, "block"))
                else:
                    hands.keep_closed(side)
                rise = _RISE - self._risen(world)
                if rise > 0:
                    yield from hands.line(side, np.array((0.0, 0.0, rise)))
                if self.succeeded(world):
                    yield from hands.wait(_HOLD)
                    return
        except OutOfReach:
            return

    def _risen(self, world: View) -> float:
        return float(world.pose("block")[2, 3]) - SIZE[2] / 2
