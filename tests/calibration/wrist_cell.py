"""A live cell that is only pictures: wrist cameras that turn with joint 6 of the arm that they sit on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import CAMERA_ROLES, CameraRole, Side

HIGH, LEFT, RIGHT = CAMERA_ROLES
H, W = 96, 128


def texture(seed: int, height: int = H, width: int = W) -> NDArray[np.float32]:
    """Smooth patches of colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 220, (height // 6, width // 6, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255)


@dataclass(frozen=True)
class Shot:
    """One picture."""

    role: CameraRole
    image: NDArray[np.uint8]
    number: int = 0
    captured: float = 0.0


@dataclass
class WristCell:
    """Three cameras that see textures: a wrist's turns with joint 6 of its arm, the front sees a bit of each."""

    noise: float = 2.0
    flicker: float = 0.0
    mounts: dict[Side, CameraRole] = field(default_factory=lambda: {"left": LEFT, "right": RIGHT})
    disturbed: dict[CameraRole, Callable[[int], float]] = field(default_factory=dict)
    """Role to what is painted over a part of its picture, by number of the shot."""
    angles: dict[Side, NDArray[np.float64]] = field(
        default_factory=lambda: {"left": np.zeros(6), "right": np.zeros(6)}
    )
    moves: list[tuple[Side, float]] = field(default_factory=list)
    by_hand: Side | None = None
    """Whose wrist turns to and fro by itself from shot `by_hand_from` on."""
    by_hand_from: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(7)
        self.scenes = {role: texture(index) for index, role in enumerate(CAMERA_ROLES)}
        self.shots = 0

    def joints(self, side: Side) -> NDArray[np.float64]:
        return self.angles[side].copy()

    def move(self, side: Side, joints: NDArray[np.float64]) -> None:
        self.moves.append((side, float(joints[5])))
        self.angles[side] = np.array(joints)

    def next_pictures(self, timeout: float = 2.0) -> dict[CameraRole, Shot]:
        self.shots += 1
        if self.by_hand is not None and self.shots > self.by_hand_from:
            self.angles[self.by_hand][5] = math.radians(12 * math.sin(self.shots))
        shots = {}
        for role, scene in self.scenes.items():
            image = scene.copy()
            for side, mounted in self.mounts.items():
                degrees = math.degrees(self.angles[side][5])
                if mounted == role:
                    turn = cv2.getRotationMatrix2D((W / 2, H / 2), degrees, 1.0)
                    image = cv2.warpAffine(image, turn, (W, H), borderMode=cv2.BORDER_REFLECT)
                elif role == HIGH:
                    at = 10 if side == "left" else W - 25
                    image[40:60, at : at + 12] = 40 + 30 * abs(degrees)
            painted = self.disturbed.get(role)
            if painted is not None:
                image[: H // 2] = painted(self.shots)
            image = image * (1 + self.rng.normal(0, self.flicker)) + self.rng.normal(
                0, self.noise, image.shape
            )
            shots[role] = Shot(role, np.clip(image, 0, 255).astype(np.uint8), self.shots)
        return shots
