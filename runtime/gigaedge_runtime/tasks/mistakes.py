"""Wrong beginnings: an expert that sees things where they are not, so that its other half shows how to recover.

A policy that has only seen faultless demonstrations does not know what to do once it has missed. Half of the
demonstrations therefore begin where a misled expert left off; what that one did is simulated and not recorded (as in
DART, Laskey et al. 2017, noise is put into what is done and not into what is learned).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge_runtime.physics.scene import Scene
from gigaedge_runtime.physics.world import PhysicalWorld
from gigaedge_runtime.tasks.task import RATE, Task, View

Array = NDArray[np.float64]

PART: Final = 0.5
"""Of the demonstrations begins so."""
DEVIATION: Final = 0.025
"""m, in x and in y, of where the misled expert sees the things."""
TICKS: Final = (10, 90)
"""How long it is let go on, at least and less than."""


class Misled:
    """A world in which the targets seem to be somewhere else."""

    def __init__(self, world: View, task: Task, shift: Array) -> None:
        """`shift`: in x and y, m, (2,)."""
        self._world = world
        self._targets = task.targets
        self._shift = shift

    @property
    def scene(self) -> Scene:
        """As it is."""
        return self._world.scene

    @property
    def state(self) -> Array:
        """As it is."""
        return self._world.state

    def pose(self, name: str) -> Array:
        """Shifted for the task's targets."""
        place = np.array(self._world.pose(name))
        if name in self._targets:
            place[:2, 3] += self._shift
        return place

    def touching(self, a: str, b: str) -> bool:
        """As it is."""
        return self._world.touching(a, b)


def begin_wrongly(task: Task, world: PhysicalWorld, random: np.random.Generator) -> None:
    """Let a misled expert act for a while, in `PART` of the cases; do nothing in the others.

    Where that is right by chance there is nothing left to show, and the world is as it was.
    """
    if random.random() >= PART:
        return
    shift = random.normal(0, DEVIATION, 2)
    ticks = int(random.integers(*TICKS))
    for _, targets in zip(range(ticks), task.expert(Misled(world, task, shift), random), strict=False):
        world.command(targets)
        world.advance(1 / RATE)
    if task.succeeded(world):
        world.reset()
