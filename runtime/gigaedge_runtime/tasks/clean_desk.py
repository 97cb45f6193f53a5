"""Pick and place: a block of one of two colours goes into the bin of that colour, by the arm on the bin's side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import SIDES, Side
from gigaedge_runtime.physics.scene import Object, Scene, Vector
from gigaedge_runtime.tasks.carrying import holder, pick, put
from gigaedge_runtime.tasks.grasping import outward
from gigaedge_runtime.tasks.moves import Hands, OutOfReach
from gigaedge_runtime.tasks.task import View, thing
from gigaedge_runtime.tasks.variation import distractors, surrounded

Array = NDArray[np.float64]

BLOCK: Final = (0.030, 0.030, 0.040)
BIN: Final = (0.14, 0.14, 0.05)
"""m."""
RED: Final = (0.80, 0.10, 0.08)
BLUE: Final = (0.10, 0.25, 0.80)

_X: Final = (0.24, 0.32)
_Y: Final = (-0.07, 0.07)
"""m; where the block lies: both arms reach it."""
_BIN_X: Final = (0.28, 0.32)
_BIN_Y: Final = (0.28, 0.32)
"""m, to either side."""
_YAW: Final = np.radians(20)
_RISE: Final = 0.10
"""m that the block is lifted to go over the wall of a bin."""
_OVER: Final = 0.11
_LET_GO: Final = 0.075
"""m of the fingertips above the table over the bin, and where they let go: above the walls, as open fingers are too
wide for a bin."""
_ATTEMPTS: Final = 3


class CleanDesk:
    """Put the block into the bin of its colour; which bin has which colour is drawn, too."""

    name = "clean-desk"
    instruction = "put the block in the matching bin"
    limit = 15.0
    targets = ("block",)

    def scene(self, seed: int) -> Scene:
        """A red and a blue bin, one before each arm, and a block in one of the colours between them."""
        random = np.random.default_rng(seed)
        colours: tuple[Vector, Vector] = (RED, BLUE) if random.random() < 0.5 else (BLUE, RED)
        bins = []
        for side, colour, sign in zip(SIDES, colours, (1.0, -1.0), strict=True):
            x, y = float(random.uniform(*_BIN_X)), sign * float(random.uniform(*_BIN_Y))
            bins.append(Object(f"bin_{side}", "bin", BIN, colour, (x, y, BIN[2] / 2), fixed=True))
        place = float(random.uniform(*_X)), float(random.uniform(*_Y))
        colour = colours[int(random.integers(2))]
        yaw = float(random.uniform(-_YAW, _YAW))
        block = Object("block", "box", BLOCK, colour, (*place, BLOCK[2] / 2), yaw, mass=0.04)
        taken = [place, *(quarter for one in bins for quarter in _quarters(one))]
        return surrounded(random, (*bins, block, *distractors(random, taken)))

    def succeeded(self, world: View) -> bool:
        """The block lies in the bin of its colour, and no hand is at it."""
        bin_place = world.pose(f"bin_{_goal(world)}")[:3, 3]
        apart = np.abs(world.pose("block")[:3, 3] - bin_place)
        inside = bool((apart[:2] < np.array(BIN[:2]) / 2).all() and apart[2] < BIN[2] / 2)
        return inside and not any(world.touching(f"{side}_gripper", "block") for side in SIDES)

    def expert(self, world: View, random: np.random.Generator) -> Iterator[Array]:
        """Pick the block up with the arm on its bin's side, and let it fall into the middle of that."""
        hands = Hands(world)
        side = _goal(world)
        try:
            for _ in range(_ATTEMPTS):
                if holder(world, "block") == side:
                    hands.keep_closed(side)
                else:
                    # Far from either arm: the hand has to point where the arm does.
                    away = outward(world.pose("block")[:3, 3], side)
                    yield from pick(hands, world, side, thing(world, "block"), heading=away)
                low = _RISE - hands.tip(side)[2]
                if low > 0:
                    yield from hands.line(side, np.array((0.0, 0.0, low)))
                if holder(world, "block") != side:
                    continue
                over = world.pose(f"bin_{side}")[:3, 3].copy()
                over[2] = _OVER
                yield from put(hands, side, over, drop=_OVER - _LET_GO, leave=_OVER - _LET_GO)
                if self.succeeded(world):
                    return
        except OutOfReach:
            return


def _quarters(one: Object) -> list[tuple[float, float]]:
    """The middles of a bin's quarters, m: what keeps away from them stays clear of its walls."""
    x, y, _ = one.position
    return [(x + dx, y + dy) for dx in (-BIN[0] / 4, BIN[0] / 4) for dy in (-BIN[1] / 4, BIN[1] / 4)]


def _goal(world: View) -> Side:
    """The side whose bin has the block's colour."""
    colour = thing(world, "block").colour
    return next(side for side in SIDES if thing(world, f"bin_{side}").colour == colour)
