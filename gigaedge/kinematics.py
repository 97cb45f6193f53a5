"""Forward kinematics of a PiPER arm: joint angles in, poses and fingertips out. Angles in rad, lengths in m.

The links follow modified (Craig) Denavit-Hartenberg parameters, as in AgileX's own SDK; link i comes out of link i-1
by T_i = RotX(alpha) TransX(a) RotZ(q + theta) TransZ(d). `T_base_link6` takes link-6 coordinates to base coordinates.
Leading axes of any number are kept, so that whole chunks are computed at once.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import JOINTS, ROBOT_DIM, SIDES, arm_slice

Array = NDArray[np.float64]
DhIsOffset = Literal[0, 1]
"""1: firmware whose joints 2 and 3 are offset by 2 degrees, the SDK's default; 0: older firmware."""

A: Final = (0.0, 0.0, 0.28503, -0.02198, 0.0, 0.0)
"""Link lengths, m."""
ALPHA: Final = (0.0, -np.pi / 2, 0.0, np.pi / 2, -np.pi / 2, np.pi / 2)
"""Link twists, rad."""
D: Final = (0.123, 0.0, 0.0, 0.25075, 0.0, 0.091)
"""Link offsets, m."""
THETA_DEGREES: Final[dict[DhIsOffset, tuple[float, ...]]] = {
    0: (0.0, -174.22, -100.78, 0.0, 0.0, 0.0),
    1: (0.0, -172.22, -102.78, 0.0, 0.0, 0.0),
}
"""Joint offsets, degrees, as AgileX writes them."""

FINGERTIP: Final = 0.1358
"""From the link-6 frame along its z to the tips of the fingers, m: where AgileX's robot description has them.

Grasps are often referred to a point some 8 mm short of it, between the pads. The tip is the gripper's outermost point:
the lever on which an error of the wrist acts is not understated. Joint 6 turns about it and does not move it.
"""


def link6_pose(joints: NDArray[Any], dh_is_offset: DhIsOffset = 1) -> Array:
    """`T_base_link6`, shape (..., 4, 4), of joint angles, rad, shape (..., 6)."""
    if joints.shape[-1:] != (JOINTS,):
        raise ValueError(f"joints: expected (..., {JOINTS}), got {joints.shape}")
    angles = joints.astype(np.float64) + np.radians(THETA_DEGREES[dh_is_offset])
    pose = np.broadcast_to(np.eye(4), (*joints.shape[:-1], 4, 4))
    for joint in range(JOINTS):
        pose = pose @ _link(A[joint], ALPHA[joint], D[joint], angles[..., joint])
    return pose


def link6_motion(joints: NDArray[Any], dh_is_offset: DhIsOffset = 1) -> tuple[Array, Array, Array]:
    """`T_base_link6`, shape (..., 4, 4), and the axis and a point of it on which every joint turns, (..., 6, 3).

    Axes (unit length) and points (m) are in base coordinates: a turn of joint j by dq moves a point p that is fixed to
    link 6 by dq * cross(axis_j, p - point_j). Joints in rad, shape (..., 6).
    """
    if joints.shape[-1:] != (JOINTS,):
        raise ValueError(f"joints: expected (..., {JOINTS}), got {joints.shape}")
    angles = joints.astype(np.float64) + np.radians(THETA_DEGREES[dh_is_offset])
    pose = np.broadcast_to(np.eye(4), (*joints.shape[:-1], 4, 4))
    axes = np.empty((*joints.shape[:-1], JOINTS, 3))
    points = np.empty((*joints.shape[:-1], JOINTS, 3))
    for joint in range(JOINTS):
        pose = pose @ _link(A[joint], ALPHA[joint], D[joint], angles[..., joint])
        # Its own turn leaves the z axis of a link and the origin on it where they were.
        axes[..., joint, :] = pose[..., :3, 2]
        points[..., joint, :] = pose[..., :3, 3]
    return pose, axes, points


