"""The last step before the wire, densely around every boundary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gigaedge.errors import InputError
from gigaedge.robot import ARM_DIM, CAMERA_ROLES, DIM_NAMES, ROBOT_DIM
from gigaedge.site import Site
from gigaedge_runtime.limits import Limiter, Limits

PERIOD = 0.005
ZERO = np.zeros(ROBOT_DIM)


def site(right: dict[str, object] | None = None, **limits: object) -> Site:
    return Site.model_validate(
        {
            "bundle": Path("bundle"),
            "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
            "arms": [{"side": "left", "driver": "sim"}, right or {"side": "right", "driver": "sim"}],
            "limits": limits,
        }
    )


LIMITS = Limits.of(site())
MIDDLE = (LIMITS.lower + LIMITS.upper) / 2


def limiter(start: NDArray[np.float64] = MIDDLE, limits: Limits = LIMITS) -> Limiter:
    made = Limiter(limits, PERIOD)
    made.reset(start)
    return made


def test_limits_of_a_site_are_the_files() -> None:
    limits = Limits.of(site(velocity=0.8, gripper_max=0.1, approach_velocity=0.9))
    assert limits.lower[:ARM_DIM].tolist() == [-2.6179, 0.0, -2.967, -1.745, -1.22, -2.09439, 0.0]
    assert limits.upper[ARM_DIM:].tolist() == [2.6179, 3.14, 0.0, 1.745, 1.22, 2.09439, 0.1]
    assert limits.velocity.tolist() == ([0.8] * 6 + [0.2]) * 2
    assert limits.acceleration.tolist() == ([10.0] * 6 + [2.0]) * 2
    assert limits.approach.tolist() == ([0.8] * 6 + [0.2]) * 2, "never faster than the velocity limit"


def test_an_absent_arm_stands_at_its_pose() -> None:
    pose = (9.0, 1, 1, 1, 1, 1, 0.5)
    limits = Limits.of(site(right={"side": "right", "driver": "absent", "pose": pose}))
    moved = limiter(np.r_[MIDDLE[:ARM_DIM], pose], limits).track(np.r_[MIDDLE[:ARM_DIM], np.ones(ARM_DIM)])
    assert moved[ARM_DIM:].tolist() == list(pose)


@pytest.mark.parametrize("joint", range(ROBOT_DIM), ids=DIM_NAMES)
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("beyond", [-1e-3, -1e-6, -1e-9, 0.0, 1e-9, 1e-7, 2e-6, 1e-3, 1.0, 1e9])
def test_position_boundary(joint: int, side: int, beyond: float) -> None:
    edge = (LIMITS.upper if side > 0 else LIMITS.lower)[joint]
    start = MIDDLE.copy()
    start[joint] = edge - side * 1e-4
    target = MIDDLE.copy()
    target[joint] = edge + side * beyond
    made = limiter(start)
    command = made.track(target)
    assert LIMITS.lower[joint] <= command[joint] <= LIMITS.upper[joint]
    reach = LIMITS.velocity[joint] * PERIOD
    if beyond <= 0:
        assert command[joint] == pytest.approx(
            np.clip(target[joint], start[joint] - reach, start[joint] + reach)
        )
    else:
        assert command[joint] == edge
    expected = np.zeros(ROBOT_DIM, int)
    expected[joint] = beyond > 1e-6
    np.testing.assert_array_equal(made.position_clamps, expected)


@pytest.mark.parametrize("joint", range(ROBOT_DIM), ids=DIM_NAMES)
@pytest.mark.parametrize("way", [-1, 1])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 1.0, 1.01, 2.0, 1e6])
def test_velocity_boundary(joint: int, way: int, share: float) -> None:
    reach = LIMITS.velocity[joint] * PERIOD
    made = limiter()
    target = MIDDLE.copy()
    target[joint] += way * share * reach
    step = made.track(target)[joint] - MIDDLE[joint]
    at_most = min(share, 1.0) * reach
    assert way * step == pytest.approx(at_most, abs=1e-12)
    assert made.velocity_clamps[joint] == (share > 1.0)
    assert made.velocity_clamps.sum() == made.velocity_clamps[joint]


@pytest.mark.parametrize("joint", range(ROBOT_DIM), ids=DIM_NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("way", ["track", "approach", "reset"])
def test_not_finite_raises_and_changes_nothing(joint: int, bad: float, way: str) -> None:
    made = limiter()
    target = MIDDLE.copy()
    target[joint] = bad
    with pytest.raises(InputError, match=f"not finite at {DIM_NAMES[joint]}; nothing was commanded"):
        getattr(made, way)(target)
    np.testing.assert_array_equal(made.position, MIDDLE)
    assert not made.position_clamps.any()


def test_without_a_pose_nothing_is_commanded() -> None:
    made = Limiter(LIMITS, PERIOD)
    with pytest.raises(InputError, match="commanded pose is not finite"):
        made.decelerate()


values = arrays(np.float64, ROBOT_DIM, elements=st.floats(-20, 20))
moves = st.lists(
    st.tuples(st.sampled_from(["track", "approach", "decelerate"]), values), min_size=1, max_size=40
)


@settings(max_examples=200)
@given(st.floats(0, 1), moves)
def test_position_and_velocity_are_never_exceeded(
    where: float, steps: list[tuple[str, NDArray[np.float64]]]
) -> None:
    made = limiter(LIMITS.lower + where * (LIMITS.upper - LIMITS.lower))
    previous = made.position.copy()
    for way, target in steps:
        command = made.decelerate() if way == "decelerate" else getattr(made, way)(target)
        assert (command >= LIMITS.lower).all()
        assert (command <= LIMITS.upper).all()
        assert (np.abs(command - previous) <= LIMITS.velocity * PERIOD + 1e-12).all()
        previous = command.copy()


@settings(max_examples=100)
@given(values, moves)
def test_an_arm_found_outside_its_limits_never_goes_further_out(
    start: NDArray[np.float64], steps: list[tuple[str, NDArray[np.float64]]]
) -> None:
    made = limiter(start)
    outside = np.maximum(0, np.maximum(LIMITS.lower - start, start - LIMITS.upper))
    previous = start
    for way, target in steps:
        command = made.decelerate() if way == "decelerate" else getattr(made, way)(target)
        now_outside = np.maximum(0, np.maximum(LIMITS.lower - command, command - LIMITS.upper))
        assert (now_outside <= outside + 1e-12).all()
        assert (np.abs(command - previous) <= LIMITS.velocity * PERIOD + 1e-12).all()
        outside, previous = now_outside, command.copy()


@given(arrays(np.float64, ROBOT_DIM, elements=st.floats(-1, 1)))
def test_decelerates_within_the_acceleration_limit_to_a_standstill(direction: NDArray[np.float64]) -> None:
    made = limiter()
    for _ in range(20):
        made.track(made.position + direction * LIMITS.velocity * PERIOD)
    velocity = np.abs(made._velocity)
    previous, ticks = made.position.copy(), 0
    while not made.at_rest:
        step = np.abs(made.decelerate() - previous) / PERIOD
        inside = (made.position > LIMITS.lower) & (made.position < LIMITS.upper)
        slowed = velocity - step
        assert (slowed[inside] <= (LIMITS.acceleration * PERIOD)[inside] + 1e-9).all()
        assert (slowed >= -1e-9).all()
        velocity, previous, ticks = step, made.position.copy(), ticks + 1
        assert ticks <= 21, "1 rad/s at 10 rad/s^2 takes 0.1 s"
    resting = made.position.copy()
    np.testing.assert_array_equal(made.decelerate(), resting)


def test_approach_is_slow_gentle_and_arrives() -> None:
    made = limiter()
    target = np.clip(MIDDLE + 0.5, LIMITS.lower, LIMITS.upper)
    previous, velocity = MIDDLE.copy(), ZERO
    for _ in range(1000):
        step = (made.approach(target + 10 * (target == LIMITS.upper)) - previous) / PERIOD
        assert (np.abs(step) <= LIMITS.approach + 1e-9).all()
        assert (step - velocity <= LIMITS.acceleration * PERIOD + 1e-9).all(), "it sets off gently"
        velocity, previous = step, made.position.copy()
    np.testing.assert_allclose(made.position, target, atol=1e-3)
    assert not made.position_clamps.any()
    assert not made.velocity_clamps.any()


def test_approach_slows_down_from_a_faster_motion_within_the_acceleration_limit() -> None:
    made = limiter()
    target = MIDDLE + np.array(([1.0] * 6 + [0.0]) * 2)
    for _ in range(20):
        made.track(target)
    before = made._velocity.copy()
    made.approach(target)
    assert (before - made._velocity <= LIMITS.acceleration * PERIOD + 1e-9).all()
