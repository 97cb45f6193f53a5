"""Which of two arms is which, told by where they are parked; the poses themselves are tested with control."""

from __future__ import annotations

import numpy as np
import pytest

from gigaedge_runtime.parking import FAR, NEAR, find_swap

LEFT = np.array([0.0, 0.4, -0.5, 0.0, 0.3, 0.0, 0.0])
RIGHT = np.array([1.0, 0.4, -0.5, 0.0, 0.3, 0.0, 0.07])
PARK = np.r_[LEFT, RIGHT]


def moved(pose: np.ndarray, joint_1: float) -> np.ndarray:
    return pose + np.r_[joint_1, np.zeros(6)]


def test_arms_that_changed_places_are_noticed_even_if_they_have_sunk_a_little() -> None:
    assert find_swap(PARK, np.r_[RIGHT, LEFT]) is not None
    assert find_swap(PARK, np.r_[moved(RIGHT, 0.99 * NEAR), moved(LEFT, -0.99 * NEAR)]) is not None


@pytest.mark.parametrize(
    "measured",
    [
        PARK,
        np.r_[RIGHT, RIGHT],
        np.r_[LEFT, LEFT],
        np.r_[moved(RIGHT, 1.01 * NEAR), LEFT],
        np.r_[RIGHT, moved(LEFT, 1.01 * NEAR)],
        np.r_[moved(LEFT, 0.2), moved(RIGHT, -0.2)],
    ],
)
def test_nothing_is_said_without_proof(measured: np.ndarray) -> None:
    assert find_swap(PARK, measured) is None


def test_arms_that_are_parked_alike_cannot_be_told_apart() -> None:
    near = moved(LEFT, 0.99 * FAR)
    assert find_swap(np.r_[LEFT, near], np.r_[near, LEFT]) is None
    assert find_swap(np.r_[LEFT, LEFT], np.r_[LEFT, LEFT]) is None
