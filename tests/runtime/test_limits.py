"""The last step before the wire, densely around every boundary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gigaedge.errors import InputError
from gigaedge.kinematics import arm_points
from gigaedge.robot import ARM_DIM, CAMERA_ROLES, DELTA_MASK, DIM_NAMES, ROBOT_DIM
from gigaedge.site import Site
from gigaedge_runtime.limits import Limiter, Limits
from gigaedge_runtime.stopping import advance
from gigaedge_runtime.workspace import Workspace

Array = NDArray[np.float64]

PERIOD = 0.005
ZERO = np.zeros(ROBOT_DIM)
JOINT = np.array(DELTA_MASK)


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
HOME = np.array([0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03] * 2)


def limiter(start: Array = MIDDLE, limits: Limits = LIMITS) -> Limiter:
    made = Limiter(limits, PERIOD)
    made.reset(start)
    return made


def track(made: Limiter, target: Array, velocity: Array = ZERO, acceleration: Array = ZERO) -> Array:
    """One tick towards `target`, the arm being where it was told to be; a copy of the command."""
    return made.track(target, velocity, acceleration, made.position.copy()).copy()


def tracked(made: Limiter, target: Array, ticks: int) -> Array:
    """Commands, shape (ticks, 14), towards a target that stands still."""
    return np.array([track(made, target) for _ in range(ticks)])


def stopped(made: Limiter) -> Array:
    """Commands until the limiter rests."""
    commands = []
    while not (commands and made.at_rest):
        commands.append(made.decelerate().copy())
        assert len(commands) < 400
    return np.array(commands)


def check(start: Array, commands: Array, limits: Limits = LIMITS) -> None:
    """That commands given from rest at `start` keep to range, velocity, acceleration and jerk."""
    way = np.concatenate((np.repeat(start[np.newaxis], 3, axis=0), commands))
    assert (way[1:] >= np.minimum(limits.lower, way[:-1])).all()
    assert (way[1:] <= np.maximum(limits.upper, way[:-1])).all()
    for order, limit in enumerate((limits.velocity, limits.acceleration, limits.jerk), start=1):
        rate = np.abs(np.diff(way, order, axis=0)) / PERIOD**order
        assert (rate <= limit * (1 + 1e-6) + 1e-6).all(), f"difference of order {order}"


def test_limits_of_a_site_are_the_files() -> None:
    limits = Limits.of(
        site(velocity=0.8, gripper_max=0.1, approach_velocity=0.9, jerk=50, gripper_jerk=9, lead=0.75)
    )
    assert limits.lower[:ARM_DIM].tolist() == [-2.6179, 0.0, -2.967, -1.745, -1.22, -2.09439, 0.0]
    assert limits.upper[ARM_DIM:].tolist() == [2.6179, 3.14, 0.0, 1.745, 1.22, 2.09439, 0.1]
    assert limits.velocity.tolist() == ([0.8] * 6 + [0.2]) * 2
    assert limits.acceleration.tolist() == ([5.0] * 6 + [2.0]) * 2
    assert limits.jerk.tolist() == ([50.0] * 6 + [9.0]) * 2
    assert limits.approach.tolist() == ([0.8] * 6 + [0.2]) * 2, "never faster than the velocity limit"
    assert limits.lead.tolist() == ([0.75] * 6 + [np.inf]) * 2, "a gripper closes on things"
    assert limits.workspace is None
    assert Limits.of(site(approach_velocity=0.3)).approach.tolist() == ([0.3] * 6 + [0.2]) * 2
    boxed = site({"side": "right", "driver": "sim", "workspace": {"min": (0, 0, 0), "max": (1, 1, 1)}})
    assert Limits.of(boxed).workspace is not None


def test_an_absent_arm_stands_at_its_pose() -> None:
    pose = (9.0, 1, 1, 1, 1, 1, 0.5)
    limits = Limits.of(site(right={"side": "right", "driver": "absent", "pose": pose}))
    made = limiter(np.r_[MIDDLE[:ARM_DIM], pose], limits)
    for target in (np.r_[MIDDLE[:ARM_DIM], np.ones(ARM_DIM)], np.r_[MIDDLE[:ARM_DIM] + 0.1, pose]):
        for _ in range(20):
            moved = track(made, target, np.ones(ROBOT_DIM), np.ones(ROBOT_DIM))
            assert moved[ARM_DIM:].tolist() == list(pose)
    assert (moved[:6] > MIDDLE[:6]).all()


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("beyond", [-1e-3, -1e-6, -1e-9, 0.0, 1e-9, 0.9e-6, 1.1e-6, 1e-3, 1.0, 1e9, 1.7e308])
@pytest.mark.parametrize("away", [0.0, 1e-4, 0.02])
def test_position_boundary(side: int, beyond: float, away: float) -> None:
    edge = LIMITS.upper if side > 0 else LIMITS.lower
    start = edge - side * away
    target = edge + side * beyond
    made = Limiter(replace(LIMITS, lead=np.full(ROBOT_DIM, np.inf)), PERIOD)
    made.reset(start)
    commands = tracked(made, target, 150)
    check(start, commands)
    np.testing.assert_allclose(commands[-1], np.clip(target, LIMITS.lower, LIMITS.upper), atol=2e-4)
    np.testing.assert_array_equal(made.clamps.position, np.full(ROBOT_DIM, 150 * (beyond > 1e-6)))
    assert not made.clamps.lead.any()


@pytest.mark.parametrize("joint", range(ROBOT_DIM), ids=DIM_NAMES)
def test_a_joint_is_limited_and_counted_by_itself(joint: int) -> None:
    made, free = limiter(), limiter()
    target = MIDDLE + 0.01
    beyond = target.copy()
    beyond[joint] = 50.0
    np.testing.assert_array_equal(
        np.delete(tracked(made, beyond, 40), joint, axis=1),
        np.delete(tracked(free, target, 40), joint, axis=1),
    )
    only = np.zeros(ROBOT_DIM, int)
    only[joint] = 40
    np.testing.assert_array_equal(made.clamps.position, only)
    assert (made.clamps.lead[np.arange(ROBOT_DIM) != joint] == 0).all()


def test_near_a_pose_measured_outside_the_range_is_still_the_range() -> None:
    made = limiter(limits=replace(LIMITS, lead=np.full(ROBOT_DIM, 0.1)))
    for _ in range(900):
        command = made.track(MIDDLE, ZERO, ZERO, LIMITS.upper + 0.5)
    np.testing.assert_allclose(command, LIMITS.upper, atol=1e-4)
    assert (made.clamps.lead == 900).all()
    assert not made.clamps.position.any()


@pytest.mark.parametrize("way", [-1, 1])
def test_full_speed_into_the_end_of_the_range_stops_at_it(way: int) -> None:
    edge = LIMITS.upper if way > 0 else LIMITS.lower
    made = limiter()
    commands = []
    for tick in range(800):
        # A target that runs away; once beyond, its speed no longer counts.
        target = MIDDLE + way * LIMITS.velocity * PERIOD * tick
        beyond = way * target > way * edge
        commands.append(
            track(made, np.where(beyond, edge, target), np.where(beyond, 0, way * LIMITS.velocity))
        )
    check(MIDDLE, np.array(commands))
    np.testing.assert_allclose(commands[-1], edge, atol=1e-6)


@pytest.mark.parametrize("way", [-1, 1])
def test_a_target_at_the_end_of_the_range_that_claims_to_move_on_is_stopped_for(way: int) -> None:
    edge = LIMITS.upper if way > 0 else LIMITS.lower
    made = limiter(MIDDLE, replace(LIMITS, lead=np.full(ROBOT_DIM, np.inf)))
    commands = [track(made, edge, way * LIMITS.velocity, way * LIMITS.acceleration) for _ in range(700)]
    check(MIDDLE, np.array(commands))
    np.testing.assert_allclose(commands[-1], edge, atol=2e-4)
    assert (made.clamps.position[JOINT] > 0).all(), "it would have shot beyond"


@pytest.mark.parametrize("way", [-1, 1])
@pytest.mark.parametrize("share", [0.5, 0.98, 1.0, 1.01, 2.0, 1e6])
@pytest.mark.parametrize(("which", "ticks"), [(JOINT, 70), (~JOINT, 35)])
def test_velocity_boundary(way: int, share: float, which: NDArray[np.bool_], ticks: int) -> None:
    start = np.where(JOINT, MIDDLE, LIMITS.lower if way > 0 else LIMITS.upper)
    made = limiter(start)
    speed = way * share * np.where(which, LIMITS.velocity, 0.0)
    commands = np.array([track(made, made.position + speed * PERIOD, speed) for _ in range(ticks)])
    check(start, commands)
    reached = (np.abs(commands[-1] - commands[-2]) / PERIOD / LIMITS.velocity)[which]
    np.testing.assert_allclose(reached, min(share, 1.0), rtol=0.03)
    if share >= 1.01:
        np.testing.assert_array_equal(made.clamps.velocity, np.where(which, ticks, 0))
    elif share < 1.0:
        assert (made.clamps.velocity < ticks).all()


def test_the_targets_own_speed_is_counted_where_it_is_too_much() -> None:
    made = limiter()
    fast = ZERO.copy()
    fast[3] = -LIMITS.velocity[3] - 2e-6
    fast[4] = LIMITS.velocity[4] + 0.5e-6
    track(made, MIDDLE, fast)
    assert made.clamps.velocity.tolist() == [0, 0, 0, 1] + [0] * 10


def test_acceleration_and_jerk_are_counted_by_joint() -> None:
    made = limiter()
    pull = ZERO.copy()
    pull[1], pull[9] = 2.0, 4.0
    track(made, MIDDLE, ZERO, pull)
    assert made.clamps.jerk.tolist() == [0] * 9 + [1] + [0] * 4
    assert not made.clamps.acceleration.any()
    assert made.acceleration[[1, 9]] == pytest.approx([0.8, 1.0])
    made = limiter()
    track(made, MIDDLE + 0.4 * (np.arange(ROBOT_DIM) == 2))
    assert made.clamps.acceleration.tolist() == [0, 0, 1] + [0] * 11
    assert made.clamps.jerk.tolist() == [0, 0, 1] + [0] * 11


@pytest.mark.parametrize("way", [-1, 1])
@pytest.mark.parametrize(
    ("lead", "bound"), [(0.1, True), (0.3 - 2e-6, True), (0.3 - 0.5e-6, False), (0.4, False)]
)
def test_a_target_is_held_near_the_measured_pose(way: int, lead: float, bound: bool) -> None:
    limits = replace(LIMITS, lead=np.where(JOINT, lead, np.inf))
    made = limiter(limits=limits)
    target = MIDDLE + way * np.where(JOINT, 0.3, 0.03)
    for _ in range(300):
        command = made.track(target, ZERO, ZERO, MIDDLE)
    away = np.abs(command - MIDDLE)
    np.testing.assert_allclose(away, np.where(JOINT, min(lead, 0.3), 0.03), atol=1e-5)
    np.testing.assert_array_equal(made.clamps.lead, np.where(JOINT & bound, 300, 0))
    assert not made.clamps.position.any()


def test_the_lead_holds_the_approach_too() -> None:
    made = limiter(limits=replace(LIMITS, lead=np.where(JOINT, 0.1, np.inf)))
    for _ in range(300):
        command = made.approach(MIDDLE + 0.3 * JOINT, MIDDLE)
    np.testing.assert_allclose(command, MIDDLE + 0.1 * JOINT, atol=1e-9)
    assert (made.clamps.lead == 300 * JOINT).all()


@pytest.mark.parametrize("joint", range(ROBOT_DIM), ids=DIM_NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("way", ["track", "velocity", "acceleration", "approach", "reset"])
def test_not_finite_raises_and_changes_nothing(joint: int, bad: float, way: str) -> None:
    made = limiter()
    tracked(made, MIDDLE + 0.2, 10)
    before, stop = [made.position.copy(), made.velocity.copy()], made._stop
    target = MIDDLE.copy()
    target[joint] = bad
    calls = {
        "track": lambda: made.track(target, ZERO, ZERO, MIDDLE),
        "velocity": lambda: made.track(MIDDLE, target, ZERO, MIDDLE),
        "acceleration": lambda: made.track(MIDDLE, ZERO, target, MIDDLE),
        "approach": lambda: made.approach(target, MIDDLE),
        "reset": lambda: made.reset(target),
    }
    with pytest.raises(InputError, match=f"not finite at {DIM_NAMES[joint]}; nothing was commanded"):
        calls[way]()
    np.testing.assert_array_equal([made.position, made.velocity], before)
    assert made._stop is stop


@pytest.mark.parametrize("way", ["track", "approach"])
def test_without_a_measured_pose_it_stops(way: str) -> None:
    made, told = limiter(), limiter()
    for one in (made, told):
        tracked(one, MIDDLE + 0.2, 20)
    blind = MIDDLE.copy()
    blind[8] = np.nan
    for _ in range(5):
        if way == "track":
            command = made.track(MIDDLE + 0.2, ZERO, ZERO, blind)
        else:
            command = made.approach(MIDDLE + 0.2, blind)
        np.testing.assert_array_equal(command, told.decelerate())


def test_without_a_pose_nothing_is_commanded() -> None:
    made = Limiter(LIMITS, PERIOD)
    for call in (
        made.decelerate,
        lambda: made.track(MIDDLE, ZERO, ZERO, MIDDLE),
        lambda: made.approach(MIDDLE, MIDDLE),
    ):
        with pytest.raises(InputError, match="commanded pose is not finite"):
            call()
    assert np.isnan(made.position).all()
    assert made.at_rest
    np.testing.assert_array_equal(made.reset(MIDDLE), MIDDLE)


def test_reset_begins_anew_at_rest() -> None:
    made = limiter()
    tracked(made, MIDDLE + 0.2, 20)
    assert not made.at_rest
    np.testing.assert_array_equal(made.reset(HOME), HOME)
    assert made.at_rest
    assert not made.velocity.any()
    assert not made.acceleration.any()
    np.testing.assert_array_equal(made.decelerate(), HOME)


values = arrays(np.float64, ROBOT_DIM, elements=st.floats(-20, 20))
moves = st.lists(
    st.tuples(st.sampled_from(["track", "fast", "approach", "decelerate"]), values, st.integers(1, 12)),
    min_size=1,
    max_size=12,
)


def played(made: Limiter, steps: list[tuple[str, Array, int]]) -> Array:
    commands = []
    for way, target, ticks in steps:
        for _ in range(ticks):
            if way == "decelerate":
                command = made.decelerate()
            elif way == "approach":
                command = made.approach(target, made.position)
            else:
                speed = target if way == "fast" else ZERO
                command = made.track(target, speed, speed, made.position)
            commands.append(command.copy())
    return np.array(commands)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), moves)
def test_no_limit_is_ever_exceeded(where: float, steps: list[tuple[str, Array, int]]) -> None:
    start = LIMITS.lower + where * (LIMITS.upper - LIMITS.lower)
    made = limiter(start)
    commands = played(made, steps)
    commands = np.concatenate((commands, stopped(made)))
    check(start, commands)
    assert (commands >= LIMITS.lower).all()
    assert (commands <= LIMITS.upper).all()


@settings(max_examples=40, deadline=None)
@given(values, moves)
def test_an_arm_found_outside_its_limits_never_goes_further_out(
    start: Array, steps: list[tuple[str, Array, int]]
) -> None:
    made = limiter(start)
    check(start, np.concatenate((played(made, steps), stopped(made))))


@pytest.mark.parametrize("side", [-1, 1])
def test_an_arm_found_outside_its_limits_comes_back(side: int) -> None:
    edge = LIMITS.upper if side > 0 else LIMITS.lower
    start = edge + side * np.where(JOINT, 0.2, 0.01)
    made = limiter(start)
    commands = tracked(made, MIDDLE, 200)
    check(start, commands)
    assert (side * commands[-1] < side * edge).all()


def test_it_stops_as_quickly_as_the_limits_allow() -> None:
    made = limiter()
    speed = np.where(JOINT, 1.0, 0.0)
    for tick in range(120):
        track(made, MIDDLE + speed * PERIOD * tick, speed)
    velocity = made.velocity.copy()
    np.testing.assert_allclose(velocity, speed, atol=2e-3)
    begin = made.position.copy()
    commands = stopped(made)
    # v / a, and half an a / j at both ends of it: 0.2 s and 0.025 s; the last command repeats the one before.
    assert len(commands) == pytest.approx(0.225 / PERIOD + 1, abs=1.1)
    np.testing.assert_allclose((commands[-1] - begin)[JOINT], 0.5 * 1.0 * 0.225, rtol=5e-3)
    np.testing.assert_array_equal(made.decelerate(), commands[-1])
    assert not made.velocity.any()
    assert made.at_rest


def test_a_stop_can_be_left_in_its_middle() -> None:
    made = limiter()
    way = [tracked(made, MIDDLE + 0.3 * JOINT, 30)]
    for _ in range(5):
        way += [
            np.array([made.decelerate().copy() for _ in range(7)]),
            tracked(made, MIDDLE + 0.3 * JOINT, 3),
        ]
    way.append(tracked(made, MIDDLE + 0.3 * JOINT, 200))
    check(MIDDLE, np.concatenate(way))
    np.testing.assert_allclose(made.position, MIDDLE + 0.3 * JOINT, atol=1e-6)


@pytest.mark.parametrize("way", [-1, 1])
@pytest.mark.parametrize("how", ["decelerate", "refused plan"])
def test_rounding_does_not_carry_a_stop_out_of_the_range(way: int, how: str) -> None:
    made = limiter()
    motion = np.array([ZERO, way * 0.1 * np.ones(ROBOT_DIM), ZERO])
    edge = LIMITS.upper if way > 0 else LIMITS.lower
    motion[0] = edge + way * 5e-13 - made._stop_from(motion).end
    assert (way * made._stop_from(motion).end > way * edge).all()
    made._take(motion, made._stop_from(motion))
    stepping(made, np.full((3, ROBOT_DIM), 1e6))
    for _ in range(60):
        command = made.decelerate() if how == "decelerate" else made.approach(MIDDLE, made.position)
        assert (way * command <= way * edge).all()
    np.testing.assert_allclose(command, edge, atol=1e-12)


def test_rounding_does_not_carry_a_plan_out_of_the_range() -> None:
    made = limiter(LIMITS.upper)
    stepping(made, np.array([LIMITS.upper + 5e-13, ZERO, ZERO]))
    np.testing.assert_array_equal(made.approach(MIDDLE, LIMITS.upper), LIMITS.upper)
    assert not made.clamps.position.any()


def test_approach_is_slow_gentle_and_arrives() -> None:
    made = limiter()
    target = np.clip(MIDDLE + 0.5, LIMITS.lower, LIMITS.upper)
    commands = np.array([made.approach(target, made.position).copy() for _ in range(400)])
    check(MIDDLE, commands)
    assert (np.abs(np.diff(commands, axis=0)) / PERIOD <= LIMITS.approach + 1e-9).all()
    np.testing.assert_allclose(commands[-1], target, atol=1e-9)
    assert made.at_rest
    shares = (commands - MIDDLE) / (target - MIDDLE)
    np.testing.assert_allclose(shares, shares[:, :1] * np.ones(ROBOT_DIM), atol=1e-6)
    assert not made.clamps.position.any()
    assert not made.clamps.velocity.any()


def test_approach_to_the_very_end_of_the_range_arrives() -> None:
    made = limiter()
    for _ in range(1500):
        command = made.approach(LIMITS.upper + 1.0, made.position)
    np.testing.assert_allclose(command, LIMITS.upper, atol=1e-9)


def test_approach_slows_down_from_a_faster_motion_within_the_limits() -> None:
    made = limiter()
    target = MIDDLE + 0.6 * JOINT
    way = [tracked(made, target, 60)]
    assert made.velocity.max() > 0.7
    way.append(np.array([made.approach(target, made.position).copy() for _ in range(400)]))
    check(MIDDLE, np.concatenate(way))
    np.testing.assert_allclose(made.position, target, atol=1e-9)


def stepping(made: Limiter, motion: Array | None) -> None:
    """Let the planner propose `motion`."""
    made._journey.step = lambda *_: motion  # type: ignore[method-assign]


def test_without_a_plan_the_approach_stops() -> None:
    made, told = limiter(), limiter()
    for one in (made, told):
        tracked(one, MIDDLE + 0.3 * JOINT, 40)
    stepping(made, None)
    for _ in range(60):
        np.testing.assert_array_equal(made.approach(MIDDLE, MIDDLE), told.decelerate())


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6, -1e6, 4.0, -4.0])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
def test_an_absurd_plan_is_not_followed(row: int, value: float) -> None:
    made, told = limiter(), limiter()
    for one in (made, told):
        tracked(one, MIDDLE + 0.3 * JOINT, 40)
    absurd = np.array([made.position, made.velocity, made.acceleration])
    absurd[row] += value
    stepping(made, absurd)
    np.testing.assert_allclose(made.approach(MIDDLE, MIDDLE), told.decelerate(), atol=1e-15)


@pytest.mark.parametrize(("share", "taken"), [(0.99, True), (1.01, False)])
@pytest.mark.parametrize("way", [-1, 1])
def test_a_plan_may_bend_within_a_tick_as_far_as_the_jerk_lets_it(
    share: float, taken: bool, way: int
) -> None:
    """From -j to j and the like: never more than j t^3 away from where the mean jerk leads."""
    made = limiter()
    bent = np.array([MIDDLE + way * share * LIMITS.jerk * PERIOD**3, ZERO, ZERO])
    stepping(made, bent)
    np.testing.assert_array_equal(made.approach(MIDDLE, MIDDLE), bent[0] if taken else MIDDLE)


@pytest.mark.parametrize(("beyond", "taken"), [(-1e-6, True), (1e-6, False)])
@pytest.mark.parametrize("limit", ["jerk", "acceleration", "velocity"])
@pytest.mark.parametrize("way", [-1, 1])
def test_a_plan_is_followed_up_to_each_limit(limit: str, beyond: float, taken: bool, way: int) -> None:
    """From a motion in which every other limit leaves room."""
    velocity, acceleration, jerk = {
        "jerk": (0.0, 0.0, 200.0 * (1 + beyond)),
        "acceleration": (0.0, 4.5, (0.5 + 5 * beyond) / PERIOD),
        # Led back to zero, the acceleration after this tick just uses up the velocity.
        "velocity": (1.0 + beyond - 2.0**2 / 400 - 2.0 * PERIOD, 2.0, 0.0),
    }[limit]
    made = limiter()
    begin = way * np.array([ZERO, JOINT * velocity, JOINT * acceleration])
    begin[0] = MIDDLE
    made._take(begin, made._stop_from(begin))
    jerks = way * jerk * JOINT
    after = begin.copy()
    after[0] += PERIOD * (begin[1] + PERIOD * (begin[2] / 2 + PERIOD * jerks / 6))
    after[1] += PERIOD * (begin[2] + PERIOD * jerks / 2)
    after[2] += PERIOD * jerks
    wanted, stop = after[2].copy(), made._stop.after(PERIOD)[2]
    stepping(made, after)
    made.approach(MIDDLE, MIDDLE)
    np.testing.assert_allclose(made.acceleration, wanted if taken else stop, atol=1e-9)


@pytest.mark.parametrize(("velocity", "reached"), [(0.9993, -0.4), (0.9994, -0.5)])
@pytest.mark.parametrize("way", [-1, 1])
def test_velocity_within_a_tick_is_limited_too(velocity: float, reached: float, way: int) -> None:
    """An acceleration from 0.5 to -0.4 is fastest where it turns, by 0.7 mm/s more than at the tick's begin.

    Neither end of the tick shows that; the stop, at full jerk, stays below.
    """
    made = limiter()
    begin = np.array([ZERO, JOINT * way * velocity, JOINT * way * 0.5])
    begin[0] = MIDDLE
    made._take(begin, made._stop_from(begin))
    proposed = np.array([advance(*state, -way * 0.9 / PERIOD, PERIOD) for state in begin.T]).T
    proposed[:, ~JOINT] = begin[:, ~JOINT]
    assert np.abs(proposed[1]).max() < 1.0
    stepping(made, proposed)
    made.approach(MIDDLE, MIDDLE)
    np.testing.assert_allclose(made.acceleration, JOINT * way * reached, atol=1e-9)


BOX = Workspace(
    np.array([[-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]]), np.array([[0.42, 1.0, 1.0], [1.0, 1.0, 1.0]])
)
BOXED = replace(LIMITS, workspace=BOX)


def reaching(out: float) -> Array:
    """A pose of the left arm that reaches further forwards the larger `out`."""
    pose = HOME.copy()
    pose[1] += 0.5 * out
    pose[2] -= 0.3 * out
    return pose


def test_an_arm_stops_at_the_wall_of_its_box() -> None:
    made = limiter(HOME, BOXED)
    target = reaching(1.0)
    target[7:] += np.array([0.3] * 6 + [0.01])
    target[6] = 0.05
    assert arm_points(target[:6])[2, 0] > 0.47
    commands = tracked(made, target, 300)
    check(HOME, commands)
    tip = arm_points(commands[:, :6])[:, 2, 0]
    assert tip.max() <= 0.42 + 1e-12
    assert tip[-1] == pytest.approx(0.42, abs=1e-3), "as far as it may"
    np.testing.assert_allclose(commands[-1][6:], target[6:], atol=1e-5)
    assert 50 < made.clamps.workspace[0] <= 300
    assert made.clamps.workspace[1] == 0
    assert made.clamps.clearance == 0
    commands = tracked(made, HOME, 300)
    np.testing.assert_allclose(commands[-1], HOME, atol=1e-5)


def test_at_the_wall_a_hold_stays_inside() -> None:
    for hold in range(20, 120, 4):
        made = limiter(HOME, BOXED)
        tracked(made, reaching(1.0), hold)
        tips = arm_points(stopped(made)[:, :6])[:, 2, 0]
        assert tips.max() <= 0.42 + 1e-12


@pytest.mark.parametrize("out", [0.6, 1.0])
def test_an_arm_found_outside_its_box_comes_back_and_goes_no_further(out: float) -> None:
    start = reaching(out)
    made = limiter(start, BOXED)
    before = arm_points(start[:6])[2, 0]
    assert before > 0.42
    held = tracked(made, reaching(1.5), 100)
    assert np.abs(held - start).max() < 1e-9
    back = tracked(made, HOME, 400)
    tips = arm_points(back[:, :6])[:, 2, 0]
    assert (np.diff(np.r_[before, tips])[tips > 0.42] <= 1e-12).all()
    np.testing.assert_allclose(back[-1], HOME, atol=1e-5)


SIDE_BY_SIDE = replace(
    LIMITS,
    workspace=Workspace(
        np.full((2, 3), -np.inf),
        np.full((2, 3), np.inf),
        clearance=0.1,
        base=np.array([[0.0, 0.2, 0.0, 0.0], [0.0, -0.2, 0.0, 0.0]]),
    ),
)


def test_two_arms_keep_clear_of_each_other() -> None:
    workspace = SIDE_BY_SIDE.workspace
    assert workspace is not None
    made = limiter(HOME, SIDE_BY_SIDE)
    together = HOME.copy()
    together[[0, 7]] = -1.0, 1.0
    together[[6, 13]] = 0.06
    commands = tracked(made, together, 400)
    check(HOME, commands)
    gaps = workspace.distance(workspace.points(commands))
    assert gaps.min() >= 0.1 - 1e-12
    assert gaps[-1] == pytest.approx(0.1, abs=2e-3)
    assert 50 < made.clamps.clearance <= 400
    assert not made.clamps.workspace.any()
    np.testing.assert_allclose(commands[-1][[6, 13]], 0.06, atol=1e-6)
    np.testing.assert_allclose(tracked(made, HOME, 300)[-1], HOME, atol=1e-5)


def test_one_arm_held_by_its_box_and_both_by_their_clearance() -> None:
    workspace = SIDE_BY_SIDE.workspace
    assert workspace is not None
    high = np.full((2, 3), np.inf)
    high[1, 1] = 0.08
    both = replace(workspace, high=high)
    made = limiter(HOME, replace(SIDE_BY_SIDE, workspace=both))
    together = HOME.copy()
    together[[0, 7]] = -1.5, 1.0
    commands = tracked(made, together, 400)
    check(HOME, commands)
    points = both.points(commands)
    assert points[:, 1, :, 1].max() <= 0.08 + 1e-12
    assert both.distance(points).min() >= 0.1 - 1e-12
    assert made.clamps.workspace[1] > 0
    assert made.clamps.clearance > 0


def test_a_target_that_is_cut_to_the_range_has_no_speed_there() -> None:
    start = MIDDLE.copy()
    start[0] = LIMITS.upper[0] - 0.05
    beyond = start.copy()
    beyond[0] = LIMITS.upper[0] + 0.5
    speed = np.zeros(ROBOT_DIM)
    speed[0] = 0.9
    moving, still = limiter(start), limiter(start)
    for _ in range(40):
        commanded = moving.track(beyond, speed, 5.0 * speed, start).copy()
        np.testing.assert_array_equal(commanded, still.track(beyond, ZERO, ZERO, start))
