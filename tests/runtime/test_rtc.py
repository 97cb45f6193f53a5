"""What the chunk before asks of the next: the mask, the alignment in time, and when it asks nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaedge.robot import ROBOT_DIM
from gigaedge_runtime.rtc import REMEMBERED, Continuity, Guidance, guide, soft_mask
from gigaedge_runtime.trajectory import Trajectory

RATE = 30.0


def ramp(start: float, number: int = 1, actions: int = 48) -> Trajectory:
    """One rad per second from 0 at `start`, all dimensions alike."""
    values = np.repeat(np.arange(actions)[:, None] / RATE, ROBOT_DIM, axis=1)
    return Trajectory(values, start, RATE, number)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_mask_is_one_then_falls_then_zero(chunk: int, frozen: int, overlap: int) -> None:
    weights = soft_mask(chunk, frozen, overlap)
    assert weights.dtype == np.float32
    assert (np.diff(weights) <= 0).all()
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (weights[: min(frozen, overlap)] == 1).all()
    assert (weights[overlap:] == 0).all()
    assert (weights[:overlap] > 0).all()


def test_the_mask_is_that_of_the_paper() -> None:
    """H = 10, d = 3, overlap H - s = 8: c = (8 - i) / 6 for i = 3..7."""
    c = np.array([5, 4, 3, 2, 1]) / 6
    falling = c * (np.exp(c) - 1) / (np.e - 1)
    np.testing.assert_allclose(soft_mask(10, 3, 8), [1, 1, 1, *falling, 0, 0], rtol=1e-6)


def test_previous_targets_are_those_of_the_new_times() -> None:
    """Observations do not fall on the old chunk's grid."""
    found = guide(ramp(10.0), observed=10.51, delay=0.2, chunk=48, rate=RATE, limit=7.0)
    assert found is not None
    times = 10.51 + np.arange(48) / RATE
    expected = np.minimum(times - 10.0, 47 / RATE)
    np.testing.assert_allclose(found.previous, np.repeat(expected[:, None], ROBOT_DIM, axis=1), rtol=1e-6)
    # 0.2 s are six actions: those due at 0 .. 6 are bound in full, those after the old one's end not at all.
    assert (found.weight[:7] == 1).all()
    assert found.weight[7] < 1
    inside = times <= 10.0 + 47 / RATE
    assert ((found.weight > 0) == inside).all()
    assert (found.limit, found.delay) == (7.0, 0.2)


@pytest.mark.parametrize(
    ("observed", "delay"),
    [
        (9.99, 0.1),  # before it began
        (11.5, 0.2),  # it ends at 11.57 s, before the hand-over
        (12.0, 0.0),  # it has ended
    ],
)
def test_what_cannot_be_continued_asks_nothing(observed: float, delay: float) -> None:
    assert guide(ramp(10.0), observed, delay, 48, RATE, 5.0) is None


def test_the_expected_delay_is_what_was_measured() -> None:
    continuity = Continuity(limit=5.0, pickup=0.005)
    assert continuity.guidance(0.0, 0.0, followed=0) is None, "nothing was published"
    continuity.published(ramp(0.0, number=1), 0.25)
    found = continuity.guidance(observed=0.5, now=0.53, followed=1)
    assert found is not None
    assert found.delay == pytest.approx(0.03 + 0.25 + 0.005)
    for number in range(2, 2 + REMEMBERED):
        continuity.published(ramp(0.1 * number, number), 0.1)
    found = continuity.guidance(observed=0.8, now=0.8, followed=number)
    assert found is not None
    assert found.delay == pytest.approx(0.105), "the slow one is forgotten"
    continuity.published(ramp(0.7, number + 1), 0.3)
    found = continuity.guidance(observed=0.9, now=0.9, followed=number + 1)
    assert found is not None
    assert found.delay == pytest.approx(0.305), "the slowest of the last few counts"


def test_only_the_chunk_that_the_arms_follow_is_continued() -> None:
    continuity = Continuity(limit=5.0, pickup=0.005)
    continuity.published(ramp(0.0, number=1), 0.1)
    continuity.published(ramp(0.5, number=2), 0.1)
    assert continuity.guidance(0.9, 0.9, followed=1) is None
    assert continuity.guidance(0.9, 0.9, followed=2) is not None
    continuity.published(None, 0.1)
    assert continuity.guidance(0.9, 0.9, followed=2) is None


def test_the_example_fits_any_chunk() -> None:
    for chunk in (1, 20, 48):
        example = Guidance.make_example(chunk)
        assert example.previous.shape == (chunk, ROBOT_DIM)
        assert example.weight.shape == (chunk,)
