from __future__ import annotations

import numpy as np
import pytest

from gigaedge.robot import ARM_DIM, JOINTS, arm_slice
from gigaedge_runtime.physics.scene import Scene
from gigaedge_runtime.tasks.moves import CLOSED, OPEN, Hands, OutOfReach, hand_pose, minimum_jerk
from gigaedge_runtime.tasks.task import RATE, Array
from gigaedge_runtime.tasks.variation import HOME


class Still:
    """Both arms at home, and nothing else."""

    scene = Scene()
    state = np.array([*HOME, 0.06] * 2)

    def pose(self, name: str) -> Array:
        raise ValueError(name)

    def touching(self, a: str, b: str) -> bool:
        raise ValueError(a, b)


@pytest.fixture
def hands() -> Hands:
    return Hands(Still())


def test_minimum_jerk_begins_and_ends_at_rest() -> None:
    parts = np.concatenate([[0.0], minimum_jerk(1.0)])
    assert len(parts) == RATE + 1
    assert parts[-1] == 1.0
    steps = np.diff(parts)
    assert (steps > 0).all()
    assert steps.max() * RATE == pytest.approx(1.875, rel=0.01)
    assert max(steps[0], steps[-1]) < 0.01 * steps.max()


def test_a_hand_points_where_it_is_said() -> None:
    hand = hand_pose(np.array((0.3, 0.2, 0.05)), heading=np.pi / 2, tilt=0.3)
    np.testing.assert_allclose(hand[:3, 2], (0, np.sin(0.3), -np.cos(0.3)), atol=1e-12)
    np.testing.assert_allclose(np.abs(hand[:3, 1]), (1, 0, 0), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(hand[:3, :3]), 1.0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_reach_and_swing_bring_the_tips_there(hands: Hands, side: str) -> None:
    y = 0.25 if side == "left" else -0.25
    goal = np.array((0.32, y, 0.06))
    other = arm_slice("right" if side == "left" else "left")  # type: ignore[arg-type]
    still = hands.targets[other].copy()
    joints = hands.reach(side, goal, 0.2)  # type: ignore[arg-type]
    targets = np.array(list(hands.swing(side, joints, CLOSED)))  # type: ignore[arg-type]
    np.testing.assert_allclose(hands.tip(side), goal, atol=1e-4)  # type: ignore[arg-type]
    assert hands.heading(side) == pytest.approx(0.2, abs=1e-3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(targets[:, other], np.tile(still, (len(targets), 1)))
    speeds = np.abs(np.diff(targets, axis=0)) * RATE
    assert np.delete(speeds, [JOINTS, JOINTS + ARM_DIM], axis=1).max() < 1.7


def test_a_line_is_straight_and_keeps_the_hand_turned(hands: Hands) -> None:
    begin = hands.flange("left")
    tips = []
    for _ in hands.line("left", np.array((0.03, 0.02, -0.12))):
        tips.append(hands.tip("left"))
        np.testing.assert_allclose(hands.flange("left")[:3, :3], begin[:3, :3], atol=1e-3)
    way = np.array((0.03, 0.02, -0.12)) / np.linalg.norm((0.03, 0.02, -0.12))
    off = np.array(tips) - tips[0]
    aside = off - np.outer(off @ way, way)
    assert np.abs(aside).max() < 1e-4
    np.testing.assert_allclose(hands.flange("left")[:3, 3] - begin[:3, 3], (0.03, 0.02, -0.12), atol=1e-4)


def test_what_is_out_of_reach_is_said_before_anything_moves(hands: Hands) -> None:
    before = hands.targets.copy()
    with pytest.raises(OutOfReach):
        hands.reach("left", np.array((0.9, 0.3, 0.1)), 0.0)
    with pytest.raises(OutOfReach):
        next(hands.line("left", np.array((0.6, 0.0, 0.0))))
    np.testing.assert_array_equal(hands.targets, before)


def test_a_gripper_opens_and_keeps_pressing(hands: Hands) -> None:
    list(hands.grip("right", OPEN))
    assert hands.opening("right") == OPEN
    assert hands.opening("left") == 0.06
    hands.keep_closed("right")
    assert hands.opening("right") == CLOSED
