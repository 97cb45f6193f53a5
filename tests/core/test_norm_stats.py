from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.lerobot import Motion
from gigaedge.norm_stats import document, norm_stats, notices
from gigaedge.robot import DELTA_MASK


def motions(*lengths: int) -> list[Motion]:
    random = np.random.default_rng(3)
    return [
        Motion(*(random.normal(0.3, 1, (length, 14)).astype(np.float32) for _ in range(2)))
        for length in lengths
    ]


def brute_force(episodes: list[Motion], chunk: int) -> dict[str, NDArray[np.float32]]:
    states, deltas = [], []
    for motion in episodes:
        for begin, state in enumerate(motion.states):
            states.append(state)
            for step in range(chunk):
                action = motion.actions[min(begin + step, len(motion.actions) - 1)].copy()
                for dim in range(14):
                    if DELTA_MASK[dim]:
                        action[dim] -= state[dim]
                deltas.append(action)
    return {"observation.state": np.array(states), "action": np.array(deltas)}


@pytest.mark.parametrize("chunk", [1, 7, 48])
def test_against_a_loop(chunk: int) -> None:
    episodes = motions(20, 1, 60)
    expected, found = brute_force(episodes, chunk), norm_stats(episodes, chunk)
    for feature, values in expected.items():
        wide = values.astype(np.float64)
        figures = found[feature]
        np.testing.assert_allclose(figures.mean, wide.mean(0), rtol=1e-12)
        np.testing.assert_allclose(figures.std, wide.std(0), rtol=1e-12)
        np.testing.assert_array_equal(figures.min, values.min(0))
        np.testing.assert_array_equal(figures.max, values.max(0))
        np.testing.assert_allclose(figures.q01, np.quantile(wide, 0.01, axis=0), rtol=1e-6)
        np.testing.assert_allclose(figures.q99, np.quantile(wide, 0.99, axis=0), rtol=1e-6)


def test_known_answer() -> None:
    """A joint that follows its command one frame late, and stops: deltas 1, 2, 2 | 1, 1, 1 | 0, 0, 0."""
    states, actions = np.zeros((3, 14), np.float32), np.zeros((3, 14), np.float32)
    states[:, 0], actions[:, 0] = (0, 1, 2), (1, 2, 2)
    states[:, 6], actions[:, 6] = (0.1, 0.2, 0.3), (0.01, 0.02, 0.04)
    action = norm_stats([Motion(states, actions)], 3)["action"]
    assert action.mean[0] == pytest.approx(8 / 9)
    assert (action.min[0], action.max[0]) == (0, 2)
    assert action.mean[6] == pytest.approx((0.01 + 2 * 0.02 + 6 * 0.04) / 9)


def test_quantiles_interpolate_in_full_precision() -> None:
    values = np.zeros((100_001, 14), np.float32)
    values[:, 0] = np.random.default_rng(0).permutation(100_001)
    state = norm_stats([Motion(values, values)], 1)["observation.state"]
    assert (state.q01[0], state.q99[0]) == (1000, 99000)


def test_notices() -> None:
    episodes = motions(50, 20)
    assert notices(norm_stats(episodes, 4)) == []
    for motion in episodes:
        motion.states[:, 6] = motion.actions[:, 6] = 0.05
        motion.states[:, 7] *= 180 / np.pi
    found = notices(norm_stats(episodes, 4))
    assert [text.split(" (")[0] for text in found[:2]] == [
        "observation.state left_gripper does not vary",
        "action left_gripper does not vary",
    ]
    assert found[2].startswith("observation.state right_joint_1 goes from -")
    assert len(found) == 3


def test_document_is_padded() -> None:
    content = document(norm_stats(motions(9), 4), 32, {"chunk": 4})
    assert content["metadata"] == {"chunk": 4}
    for rows in content["norm_stats"].values():
        assert list(rows) == ["mean", "std", "min", "max", "q01", "q99"]
        assert all(len(row) == 32 and row[14:] == [0.0] * 18 for row in rows.values())
