from __future__ import annotations

import numpy as np

from gigaedge.kinematics import link6_pose
from gigaedge.poses import difference
from gigaedge_runtime.tasks.inverse import (
    ANGLE_TOLERANCE,
    HIGHEST,
    LOWEST,
    POSITION_TOLERANCE,
    joints_of,
)


def test_poses_are_reached_exactly_from_nearby() -> None:
    random = np.random.default_rng(0)
    found = 0
    for _ in range(150):
        truth = random.uniform(LOWEST, HIGHEST)
        pose = link6_pose(truth)
        joints = joints_of(pose, np.clip(truth + random.normal(0, 0.2, 6), LOWEST, HIGHEST))
        if joints is not None:
            found += 1
            error = difference(pose, link6_pose(joints))
            assert np.linalg.norm(error[3:]) < POSITION_TOLERANCE
            assert np.linalg.norm(error[:3]) < ANGLE_TOLERANCE
            assert (joints >= LOWEST).all()
            assert (joints <= HIGHEST).all()
    assert found >= 140


def test_the_solution_nearby_is_taken() -> None:
    here = np.array((0.2, 1.2, -1.1, 0.1, 0.9, -0.3))
    joints = joints_of(link6_pose(here), here + 0.02)
    assert joints is not None
    np.testing.assert_allclose(joints, here, atol=1e-3)


def test_far_away_nothing_is_found() -> None:
    here = np.array((0.0, 1.2, -1.1, 0.0, 0.9, 0.0))
    pose = link6_pose(here)
    pose[0, 3] = 1.2
    assert joints_of(pose, here) is None
