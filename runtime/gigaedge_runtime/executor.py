"""What a bundle's layout decides: which graphs turn an observation into a chunk, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import ScheduleInfo


@dataclass(frozen=True)
class Sample:
    """What the sampler made of one observation; copies that no later run touches."""

    targets: NDArray[np.float32]
    """Absolute targets, (chunk, 14): joints rad, grippers m."""
    normalized: NDArray[np.float32]
    """The sampler's last state, (chunk, width)."""
    timings: dict[str, float]
    """Seconds per stage."""
    intermediate: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """On request; see `policy.Chunk`."""


class Executor(Protocol):
    """Sessions and buffers of one bundle. Arrays handed over have been checked."""

    def set_prompt(self, embedding: NDArray[np.float32]) -> None:
        """Use a prompt embedding (length, width) from the next run on."""

    def set_schedule(self, schedule: ScheduleInfo) -> None:
        """Use a solver and step count from the next run on."""

    def run(
        self, composite: NDArray[np.uint8], state: NDArray[Any], noise: NDArray[Any], *, intermediate: bool
    ) -> Sample:
        """From a picture (H, W, 3), a state (14,) and noise (chunk, width) to targets."""
