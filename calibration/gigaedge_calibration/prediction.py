"""Where the corners of a board are in a picture, given where camera, board and arm are; and how each of them moves it.

Two set-ups share one equation, pixel = lens(inverse(camera) @ reach @ board @ point):
`wrist`: the camera on link 6, the board fixed in the arm's base coordinates, reach = inverse(T_base_link6);
`fixed`: the camera fixed in the arm's base coordinates, the board held by link 6, reach = T_base_link6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.kinematics import DhIsOffset, link6_motion
from gigaedge.lens import Lens

Array = NDArray[np.float64]
Setup = Literal["wrist", "fixed"]

NEAREST = 0.005
"""m; a point nearer to the camera's plane, or behind it, is predicted as if it were there: far off, and finite."""


@dataclass(frozen=True)
class BoardLook:
    """What one picture showed of a board, and where the arm said it was."""

    joints: Array
    """Measured, rad, shape (6,)."""
    points: Array
    """Corners seen, in board coordinates, m, shape (n, 3)."""
    pixels: Array
    """Where, px, shape (n, 2)."""


@dataclass(frozen=True)
class Looks:
    """Several looks as arrays; a look with fewer corners than the others is padded with its own first one."""

    joints: Array
    """rad, shape (m, 6)."""
    points: Array
    """m, shape (m, n, 3)."""
    pixels: Array
    """px, shape (m, n, 2)."""
    seen: NDArray[np.bool_]
    """Shape (m, n): False where a corner is padding."""

    @staticmethod
    def of(looks: Sequence[BoardLook]) -> Looks:
        """Stack looks."""
        most = max(len(look.points) for look in looks)
        chosen = [np.where(np.arange(most) < len(look.points), np.arange(most), 0) for look in looks]
        return Looks(
            np.stack([look.joints for look in looks]),
            np.stack([look.points[index] for look, index in zip(looks, chosen, strict=True)]),
            np.stack([look.pixels[index] for look, index in zip(looks, chosen, strict=True)]),
            np.stack([np.arange(most) < len(look.points) for look in looks]),
        )

    def __len__(self) -> int:
        return len(self.joints)

    def take(self, chosen: NDArray[Any] | Sequence[int]) -> Looks:
        """The looks of these numbers."""
        index = np.asarray(chosen)
        return Looks(self.joints[index], self.points[index], self.pixels[index], self.seen[index])


@dataclass(frozen=True)
class Prediction:
    """Corners of a look, and their derivatives."""

    pixels: Array
    """px, shape (..., n, 2)."""
    by_camera: Array
    """By the six-vector that moves `camera` (gigaedge.poses.moved), px per rad and m, shape (..., n, 2, 6)."""
    by_board: Array
    """By the six-vector that moves `board`, shape (..., n, 2, 6)."""
    by_joints: Array
    """By the joint angles, px per rad, shape (..., n, 2, 6)."""
    in_camera: Array
    """The corners in camera coordinates, m, shape (..., n, 3)."""


def reach(joints: NDArray[Any], setup: Setup, dh_is_offset: DhIsOffset = 1) -> Array:
    """What takes the board's parent frame to the camera's, shape (..., 4, 4), of joint angles (..., 6), rad."""
    pose, _, _ = link6_motion(joints, dh_is_offset)
    return poses.inverse(pose) if setup == "wrist" else pose


def predict(
    lens: Lens,
    setup: Setup,
    camera: Array,
    board: Array,
    joints: NDArray[Any],
    points: NDArray[Any],
    dh_is_offset: DhIsOffset = 1,
) -> Prediction:
    """Pixels of `points` (..., n, 3), board coordinates, m, at joint angles (..., 6), rad, true ones.

    `camera`: `T_link6_cam` (wrist) or `T_base_cam` (fixed); `board`: `T_base_board` or `T_link6_board`; (..., 4, 4).
    """
    pose, axes, origins = link6_motion(joints, dh_is_offset)
    arm = pose[..., :3, :3]
    to_camera = np.swapaxes(camera[..., :3, :3], -1, -2)
    placed = poses.apply(board, points)
    lever = placed - board[..., np.newaxis, :3, 3]
    if setup == "wrist":
        turn = np.swapaxes(arm, -1, -2)
        met, in_base = poses.apply(poses.inverse(pose), placed), placed
    else:
        turn = arm
        met = in_base = poses.apply(pose, placed)
    from_camera = met - camera[..., np.newaxis, :3, 3]
    in_camera = from_camera @ np.swapaxes(to_camera, -1, -2)
    safe = in_camera.copy()
    safe[..., 2] = np.maximum(safe[..., 2], NEAREST)
    pixels, by_point = lens.project_jacobian(safe)

    by_parent = by_point @ to_camera[..., np.newaxis, :, :]
    by_placed = by_parent @ turn[..., np.newaxis, :, :]
    by_camera = np.concatenate([by_parent @ poses.skew(from_camera), -by_parent], axis=-1)
    by_board = np.concatenate([-by_placed @ poses.skew(lever), by_placed], axis=-1)
    # Of a point that goes with link 6; the camera at the wrist moves instead, so that the point seems to go back.
    swept = np.cross(
        axes[..., np.newaxis, :, :], in_base[..., np.newaxis, :] - origins[..., np.newaxis, :, :]
    )
    by_sweep = -by_placed if setup == "wrist" else by_parent
    by_joints = by_sweep @ np.swapaxes(swept, -1, -2)
    return Prediction(pixels, by_camera, by_board, by_joints, in_camera)
