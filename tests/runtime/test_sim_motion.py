"""Motion of one simulated axis."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaedge_runtime.devices.sim_motion import Axis

DT = 0.005


def follow(axis: Axis, steps: int) -> list[float]:
    positions = []
    for _ in range(steps):
        axis.follow(DT)
        positions.append(axis.position)
    return positions


@given(start=st.floats(-2, 2), goal=st.floats(-2, 2))
def test_a_step_is_followed_within_speed_and_acceleration_and_without_overshoot(
    start: float, goal: float
) -> None:
    axis = Axis(start, -2.5, 2.5)
    axis.target = goal
    before = 0.0
    for _ in range(600):
        axis.follow(DT)
        assert abs(axis.velocity) <= axis.max_velocity + 1e-9
        assert abs(axis.velocity - before) <= axis.max_acceleration * DT + 1e-9
        before = axis.velocity
        beyond = (axis.position - goal) * math.copysign(1.0, goal - start)
        assert beyond < 0.01
    assert axis.position == pytest.approx(goal, abs=1e-3)


def test_a_moving_target_is_followed_30_ms_late() -> None:
    axis = Axis(0.0, -3, 3)
    for step in range(400):
        axis.target = 1.0 * step * DT
        axis.follow(DT)
    assert axis.target - axis.position == pytest.approx(0.03, abs=0.01)


def test_speed_scales_the_limit() -> None:
    axis = Axis(0.0, -3, 3)
    axis.target = 2.0
    for _ in range(100):
        axis.follow(DT, speed=0.1)
    assert axis.velocity == pytest.approx(0.3)


def test_a_target_beyond_the_stop_ends_at_the_stop() -> None:
    axis = Axis(0.0, -1, 1)
    axis.target = 5.0
    assert max(follow(axis, 600)) < 1.01


def test_without_power_a_loaded_axis_falls_to_rest_and_another_one_stops() -> None:
    loaded = Axis(1.0, -2, 2, rest=0.0, propped=False)
    free = Axis(1.0, -2, 2, propped=False, velocity=0.5)
    for _ in range(400):
        loaded.fall(DT)
        free.fall(DT)
    assert loaded.position == pytest.approx(0.0, abs=1e-3)
    assert free.velocity == pytest.approx(0.0, abs=1e-6)
    assert free.position == pytest.approx(1.0, abs=0.05)


def test_a_propped_axis_does_not_fall() -> None:
    axis = Axis(1.0, -2, 2, rest=0.0)
    for _ in range(100):
        axis.fall(DT)
    assert axis.position == 1.0


def test_an_axis_that_halts_stays_and_keeps_its_target() -> None:
    axis = Axis(0.0, -2, 2)
    axis.target = 1.0
    follow(axis, 30)
    where = axis.position
    axis.halt()
    assert (axis.position, axis.velocity, axis.target) == (where, 0.0, 1.0)
