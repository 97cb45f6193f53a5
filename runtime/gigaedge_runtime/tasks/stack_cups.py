"""Stacking, the paper's bowls as cups: the red one goes into the blue one, both on one arm's side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import SIDES
from gigaedge_runtime.physics.scene import Object, Scene
from gigaedge_runtime.tasks.carrying import holder, pick, put
from gigaedge_runtime.tasks.grasping import side_of
from gigaedge_runtime.tasks.moves import Hands, OutOfReach
from gigaedge_runtime.tasks.task import View, thing
from gigaedge_runtime.tasks.variation import distractors, place_apart, surrounded

Array = NDArray[np.float64]

CUP: Final = (0.056, 0.056, 0.060)
"""m. Its foot fits into the rim of another one, and stays some 2.5 cm above that one's bottom."""
RED: Final = (0.80, 0.10, 0.08)
BLUE: Final = (0.10, 0.25, 0.80)
NESTED: Final = (0.008, 0.045)
"""m of the red cup's middle above the blue one's."""
CENTRED: Final = 0.012
"""m between their axes."""

_X: Final = (0.24, 0.38)
_Y: Final = (0.12, 0.34)
"""m, to either side."""
_APART: Final = 0.12
_DEPTH: Final = -0.004
"""m: the fingertips are above its middle, as what is below is to go into the other cup."""
_RISE: Final = 0.10
"""m that the cup is lifted: over the other one."""
_INTO: Final = 0.012
"""m that its foot is below the other one's rim where it is let go."""
_ATTEMPTS: Final = 3


class StackCups:
    """Put the red cup into the blue one."""

    name = "stack-cups"
    instruction = "stack the red cup on the blue cup"
    limit = 15.0
    targets = ("red_cup", "blue_cup")

    def scene(self, seed: int) -> Scene:
        """Two cups on the left or on the right."""
        random = np.random.default_rng(seed)
        y = _Y if random.random() < 0.5 else (-_Y[1], -_Y[0])
        places: list[tuple[float, float]] = []
        while len(places) < 2:
            place = place_apart(random, places, _X, y, _APART)
            if place is None:
                places.clear()
            else:
                places.append(place)
        cups = [
            Object(
                name,
                "cup",
                CUP,
                colour,
                (*place, CUP[2] / 2),
                float(random.uniform(-np.pi, np.pi)),
                mass=0.04,
            )
            for name, colour, place in zip(("red_cup", "blue_cup"), (RED, BLUE), places, strict=True)
        ]
        return surrounded(random, (*cups, *distractors(random, places)))

    def succeeded(self, world: View) -> bool:
        """The red cup stands in the blue one, upright, and no hand is at either."""
        red, blue = world.pose("red_cup"), world.pose("blue_cup")
        apart = red[:3, 3] - blue[:3, 3]
        stacked = bool(np.hypot(*apart[:2]) < CENTRED and NESTED[0] < apart[2] < NESTED[1])
        upright = bool(min(red[2, 2], blue[2, 2]) > np.cos(np.radians(10)))
        return (
            stacked
            and upright
            and not any(world.touching(f"{side}_gripper", name) for side in SIDES for name in self.targets)
        )

    def expert(self, world: View, random: np.random.Generator) -> Iterator[Array]:
        """Take the red cup by its rim, carry it over the blue one, lower it and let go."""
        hands = Hands(world)
        try:
            for _ in range(_ATTEMPTS):
                side = holder(world, "red_cup")
                if side is None:
                    side = side_of(world.pose("red_cup"))
                    yield from pick(hands, world, side, thing(world, "red_cup"), depth=_DEPTH)
                else:
                    hands.keep_closed(side)
                rise = _RISE + CUP[2] / 2 - world.pose("red_cup")[2, 3]
                if rise > 0:
                    yield from hands.line(side, np.array((0.0, 0.0, rise)))
                if holder(world, "red_cup") is None:
                    continue
                # The cup's place in the hand, not the fingertips', is to be over the other one.
                grasped = hands.tip(side) - world.pose("red_cup")[:3, 3]
                goal = world.pose("blue_cup")[:3, 3] + np.array((0.0, 0.0, CUP[2] - _INTO))
                over = goal + grasped
                height = hands.tip(side)[2]
                drop = height - over[2]
                over[2] = height
                yield from put(hands, side, over, drop, leave=_RISE)
                if self.succeeded(world):
                    return
        except OutOfReach:
            return
