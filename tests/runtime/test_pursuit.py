"""The cascade on moving targets: how near it follows, and that it needs no limiter to keep its limits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge_runtime.pursuit import SHARE, Pursuit, braked, steepest

PERIOD = 0.005
V, A, J = 1.0, 5.0, 200.0


def pursuit(velocity: float = V, acceleration: float = A, jerk: float = J, period: float = PERIOD) -> Pursuit:
    one = np.ones(1)
    return Pursuit(-3 * one, 3 * one, velocity * one, acceleration * one, jerk * one, period)


def follow(
    law: Pursuit,
    target: Callable[[float], tuple[float, float, float]],
    ticks: int,
    start: float = 0.0,
    period: float = PERIOD,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Motions (ticks + 1, 3) and targets (ticks + 1, 3) of one joint that begins at rest."""
    motion = np.array([[start], [0.0], [0.0]])
    rows, targets = [motion[:, 0]], [target(0.0)]
    for tick in range(1, ticks + 1):
        aim = target(tick * period)
        motion = law.step(motion, *(np.array([value]) for value in aim)).motion
        rows.append(motion[:, 0])
        targets.append(aim)
    return np.array(rows), np.array(targets)


def sine(t: float, size: float = 0.2, hertz: float = 0.5) -> tuple[float, float, float]:
    w = 2 * np.pi * hertz
    return size * np.sin(w * t), size * w * np.cos(w * t), -size * w * w * np.sin(w * t)


def still(place: float) -> Callable[[float], tuple[float, float, float]]:
    return lambda _: (place, 0.0, 0.0)


def test_a_sine_is_followed_within_a_milliradian_once_caught_up() -> None:
    motions, targets = follow(pursuit(), sine, 400)
    error = np.abs(motions[100:, 0] - targets[100:, 0])
    assert error.max() < 1e-3
    assert np.abs(np.diff(motions[100:, 2])).max() / PERIOD < 20, "a smooth curve asks for little jerk"


def test_without_feed_forward_it_lags_and_still_gets_there() -> None:
    blind, targets = follow(pursuit(), lambda t: (sine(t)[0], 0.0, 0.0), 400)
    assert 0.01 < np.abs(blind[100:, 0] - targets[100:, 0]).max() < 0.1


@pytest.mark.parametrize("step", [1e-4, 0.01, 0.1, 1.0, -2.5])
@pytest.mark.parametrize("jerk", [20.0, 100.0, 500.0])
@pytest.mark.parametrize("period", [0.002, 0.005, 0.02])
def test_a_step_is_taken_without_overshoot(step: float, jerk: float, period: float) -> None:
    ticks = round((abs(step) / V + 2.5) / period)
    motions, _ = follow(pursuit(jerk=jerk, period=period), still(step), ticks, period=period)
    travelled = motions[:, 0] * np.sign(step)
    assert travelled.max() <= abs(step) * 1.03
    assert travelled[-1] == pytest.approx(abs(step), abs=2e-4)


@pytest.mark.parametrize("jerk", [20.0, 200.0])
def test_a_long_way_is_taken_at_nearly_all_the_speed_and_none_more(jerk: float) -> None:
    motions, _ = follow(pursuit(jerk=jerk), still(1.5), 400)
    assert 0.998 * V < motions[:, 1].max() <= V
    assert motions[:, 2].max() <= A
    assert np.abs(np.diff(motions[:, 2])).max() <= jerk * PERIOD * (1 + 1e-9)
    # It brakes at the planned half of the acceleration, or a little more.
    assert -A <= motions[:, 2].min() < -0.35 * A


def test_a_tick_that_is_long_for_the_jerk_leaves_half_the_speed() -> None:
    motions, _ = follow(pursuit(velocity=0.05, jerk=500.0, period=0.02), still(1.0), 100, period=0.02)
    assert motions[:, 1].max() == pytest.approx(0.025, rel=1e-3)


@pytest.mark.parametrize("way", [-1, 1])
def test_the_end_of_the_range_is_braked_for_whatever_the_feed_forward(way: int) -> None:
    motions, _ = follow(pursuit(), lambda _: (way * 3.0, way * 1.0, way * 5.0), 800)
    assert (way * motions[:, 0]).max() <= 3.0 + 1e-3, "the limiter cuts the last milliradian"
    assert (way * motions[:, 1]).max() > 0.99 * V
    assert way * motions[-1, 0] == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize("way", [-1, 1])
