"""What a bundle's layout decides: which graphs turn an observation into a chunk, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import GraphInfo, ScheduleInfo
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.sessions import BoundGraph, Buffers


@dataclass(frozen=True)
class Sample:
    """What the sampler made of one observation; copies that no later run touches."""

    targets: NDArray[np.float32]
    """Absolute targets, (chunk, 14): joints rad, grippers m."""
    normalized: NDArray[np.float32]
    """The sampler's last state, (chunk, width)."""
    timings: dict[str, float]
    """Seconds per stage."""
    step_times: tuple[float, ...] = ()
    """Seconds of each run of the step graph; empty where the sampler is inside a graph."""
    intermediate: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """On request; see `policy.Chunk`."""


class Executor(Protocol):
    """Sessions and buffers of one bundle. Arrays handed over have been checked."""

    @property
    def cache(self) -> Buffers:
        """What the last run and the prompt left on the device, by name; nothing in layout single."""

    def set_prompt(self, embedding: NDArray[np.float32]) -> None:
        """Use a prompt embedding (length, width) from the next run on."""

    def set_schedule(self, schedule: ScheduleInfo) -> None:
        """Use a solver and step count from the next run on."""

    def run(
        self,
        composite: NDArray[np.uint8],
        state: NDArray[Any],
        noise: NDArray[Any],
        guidance: Guidance | None,
        *,
        intermediate: bool,
    ) -> Sample:
        """From a picture (H, W, 3), a state (14,) and noise (chunk, width) to targets.

        `guidance` is None for a bundle that has no inputs for it.
        """


def takes_guidance(graph: GraphInfo) -> bool:
    """Whether a graph has inputs for the chunk before; those of gigaedge's first bundles have not."""
    return "guidance" in graph.inputs


class GuidanceInputs:
    """The buffers of a graph that tell of the chunk before, changed in place."""

    def __init__(self, graph: BoundGraph) -> None:
        self._buffers = graph.buffers
        self._set = False

    def update(self, guidance: Guidance | None) -> None:
        """Put the chunk before in place, or take away what is there."""
        if guidance is not None:
            limit = np.array([guidance.limit], np.float32)
            values = {"previous": guidance.previous, "weight": guidance.weight, "guidance": limit}
            for name, value in values.items():
                self._buffers[name].update_inplace(np.ascontiguousarray(value, np.float32))
        elif self._set:
            self._buffers["guidance"].update_inplace(np.zeros(1, np.float32))
        self._set = guidance is not None
