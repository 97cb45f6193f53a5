from __future__ import annotations

import numpy as np
import pytest
from piper_sdk import C_PiperForwardKinematics

from gigaedge.kinematics import (
    FINGERTIP,
    THETA_DEGREES,
    A,
    D,
    DhIsOffset,
    arm_points,
    fingertip,
    fingertips,
    link6_pose,
)
from gigaedge.robot import JOINTS

LOW = np.array([-2.6179, 0, -2.967, -1.745, -1.22, -2.09439])
HIGH = np.array([2.6179, 3.14, 0, 1.745, 1.22, 2.09439])
"""The arm's joint limits, rad."""


@pytest.mark.parametrize("dh_is_offset", [0, 1])
def test_it_agrees_with_the_vendors_sdk(dh_is_offset: DhIsOffset) -> None:
    """The SDK takes rad and gives mm and degrees (roll, pitch, yaw)."""
    vendor = C_PiperForwardKinematics(dh_is_offset)
    joints = np.random.default_rng(0).uniform(LOW, HIGH, (40, 6))
    poses = link6_pose(joints, dh_is_offset)
    for pose, angles in zip(poses, joints, strict=True):
        *position, roll, pitch, yaw = vendor.CalFK(list(angles))[-1]
        assert np.abs(pose[:3, 3] * 1e3 - position).max() < 1e-3
        np.testing.assert_allclose(pose[:3, :3], rotation(*np.radians([roll, pitch, yaw])), atol=1e-7)


def rotation(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll, pitch, yaw]), np.sin([roll, pitch, yaw])
    return (
        np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        @ np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    )


def test_the_zero_pose_of_the_manual() -> None:
    """Flange at x 56.128 mm, z 213.266 mm, pitch 85 degrees: the gripper points forward, 5 degrees up."""
    pose = link6_pose(np.zeros(6))
    np.testing.assert_allclose(pose[:3, 3], (0.056128, 0, 0.213266), atol=1e-6)
    forward = np.array([0.9961947, 0, 0.0871557])
    np.testing.assert_allclose(pose[:3, 2], forward, atol=1e-7)
    np.testing.assert_allclose(fingertip(np.zeros(6)), (0.191411, 0, 0.225102), atol=1e-6)


def test_the_first_joint_swings_the_fingertip_about_the_vertical() -> None:
    joints = np.array([0, 1.2, -0.9, 0, 0.4, 0])
    reach, _, height = fingertip(joints)
    joints[0] = np.pi / 2
    np.testing.assert_allclose(fingertip(joints), (0, reach, height), atol=1e-12)


def test_the_last_joint_does_not_move_the_fingertip() -> None:
    joints = np.array([[0.3, 1.2, -0.9, 0.5, 0.4, angle] for angle in (-1.0, 0.0, 2.0)])
    np.testing.assert_allclose(np.ptp(fingertip(joints), axis=0), 0, atol=1e-12)
    assert np.ptp(link6_pose(joints)[:, 0, 0]) > 0.1


def test_poses_are_rigid_and_keep_leading_axes() -> None:
    joints = np.random.default_rng(1).uniform(LOW, HIGH, (3, 5, 6)).astype(np.float32)
    pose = link6_pose(joints)
    assert pose.shape == (3, 5, 4, 4)
    identity = np.broadcast_to(np.eye(3), (3, 5, 3, 3))
    np.testing.assert_allclose(pose[..., :3, :3] @ pose[..., :3, :3].swapaxes(-1, -2), identity, atol=1e-12)
    np.testing.assert_allclose(pose[2, 4], link6_pose(joints[2, 4]), atol=0)
    distance = np.linalg.norm(fingertip(joints) - pose[..., :3, 3], axis=-1)
    np.testing.assert_allclose(distance, FINGERTIP, atol=1e-12)


def test_both_arms_of_a_robot() -> None:
    values = np.random.default_rng(2).uniform(-1, 1, (4, 14))
    tips = fingertips(values)
    assert tips.shape == (4, 2, 3)
    np.testing.assert_array_equal(tips[:, 0], fingertip(values[:, :6]))
    np.testing.assert_array_equal(tips[:, 1], fingertip(values[:, 7:13]))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"joints: expected \(..., 6\), got \(14,\)"):
        fingertip(np.zeros(14))
    with pytest.raises(ValueError, match=r"values: expected \(..., 14\), got \(6,\)"):
        fingertips(np.zeros(6))


@pytest.mark.parametrize("offset", [0, 1])
def test_arm_points_are_on_the_links(offset: DhIsOffset) -> None:
    joints = np.random.default_rng(3).uniform(-3, 3, (20, 2, JOINTS))
    points = arm_points(joints, offset)
    assert points.shape == (20, 2, 3, 3)
    np.testing.assert_allclose(points[..., 2, :], fingertip(joints, offset), atol=1e-12)
    pose = link6_pose(joints, offset)
    np.testing.assert_allclose(points[..., 1, :], pose[..., :3, 3] - D[5] * pose[..., :3, 2], atol=1e-12)
    elbow = points[..., 0, :] - np.array([0, 0, D[0]])
    np.testing.assert_allclose(np.linalg.norm(elbow, axis=-1), A[2], atol=1e-12)
    # Straight up when the upper arm is turned by a right angle from the horizontal, forwards or backwards at 0.
    up = np.zeros(JOINTS)
    up[1] = -np.pi / 2 - np.radians(THETA_DEGREES[offset][1])
    np.testing.assert_allclose(arm_points(up, offset)[0], [0, 0, D[0] + A[2]], atol=1e-12)
    ahead = np.zeros(JOINTS)
    ahead[1] = -np.radians(THETA_DEGREES[offset][1])
    ahead[0] = np.pi / 2
    np.testing.assert_allclose(arm_points(ahead, offset)[0], [0, A[2], D[0]], atol=1e-12)