def fingertip(joints: NDArray[Any], dh_is_offset: DhIsOffset = 1) -> Array:
    """The point between the fingertips in base coordinates, m, shape (..., 3), of joint angles, rad, (..., 6)."""
    pose = link6_pose(joints, dh_is_offset)
    return pose[..., :3, 3] + FINGERTIP * pose[..., :3, 2]


def fingertips(values: NDArray[Any], dh_is_offset: DhIsOffset = 1) -> Array:
    """Both arms' fingertips, each in its own arm's base coordinates, m, shape (..., 2, 3), of (..., 14) values.

    The last axis of `values` is ordered as in `gigaedge.robot`; grippers do not move the point between the tips.
    """
    if values.shape[-1:] != (ROBOT_DIM,):
        raise ValueError(f"values: expected (..., {ROBOT_DIM}), got {values.shape}")
    arms = [values[..., arm_slice(side)][..., :JOINTS] for side in SIDES]
    return np.stack([fingertip(arm, dh_is_offset) for arm in arms], axis=-2)


def arm_points(joints: NDArray[Any], dh_is_offset: DhIsOffset = 1) -> Array:
    """Elbow, wrist and fingertip in base coordinates, m, shape (..., 3, 3), of joint angles, rad, shape (..., 6).

    The elbow is where joint 3 turns, the wrist where the axes of joints 4, 5 and 6 meet; joint 6 moves none of the
    points. Written out instead of multiplied, for the control loop: elbow and wrist lie in the vertical plane that
    joint 1 turns, `reach` being the horizontal axis of that plane and `aside` the one across it.
    """
    offsets = np.radians(THETA_DEGREES[dh_is_offset])
    angles = np.empty((5, *joints.shape[:-1]))
    angles[0] = joints[..., 0]
    angles[1] = joints[..., 1] + offsets[1]
    angles[2] = angles[1] + joints[..., 2] + offsets[2]
    angles[3] = joints[..., 3]
    angles[4] = joints[..., 4]
    cos1, cos2, cos3, cos4, cos5 = np.cos(angles)
    sin1, sin2, sin3, sin4, sin5 = np.sin(angles)
    hand = D[5] + FINGERTIP
    reach = np.empty((*joints.shape[:-1], 3))
    points = np.empty((*joints.shape[:-1], 3, 3))
    height = points[..., 2]
    reach[..., 0] = A[2] * cos2
    height[..., 0] = D[0] - A[2] * sin2
    reach[..., 1] = reach[..., 0] + A[3] * cos3 + D[3] * sin3
    height[..., 1] = height[..., 0] - A[3] * sin3 + D[3] * cos3
    tilt = hand * sin5 * cos4
    reach[..., 2] = reach[..., 1] + tilt * cos3 + hand * cos5 * sin3
    height[..., 2] = height[..., 1] - tilt * sin3 + hand * cos5 * cos3
    aside = hand * sin5 * sin4
    points[..., 0] = reach * cos1[..., np.newaxis]
    points[..., 1] = reach * sin1[..., np.newaxis]
    points[..., 2, 0] -= sin1 * aside
    points[..., 2, 1] += cos1 * aside
    return points


def _link(a: float, alpha: float, d: float, angle: Array) -> Array:
    """One link's transform, (..., 4, 4), of its joint's angle, rad, (...)."""
    transform = np.zeros((*angle.shape, 4, 4))
    cos, sin = np.cos(angle), np.sin(angle)
    transform[..., 0, 0], transform[..., 0, 1], transform[..., 0, 3] = cos, -sin, a
    for row, twist, offset in ((1, np.cos(alpha), -np.sin(alpha) * d), (2, np.sin(alpha), np.cos(alpha) * d)):
        transform[..., row, 0], transform[..., row, 1] = sin * twist, cos * twist
        transform[..., row, 3] = offset
    transform[..., 1, 2], transform[..., 2, 2] = -np.sin(alpha), np.cos(alpha)
    transform[..., 3, 3] = 1
    return transform
