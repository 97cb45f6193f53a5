"""A cell with a board, an arm with a wrist camera and a front camera, of which everything is known."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.kinematics import link6_pose
from gigaedge.lens import Lens
from gigaedge_calibration.gripper import GripperOffset
from gigaedge_calibration.sighting import sight
from gigaedge_calibration.witness_model import Evidence, Wrist, WristLook, gripper_points, gripper_shift

WRIST_LENS = Lens(640, 480, 435.0, 435.0, 322.0, 238.0, (-0.05, 0.06, 0.0, 0.0, -0.02))
FRONT_LENS = Lens(640, 480, 612.3, 612.3, 319.0, 241.0, (0.12, -0.25, 0.0, 0.0, 0.10))
POINTS = np.array([(0.027 * column, 0.027 * row, 0.0) for row in range(1, 7) for column in range(1, 9)])
"""Inner corners of a board of 9 x 7 squares of 27 mm."""
GRIPPER = (427.0, 238.0)
"""Where the fingers are in the wrist camera's picture, px."""
SIGMA_PX, SIGMA_JOINT = 0.2, float(np.radians(0.05))
LOOKS = np.radians(
    [
        [9.0, 61.0, -51.0, -1.0, 45.0, -33.0],
        [52.0, 37.0, -22.0, -16.0, 43.0, -78.0],
        [-59.0, 98.0, -59.0, 57.0, 69.0, -42.0],
    ]
)


def looking(eye: tuple[float, float, float], at: tuple[float, float, float]) -> NDArray[np.float64]:
    """`T_base_cam` of a camera that looks from one point to another, its picture upright."""
    forward = np.subtract(at, eye) / np.linalg.norm(np.subtract(at, eye))
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    return poses.pose(np.stack([right, np.cross(forward, right), forward], axis=1), np.array(eye))


@dataclass(frozen=True)
class WitnessWorld:
    """Truth; `replace` it for one in which something moved."""

    camera: NDArray[np.float64] = field(
        default_factory=lambda: poses.from_six(np.array([0.0, 0.35, 0.0, -0.06, 0.0, 0.03]))
    )
    """`T_link6_cam`."""
    board: NDArray[np.float64] = field(
        default_factory=lambda: poses.pose(np.diag([1.0, -1.0, -1.0]), np.array([0.25, 0.09, 0.0]))
    )
    """`T_base_board`."""
    front: NDArray[np.float64] = field(default_factory=lambda: looking((0.95, 0.1, 0.8), (0.36, 0.0, 0.0)))
    """`T_base_high`."""
    zero: NDArray[np.float64] = field(default_factory=lambda: np.zeros(6))
    """What the joints are off their reports, rad."""

    def corners(self, joints: NDArray[Any], noise: np.random.Generator | None) -> NDArray[np.float64]:
        """Of the wrist camera's picture at joints that the arm reports, px."""
        real = joints + self.zero
        if noise is not None:
            real = real + SIGMA_JOINT * noise.standard_normal(6)
        return seen(WRIST_LENS, link6_pose(real) @ self.camera, self.board, noise)

    def look(self, joints: NDArray[Any], noise: np.random.Generator | None) -> WristLook:
        near = poses.inverse(link6_pose(joints) @ self.camera) @ self.board
        return WristLook(joints, sight(WRIST_LENS, POINTS, self.corners(joints, noise), SIGMA_PX, near))

    def turned_joint(self, joint: int, degrees: float) -> WitnessWorld:
        zero = self.zero.copy()
        zero[joint - 1] += np.radians(degrees)
        return replace(self, zero=zero)


def seen(
    lens: Lens, camera: NDArray[Any], board: NDArray[Any], noise: np.random.Generator | None
) -> NDArray[np.float64]:
    pixels = lens.project(poses.apply(poses.inverse(camera) @ board, POINTS))
    inside = np.all((pixels > 0) & (pixels < (lens.width - 1, lens.height - 1)))
    if not inside:
        raise ValueError("the board is not wholly in the picture")
    return pixels if noise is None else pixels + SIGMA_PX * noise.standard_normal(pixels.shape)


def evidence(
    before: WitnessWorld,
    after: WitnessWorld,
    seed: int,
    *,
    looks: int = 3,
    front: bool = True,
    gripper: bool = True,
) -> Evidence:
    """What is measured when the world was `before` and is `after`; the calibration is slightly off the truth."""
    noise = np.random.default_rng(seed)
    mount_sigma = np.array([*[np.radians(0.03)] * 3, *[2e-4] * 3])
    known = poses.moved(before.camera, mount_sigma * noise.standard_normal(6))
    wrist = Wrist(known, np.diag(mount_sigma**2), np.zeros(6), 1, WRIST_LENS, GRIPPER)
    fingers = gripper_points(replace(wrist, transform=before.camera))

    def later(joints: NDArray[Any]) -> WristLook:
        look = after.look(joints, noise)
        if not gripper:
            return look
        shift = gripper_shift(WRIST_LENS, fingers, before.camera, after.camera)
        sigma = np.array([0.1, 0.1, ROLL])
        shift = shift + sigma * noise.standard_normal(3)
        return replace(look, gripper=GripperOffset(shift[:2], float(shift[2]), np.diag(sigma**2), 1.0))

    # The arm comes back to a pose to within a tenth of a degree.
    again = LOOKS + np.radians(0.1) * noise.uniform(-1, 1, LOOKS.shape)
    fronts = [
        sight(FRONT_LENS, POINTS, seen(FRONT_LENS, world.front, world.board, noise), SIGMA_PX)
        for world in (before, after)
        if front
    ]
    return Evidence(
        wrist,
        SIGMA_JOINT,
        tuple(before.look(joints, noise) for joints in LOOKS[:looks]),
        tuple(later(joints) for joints in again[:looks]),
        *fronts,
    )


ROLL = float(np.radians(0.1))
"""Noise of the gripper's roll, rad."""
