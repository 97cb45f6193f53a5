"""Which chunk is followed: continuous hand-overs, ensembles, and derivatives that belong to the target."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.errors import InputError
from gigaedge_runtime.schedule import LONGEST, MEMBERS, Schedule
from gigaedge_runtime.trajectory import Trajectory

RATE = 30.0
FREE = {d: (np.full(d, 1e9), np.full(d, 1e12)) for d in (1, 2)}
"""Acceleration and jerk of an arm that can follow anything, by its number of values."""
Array = NDArray[np.float64]


def wave(phase: float, start: float, chunk: int = 0) -> Trajectory:
    k = np.arange(48)
    actions = np.stack((np.sin(k / 6.0 + phase), 0.3 * np.cos(k / 9.0 - phase)), axis=1)
    return Trajectory(actions, start, RATE, chunk)


def sampled(schedule: Schedule, t: float) -> list[Array]:
    outs = [np.full(2, np.nan) for _ in range(3)]
    schedule.sample(t, *outs)
    return outs


def blended(schedule: Schedule, t: float, out: Array) -> Array:
    schedule.sample(t, out, np.empty_like(out), np.empty_like(out))
    return out


def check_derivatives(value: Callable[[float], list[Array]], times: Array) -> None:
    h = 1e-6
    for t in times:
        before, (position, velocity, acceleration), after = (value(t + d) for d in (-h, 0.0, h))
        np.testing.assert_allclose(velocity, (after[0] - before[0]) / (2 * h), rtol=1e-4, atol=1e-4)
        # Between two actions; at one the curve's acceleration jumps.
        if abs(t * RATE - round(t * RATE)) > 1e-3:
            np.testing.assert_allclose(acceleration, (after[1] - before[1]) / (2 * h), rtol=1e-3, atol=1e-2)
        assert np.isfinite(position).all()


def test_hand_over_is_continuous_and_ends_on_the_new_chunk() -> None:
    schedule, out = Schedule(*FREE[1], blend=0.1), np.empty(1)
    assert schedule.trajectory is None
    schedule.accept(Trajectory([[0.0], [0.0], [0.0], [0.0]], 0.0, 1.0))
    assert blended(schedule, 0.5, out)[0] == 0.0
    schedule.accept(Trajectory([[0.2], [0.2], [0.2], [0.2]], 0.0, 1.0))
    schedule.align(0.5, np.array([0.0]))
    targets = [blended(schedule, 0.5 + t, out)[0] for t in np.linspace(0, 0.1, 101)]
    assert targets[0] == 0.0
    assert targets[-1] == pytest.approx(0.2)
    assert (np.diff(targets) >= 0).all()
    assert np.diff(targets).max() < 2 * 0.2 / 100
    assert schedule.target(0.5, out)[0] == pytest.approx(0.2)


@pytest.mark.parametrize("offset", [0.3, -0.05, 0.002])
def test_a_fade_takes_as_long_as_the_arm_needs_to_follow_it(offset: float) -> None:
    acceleration, jerk = np.array([5.0]), np.array([200.0])
    schedule = Schedule(acceleration, jerk, blend=0.01)
    schedule.accept(Trajectory(np.zeros((90, 1)), 0.0, RATE))
    schedule.align(0.2, np.array([offset]))
    times = np.arange(0.2, 2.9, 1e-4)
    values = np.array([[value[0] for value in _one(schedule, t)] for t in times])
    pull = np.abs(values[:, 2]).max() / acceleration[0]
    jolt = np.abs(np.diff(values[:, 2])).max() / 1e-4 / jerk[0]
    assert max(pull, jolt) == pytest.approx(1.0, abs=0.01), "no longer than that"
    assert (values[-1] == 0.0).all()


def test_a_fade_is_not_endless() -> None:
    schedule = Schedule(np.array([1e-3]), np.array([1e-3]), blend=0.01)
    schedule.accept(Trajectory(np.zeros((90, 1)), 0.0, RATE))
    schedule.align(0.2, np.array([1.0]))
    assert _one(schedule, 0.2 + LONGEST - 1e-3)[0] != 0.0
    assert _one(schedule, 0.2 + LONGEST)[0] == 0.0


def _one(schedule: Schedule, t: float) -> list[Array]:
    outs = [np.empty(1) for _ in range(3)]
    schedule.sample(t, *outs)
    return outs


def test_a_hand_over_of_no_duration_is_a_step() -> None:
    schedule, out = Schedule(*FREE[1], blend=0.0), np.empty(1)
    schedule.accept(Trajectory([[1.0], [1.0]], 0.0, 1.0))
    schedule.align(0.5, np.array([0.0]))
    assert blended(schedule, 0.5, out)[0] == 1.0


def test_an_empty_schedule_has_no_target() -> None:
    schedule = Schedule(*FREE[1], blend=0.1)
    schedule.align(0.0, np.zeros(1))
    with pytest.raises(InputError, match="no chunk was accepted"):
        schedule.target(0.0, np.empty(1))


def test_a_hand_over_departs_from_the_command_and_arrives_at_the_chunk_as_fast_as_that() -> None:
    schedule = Schedule(*FREE[2], blend=0.2)
    schedule.accept(wave(0.0, 0.0))
    schedule.accept(wave(0.7, 0.5))
    commanded = np.array([0.1, -0.2])
    schedule.align(0.61, commanded)
    bare = [np.empty(2) for _ in range(3)]
    wave(0.7, 0.5).sample(0.61, *bare)
    first = sampled(schedule, 0.61)
    np.testing.assert_allclose(first[0], commanded, atol=1e-12)
    np.testing.assert_allclose(first[1:], bare[1:], atol=1e-9, err_msg="the fade begins at rest")
    check_derivatives(lambda t: sampled(schedule, t), np.linspace(0.612, 0.805, 40))
    wave(0.7, 0.5).sample(0.81, *bare)
    np.testing.assert_array_equal(sampled(schedule, 0.81), bare)


def ensemble(count: int, decay: float = 0.5, blend: float = 0.1) -> Schedule:
    schedule = Schedule(*FREE[2], blend, decay)
    for number in range(count):
        schedule.accept(wave(0.4 * number, 0.3 * number, number + 1))
        start = 0.3 * number + 0.05
        schedule.align(start, sampled(schedule, start)[0])
    return schedule


def test_an_ensemble_is_the_weighted_average_of_what_is_due() -> None:
    schedule = ensemble(3, decay=0.5)
    position = sampled(schedule, 1.2)[0]
    weights = np.exp(-0.5 * np.arange(3))
    each = [wave(0.4 * n, 0.3 * n).position(1.2, np.empty(2)) for n in range(3)]
    np.testing.assert_allclose(position, weights @ np.array(each) / weights.sum(), atol=1e-12)
    # The first chunk has ended at 1.57 s, the second at 1.87 s: the last is alone.
    alone = sampled(schedule, 1.9)
    bare = [np.empty(2) for _ in range(3)]
    wave(0.8, 0.6).sample(1.9, *bare)
    np.testing.assert_array_equal(alone, bare)


def test_an_ensemble_is_continuous_when_chunks_come_and_go() -> None:
    schedule = ensemble(3)
    times = np.arange(0.66, 2.1, 1e-3)
    values = np.array([sampled(schedule, t)[0] for t in times])
    assert np.abs(np.diff(values, axis=0)).max() < 0.02, "no jump"
    check_derivatives(lambda t: sampled(schedule, t), np.linspace(0.66, 2.1, 200))


def test_an_ensemble_keeps_a_bounded_number_of_chunks_and_forgets_them_at_a_restart() -> None:
    schedule = ensemble(MEMBERS + 5)
    assert len(schedule._members) == MEMBERS
    schedule.restart(4.0, np.array([0.5, 0.5]))
    np.testing.assert_allclose(sampled(schedule, 4.0)[0], [0.5, 0.5])
    bare = np.empty(2)
    newest = schedule.trajectory
    assert newest is not None
    np.testing.assert_array_equal(sampled(schedule, 4.15)[0], newest.position(4.15, bare))


def test_an_ensemble_without_a_fade_takes_a_chunk_at_once() -> None:
    schedule = ensemble(2, decay=0.0, blend=0.0)
    each = [wave(0.4 * n, 0.3 * n).position(0.35, np.empty(2)) for n in range(2)]
    np.testing.assert_allclose(sampled(schedule, 0.35)[0], np.mean(each, axis=0), atol=1e-12)


@pytest.mark.parametrize("decay", [None, 0.1])
def test_a_tick_allocates_no_arrays(decay: float | None) -> None:
    import tracemalloc

    schedule = ensemble(4) if decay else Schedule(*FREE[2], 0.1)
    schedule.accept(wave(0.1, 1.2))
    schedule.align(1.25, np.zeros(2))
    outs = [np.empty(2) for _ in range(3)]
    schedule.sample(1.26, *outs)
    tracemalloc.start()
    for k in range(100):
        schedule.sample(1.26 + 1e-3 * k, *outs)
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000
    assert grown < 2_000
