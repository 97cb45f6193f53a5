"""Who decides in lockstep: a bundle whose noise comes from a seed, or a task's own expert in a policy's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge_runtime.physics.world import PhysicalWorld
from gigaedge_runtime.policy import Chunk, Observation, Policy
from gigaedge_runtime.policy_process import Actions, Planned, Planner
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.tasks import RATE, Task

Targets = NDArray[np.float64]

EXPERT_CHUNK: Final = 48
"""Actions that an expert tells at a time: as many as the policies that it is compared with."""

EXPERT_VIEW: Final = (32, 40)
"""Width and height of the composite that an expert does not look at, px."""


def bundle_planner(policy: Policy, random: np.random.Generator, *, guided: bool) -> Planner:
    """A loaded policy that draws the noise of every chunk from `random`; `guided`: it continues the chunk before."""
    view, action = policy.manifest.view, policy.manifest.action

    def observe(composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Observation:
        return Observation(composite, state, random.standard_normal((action.chunk, action.width), np.float32))

    def plan(composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Chunk:
        return policy.chunk(observe(composite, state))

    def continued(composite: NDArray[np.uint8], state: NDArray[np.float32], guidance: Guidance) -> Chunk:
        return policy.chunk(observe(composite, state), guidance=guidance)

    return Planner((view.width, view.height), view.layout, plan, continued if guided else None)


class ExpertPlanner:
    """A task's expert in a policy's place: its demonstration, told a chunk at a time.

    It knows the world's true state and needs no picture. When it is first asked it demonstrates the whole task in a
    twin of the world, where every target is obeyed at once; what it did there are its chunks. So it shows what control,
    limits and hand-over leave of a demonstration, and does not look again: a retry is the next attempt's.
    """

    def __init__(
        self,
        task: Task,
        world: PhysicalWorld,
        random: np.random.Generator,
        clock: Callable[[], float],
        stride: int | None = None,
    ) -> None:
        """Nothing is demonstrated yet.

        Args:
            task: what is to be done.
            world: where, as it is when the first question comes.
            random: what the expert draws from.
            clock: of the cell, s.
            stride: so many targets are played from one question to the next, however long that takes, because the
                arms wait for the answers; None: time decides.
        """
        self._task, self._world = task, world
        self._random, self._clock, self._stride = random, clock, stride
        self._begin = 0.0
        self._questions = 0
        self._told: Targets | None = None
        """All targets, shape (n, 14), `RATE` per second."""

    def planner(self) -> Planner:
        """What the policy's loop takes."""
        return Planner(EXPERT_VIEW, "tshape", self.plan)

    def plan(self, composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Planned:
        """The targets from now on, a chunk of them; after the last one that one stands."""
        if self._told is None:
            self._begin = self._clock()
            self._told = self._demonstrate()
        gone = (
            (self._clock() - self._begin) * RATE if self._stride is None else self._questions * self._stride
        )
        self._questions += 1
        times = gone + np.arange(EXPERT_CHUNK)
        actions = [np.interp(times, np.arange(len(self._told)), column) for column in self._told.T]
        return Actions(np.stack(actions, axis=1).astype(np.float32), RATE)

    def _demonstrate(self) -> Targets:
        targets = [self._world.state]
        with self._world.twin() as twin:
            end = twin.time + self._task.limit
            for target in self._task.expert(twin, self._random):
                targets.append(target)
                twin.command(target)
                twin.advance(1 / RATE)
                if twin.time >= end:
                    break
        return np.stack(targets)
