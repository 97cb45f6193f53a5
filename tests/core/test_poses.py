"""Rigid transforms, against OpenCV's Rodrigues and against each other."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gigaedge.poses import (
    apply,
    difference,
    from_quaternion,
    from_six,
    inverse,
    moved,
    pose,
    quaternion,
    rotation,
    rotation_vector,
    skew,
)

NUMBERS = st.floats(-1, 1, allow_subnormal=False)
AXES = st.tuples(NUMBERS, NUMBERS, NUMBERS).filter(lambda v: np.linalg.norm(v) > 0.1)
ANGLES = st.one_of(
    st.floats(0, np.pi),
    st.sampled_from([0.0, 1e-12, 1e-8, 1e-4, np.pi / 2, np.pi - 1e-8, np.pi - 1e-4, np.pi]),
)
SHIFTS = st.tuples(*[st.floats(-2, 2)] * 3).map(np.array)


@st.composite
def vectors(draw: st.DrawFn) -> np.ndarray:
    """Rotation vectors of any angle up to half a turn, the awkward ones often."""
    axis = np.array(draw(AXES))
    return np.asarray(axis / np.linalg.norm(axis) * draw(ANGLES))


@st.composite
def sixes(draw: st.DrawFn) -> np.ndarray:
    return np.concatenate([draw(vectors()), draw(SHIFTS)])


@given(vectors())
def test_rotations_are_opencvs(vector: np.ndarray) -> None:
    np.testing.assert_allclose(rotation(vector), cv2.Rodrigues(vector)[0], atol=1e-12)


@given(vectors())
def test_a_rotation_keeps_lengths_and_hands(vector: np.ndarray) -> None:
    matrix = rotation(vector)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(matrix) == pytest.approx(1)


@given(vectors())
def test_a_rotation_vector_comes_back(vector: np.ndarray) -> None:
    back = rotation_vector(rotation(vector))
    # Half a turn has two vectors; what they do is the same.
    np.testing.assert_allclose(rotation(back), rotation(vector), atol=1e-14)
    if np.linalg.norm(vector) < np.pi - 1e-6:
        np.testing.assert_allclose(back, vector, rtol=1e-9, atol=1e-15)
    assert np.linalg.norm(back) <= np.pi + 1e-12


@given(vectors())
def test_a_quaternion_is_the_same_rotation_and_of_length_one(vector: np.ndarray) -> None:
    found = quaternion(rotation(vector))
    assert found[0] >= 0
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-15)
    assert found[0] == pytest.approx(np.cos(np.linalg.norm(vector) / 2), abs=1e-12)
    np.testing.assert_allclose(from_quaternion(found), rotation(vector), atol=1e-14)
    np.testing.assert_allclose(from_quaternion(-3 * found), rotation(vector), atol=1e-14)


@given(sixes())
def test_an_inverse_undoes(six: np.ndarray) -> None:
    transform = from_six(six)
    np.testing.assert_allclose(inverse(transform) @ transform, np.eye(4), atol=1e-13)


@given(sixes(), sixes(), st.lists(SHIFTS, min_size=1, max_size=4))
def test_transforms_chain_as_their_names_say(
    first: np.ndarray, second: np.ndarray, points: list[np.ndarray]
) -> None:
    t_ab, t_bc, in_c = from_six(first), from_six(second), np.array(points)
    np.testing.assert_allclose(apply(t_ab, apply(t_bc, in_c)), apply(t_ab @ t_bc, in_c), atol=1e-12)


@given(sixes(), sixes())
def test_a_difference_moves_back(first: np.ndarray, second: np.ndarray) -> None:
    a, b = from_six(first), from_six(second)
    np.testing.assert_allclose(moved(b, difference(a, b)), a, atol=1e-12)


@given(sixes(), sixes())
def test_a_move_turns_where_the_child_is_and_shifts_in_the_parent(six: np.ndarray, by: np.ndarray) -> None:
    before = from_six(six)
    after = moved(before, by)
    np.testing.assert_allclose(after[:3, 3], before[:3, 3] + by[3:])
    np.testing.assert_allclose(after[:3, :3], rotation(by[:3]) @ before[:3, :3], atol=1e-14)


@given(vectors(), SHIFTS)
def test_skew_is_the_cross_product(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(skew(a) @ b, np.cross(a, b), atol=1e-14)


@settings(max_examples=20)
@given(st.lists(sixes(), min_size=2, max_size=5))
def test_many_at_once_are_each_alone(each: list[np.ndarray]) -> None:
    stacked = np.array(each)
    transforms = from_six(stacked)
    alone = np.array([from_six(six) for six in each])
    np.testing.assert_array_equal(transforms, alone)
    np.testing.assert_allclose(quaternion(transforms[:, :3, :3]), [quaternion(t[:3, :3]) for t in alone])
    np.testing.assert_allclose(inverse(transforms), [inverse(t) for t in alone])
    one = transforms[0]
    np.testing.assert_allclose(difference(transforms, one), [difference(t, one) for t in alone], atol=1e-15)
    np.testing.assert_array_equal(pose(transforms[:, :3, :3], transforms[:, :3, 3]), transforms)
