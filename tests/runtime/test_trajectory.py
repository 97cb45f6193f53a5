"""A chunk as a function of time: through every action, never beyond two neighbours, with its derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gigaedge.errors import InputError
from gigaedge_runtime.trajectory import Trajectory

RATE = 30.0

chunks = st.integers(1, 48).flatmap(
    lambda n: arrays(np.float32, (n, 3), elements=st.floats(-4, 4, width=32, allow_subnormal=False))
)


def at(trajectory: Trajectory, t: float) -> NDArray[np.float64]:
    return trajectory.position(t, np.empty(trajectory._segments.shape[2]))


@given(chunks, st.floats(0, 1e5))
def test_hits_every_action(actions: NDArray[np.float32], start: float) -> None:
    trajectory = Trajectory(actions, start, RATE)
    for k, action in enumerate(actions):
        np.testing.assert_allclose(at(trajectory, start + k / RATE), action, atol=1e-6)


@given(chunks, st.floats(-0.2, 2.0))
def test_never_leaves_the_interval_of_two_neighbours(actions: NDArray[np.float32], t: float) -> None:
    trajectory = Trajectory(actions, 0.0, RATE)
    k = int(np.clip(np.floor(t * RATE), 0, len(actions) - 1))
    near = actions[k : k + 2].astype(np.float64)
    value = at(trajectory, t)
    assert (value >= near.min(axis=0) - 1e-12).all()
    assert (value <= near.max(axis=0) + 1e-12).all()


@given(chunks)
def test_no_overshoot_anywhere_on_a_dense_grid(actions: NDArray[np.float32]) -> None:
    trajectory = Trajectory(actions, 0.0, RATE)
    for k in range(len(actions) - 1):
        low, high = np.sort(actions[k : k + 2].astype(np.float64), axis=0)
        for u in (0.01, 0.25, 0.5, 0.75, 0.99):
            value = at(trajectory, (k + u) / RATE)
            assert (value >= low - 1e-9).all()
            assert (value <= high + 1e-9).all()


def test_a_straight_line_stays_one() -> None:
    line = np.linspace(0.0, 1.0, 31)[:, None]
    trajectory = Trajectory(line, 5.0, RATE)
    for t in np.linspace(5.0, 6.0, 203):
        assert at(trajectory, t)[0] == pytest.approx(t - 5.0, abs=1e-12)


def test_is_smooth_across_the_actions() -> None:
    wave = np.sin(np.arange(48) / 6.0)[:, None]
    trajectory = Trajectory(wave, 0.0, RATE)
    times = np.arange(0, 47 / RATE, 1e-4)
    speed = np.diff([at(trajectory, t)[0] for t in times]) / 1e-4
    assert np.abs(np.diff(speed)).max() < 0.05, "a jump of the velocity"


def test_outside_it_stays_at_the_ends_and_is_not_due() -> None:
    trajectory = Trajectory([[1.0], [2.0], [3.0]], 10.0, RATE, chunk=7)
    assert trajectory.chunk == 7
    assert (at(trajectory, 9.0)[0], at(trajectory, 12.0)[0]) == (1.0, 3.0)
    assert trajectory.end == 10.0 + 2 / RATE
    for t, due in ((9.999, False), (10.0, True), (trajectory.end, True), (trajectory.end + 1e-6, False)):
        assert trajectory.due(t) is due


def test_one_action_is_a_constant() -> None:
    trajectory = Trajectory([[1.5, -1.0]], 0.0, RATE)
    assert at(trajectory, 0.0).tolist() == [1.5, -1.0]
    assert trajectory.due(0.0)
    assert not trajectory.due(0.001)


@pytest.mark.parametrize("shape", [(0, 14), (14,), (2, 3, 4)])
def test_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"array \(n >= 1, d\)"):
        Trajectory(np.zeros(shape), 0.0, RATE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(InputError, match="NaN or infinity"):
        Trajectory([[0.0], [bad]], 0.0, RATE)
    with pytest.raises(InputError, match="NaN or infinity"):
        Trajectory([[0.0], [1.0]], bad, RATE)
    with pytest.raises(InputError, match="NaN or infinity"):
        Trajectory([[0.0], [1.0]], 0.0, bad)


def sampled(trajectory: Trajectory, t: float) -> list[NDArray[np.float64]]:
    outs = [np.full(trajectory._segments.shape[2], np.nan) for _ in range(3)]
    trajectory.sample(t, *outs)
    return outs


@given(chunks.filter(lambda actions: len(actions) > 1), st.floats(0.0, 1.0))
def test_derivatives_are_those_of_the_curve(actions: NDArray[np.float32], share: float) -> None:
    trajectory, h = Trajectory(actions, 0.0, RATE), 1e-5
    k = min(int(share * (len(actions) - 1)), len(actions) - 2)
    t = (k + 0.1 + 0.8 * (share * (len(actions) - 1) - k)) / RATE
    before, (position, velocity, acceleration), after = (sampled(trajectory, t + d) for d in (-h, 0.0, h))
    np.testing.assert_array_equal(position, at(trajectory, t))
    np.testing.assert_allclose(velocity, (after[0] - before[0]) / (2 * h), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(acceleration, (after[1] - before[1]) / (2 * h), rtol=1e-4, atol=1e-2)


def test_derivatives_are_zero_outside_and_for_one_action() -> None:
    ramp = Trajectory([[0.0], [1.0]], 10.0, RATE)
    for t in (9.999, ramp.end + 1e-9):
        assert [out.item() for out in sampled(ramp, t)[1:]] == [0.0, 0.0]
    for t in (10.0, ramp.end):
        assert sampled(ramp, t)[1].item() == pytest.approx(RATE)
    assert [out.item() for out in sampled(Trajectory([[2.0]], 0.0, RATE), 0.0)] == [2.0, 0.0, 0.0]
