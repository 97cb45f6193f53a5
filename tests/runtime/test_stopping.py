"""The closed-form stop, against Ruckig's and against itself sampled densely."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from ruckig import ControlInterface, InputParameter, Ruckig, Synchronization, Trajectory

from gigaedge_runtime.stopping import Stop, advance, coasting

JOINTS = 64
ACCELERATION = np.linspace(1.0, 5.0, JOINTS)
JERK = np.geomspace(10.0, 500.0, JOINTS)


def motions(seed: int) -> NDArray[np.float64]:
    """Random ones, many of them on the borders between two shapes of a stop."""
    rng = np.random.default_rng(seed)
    motion = np.array([rng.normal(size=JOINTS), rng.uniform(-3, 3, JOINTS), rng.uniform(-1, 1, JOINTS)])
    motion[1] *= rng.choice([1.0, 0.1, 0.01, 0.0], JOINTS)
    motion[2] *= ACCELERATION * rng.choice([1.0, 0.1, 0.0], JOINTS)
    # Led to zero, this acceleration leaves no velocity at all.
    alone = rng.random(JOINTS) < 0.1
    motion[1, alone] = (-motion[2] * np.abs(motion[2]) / (2 * JERK))[alone]
    return motion


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_quickest_stop_that_ruckig_finds(seed: int) -> None:
    motion = motions(seed)
    stop = Stop(motion, ACCELERATION, JERK)
    wanted = InputParameter(JOINTS)
    wanted.control_interface = ControlInterface.Velocity
    wanted.synchronization = Synchronization.No
    wanted.max_acceleration, wanted.max_jerk = ACCELERATION.tolist(), JERK.tolist()
    wanted.current_position, wanted.current_velocity, wanted.current_acceleration = motion.tolist()
    wanted.target_velocity = wanted.target_acceleration = [0.0] * JOINTS
    plan = Trajectory(JOINTS)
    Ruckig(JOINTS).calculate(wanted, plan)
    np.testing.assert_allclose(stop.durations, plan.independent_min_durations, atol=1e-7)
    times = np.linspace(0.0, plan.duration * 1.1, 50)
    for time, position in zip(times, stop.positions(times), strict=True):
        np.testing.assert_allclose(stop.after(time), np.array(plan.at_time(time)), atol=1e-6)
        np.testing.assert_allclose(position, stop.after(time)[0], atol=1e-12)
    np.testing.assert_allclose(stop.end, plan.at_time(plan.duration)[0], atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_extrema_are_those_of_the_way(seed: int) -> None:
    stop = Stop(motions(seed), ACCELERATION, JERK)
    way = stop.positions(np.linspace(0.0, stop.durations.max(), 20_001))
    low, high = np.array(stop.extrema).T
    np.testing.assert_allclose(low, way.min(axis=0), atol=1e-6)
    np.testing.assert_allclose(high, way.max(axis=0), atol=1e-6)
    assert (low <= way.min(axis=0) + 1e-12).all()
    assert (high >= way.max(axis=0) - 1e-12).all()


def test_at_its_end_it_rests_exactly() -> None:
    stop = Stop(motions(0), ACCELERATION, JERK)
    for time in (stop.durations.max(), 100.0):
        rest = stop.after(time)
        assert not rest[1:].any()
        np.testing.assert_array_equal(rest[0], stop.end)
        np.testing.assert_array_equal(stop.positions(np.array([time]))[0], stop.end)


def test_from_rest_it_is_no_motion() -> None:
    motion = motions(0)
    motion[1:] = 0.0
    stop = Stop(motion, ACCELERATION, JERK)
    assert not stop.durations.any()
    np.testing.assert_array_equal(stop.after(0.0), motion)
    np.testing.assert_array_equal(stop.end, motion[0])
    np.testing.assert_array_equal(np.array(stop.extrema).T, [motion[0], motion[0]])


def test_a_stop_from_its_own_middle_ends_where_it_does() -> None:
    stop = Stop(motions(1), ACCELERATION, JERK)
    rest = Stop(stop.after(0.07), ACCELERATION, JERK)
    np.testing.assert_allclose(rest.end, stop.end, atol=1e-12)
    np.testing.assert_allclose(rest.after(0.03), stop.after(0.1), atol=1e-9)
    np.testing.assert_allclose(rest.durations, np.maximum(stop.durations - 0.07, 0.0), atol=1e-7)


def test_a_motion_under_constant_jerk() -> None:
    assert advance(1.0, 2.0, 3.0, jerk=6.0, time=2.0) == (1 + 4 + 6 + 8, 2 + 6 + 12, 3 + 12)


@pytest.mark.parametrize(
    ("velocity", "acceleration", "left"), [(1.0, 4.0, 1.8), (1.0, -4.0, 0.2), (0.0, 0.0, 0.0)]
)
def test_what_is_left_once_the_acceleration_is_led_to_zero(
    velocity: float, acceleration: float, left: float
) -> None:
    assert coasting(velocity, acceleration, 10.0) == pytest.approx(left)
