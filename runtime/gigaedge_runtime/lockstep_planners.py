"""Who decides in lockstep: a bundle whose noise comes from a seed, or a task's own expert in a policy's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge_runtime.policy import Chunk, Observation, Policy
from gigaedge_runtime.policy_process import Planned, Planner
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.tasks import RATE

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


@dataclass(frozen=True)
class _Told:
    """A chunk of an expert (`policy_process.Planned`)."""

    actions: NDArray[np.float32]
    rate_hz: float = RATE
    timings: dict[str, float] = field(default_factory=dict)
    inputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)


class ExpertPlanner:
    """A task's expert, who knows the world's true state and needs no picture, cut into chunks.

    It plans from the moment that it is first asked, and is asked for its targets a chunk ahead of the time that they
    are for; so it sees what came of its doing later than when it is followed target by target. What it does not know
    yet it cannot react to: of tasks whose experts look again on the way, it is a lower bound of what can be done.
    """

    def __init__(self, targets: Iterator[Targets], clock: Callable[[], float], state: Targets) -> None:
        """`targets`: a fresh `Task.expert`; `clock`: of the cell, s; `state`: where it begins, rad and m, (14,)."""
        self._targets = targets
        self._clock = clock
        self._told = [state]
        """Its targets so far; number k is due k / RATE after the first question."""
        self._begin: float | None = None

    def planner(self) -> Planner:
        """What the policy's loop takes."""
        return Planner(EXPERT_VIEW, "tshape", self.plan)

    def plan(self, composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Planned:
        """Its targets from now on, a chunk of them; once it has ended, the last one stands."""
        now = self._clock()
        if self._begin is None:
            self._begin = now
        times = (now - self._begin) * RATE + np.arange(EXPERT_CHUNK)
        while len(self._told) <= times[-1] + 1 and (target := next(self._targets, None)) is not None:
            self._told.append(target)
        told = np.stack(self._told)
        actions = [np.interp(times, np.arange(len(told)), column) for column in told.T]
        return _Told(np.stack(actions, axis=1).astype(np.float32))
