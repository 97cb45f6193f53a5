"""The policy process with a planner that needs no bundle; everything else is real. MODE --launch FD"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import BundleError
from gigaedge.site import Site
from gigaedge_runtime.policy_process import Planner, main

ACTIONS = 48
RATE = 30.0
RAMP = 0.8
"""rad/s, joint 1 of both arms."""


@dataclass(frozen=True)
class FakeChunk:
    actions: NDArray[np.float32]
    rate_hz: float = RATE
    timings: Mapping[str, float] = field(default_factory=lambda: {"context": 0.01, "steps": 0.02})
    inputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class FakePolicy:
    """Moves joint 1 at `RAMP` from wherever it is, and misbehaves from the third chunk on."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.chunks = 0

    def load(self, site: Site) -> Planner:
        if self.mode == "no-bundle":
            raise BundleError(f"{site.bundle}: no such bundle")
        return Planner(size_wh=(32, 40), layout="tshape", plan=self.plan)

    def plan(self, composite: NDArray[np.uint8], state: NDArray[np.float32]) -> FakeChunk:
        assert composite.shape == (40, 32, 3)
        self.chunks += 1
        actions = np.tile(state, (ACTIONS, 1))
        actions[:, [0, 7]] += RAMP * np.arange(ACTIONS, dtype=np.float32)[:, None] / np.float32(RATE)
        time.sleep(0.02)
        if self.chunks >= 3:
            if self.mode == "nan":
                actions[7, 3] = np.nan
            elif self.mode == "crash":
                raise RuntimeError("a planner that fails")
            elif self.mode == "stall" and self.chunks == 3:
                time.sleep(2.0)
        return FakeChunk(actions)


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], load=FakePolicy(sys.argv[1]).load))
