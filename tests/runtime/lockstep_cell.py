"""A world for lockstep tests that needs no MuJoCo: arms that follow with a lag, and pictures that tell the time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import CAMERA_ROLES, DELTA_MASK, CameraRole
from gigaedge.site import Site
from gigaedge_runtime.policy_process import Planned, Planner

START = np.tile([0.1, 1.0, -1.0, 0.1, 0.2, -0.1, 0.03], 2)
LAG = 0.03
"""s; time constant of the arms."""
GREYNESS = 20
"""How bright a picture is at time 0; it grows by 1 per 20 ms."""


def lockstep_site(bundle: Path = Path("no-such-bundle"), **sections: Any) -> Site:
    """Two simulated arms and three cameras of 64x48 px."""
    return Site.model_validate(
        {
            "bundle": bundle,
            "cameras": [{"role": role, "driver": "sim", "width": 64, "height": 48} for role in CAMERA_ROLES],
            "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
            **sections,
        }
    )


class FakeWorld:
    """Arms with a lag of `LAG`, which can be blocked."""

    def __init__(self) -> None:
        self.state = START.copy()
        self.targets = START.copy()
        self.time = 0.0
        self.blocked = False
        self.commands: list[NDArray[np.float64]] = []

    def command(self, targets: NDArray[Any]) -> None:
        self.targets = targets.copy()
        self.commands.append(self.targets)

    def advance(self, seconds: float) -> None:
        self.time += seconds
        if not self.blocked:
            self.state = self.state + (self.targets - self.state) * (1 - np.exp(-seconds / LAG))

    def picture(self, role: CameraRole) -> NDArray[np.uint8]:
        return np.full((48, 64, 3), GREYNESS + round(50 * self.time), np.uint8)


@dataclass(frozen=True)
class FakeChunk:
    actions: NDArray[np.float32]
    rate_hz: float = 30.0
    timings: dict[str, float] = field(default_factory=dict)
    inputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass
class Ramp:
    """A policy that turns all joints at `speed` (rad/s) from where they are; remembers what it saw, and when."""

    clock: Callable[[], float]
    speed: float = 0.2
    seen: list[tuple[float, int, NDArray[np.float32]]] = field(default_factory=list)

    def planner(self) -> Planner:
        return Planner((32, 40), "tshape", self.plan)

    def plan(self, composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Planned:
        self.seen.append((self.clock(), int(composite[0, 0, 0]), state.copy()))
        actions = np.tile(state, (48, 1))
        actions += (self.speed * np.array(DELTA_MASK) * np.arange(48)[:, None] / 30).astype(np.float32)
        return FakeChunk(actions)


def open_descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))