def test_outside_its_range_it_only_comes_in(way: int) -> None:
    pushed, _ = follow(pursuit(), lambda _: (way * 3.0, way * 1.0, way * 5.0), 400, start=way * 3.5)
    assert (way * pushed[:, 1]).max() <= 1e-6
    motions, _ = follow(pursuit(), still(way * 3.0), 400, start=way * 3.5)
    assert (way * motions[:, 1]).max() <= 1e-6
    assert way * motions[-1, 0] == pytest.approx(3.0, abs=1e-3)


def bound(jerk: float = J, period: float = PERIOD, **aim: float) -> tuple[bool, bool, bool]:
    """Which limits a target, 0 where unsaid, is held back by, from rest at 0: velocity, acceleration, jerk."""
    target = (np.array([aim.get(key, 0.0)]) for key in ("position", "velocity", "acceleration"))
    proposal = pursuit(jerk=jerk, period=period).step(np.zeros((3, 1)), *target)
    masks = (proposal.velocity_bound, proposal.acceleration_bound, proposal.jerk_bound)
    return bool(masks[0][0]), bool(masks[1][0]), bool(masks[2][0])


def test_the_gain_is_the_quickest_that_the_period_bears() -> None:
    # 80 / s, and with a period of 20 ms 20 / s, times 2.5 rad/s^2 just take up the jerk.
    for period, jerk in ((0.002, 200.0), (0.005, 200.0), (0.02, 50.0)):
        assert bound(jerk, period, acceleration=2.499) == (False, False, False)
        assert bound(jerk, period, acceleration=2.501) == (False, False, True)


def test_it_says_which_limit_held_it_back() -> None:
    assert bound() == (False, False, False)
    # 80 / s times 2.5 rad/s^2 is just the 200 rad/s^3 there are.
    assert bound(acceleration=2.5) == (False, False, False)
    assert bound(acceleration=2.5 + 5e-9) == (False, False, False), "rounding"
    assert bound(acceleration=2.5 + 1e-7) == (False, False, True)
    assert bound(acceleration=-2.6) == (False, False, True)
    assert bound(acceleration=A + 1e-7) == (False, False, True)
    assert bound(acceleration=A + 2e-6) == (False, True, True)
    assert bound(acceleration=-A - 2e-6) == (False, True, True)
    assert bound(velocity=V) == (False, True, True)
    assert bound(velocity=V + 2e-6) == (True, True, True)
    assert bound(velocity=-V - 2e-6) == (True, True, True)


def test_an_acceleration_is_led_back_in_time_for_the_velocity_limit() -> None:
    speed, pull = 0.985, 2.0
    motion = np.array([[0.0], [speed], [pull]])
    on_target = (np.array([PERIOD * speed]), np.array([speed]), np.array([A]))
    reached = pursuit().step(motion, *on_target).motion[2, 0]
    headroom = V - J * PERIOD**2 / 4 - (speed + PERIOD / 2 * pull)
    expected = J * (np.sqrt((PERIOD / 2) ** 2 + 2 * headroom / J) - PERIOD / 2)
    assert reached == pytest.approx(expected)
    assert reached < pull, "although the target asks for more"


@pytest.mark.parametrize("headroom", [-0.7, -1e-4, 0.0, 1e-6, 1e-3, 0.05, 1.0])
def test_the_steepest_acceleration_uses_up_the_headroom(headroom: float) -> None:
    a = steepest(headroom, J, PERIOD / 2)
    assert a * abs(a) / (2 * J) + a * PERIOD / 2 == pytest.approx(headroom, rel=1e-9)


@pytest.mark.parametrize("distance", [0.0, 1e-4, 0.01, 0.5, 3.0])
@pytest.mark.parametrize("jerk", [20.0, 200.0])
def test_the_braked_speed_ends_after_the_distance(distance: float, jerk: float) -> None:
    """At half of the acceleration and half of the jerk: v^2 / a, and v a / 2j for its ramp."""
    speed = braked(distance, ramp=SHARE * A * A / (2 * jerk), twice=2 * SHARE * A)
    assert speed**2 / A + speed * A / (2 * jerk) == pytest.approx(distance, rel=1e-9, abs=1e-15)
