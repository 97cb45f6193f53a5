"""The policy process as it is, with a planner that needs no bundle and does wrong when told. --launch FD"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge import librealsense
from gigaedge.site import Site
from gigaedge_runtime import policy_process
from gigaedge_runtime.capture import CameraSet, open_cameras
from gigaedge_runtime.mailbox import ChunkMailbox
from gigaedge_runtime.policy_process import Planner, main
from tests.faults.wires import VARIABLE, Mouth, WallClock

ACTIONS = 24
RATE = 30.0
"""Hz; a chunk ends 0.77 s after its picture."""
SPEED = 0.5
"""rad/s, joints 1 and 6 of both arms."""
TURN = 1.0
"""rad; beyond, the next chunk goes the other way."""

MOVED = (0, 5, 7, 12)


@dataclass(frozen=True)
class Ramp:
    """A chunk."""

    actions: NDArray[np.float32]
    rate_hz: float = RATE
    timings: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class Misbehaving:
    """Swings joints 1 and 6 of both arms from wherever they are, until told to do something else once."""

    def __init__(self) -> None:
        self._wrong = ""
        self._speed = SPEED
        self._cameras: CameraSet | None = None

    def load(self, site: Site) -> Planner:
        return Planner(size_wh=(32, 40), layout="tshape", plan=self.plan)

    def cameras(self, configs: Any, site: Site) -> CameraSet:
        """`open_cameras`, remembered."""
        self._cameras = open_cameras(configs, site)
        return self._cameras

    def do(self, wrong: str) -> None:
        """Do this in the next chunk."""
        self._wrong = wrong

    def camera(self, fault: str, role: str, value: Any) -> None:
        """Call a fault method of the simulated cameras."""
        getattr(self._cameras.host, fault)(role, value)

    def unplug(self, role: str) -> None:
        """No frame any more, and the camera is gone from librealsense's list of devices."""
        host, listed = self._cameras.host, librealsense.list_devices
        serial = next(config.serial for config in host.configs if config.role == role)
        host.stall(role)
        librealsense.list_devices = lambda: tuple(info for info in listed() if info.serial != serial)

    def plan(self, composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Ramp:
        if abs(state[0]) > TURN and state[0] * self._speed > 0:
            self._speed = -self._speed
        actions = np.tile(state, (ACTIONS, 1))
        actions[:, MOVED] += np.float32(self._speed / RATE) * np.arange(ACTIONS, dtype=np.float32)[:, None]
        time.sleep(0.02)
        wrong, self._wrong = self._wrong, ""
        if wrong == "nan":
            actions[7, 3] = np.nan
        elif wrong == "far":
            actions[:, 0] = 9.0
        elif wrong == "late":
            time.sleep(2.0)
        elif wrong == "spin":
            while True:
                pass
        elif wrong == "exhaust":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + (64 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            np.ones(256 << 20, dtype=np.uint8)
        return Ramp(actions)


def tell_chunks() -> None:
    """Have every chunk that is published told."""
    publish = ChunkMailbox.publish

    def publish_and_tell(
        mailbox: ChunkMailbox, id: int, observed: float, rate: float, actions: Any, *more: Any
    ) -> None:
        publish(mailbox, id, observed, rate, actions, *more)
        mouth.tell("chunk", id=id, end=observed + (len(actions) - 1) / rate)

    ChunkMailbox.publish = publish_and_tell


if __name__ == "__main__":
    WallClock(Path(os.environ[VARIABLE])).install()
    mouth = Mouth("policy")
    policy = Misbehaving()
    policy_process.open_cameras = policy.cameras
    tell_chunks()
    mouth.obey({"do": policy.do, "camera": policy.camera, "unplug": policy.unplug})
    sys.exit(main(load=policy.load))
