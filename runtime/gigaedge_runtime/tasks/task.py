"""What a task is: a scene drawn from a seed, a judgement by the world's state, and an expert that can do it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gigaedge_runtime.physics.scene import Object, Scene

Array = NDArray[np.float64]

RATE: Final = 30
"""Targets per second, of experts and policies."""

FIRST_TRAINING_SEED: Final = 100_000
"""Seeds below are held out: trials draw their scenes from them, and no demonstration ever does."""


class View(Protocol):
    """What success and experts are judged and planned by: a `PhysicalWorld`, or somebody's idea of one."""

    @property
    def scene(self) -> Scene:
        """What it began with."""

    @property
    def state(self) -> Array:
        """Measured joints (rad) and openings (m), shape (14,)."""

    def pose(self, name: str) -> Array:
        """`T_cell_object`, shape (4, 4)."""

    def touching(self, a: str, b: str) -> bool:
        """Whether two named bodies are in contact."""


class Task(Protocol):
    """One thing to do, in endless variations."""

    @property
    def name(self) -> str:
        """As the command line takes it, such as `lift-block`."""

    @property
    def instruction(self) -> str:
        """What a policy is told, in plain English."""

    @property
    def limit(self) -> float:
        """s of simulated time, after which an attempt has failed."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the objects that the expert looks at."""

    def scene(self, seed: int) -> Scene:
        """Where everything begins; all that is random comes from the seed."""

    def succeeded(self, world: View) -> bool:
        """Whether it is done, as the world is now."""

    def expert(self, world: View, random: np.random.Generator) -> Iterator[Array]:
        """Targets, shape (14,), rad and m, `RATE` per second; the world is advanced between two of them.

        Ends when it is done, or when there is no way on: the judge of that is `succeeded`.
        """


def thing(world: View, name: str) -> Object:
    """What is known of an object of the scene. Raises ValueError: there is none of that name."""
    for found in world.scene.objects:
        if found.name == name:
            return found
    raise ValueError(
        f"no object {name!r} in this scene; it has {', '.join(o.name for o in world.scene.objects)}"
    )
