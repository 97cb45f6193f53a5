from __future__ import annotations

import numpy as np
import pytest

from gigaedge.kinematics import fingertips
from gigaedge.openloop import ERROR_HEADER, Rollout, evaluate

CHUNK = 4


def rollout(start: int, episode_length: int, error: np.ndarray) -> Rollout:
    """A chunk whose prediction is off by `error`, broadcast to (CHUNK, 14)."""
    recorded = np.random.default_rng(start).normal(0, 0.3, (CHUNK, 14))
    frames = min(CHUNK, episode_length - start)
    predicted = (recorded + error).astype(np.float32)
    return Rollout(0, start, episode_length, predicted, recorded[:frames].astype(np.float32))


def test_known_errors() -> None:
    error = np.zeros((CHUNK, 14))
    error[:, 0] = np.radians([1, -2, 3, -4])
    error[:, 13] = [0.001, 0.001, 0.001, -0.005]
    report = evaluate([rollout(0, 10, error)], CHUNK)
    joint, gripper = report.dimensions[0], report.dimensions[13]
    assert (joint.name, joint.unit) == ("left_joint_1", "deg")
    assert (gripper.name, gripper.unit) == ("right_gripper", "mm")
    assert joint.mean_abs == pytest.approx(2.5, abs=1e-4)
    assert joint.rmse == pytest.approx(np.sqrt(7.5), abs=1e-4)
    assert joint.worst == pytest.approx(4, abs=1e-4)
    assert joint.p95 == pytest.approx(3.85, abs=1e-4)
    assert gripper.mean_abs == pytest.approx(2, abs=1e-3)
    assert gripper.worst == pytest.approx(5, abs=1e-3)
    assert report.dimensions[1].worst == pytest.approx(0, abs=1e-4)
    assert report.joints.mean_abs == pytest.approx(2.5 / 12, abs=1e-4)
    assert report.grippers.mean_abs == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(report.horizon.joints_deg, np.array([1, 2, 3, 4]) / 12, atol=1e-4)
    np.testing.assert_allclose(report.horizon.grippers_mm, [0.5, 0.5, 0.5, 2.5], atol=1e-3)
    assert report.rows()[3][0] == "left_joint_1"
    assert {len(row) for row in report.rows()} == {len(ERROR_HEADER)}


def test_fingertips_are_compared_by_forward_kinematics() -> None:
    one = rollout(0, 10, np.radians(2) * np.eye(14)[1])
    tips = fingertips(one.predicted) - fingertips(one.recorded)
    report = evaluate([one], CHUNK)
    assert report.fingertips.worst == pytest.approx(1e3 * np.linalg.norm(tips[:, 0], axis=1).max())
    assert report.fingertips.mean_abs == pytest.approx(1e3 * np.linalg.norm(tips[:, 0], axis=1).mean() / 2)


def test_only_true_frames_are_compared() -> None:
    error = np.zeros((CHUNK, 14))
    error[2:] = 100
    report = evaluate([rollout(8, 10, error)], 2)
    assert report.frames == 2
    assert report.chunks[0].frames == 2
    assert report.joints.worst == pytest.approx(0, abs=1e-4)
    assert len(report.horizon.joints_deg) == 2


def test_a_step_counts_where_it_exists() -> None:
    report = evaluate(
        [rollout(0, 6, np.full(14, np.radians(1))), rollout(4, 6, np.full(14, np.radians(4)))], 4
    )
    np.testing.assert_allclose(report.horizon.joints_deg, [2.5, 2.5, 1, 1], atol=1e-4)
    assert report.joints.mean_abs == pytest.approx((4 * 1 + 2 * 4) / 6, abs=1e-4)


def test_upstreams_figures() -> None:
    """Starts 0, 2, 4 of 8 frames: 4 + 4 is the end itself, where upstream's range stops."""
    errors = [np.full((CHUNK, 14), 0.1), np.full((CHUNK, 14), -0.3), np.full((CHUNK, 14), 9.0)]
    errors[0][2:] = 0.2
    report = evaluate([rollout(2 * i, 8, error) for i, error in enumerate(errors)], 2)
    upstream = report.upstream
    assert upstream is not None
    assert upstream.chunks == 2
    assert upstream.chunk_mse == pytest.approx(((0.01 + 0.04) / 2 + 0.09) / 2, rel=1e-5)
    assert upstream.chunk_mae == pytest.approx((0.15 + 0.3) / 2, rel=1e-5)
    assert upstream.overall_mse == pytest.approx((0.01 + 0.09) / 2, rel=1e-5)
    assert upstream.overall_mae == pytest.approx(0.2, rel=1e-5)
    assert evaluate([rollout(0, CHUNK, errors[0])], 2).upstream is None
