from __future__ import annotations

import mujoco
import numpy as np
import pytest
from piper_sdk import C_PiperForwardKinematics

from gigaedge.kinematics import fingertip, link6_pose
from gigaedge.poses import rotation
from gigaedge.profiles import PROFILES
from gigaedge.robot import JOINTS, SIDES, Side
from gigaedge_runtime.physics.arm import BASE_Y
from gigaedge_runtime.physics.model import to_mjcf
from gigaedge_runtime.physics.scene import Scene

LOW = np.array(PROFILES["piper"].position_min)
HIGH = np.array(PROFILES["piper"].position_max)


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(to_mjcf(Scene()))


@pytest.mark.parametrize("side", SIDES)
def test_the_flange_is_where_the_vendors_sdk_and_our_kinematics_have_it(
    model: mujoco.MjModel, side: Side
) -> None:
    """1000 random poses, below 0.01 mm and 0.01 degrees. The SDK takes rad and gives mm and degrees."""
    vendor = C_PiperForwardKinematics(1)
    data = mujoco.MjData(model)
    places = [model.joint(f"{side}_joint{joint}").qposadr[0] for joint in range(1, JOINTS + 1)]
    flange = model.body(f"{side}_link6").id
    joints = np.random.default_rng(7).uniform(LOW, HIGH, (1000, JOINTS))
    ours = link6_pose(joints)
    for angles, expected in zip(joints, ours, strict=True):
        data.qpos[places] = angles
        mujoco.mj_kinematics(model, data)
        turn, place = data.xmat[flange].reshape(3, 3), data.xpos[flange] - (0, BASE_Y[side], 0)
        assert np.abs(place - expected[:3, 3]).max() < 1e-5
        np.testing.assert_allclose(turn, expected[:3, :3], atol=1e-7)
        *position, roll, pitch, yaw = vendor.CalFK(list(angles))[-1]
        assert np.linalg.norm(place * 1e3 - position) < 0.01
        np.testing.assert_allclose(turn, from_angles(roll, pitch, yaw), atol=1.7e-4)


def from_angles(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """Rz(yaw) Ry(pitch) Rx(roll), degrees."""
    x, y, z = (rotation(np.radians(angle) * axis) for angle, axis in zip((roll, pitch, yaw), np.eye(3)))  # noqa: B905
    return np.asarray(z @ y @ x)


def test_an_arm_weighs_what_the_vendors_description_says(model: mujoco.MjModel) -> None:
    """Links 1 to 6, the gripper and two fingers; the base stands on the table."""
    for side in SIDES:
        assert model.body_subtreemass[model.body(f"{side}_base").id] == pytest.approx(
            0.71 + 1.17 + 0.5 + 0.38 + 0.383 + 0.007 + 0.45 + 2 * 0.025
        )


@pytest.mark.parametrize("opening", [0.0, 0.028, 0.07])
def test_the_pads_are_as_far_apart_as_the_opening_says(model: mujoco.MjModel, opening: float) -> None:
    data = mujoco.MjData(model)
    for finger in ("a", "b"):
        data.qpos[model.joint(f"left_finger_{finger}").qposadr[0]] = opening / 2
    mujoco.mj_kinematics(model, data)
    flange = data.xmat[model.body("left_link6").id].reshape(3, 3)
    tips = [data.xpos[model.body(f"left_finger_{finger}").id] for finger in ("a", "b")]
    np.testing.assert_allclose(flange.T @ (tips[1] - tips[0]), (0, opening, 0), atol=1e-12)
    angles = np.array([data.qpos[model.joint(f"left_joint{joint}").qposadr[0]] for joint in range(1, 7)])
    between = fingertip(angles) + np.array((0, BASE_Y["left"], 0))
    np.testing.assert_allclose(np.mean(tips, axis=0), between, atol=1e-12)
