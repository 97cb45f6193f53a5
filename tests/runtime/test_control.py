"""The control loop on fake arms and a fake clock: what moves, what holds, what latches."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gigaedge.errors import ArmError, ConfigError
from gigaedge.robot import ARM_DIM, CAMERA_ROLES, ROBOT_DIM, SIDES, Side, arm_slice
from gigaedge.site import Site
from gigaedge_runtime.control import SETTLING, ControlLoop
from gigaedge_runtime.devices import ArmState
from gigaedge_runtime.limits import Limits
from gigaedge_runtime.mailbox import Board, ControlStatus, Order, Phase
from gigaedge_runtime.states import FaultCode, State

PERIOD = 0.005
HOME = np.array([0.1, 1.0, -1.0, 0.1, 0.2, -0.1, 0.03])
START = np.tile(HOME, 2)


@dataclass
class FakeArm:
    """Reaches 30 % of what is left to the target per tick; counts what it is told."""

    side: Side
    now: Callable[[], float]
    pose: NDArray[np.float64] = field(default_factory=HOME.copy)
    target: NDArray[np.float64] | None = None
    sent: list[NDArray[np.float64]] = field(default_factory=list)
    enabled: bool = False
    fault: str | None = None
    stamp: float | None = None
    refuse: int = 0
    blocked: bool = False
    enable_error: str | None = None
    code: FaultCode = FaultCode.ARM
    reconnects: int = 0
    sent_at: float = 0.0

    def connect(self) -> None:
        raise AssertionError("the loop gets connected arms")

    def enable(self) -> None:
        if self.enable_error:
            raise ArmError(self.enable_error)
        self.enabled = True
        self.target = self.pose.copy()

    def read(self) -> ArmState:
        if self.target is not None and not self.blocked:
            self.pose += 0.3 * (self.target - self.pose)
        stamp = self.now() if self.stamp is None else self.stamp
        return ArmState(self.pose[:6].copy(), float(self.pose[6]), stamp, self.enabled, self.fault, self.code)

    def reconnect(self) -> None:
        self.reconnects += 1
        self.enabled = False

    def send(self, joints: NDArray[np.float64], gripper: float) -> bool:
        assert self.enabled
        assert np.isfinite(joints).all()
        assert np.isfinite(gripper)
        if self.refuse:
            self.refuse -= 1
            return False
        self.target = np.r_[joints, gripper]
        self.sent.append(self.target)
        self.sent_at = self.now()
        return True

    def close(self) -> None:
        raise AssertionError("the loop does not close arms")


class Cell:
    """A loop with two fake arms, in fake time."""

    def __init__(
        self,
        *,
        absent: bool = False,
        dry_run: bool = False,
        parks: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None] = (None, None),
        **sections: object,
    ) -> None:
        self.now = 100.0
        self.policy = self.supervisor = True
        self.signal = False
        self.fd = Board.create()
        self.board = Board(self.fd)
        right = {"driver": "absent", "pose": tuple(HOME)} if absent else {"driver": "sim"}
        left_park, right_park = (None if park is None else tuple(park) for park in parks)
        self.site = Site.model_validate(
            {
                "bundle": Path("bundle"),
                "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
                "arms": [
                    {"side": "left", "driver": "sim", "park": left_park},
                    {"side": "right", **right, "park": right_park},
                ],
                **sections,
            }
        )
        self.arms = {side: FakeArm(side, lambda: self.now) for side in SIDES[: 1 if absent else 2]}
        self.loop = ControlLoop(
            self.site,
            self.arms,
            Board(self.fd),
            policy_alive=lambda: self.policy,
            supervisor_alive=lambda: self.supervisor,
            stop_asked=lambda: self.signal,
            dry_run=dry_run,
            clock=lambda: self.now,
        )
        self.chunks = 0
        self.commands: list[NDArray[np.float64]] = []

    @property
    def state(self) -> State:
        return self.loop.machine.state

    @property
    def status(self) -> ControlStatus:
        status = self.board.status.latest()
        assert status is not None
        return status

    def publish(
        self, target: NDArray[np.floating] = START, *, actions: int = 48, age: float = 0.1, slope: float = 0.0
    ) -> None:
        """A chunk at `target`, or one that leaves it with `slope` rad/s on every left joint."""
        self.chunks += 1
        chunk = np.tile(target, (actions, 1)).astype(np.float32)
        chunk[:, :6] += slope * np.arange(actions)[:, None] / 30
        self.board.chunks.publish(self.chunks, self.now - age, 30.0, chunk)

    def run(self, seconds: float) -> bool:
        """Tick for a while; False when the loop said that it is over."""
        for _ in range(round(seconds / PERIOD)):
            self.now += PERIOD
            going_on = self.loop.tick(self.now)
            if self.loop.armed:
                self.commands.append(self.loop.limiter.position.copy())
            if not going_on:
                return False
        return True

    def start(self, **chunk: float) -> None:
        """Armed and running on a first chunk."""
        self.board.order.give(Order.RUN)
        self.publish(**{"age": 0.0, **chunk})
        self.run(0.05)
        assert self.state is State.RUNNING


@pytest.fixture
def cell() -> Iterator[Cell]:
    cell = Cell()
    yield cell
    os.close(cell.fd)


def speeds(commands: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.abs(np.diff(commands, axis=0)) / PERIOD


def test_nothing_is_enabled_before_the_order_and_a_chunk(cell: Cell) -> None:
    cell.run(0.05)
    cell.publish()
    cell.run(0.05)
    assert cell.state is State.DISARMED
    assert not cell.arms["left"].enabled, "a chunk alone is no order"
    other = Cell()
    other.board.order.give(Order.RUN)
    other.run(0.05)
    assert not other.arms["left"].enabled, "an order alone is no proof of a working policy"
    os.close(other.fd)


def test_it_approaches_slowly_then_follows_the_chunk(cell: Cell) -> None:
    target = START.copy()
    target[0] += 0.3
    cell.board.order.give(Order.RUN)
    cell.publish(target)
    cell.run(0.3)
    assert cell.state is State.APPROACH
    assert speeds(cell.commands).max() <= 0.4 + 1e-9
    cell.run(0.7)
    assert cell.state is State.RUNNING
    np.testing.assert_allclose(cell.commands[-1], target, atol=1e-3)
    np.testing.assert_allclose(cell.arms["left"].pose, target[:ARM_DIM], atol=1e-3)
    assert cell.status.phase is Phase.LOOPING
    assert cell.status.chunk == 1


def test_the_measured_states_go_to_the_ring_with_their_own_time(cell: Cell) -> None:
    cell.run(0.1)
    newest = cell.board.states.newest()
    assert newest is not None
    assert newest[0] == cell.now
    np.testing.assert_allclose(newest[1], START)


def test_actions_are_due_by_time_and_past_ones_are_skipped(cell: Cell) -> None:
    cell.start()
    cell.publish(slope=0.5, age=0.2)
    observed = cell.now - 0.2
    cell.run(0.5)
    due = START[0] + 0.5 * (cell.now - observed)
    assert cell.commands[-1][0] == pytest.approx(due, abs=0.08)


def test_a_missing_chunk_decelerates_and_holds_and_a_fresh_near_one_resumes(cell: Cell) -> None:
    cell.start(slope=0.5, actions=10)
    cell.run(1.0)
    assert cell.state is State.HOLD
    held = cell.commands[-1]
    assert np.diff(speeds(cell.commands), axis=0).min() >= -(5.0 * PERIOD + 1e-9)
    sent = len(cell.arms["left"].sent)
    cell.run(0.5)
    assert len(cell.arms["left"].sent) == sent + 100, "holding is being told so"
    np.testing.assert_array_equal(cell.commands[-1], held)
    cell.publish(held, actions=3, age=0.2)
    cell.run(0.1)
    assert cell.state is State.HOLD, "too late to be played"
    cell.publish(held)
    cell.run(PERIOD)
    assert cell.state is State.RUNNING


def test_a_fresh_chunk_far_away_is_approached(cell: Cell) -> None:
    cell.start(actions=10)
    cell.run(0.5)
    assert cell.state is State.HOLD
    far = START.copy()
    far[3] += 0.5
    cell.publish(far)
    cell.run(0.5)
    assert cell.state is State.APPROACH
    assert speeds(cell.commands).max() <= 0.4 + 1e-9


def test_two_chunks_apart_are_joined_without_a_jump(cell: Cell) -> None:
    cell.start()
    other = START.copy()
    other[2] -= 0.05
    cell.publish(other)
    cell.run(0.5)
    assert cell.state is State.RUNNING
    np.testing.assert_allclose(cell.commands[-1], other, atol=1e-4)
    assert np.array(cell.commands)[:, 2].min() > other[2] - 1e-3, "no overshoot"
    assert speeds(cell.commands).max() < 0.5
    assert not cell.loop.limiter.clamps.velocity.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_chunk_that_is_not_finite_latches(cell: Cell, bad: float) -> None:
    cell.start(slope=0.5)
    target = START.copy()
    target[9] = bad
    cell.publish(target)
    cell.run(0.3)
    fault = cell.loop.machine.fault
    assert fault is not None
    assert fault.code is FaultCode.NON_FINITE
    assert fault.text == "chunk 2 is refused: a chunk must be finite; this one holds NaN or infinity"
    cell.publish()
    cell.run(1.0)
    assert cell.state is State.FAULT, "a good chunk does not clear it"
    assert cell.status.at_rest
    assert cell.status.settled


def test_an_arms_own_fault_stops_both_and_it_gets_no_more_commands(cell: Cell) -> None:
    cell.start(slope=0.5)
    cell.run(0.3)
    cell.arms["right"].fault = "emergency stop"
    sent = {side: len(arm.sent) for side, arm in cell.arms.items()}
    cell.run(0.3)
    fault = cell.status.fault
    assert fault is not None
    assert (fault.code, fault.text) == (FaultCode.ARM, "right arm: emergency stop")
    assert len(cell.arms["right"].sent) == sent["right"]
    assert len(cell.arms["left"].sent) == sent["left"] + 60
    assert cell.status.at_rest
    cell.arms["right"].fault = None
    cell.run(0.3)
    assert len(cell.arms["right"].sent) == sent["right"], "it would jump when a person frees it"


def test_before_it_is_enabled_an_arms_fault_is_its_own_affair(cell: Cell) -> None:
    cell.arms["left"].fault = "standby"
    cell.run(0.1)
    assert cell.state is State.DISARMED


@pytest.mark.parametrize("code", [FaultCode.ESTOP, FaultCode.TEACH, FaultCode.COLLISION, FaultCode.BUS])
def test_the_kind_of_an_arms_fault_is_kept(cell: Cell, code: FaultCode) -> None:
    cell.start()
    cell.arms["left"].fault, cell.arms["left"].code = "something", code
    cell.run(PERIOD)
    assert cell.status.fault is not None
    assert cell.status.fault.code is code, "in the very next tick"


def test_lost_power_latches(cell: Cell) -> None:
    cell.start()
    cell.arms["left"].enabled = False
    cell.run(0.05)
    assert cell.status.fault is not None
    assert cell.status.fault.text == "left arm: a motor lost its power"


@pytest.mark.parametrize(("age", "faulty"), [(0.049, False), (0.051, True)])
def test_stale_feedback_latches(cell: Cell, age: float, faulty: bool) -> None:
    cell.start()
    cell.arms["left"].stamp = cell.now + PERIOD - age
    cell.run(PERIOD)
    assert (cell.state is State.FAULT) is faulty
    if faulty:
        assert cell.status.fault is not None
        assert cell.status.fault.code is FaultCode.FEEDBACK
        assert "left arm: feedback is 51 ms old, more than max_feedback_age 50 ms" in cell.status.fault.text


def test_after_a_stall_of_the_computer_feedback_gets_a_moment_to_catch_up(cell: Cell) -> None:
    cell.start()
    stamp = cell.now
    for side in cell.arms:
        cell.arms[side].stamp = stamp
    cell.now += 0.2
    cell.run(0.03)
    assert cell.state is State.RUNNING
    for side in cell.arms:
        cell.arms[side].stamp = None
    cell.run(0.1)
    assert cell.state is State.RUNNING


def test_a_stall_does_not_excuse_feedback_for_long_nor_often(cell: Cell) -> None:
    cell.start()
    cell.arms["left"].stamp = cell.now
    cell.now += 0.2
    cell.run(0.07)
    assert cell.state is State.FAULT
    other = Cell()
    other.start()
    other.arms["left"].stamp = other.now
    for _ in range(5):
        other.now += 0.03
        other.run(PERIOD)
    assert other.state is State.FAULT, "a loop that is late all the time must not go blind"
    os.close(other.fd)


@pytest.mark.parametrize(("refused", "faulty"), [(1, False), (2, False), (3, True)])
def test_refused_commands_latch_when_three_in_a_row(cell: Cell, refused: int, faulty: bool) -> None:
    cell.start()
    cell.arms["right"].refuse = refused
    cell.run(0.1)
    assert (cell.state is State.FAULT) is faulty
    assert cell.status.failed_sends == refused
    if faulty:
        assert cell.status.fault is not None
        assert cell.status.fault.text.startswith("right arm: the bus refused 3 commands in a row")


def test_an_arm_that_raises_on_sending_counts_as_refusing(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell.start()

    def send(joints: object, gripper: float) -> bool:
        raise ArmError("left arm is gone")

    monkeypatch.setattr(cell.arms["left"], "send", send)
    cell.run(0.1)
    assert cell.status.fault is not None
    assert cell.status.fault.code is FaultCode.SEND
    assert cell.status.fault.text.endswith("left arm is gone")


def test_an_arm_that_cannot_be_read_stops_both(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.start(slope=0.5)

    def read() -> ArmState:
        raise ArmError("the bus is gone")

    monkeypatch.setattr(cell.arms["left"], "read", read)
    sent = len(cell.arms["left"].sent)
    cell.run(0.3)
    assert cell.status.fault is not None
    assert cell.status.fault.text == "left arm: the bus is gone"
    assert len(cell.arms["left"].sent) == sent
    assert cell.status.at_rest


def test_an_arm_that_does_not_follow_latches(cell: Cell) -> None:
    cell.start(slope=0.6)
    cell.arms["left"].blocked = True
    cell.run(1.4)
    fault = cell.status.fault
    assert fault is not None
    assert fault.code is FaultCode.TRACKING
    assert "rad from its command, more than tracking_error 0.6 rad" in fault.text


def test_a_dead_policy_process_brings_both_arms_to_hold_at_once(cell: Cell) -> None:
    cell.start(slope=0.6)
    cell.run(1.0)
    assert speeds(cell.commands)[-1].max() == pytest.approx(0.6, abs=0.01)
    cell.policy = False
    died = cell.now
    cell.run(PERIOD)
    assert cell.state is State.FAULT, "in the very next tick"
    cell.run(1.0)
    assert cell.status.fault is not None
    assert cell.status.fault.text == "the policy process died"
    assert all(arm.enabled for arm in cell.arms.values())
    report = cell.loop.report("test")
    assert report.held_after is not None
    assert report.standstill_after is not None
    assert report.held_after < 0.22, "0.6 rad/s at 5 rad/s^2, and what 200 rad/s^3 adds"
    assert report.standstill_after < 0.25
    moving = [k for k, step in enumerate(speeds(cell.commands)) if step.any()]
    stopped_at = died + (moving[-1] - len(cell.commands)) * PERIOD + 1.0
    assert stopped_at - died < 0.22
    assert cell.run(1.0), "it holds until it is told to end"
    cell.board.order.give(Order.STOP)
    assert not cell.run(PERIOD)
    assert cell.state is State.FAULT


@pytest.mark.parametrize("how", ["order", "signal", "supervisor"])
def test_an_end_decelerates_holds_settles_and_leaves_the_arms_enabled(cell: Cell, how: str) -> None:
    cell.start(slope=0.9)
    cell.run(0.3)
    if how == "order":
        cell.board.order.give(Order.STOP)
        cell.policy = False
    elif how == "signal":
        cell.signal = True
    else:
        cell.supervisor = False
        cell.policy = False
    begin = cell.now
    assert not cell.run(2.0)
    assert SETTLING <= cell.now - begin < SETTLING + 0.3
    assert cell.state is State.STOPPED, "a policy process that ends because of the order is no fault"
    assert np.diff(speeds(cell.commands), axis=0).min() >= -(5.0 * PERIOD + 1e-9)
    assert all(arm.enabled for arm in cell.arms.values())
    report = cell.loop.report("test")
    assert max(abs(error) for error in report.end_error.values()) < 1e-3
    assert report.travel_measured["left_joint_1"] == pytest.approx(
        report.travel_commanded["left_joint_1"], abs=0.01
    )


def test_an_end_before_anything_moved(cell: Cell) -> None:
    cell.run(0.05)
    cell.board.order.give(Order.STOP)
    assert not cell.run(PERIOD)
    report = cell.loop.report("test")
    assert report.end_error == {}
    assert report.sends == 0


def test_a_dry_run_neither_enables_nor_commands(cell: Cell) -> None:
    dry = Cell(dry_run=True)
    dry.board.order.give(Order.RUN)
    for _ in range(5):
        dry.publish()
        dry.run(0.2)
    assert dry.state is State.DISARMED
    assert dry.status.sends == 0
    assert not any(arm.enabled or arm.sent for arm in dry.arms.values())
    dry.board.order.give(Order.STOP)
    assert not dry.run(PERIOD)
    os.close(dry.fd)


def test_an_arm_that_cannot_be_enabled_ends_the_loop_with_its_error(cell: Cell) -> None:
    cell.arms["right"].enable_error = "right arm: the motor of joint 2 did not power up"
    cell.board.order.give(Order.RUN)
    cell.publish()
    with pytest.raises(ArmError, match="joint 2 did not power up"):
        cell.run(0.1)
    assert cell.status.phase is Phase.ARMING
    assert not cell.arms["left"].sent


def test_one_unfit_arm_keeps_both_without_power(cell: Cell) -> None:
    cell.arms["right"].fault = "emergency stop"
    cell.board.order.give(Order.RUN)
    cell.publish()
    with pytest.raises(ArmError, match="right arm cannot be enabled: emergency stop; clear this first"):
        cell.run(0.1)
    assert not cell.arms["left"].enabled


def test_an_absent_arm_stays_at_its_pose_and_counts_nowhere() -> None:
    cell = Cell(absent=True)
    far = START.copy()
    far[arm_slice("right")] += 1.0
    cell.start(target=far)
    cell.run(0.5)
    assert cell.state is State.RUNNING
    np.testing.assert_array_equal(cell.commands[-1][arm_slice("right")], HOME)
    newest = cell.board.states.newest()
    assert newest is not None
    np.testing.assert_array_equal(newest[1][arm_slice("right")], HOME)
    assert not cell.loop.limiter.clamps.position.any()
    assert set(cell.loop.report("test").travel_commanded) == {f"left_joint_{j}" for j in range(1, 7)} | {
        "left_gripper"
    }
    os.close(cell.fd)


PARK = np.array([0.4, 0.5, -0.6, 0.0, 0.3, 0.0, 0.0])


@pytest.fixture
def parking() -> Iterator[Cell]:
    cell = Cell(parks=(PARK, HOME))
    yield cell
    os.close(cell.fd)


def test_a_running_cell_is_parked_slowly_and_stays_there(parking: Cell) -> None:
    parking.start(slope=0.5)
    parking.run(0.4)
    parking.commands.clear()
    parking.board.order.give(Order.PARK)
    parking.run(PERIOD)
    assert parking.state is State.PARKING
    parking.policy = False
    parking.run(4.0)
    assert parking.state is State.PARKED, "a policy that ends meanwhile is none of its business"
    np.testing.assert_allclose(parking.arms["left"].pose, PARK, atol=2e-3)
    np.testing.assert_allclose(parking.arms["right"].pose, HOME, atol=2e-3)
    braking = 0.4 + 10.0 * PERIOD
    assert speeds(parking.commands)[20:].max() <= 0.4 + 1e-9
    assert speeds(parking.commands).max() <= 0.5 + braking
    assert all(arm.enabled for arm in parking.arms.values())
    parking.board.order.give(Order.RUN)
    parking.policy = True
    parking.publish()
    assert parking.run(0.1)
    assert parking.state is State.PARKED, "what comes next is another run"
    parking.board.order.give(Order.STOP)
    assert not parking.run(1.0)
    assert parking.state is State.PARKED
    assert [change.state for change in parking.loop.report("").states][-2:] == ["parking", "parked"]


def test_arms_are_parked_without_a_policy(parking: Cell) -> None:
    parking.board.order.give(Order.PARK)
    parking.run(4.0)
    assert parking.state is State.PARKED
    assert parking.loop.report("").chunks == []


def test_a_stop_ends_parking_where_it_is(parking: Cell) -> None:
    parking.board.order.give(Order.PARK)
    parking.run(0.5)
    assert parking.state is State.PARKING
    parking.signal = True
    assert not parking.run(2.0)
    assert parking.state is State.STOPPED
    assert np.abs(parking.arms["left"].pose - PARK).max() > 0.1


def test_a_fault_ends_parking(parking: Cell) -> None:
    parking.board.order.give(Order.PARK)
    parking.run(0.5)
    parking.arms["right"].fault = "collision"
    parking.run(0.5)
    assert parking.state is State.FAULT
    assert parking.status.at_rest


def test_an_arm_that_does_not_get_to_its_park_pose_latches() -> None:
    cell = Cell(parks=(PARK, HOME), timing={"approach_timeout": 1.5}, limits={"approach_velocity": 0.1})
    cell.board.order.give(Order.PARK)
    cell.run(2.0)
    assert cell.status.fault is not None
    assert cell.status.fault.code is FaultCode.APPROACH
    assert cell.status.fault.text.startswith(
        "the park pose was not reached within approach_timeout 1.5 s; it is"
    )
    os.close(cell.fd)


def test_without_a_park_pose_an_order_to_park_only_holds(cell: Cell) -> None:
    cell.board.order.give(Order.PARK)
    cell.run(0.5)
    assert cell.state is State.HOLD
    np.testing.assert_array_equal(cell.commands[-1], START)


def test_an_absent_arm_is_parked_at_its_pose() -> None:
    cell = Cell(absent=True, parks=(PARK, None))
    cell.board.order.give(Order.PARK)
    cell.run(4.0)
    assert cell.state is State.PARKED
    np.testing.assert_array_equal(cell.commands[-1][arm_slice("right")], HOME)
    os.close(cell.fd)


def test_a_park_pose_beyond_the_limits_is_refused() -> None:
    beyond = PARK.copy()
    beyond[1] = -0.2
    with pytest.raises(
        ConfigError, match=r"arms\[1\].park: right_joint_2 is -0.2, outside its limits 0..3.14"
    ):
        Cell(parks=(PARK, beyond))


def test_an_order_to_hold_powers_the_arms_where_they_are(cell: Cell) -> None:
    cell.board.order.give(Order.HOLD)
    cell.run(0.6)
    assert cell.state is State.HOLD
    assert cell.status.settled
    np.testing.assert_array_equal(cell.commands[-1], START)
    assert all(arm.enabled for arm in cell.arms.values())


def test_arms_that_stand_where_the_other_is_parked_are_not_powered() -> None:
    folded = np.array([0.9, 0.5, -0.6, 0.0, 0.3, 0.0, 0.0])
    cell = Cell(parks=(folded, HOME))
    cell.arms["left"].pose, cell.arms["right"].pose = HOME.copy(), folded.copy()
    cell.board.order.give(Order.RUN)
    cell.publish()
    with pytest.raises(ArmError, match="the left and the right arm seem to be swapped"):
        cell.run(0.1)
    assert not any(arm.enabled for arm in cell.arms.values())
    os.close(cell.fd)


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_arm_that_is_silent_before_it_is_commanded_is_waited_for(dry_run: bool) -> None:
    cell = Cell(dry_run=dry_run)
    cell.run(0.05)
    cell.arms["left"].stamp = cell.now
    cell.run(0.1)
    cell.board.order.give(Order.RUN)
    cell.publish()
    cell.run(0.3)
    assert cell.arms["left"].reconnects == 0, "a short gap mends itself"
    cell.run(0.4)
    assert cell.state is State.DISARMED
    assert cell.arms["left"].reconnects > 0
    assert cell.arms["right"].reconnects == 0
    assert not any(arm.enabled for arm in cell.arms.values()), "an arm that is not heard is not powered"
    cell.arms["left"].stamp = None
    cell.publish()
    cell.run(0.1)
    assert cell.state is (State.DISARMED if dry_run else State.RUNNING)
    os.close(cell.fd)


def test_an_arm_that_stays_silent_before_it_is_commanded_ends_the_run() -> None:
    cell = Cell(timing={"startup_timeout": 2.0})
    cell.run(0.05)
    cell.arms["left"].stamp = cell.now
    cell.run(2.1)
    assert cell.status.fault is not None
    assert cell.status.fault.text.startswith(
        "left arm: no feedback for 2 s, nor when its bus was opened anew"
    )
    os.close(cell.fd)


def test_a_commanded_arm_is_not_reconnected(cell: Cell) -> None:
    cell.start()
    cell.arms["left"].stamp = cell.now
    cell.run(2.0)
    assert cell.state is State.FAULT
    assert cell.arms["left"].reconnects == 0


def test_a_target_beyond_the_limits_is_reached_as_far_as_they_allow(cell: Cell) -> None:
    beyond = START.copy()
    beyond[6] = 0.2
    beyond[4] = 1.3
    cell.board.order.give(Order.RUN)
    for _ in range(5):
        cell.publish(beyond)
        cell.run(1.0)
    assert cell.state is State.RUNNING
    assert 0.0 <= 1.22 - cell.commands[-1][4] < 1e-9
    assert 0.0 <= 0.07 - cell.commands[-1][6] < 1e-9
    report = cell.loop.report("test")
    assert report.clamps.position["left_joint_5"] > 0
    assert report.clamps.position["left_gripper"] > 0
    assert report.clamps.position["right_gripper"] == 0


def test_the_report_tells_the_story(cell: Cell) -> None:
    cell.start()
    cell.publish()
    cell.run(0.2)
    cell.board.order.give(Order.STOP)
    cell.run(1.0)
    report = cell.loop.report("test scheduling")
    assert [change.state for change in report.states] == ["approach", "running", "stopped"]
    assert report.state == "stopped"
    assert report.fault is None
    assert report.chunks == [1, 2]
    assert report.enabled == {"left": True, "right": True}
    assert report.period.p50 == pytest.approx(PERIOD, abs=1e-4)
    assert report.scheduling == "test scheduling"
    assert report.sends == 2 * len(cell.commands)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(arrays(np.float64, ROBOT_DIM, elements=st.floats(-6, 6)), min_size=1, max_size=6),
    st.floats(0, 2),
)
def test_whatever_the_policy_says_the_arms_get_what_the_limits_allow(
    targets: list[NDArray[np.float64]], slope: float
) -> None:
    cell = Cell()
    limits = Limits.of(cell.site)
    cell.board.order.give(Order.RUN)
    for target in targets:
        cell.publish(target, slope=slope)
        cell.run(0.3)
    for side, arm in cell.arms.items():
        columns = arm_slice(side)
        sent = np.array([HOME, *arm.sent])
        assert (sent >= limits.lower[columns]).all()
        assert (sent <= limits.upper[columns]).all()
        assert (np.abs(np.diff(sent, axis=0)) <= limits.velocity[columns] * PERIOD + 1e-12).all()
    os.close(cell.fd)


def test_the_control_process_imports_no_heavy_package() -> None:
    code = (
        "import sys, gigaedge_runtime.control_process; "
        "print([m for m in ('onnxruntime', 'cv2', 'torch', 'PIL', 'pyrealsense2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestTheWayOfAChunk:
    """What control says of how a chunk reached the arms; in this clock a tick takes no time."""

    def test_the_first_tick_that_commands_it_is_told_once(self, cell: Cell) -> None:
        cell.start()
        assert cell.board.handover.newest() is not None
        cell.publish()
        published = cell.now
        cell.run(0.1)
        found = cell.board.handover.newest()
        assert found is not None
        assert found.chunk == 2
        assert (
            found.tick == found.called == found.sent == found.last_sent == pytest.approx(published + PERIOD)
        )
        assert 100.0 < found.powered < published
        cell.run(0.1)
        assert cell.board.handover.newest() is None

    def test_while_the_arms_approach_the_picture_decides_as_well(self, cell: Cell) -> None:
        target = START.copy()
        target[0] += 0.5
        cell.board.order.give(Order.RUN)
        cell.publish(target)
        cell.run(0.1)
        assert cell.state is State.APPROACH
        found = cell.board.handover.newest()
        assert found is not None
        assert found.chunk == 1

    def test_a_dry_run_says_nothing(self) -> None:
        cell = Cell(dry_run=True)
        cell.board.order.give(Order.RUN)
        cell.publish()
        cell.run(0.2)
        assert cell.board.handover.newest() is None
        os.close(cell.fd)

    def test_arms_that_hold_say_nothing(self, cell: Cell) -> None:
        cell.start()
        cell.board.handover.newest()
        cell.run(2.0)
        assert cell.state is State.HOLD
        cell.publish(actions=2, age=1.0)
        cell.run(0.1)
        assert cell.state is State.HOLD
        assert cell.board.handover.newest() is None

    def test_a_tick_whose_frames_were_refused_is_not_the_one(self, cell: Cell) -> None:
        cell.start()
        cell.board.handover.newest()
        for arm in cell.arms.values():
            arm.refuse = 2
        cell.publish()
        published = cell.now
        cell.run(0.1)
        found = cell.board.handover.newest()
        assert found is not None
        assert found.sent == pytest.approx(published + 3 * PERIOD)

    def test_one_arm_that_takes_its_frame_is_enough(self, cell: Cell) -> None:
        cell.start()
        cell.board.handover.newest()
        cell.arms["left"].refuse = 1
        cell.publish()
        published = cell.now
        cell.run(PERIOD)
        found = cell.board.handover.newest()
        assert found is not None
        assert found.sent == pytest.approx(published + PERIOD)


def test_the_stages_of_a_tick_add_up_to_its_work(cell: Cell) -> None:
    cell.start()
    cell.loop.statistics.restart_period()
    looks = 0

    def look() -> float:
        nonlocal looks
        looks += 1
        return cell.now + 1e-5 * looks

    cell.loop._clock = look
    for _ in range(40):
        cell.now += PERIOD
        cell.loop.tick(look())
    report = cell.loop.report("test")
    assert list(report.stages) == ["feedback", "decide", "limits", "send", "publish"]
    assert {spread.count for spread in report.stages.values()} == {40}
    assert sum(spread.mean for spread in report.stages.values()) == pytest.approx(report.work.mean, rel=1e-9)
    assert report.stages["limits"].min == pytest.approx(1e-5)
    assert report.stages["send"].min == pytest.approx(2e-5), "before the SDK is called there is another look"


def test_a_tick_without_power_has_no_limits_and_sends_nothing(cell: Cell) -> None:
    cell.run(0.1)
    assert list(cell.loop.report("test").stages) == ["feedback", "decide", "publish"]
