"""A live cell without devices: pictures of the simulated world at once, and an arm that is where it was sent."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import CameraRole, Side, arm_slice
from gigaedge.simulation import World
from gigaedge_runtime.devices.sim_world import Renderer

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FakePicture:
    role: CameraRole
    image: NDArray[np.uint8]
    number: int
    captured: float


class FakeCell:
    """Implements gigaedge_calibration.live.LiveCell. A person guides the arm through `hands`: a pose is held for two
    questions where the arm is.
    """

    def __init__(
        self, world: World, role: CameraRole, state: Array, hands: list[Array] | None = None
    ) -> None:
        self.world, self.role, self.values = world, role, np.array(state, dtype=np.float64)
        self.renderer = Renderer(world, role)
        self.hands = hands
        self.restless = False
        self.moves: list[Array] = []
        self._number = 0
        self._asked = 0

    def pictures(self) -> dict[CameraRole, FakePicture]:
        return self.next_pictures()

    def next_pictures(self, timeout: float = 2.0) -> dict[CameraRole, FakePicture]:
        self._number += 1
        image = self.renderer.render(self.values, 0.0, self._number)
        return {self.role: FakePicture(self.role, image, self._number, time.monotonic())}

    def joints(self, side: Side) -> Array:
        self._asked += 1
        if self.hands and self._asked % 3 == 0:
            self.values[arm_slice(side)][:6] = self.hands.pop(0)
        return self.values[arm_slice(side)][:6].copy()

    def state(self) -> Array:
        return self.values.copy()

    def joints_at(self, side: Side, time: float) -> Array:
        return self.values[arm_slice(side)][:6].copy()

    def history(self, side: Side) -> tuple[Array, Array]:
        stamps = np.linspace(-1, 0, 201) + time.monotonic()
        joints = np.repeat(self.values[arm_slice(side)][:6][np.newaxis], len(stamps), axis=0)
        if self.restless:
            joints = joints + np.linspace(-0.01, 0, len(stamps))[:, np.newaxis]
        return stamps, joints

    def move(self, side: Side, joints: Array) -> None:
        self.moves.append(np.array(joints))
        self.values[arm_slice(side)][:6] = joints
