"""PiperArm on the real piper_sdk against a simulated arm, and the conversions with the vendor's numbers."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import can
import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.errors import ArmError
from gigaedge.robot import Side
from gigaedge.site import CanConfig
from gigaedge_runtime.devices import Arm
from gigaedge_runtime.devices.can_state import CanState
from gigaedge_runtime.devices.piper import (
    PiperArm,
    gripper_from_sdk,
    gripper_to_sdk,
    joints_from_sdk,
    joints_to_sdk,
)
from gigaedge_runtime.devices.piper_faults import _FIRST as FIRST
from gigaedge_runtime.devices.piper_faults import PiperStatus, describe_faults, gravest
from gigaedge_runtime.devices.piper_link import PiperLink
from gigaedge_runtime.devices.sim_bus import INTERFACE
from gigaedge_runtime.devices.sim_frames import LimitReply
from gigaedge_runtime.devices.sim_piper import SimulatedPiper
from gigaedge_runtime.states import FaultCode

pytestmark = pytest.mark.realtime

HOME = (0.1, 0.9, -0.8, 0.2, 0.5, -0.1, 0.03)
FALL_COMMANDS = (0x150,)
_numbers = itertools.count()


@pytest.fixture
def make_pair() -> Iterator[Callable[..., tuple[SimulatedPiper, PiperArm]]]:
    """Pairs of a running simulated arm and a PiperArm on its channel; no thread may be left of them."""
    before = set(threading.enumerate())
    pairs: list[tuple[SimulatedPiper, PiperArm]] = []

    def make(side: Side = "left", home: tuple[float, ...] = HOME) -> tuple[SimulatedPiper, PiperArm]:
        channel = f"piper-{os.getpid()}-{next(_numbers)}"
        sim = SimulatedPiper(channel, home).start()
        arm = PiperArm(side, CanConfig(interface=INTERFACE, channel=channel))
        pairs.append((sim, arm))
        return sim, arm

    yield make
    for sim, arm in pairs:
        sim.jam(False)
        arm.close()
        sim.stop()
    assert set(threading.enumerate()) == before


@pytest.fixture
def pair(make_pair: Callable[..., tuple[SimulatedPiper, PiperArm]]) -> tuple[SimulatedPiper, PiperArm]:
    return make_pair()


@pytest.fixture
def enabled(pair: tuple[SimulatedPiper, PiperArm]) -> tuple[SimulatedPiper, PiperArm]:
    _, arm = pair
    arm.connect()
    arm.enable()
    return pair


def wait(condition: Callable[[], bool], timeout: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def commands(sim: SimulatedPiper) -> int:
    """Frames the arm heard that are not the SDK's queries."""
    return sum(count for identifier, count in sim.received.items() if identifier not in (0x472, 0x4AF))


def joints(*values: float) -> NDArray[np.float64]:
    return np.array(values)


# Conversions


def test_joint_angles_as_in_the_vendors_joint_demo() -> None:
    # demo/V2/piper_ctrl_joint.py: factor 57295.7795
    assert joints_to_sdk([0.2, 0.2, -0.2, 0.3, -0.2, 0.5]) == [11459, 11459, -11459, 17189, -11459, 28648]


def test_joint_limits_of_the_vendors_table() -> None:
    degrees = [-150, 180, -170, 100, -70, 120]
    assert joints_to_sdk(np.radians(degrees)) == [1000 * angle for angle in degrees]
    assert joints_from_sdk([1000 * angle for angle in degrees]) == pytest.approx(np.radians(degrees))


def test_gripper_opening_as_in_the_vendors_demo() -> None:
    assert gripper_to_sdk(0.08) == 80_000
    assert gripper_to_sdk(0.0699999) == 70_000
    assert gripper_from_sdk(70_000) == pytest.approx(0.07)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3.6, 1e9])
@pytest.mark.parametrize("joint", range(6))
def test_joint_angles_that_cannot_be_are_refused(bad: float, joint: int) -> None:
    values = [0.0] * 6
    values[joint] = bad
    with pytest.raises(ArmError, match=r"expected finite joint angles within \+-3.5 rad.*nothing was sent"):
        joints_to_sdk(values)


@pytest.mark.parametrize("count", [0, 5, 7])
def test_six_joint_angles_are_needed(count: int) -> None:
    with pytest.raises(ArmError, match=f"expected 6 joint angles, got {count}"):
        joints_to_sdk([0.0] * count)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.16, -0.16])
def test_gripper_openings_that_cannot_be_are_refused(bad: float) -> None:
    with pytest.raises(ArmError, match=r"expected a gripper opening within \+-0.15 m"):
        gripper_to_sdk(bad)


def test_gripper_effort_has_a_range() -> None:
    with pytest.raises(ArmError, match=r"gripper_effort: expected 0..5 N\*m, got 6"):
        PiperArm("left", CanConfig(), gripper_effort=6.0)


# Connecting


def test_it_is_an_arm() -> None:
    arm: Arm = PiperArm("right", CanConfig())
    assert arm.side == "right"


def test_connect_reads_the_arm_without_commanding_it(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    arm.connect()
    state = arm.read()
    assert state.joints == pytest.approx(HOME[:6], abs=1e-5)
    assert state.gripper == pytest.approx(0.03, abs=1e-6)
    assert not state.enabled
    assert state.fault is None
    assert 0 <= time.monotonic() - state.stamp < 1.0
    assert commands(sim) == 0
    assert wait(lambda: arm.firmware == "S-V1.8-6")


def test_a_channel_without_an_arm(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    arm = PiperArm("right", CanConfig(interface=INTERFACE, channel="nobody"))
    for _ in range(2):
        with pytest.raises(ArmError, match="nobody: no simulated arm serves this channel"):
            arm.connect()


def test_a_silent_arm_is_named_with_what_to_check(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    sim.silence()
    start = time.monotonic()
    with pytest.raises(ArmError, match=f"left arm on {sim.channel} does not answer; check power, cabling"):
        arm.connect()
    assert time.monotonic() - start < 5.0
    sim.silence(False)
    arm.connect()


def test_an_arm_that_sends_only_part_is_named(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    sim.mute(0x2A6, 0x264)
    with pytest.raises(ArmError, match=r"answers only in part \(missing: 0x2a6, 0x264\)"):
        arm.connect()


def test_a_channel_is_opened_once_in_a_process(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    arm.connect()
    second = PiperArm("right", CanConfig(interface=INTERFACE, channel=sim.channel))
    with pytest.raises(ArmError, match="opened already in this process"):
        second.connect()
    second.close()
    assert arm.read().fault is None


def test_a_missing_can_interface() -> None:
    with pytest.raises(ArmError) as caught:
        PiperArm("left", CanConfig(channel="can97")).connect()
    assert str(caught.value) == (
        "can97: no such CAN interface; bring it up with `ip link set can97 up type can bitrate 1000000` "
        "or correct `can.channel`"
    )


def _interface(monkeypatch: pytest.MonkeyPatch, up: bool, bitrate: int) -> None:
    """Make the SDK's checks see a CAN interface in this state."""
    from piper_sdk import C_STD_CAN

    status = C_STD_CAN.CAN_STATUS
    monkeypatch.setattr(C_STD_CAN, "is_can_socket_available", lambda *_: status.CHECK_CAN_EXIST)
    monkeypatch.setattr(
        C_STD_CAN, "is_can_port_up", lambda *_: status.CHECK_CAN_UP if up else status.CHECK_CAN_NOT_UP
    )
    monkeypatch.setattr(C_STD_CAN, "get_can_bitrate", lambda *_: bitrate)


@pytest.mark.parametrize(
    ("up", "bitrate", "message"),
    [
        (False, 1_000_000, r"can98: the CAN interface is down; bring it up with `ip link set can98 up"),
        (True, 500_000, r"can98: no CAN interface at 1000000 bit/s \(.*500000 bps.*`ip link set can98 down`"),
        (True, 1_000_000, r"can98: cannot open the CAN interface \(.+\); bring it up"),
    ],
)
def test_a_can_interface_in_a_wrong_state(
    monkeypatch: pytest.MonkeyPatch, up: bool, bitrate: int, message: str
) -> None:
    _interface(monkeypatch, up, bitrate)
    with pytest.raises(ArmError, match=message):
        PiperArm("left", CanConfig(channel="can98")).connect()


def test_an_unknown_interface_is_noticed_although_the_sdk_hides_it() -> None:
    with pytest.raises(ArmError, match=r"cannot open the CAN interface \(nonsense: .*check `can.interface`"):
        PiperArm("left", CanConfig(interface="nonsense", channel="x")).connect()


def test_calls_need_a_connection() -> None:
    arm = PiperArm("left", CanConfig(interface=INTERFACE, channel="x"))
    for call in (arm.read, arm.enable):
        with pytest.raises(ArmError, match="left arm on x is not connected; call connect"):
            call()
    with pytest.raises(ArmError, match=r"not connected"):
        _ = arm.firmware
    arm.close()


# Enabling


def test_enable_powers_every_motor_and_holds_the_pose(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    state = arm.read()
    assert state.enabled
    assert state.fault is None
    time.sleep(0.1)
    assert sim.joints == pytest.approx(HOME[:6], abs=1e-4)
    assert sim.gripper == pytest.approx(0.03, abs=1e-6)
    assert sim.peak_velocity < 0.05
    assert not any(sim.received[identifier] for identifier in FALL_COMMANDS)
    assert sim.power_cuts == 0


def test_enable_holds_where_the_arm_has_fallen_to(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    with can.Bus(interface=INTERFACE, channel=sim.channel) as bus:
        for switch in (2, 1):
            bus.send(
                can.Message(arbitration_id=0x471, is_extended_id=False, data=[7, switch, 0, 0, 0, 0, 0, 0])
            )
        assert wait(lambda: abs(sim.joints[1]) < 0.01)
    fallen = sim.joints
    arm.connect()
    arm.enable()
    time.sleep(0.2)
    assert sim.joints == pytest.approx(fallen, abs=0.02)


def test_enable_repeats_itself_after_a_reset(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    sim.press_estop()
    with can.Bus(interface=INTERFACE, channel=sim.channel) as bus:
        bus.send(can.Message(arbitration_id=0x150, is_extended_id=False, data=[2] + [0] * 7))
        assert wait(lambda: sim.received[0x150] == 1)
        time.sleep(0.8)
    arm.connect()
    arm.enable()
    assert sim.enabled


def test_enable_is_refused_at_fault(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    arm.connect()
    sim.press_estop()
    assert wait(lambda: arm.read().fault is not None)
    with pytest.raises(ArmError, match="cannot be enabled: emergency stop; clear this first"):
        arm.enable()
    assert commands(sim) == 0


def test_enable_is_refused_on_old_feedback(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    arm.connect()
    sim.silence()
    time.sleep(0.3)
    with pytest.raises(ArmError, match=r"feedback is 0\.\d\d s old, so there is no pose to hold"):
        arm.enable()
    assert commands(sim) == 0


def test_enable_says_what_did_not_come(
    pair: tuple[SimulatedPiper, PiperArm], monkeypatch: pytest.MonkeyPatch
) -> None:
    sim, arm = pair
    monkeypatch.setattr("gigaedge_runtime.devices.piper.ENABLE_TIMEOUT", 0.3)
    arm.connect()
    sim.jam()
    with pytest.raises(ArmError, match="the motor of joint 1 did not power up"):
        arm.enable()


# Commanding


def test_the_arm_follows_a_stream_and_holds_when_it_ends(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    goal = joints(0.2, 0.8, -0.7, 0.3, 0.4, 0.0)
    start = arm.read().joints
    for step in range(1, 101):
        assert arm.send(start + (goal - start) * step / 100, 0.05)
        time.sleep(0.005)
    assert wait(lambda: bool(np.allclose(arm.read().joints, goal, atol=2e-3)))
    assert wait(lambda: abs(arm.read().gripper - 0.05) < 1e-4)
    assert sim.targets == pytest.approx(tuple(goal), abs=1e-5)
    arm.close()
    time.sleep(0.2)
    assert sim.enabled
    assert sim.power_cuts == 0
    assert sim.joints == pytest.approx(tuple(goal), abs=2e-3)
    assert not any(sim.received[identifier] for identifier in FALL_COMMANDS)
    assert sim.received[0x471] >= 6


def test_the_first_frame_is_timed_when_the_bus_has_taken_it(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    before = arm.sent_at
    called = time.monotonic()
    arm.send(joints(*HOME[:6]), 0.03)
    sent = arm.sent_at
    assert before < called < sent < time.monotonic()
    sim.jam()
    while arm.send(joints(*HOME[:6]), 0.03):
        pass
    jammed = time.monotonic()
    assert not arm.send(joints(*HOME[:6]), 0.03)
    assert arm.sent_at < jammed, "a frame that was refused has no time"


def test_the_control_mode_is_repeated(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    before = sim.received[0x151]
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        arm.send(joints(*HOME[:6]), 0.03)
        time.sleep(0.02)
    assert 1 <= sim.received[0x151] - before <= 3


def test_control_is_not_taken_back_from_a_person(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    sim.set_teach(True)
    assert wait(lambda: arm.read().fault == "teach mode (the button on the arm)")
    sim.set_teach(False)
    assert wait(lambda: arm.read().fault == "not in CAN control (standby)")
    before = sim.received[0x151]
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        arm.send(joints(*HOME[:6]), 0.03)
        time.sleep(0.02)
    assert sim.received[0x151] == before
    assert not sim.in_can_control


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", range(7))
def test_nothing_leaves_when_a_value_is_not_finite(
    enabled: tuple[SimulatedPiper, PiperArm], bad: float, where: int
) -> None:
    sim, arm = enabled
    time.sleep(0.02)
    before = commands(sim)
    values = list(HOME)
    values[where] = bad
    with pytest.raises(ArmError, match="nothing was sent"):
        arm.send(joints(*values[:6]), values[6])
    time.sleep(0.02)
    assert commands(sim) == before


def test_send_needs_enable(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    arm.connect()
    with pytest.raises(ArmError, match="is not enabled; call enable"):
        arm.send(joints(*HOME[:6]), 0.03)
    assert commands(sim) == 0


def test_a_bus_that_takes_no_frames_shows_in_send(
    enabled: tuple[SimulatedPiper, PiperArm], capfd: pytest.CaptureFixture[str]
) -> None:
    sim, arm = enabled
    sim.jam()
    outcomes = [arm.send(joints(*HOME[:6]), 0.03) for _ in range(500)]
    assert outcomes[0]
    assert not outcomes[-1]
    assert arm.failed_frames > 0
    assert capfd.readouterr() == ("", "")
    sim.jam(False)
    assert wait(lambda: arm.send(joints(*HOME[:6]), 0.03))


def test_an_arm_that_goes_shows_in_send_and_in_the_stamp(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    sim.stop()
    assert not arm.send(joints(*HOME[:6]), 0.03)
    time.sleep(0.1)  # what was under way arrives
    stamp = arm.read().stamp
    busy = time.process_time()
    time.sleep(0.3)
    assert arm.read().stamp == stamp
    assert time.process_time() - busy < 0.2


def test_the_arm_may_be_connected_again_after_close(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    _, arm = enabled
    arm.close()
    arm.close()
    with pytest.raises(ArmError, match="is not enabled"):
        arm.send(joints(*HOME[:6]), 0.03)
    with pytest.raises(ArmError, match="is not connected"):
        arm.read()
    arm.connect()
    assert arm.read().enabled
    arm.enable()
    assert arm.send(joints(*HOME[:6]), 0.03)


# Reading


def test_stamps_advance_with_the_feedback_and_stop_with_it(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    first = arm.read().stamp
    assert wait(lambda: arm.read().stamp > first)
    sim.silence()
    time.sleep(0.1)
    last = arm.read().stamp
    time.sleep(0.1)
    assert arm.read().stamp == last


@pytest.mark.parametrize("lost", [0x2A5, 0x2A6, 0x2A7])
def test_one_joint_frame_of_three_lost_stops_the_stamp(
    enabled: tuple[SimulatedPiper, PiperArm], lost: int
) -> None:
    sim, arm = enabled
    sim.mute(lost)
    time.sleep(0.1)
    stamp = arm.read().stamp
    time.sleep(0.1)
    assert arm.read().stamp == stamp
    sim.mute()
    assert wait(lambda: arm.read().stamp > stamp)


@pytest.mark.parametrize("lost", [0x2A1, 0x2A8, 0x263])
def test_status_that_stops_while_joints_come_is_a_fault(
    enabled: tuple[SimulatedPiper, PiperArm], lost: int
) -> None:
    sim, arm = enabled
    sim.mute(lost)
    assert wait(lambda: arm.read().fault == f"feedback {lost:#x} stopped")
    sim.mute()
    assert wait(lambda: arm.read().fault is None)


def test_joints_of_one_reading_belong_together(
    make_pair: Callable[..., tuple[SimulatedPiper, PiperArm]],
) -> None:
    sim, arm = make_pair(home=(0.5, 0.5, -0.5, 0.5, 0.5, 0.5, 0.03))
    arm.connect()
    arm.enable()
    arm.send(joints(1.2, 1.2, -1.2, 1.2, 1.2, 1.2), 0.03)
    moved = False
    while not moved:
        values = np.abs(arm.read().joints)
        assert np.ptp(values) < 5e-5
        moved = bool(values[0] > 1.19)
    assert sim.peak_velocity > 0.5


def test_frames_that_the_sdk_would_misread_are_dropped(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, _ = pair
    link = PiperLink(CanConfig(interface=INTERFACE, channel=sim.channel), time.monotonic)
    link.open()
    try:
        assert wait(lambda: link.cycles > 3)
        with can.Bus(interface=INTERFACE, channel=sim.channel) as intruder:
            intruder.send(
                can.Message(arbitration_id=0x2A8, is_error_frame=True, is_extended_id=False, data=[1] * 8)
            )
            intruder.send(can.Message(arbitration_id=0x2A5, is_extended_id=False, data=[]))
            assert wait(lambda: link.refused_frames == 2)
        assert link.sdk.GetArmGripperMsgs().gripper_state.grippers_angle == 30_000
        assert link.joints is not None
        assert link.joints.angles[0] == 5730
    finally:
        link.close()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (SimulatedPiper.press_estop, "emergency stop"),
        (lambda sim: sim.set_teach(True), "teach mode (the button on the arm)"),
        (lambda sim: sim.set_error(status=7), "collision"),
        (lambda sim: sim.set_error(status=0x42), "unknown arm status 0xff"),
        (lambda sim: sim.set_error(code=0x0004), "joint 3: communication error"),
        (lambda sim: sim.set_error(code=0x2000), "joint 6: angle limit"),
        (lambda sim: sim.set_error(joint=4, driver_bits=1 << 2), "joint 4: driver overcurrent"),
        (lambda sim: sim.set_error(joint=2, driver_bits=1 << 7), "joint 2: stalled"),
    ],
)
def test_a_fault_is_read_in_words(
    enabled: tuple[SimulatedPiper, PiperArm], fault: Callable[[SimulatedPiper], None], text: str
) -> None:
    sim, arm = enabled
    fault(sim)
    assert wait(lambda: arm.read().fault == text)
    assert arm.read().enabled


def test_lost_power_is_a_fault_of_an_enabled_arm(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    with can.Bus(interface=INTERFACE, channel=sim.channel) as bus:
        bus.send(can.Message(arbitration_id=0x471, is_extended_id=False, data=[3, 1, 0, 0, 0, 0, 0, 0]))
        assert wait(lambda: arm.read().fault == "joint 3: lost power")
    assert not arm.read().enabled


def test_several_faults_are_all_named() -> None:
    status = PiperStatus(0, 1, 1, 0x0101, (0x40, 0x40, 0x40, 0, 0x60, 0x40), 0b1001_0000)
    assert describe_faults(status, armed=True) == (
        "emergency stop, teach mode (the button on the arm), joint 1: communication error, "
        "joint 1: angle limit, joint 4: lost power, joint 5: driver error, gripper: sensor error, "
        "gripper: lost power, not in CAN control (standby)"
    )
    assert describe_faults(PiperStatus(0, 0, 0, 0, (0,) * 6, 0), armed=False) is None
    assert describe_faults(PiperStatus(255, 0, 0, 0, (0x40,) * 6, 0x40), armed=True) == (
        "not in CAN control (mode 0xff)"
    )


# Two arms, two processes


def test_two_arms_do_not_hear_each_other(make_pair: Callable[..., tuple[SimulatedPiper, PiperArm]]) -> None:
    left_sim, left = make_pair("left")
    right_sim, right = make_pair("right", home=(-0.2, 0.6, -0.5, 0.0, 0.3, 0.2, 0.01))
    for arm in (left, right):
        arm.connect()
        arm.enable()
    left_goal, right_goal = joints(0.3, 1.0, -0.9, 0.2, 0.5, 0.0), joints(-0.3, 0.5, -0.4, 0.1, 0.2, 0.3)
    for _ in range(20):
        assert left.send(left_goal, 0.06)
        assert right.send(right_goal, 0.02)
        time.sleep(0.005)
    assert wait(lambda: bool(np.allclose(left.read().joints, left_goal, atol=2e-3)))
    assert wait(lambda: bool(np.allclose(right.read().joints, right_goal, atol=2e-3)))
    assert left_sim.gripper == pytest.approx(0.06, abs=1e-3)
    assert right_sim.gripper == pytest.approx(0.02, abs=1e-3)


@pytest.fixture
def other_process() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process of its own that serves a simulated arm; its channel."""
    channel = f"remote-{os.getpid()}-{next(_numbers)}"
    code = (
        "import sys\n"
        "from gigaedge_runtime.devices.sim_piper import SimulatedPiper\n"
        f"with SimulatedPiper({channel!r}, {HOME!r}):\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    with process:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError("the simulated arm did not come up")
        yield process, channel
        process.kill()


def test_the_arm_may_live_in_another_process(other_process: tuple[subprocess.Popen[bytes], str]) -> None:
    process, channel = other_process
    arm = PiperArm("left", CanConfig(interface=INTERFACE, channel=channel))
    arm.connect()
    try:
        arm.enable()
        goal = joints(0.2, 0.8, -0.7, 0.1, 0.4, 0.0)
        assert arm.send(goal, 0.04)
        assert wait(lambda: bool(np.allclose(arm.read().joints, goal, atol=2e-3)))
        # A bystander on the same bus sees the arm move.
        with can.Bus(
            interface=INTERFACE, channel=channel, can_filters=[{"can_id": 0x2A5, "can_mask": 0x7FF}]
        ) as bus:
            message = bus.recv(1)
            assert int.from_bytes(message.data[:4], "big", signed=True) == pytest.approx(11459, abs=200)
        process.kill()
        process.wait()
        assert wait(lambda: not arm.send(goal, 0.04))
    finally:
        arm.close()


# Health: what is lost, seen by kind and at once


@pytest.mark.parametrize("lost", [0x2A5, 0x2A6, 0x2A7])
def test_one_of_three_joint_frames_lost_is_named(enabled: tuple[SimulatedPiper, PiperArm], lost: int) -> None:
    sim, arm = enabled
    sim.mute(lost)
    assert wait(lambda: arm.read().fault == f"feedback {lost:#x} stopped")
    state = arm.read()
    assert state.code is FaultCode.FEEDBACK
    stamp = state.stamp
    time.sleep(0.05)
    assert arm.read().stamp == stamp, "and the pose is as old as its oldest part"
    sim.mute()
    assert wait(lambda: arm.read().fault is None)


def test_joint_frames_are_counted_so_that_a_stall_loses_none(
    enabled: tuple[SimulatedPiper, PiperArm],
) -> None:
    sim, arm = enabled
    sim.silence()
    time.sleep(0.3)
    assert arm.read().fault is None, "silence is judged by its age, by whoever reads"
    sim.silence(False)
    for _ in range(100):
        assert arm.read().fault is None
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (SimulatedPiper.press_estop, FaultCode.ESTOP),
        (lambda sim: sim.set_teach(True), FaultCode.TEACH),
        (lambda sim: sim.set_error(status=7), FaultCode.COLLISION),
        (lambda sim: sim.set_error(status=14), FaultCode.TEMPERATURE),
        (lambda sim: sim.set_error(status=0x42), FaultCode.ARM),
        (lambda sim: sim.set_error(code=0x0004), FaultCode.JOINT),
        (lambda sim: sim.set_error(joint=4, driver_bits=1 << 7), FaultCode.COLLISION),
        (SimulatedPiper.power_cycle, FaultCode.POWER),
    ],
)
def test_a_fault_has_a_kind(
    enabled: tuple[SimulatedPiper, PiperArm], fault: Callable[[SimulatedPiper], None], code: FaultCode
) -> None:
    sim, arm = enabled
    fault(sim)
    assert wait(lambda: arm.read().code is code)


def test_of_several_faults_the_cause_counts() -> None:
    power, stop, mode = (FaultCode.POWER, "a"), (FaultCode.ESTOP, "b"), (FaultCode.MODE, "c")
    assert gravest([mode, power, stop]) is FaultCode.ESTOP
    assert gravest([mode, power]) is FaultCode.POWER
    assert gravest([]) is FaultCode.NONE
    assert {gravest([(code, "")]) for code in FaultCode if code in FIRST} == set(FIRST)


@pytest.mark.parametrize(
    ("what", "code"),
    [("press_estop", FaultCode.ESTOP), ("set_teach", FaultCode.TEACH)],
)
def test_stop_and_teach_are_seen_with_the_frame_that_says_so(
    enabled: tuple[SimulatedPiper, PiperArm],
    what: str,
    code: FaultCode,
    record_property: Callable[[str, object], None],
) -> None:
    sim, arm = enabled
    took = []
    for _ in range(10):
        begin = time.monotonic()
        sim.press_estop() if what == "press_estop" else sim.set_teach(True)
        assert wait_finely(lambda: arm.read().code is code)
        took.append(1e3 * (time.monotonic() - begin))
        # Free it, as a person would; the arm stays the same object.
        sim.set_teach(False)
        sim.release_estop()
        assert wait_finely(lambda: arm.read().code is not code)
    record_property(f"{what}_ms", [round(value, 2) for value in took])
    # One feedback period of 5 ms and what this computer adds; a loaded one adds a lot to some of them.
    assert min(took) < 10.0


def wait_finely(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5.0
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.0002)
    return True


def test_a_can_interface_in_an_error_state_is_a_fault(
    enabled: tuple[SimulatedPiper, PiperArm], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, arm = enabled

    class Watch:
        latest: CanState | None = CanState("BUS-OFF")

        def close(self) -> None:
            pass

    monkeypatch.setattr(arm, "_watch", Watch())
    state = arm.read()
    assert (state.fault, state.code) == ("the CAN interface is BUS-OFF", FaultCode.BUS)
    Watch.latest = None
    assert arm.read().fault is None
    Watch.latest = CanState("ERROR-ACTIVE")
    assert arm.read().fault is None
    report = arm.inspect()
    assert report is not None
    assert report.bus == "ERROR-ACTIVE"


# Reconnecting


def test_a_replugged_arm_comes_back_unarmed(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    goal = joints(0.2, 0.8, -0.7, 0.1, 0.4, 0.0)
    pose = arm.read().joints
    sim.unplug()
    assert wait(lambda: not arm.send(goal, 0.03))
    begin = time.monotonic()
    arm.reconnect()
    arm.reconnect()
    lost = arm.read()
    assert time.monotonic() - begin < 0.1, "the other arm's tick does not wait for this one"
    assert (lost.fault, lost.code) == ("the bus is being opened anew", FaultCode.BUS)
    assert not lost.enabled
    np.testing.assert_allclose(lost.joints, pose, atol=1e-3)
    assert arm.inspect() is None
    with pytest.raises(ArmError, match="is not enabled"):
        arm.send(goal, 0.03)
    with pytest.raises(ArmError, match="its bus is being opened anew; check the cable"):
        arm.enable()
    time.sleep(0.7)
    assert arm.read().stamp == lost.stamp, "there is nothing to open yet"
    sim.unplug(False)
    assert wait(lambda: arm.read().fault is None)
    assert arm.reconnects == 1
    assert sim.enabled, "the adapter was pulled, not the arm's supply: it holds"
    told = sim.received[0x155]
    with pytest.raises(ArmError, match="is not enabled"):
        arm.send(goal, 0.03)
    assert sim.received[0x155] == told
    arm.enable()
    assert arm.send(goal, 0.03)
    assert wait(lambda: bool(np.allclose(arm.read().joints, goal, atol=2e-3)))


def test_an_arm_may_be_closed_while_it_is_reconnected(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    sim.unplug()
    arm.reconnect()
    arm.close()
    arm.close()
    sim.unplug(False)
    assert wait(lambda: connects(arm))


def connects(arm: PiperArm) -> bool:
    try:
        arm.connect()
    except ArmError:
        return False
    return True


# Firmware


def test_the_firmwares_own_limits_are_read_joint_by_joint(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    sim.set_limits(3, LimitReply(low=-1000, high=-50, speed=1500, acceleration=2500))
    arm.connect()
    limits = arm.firmware_limits()
    assert limits is not None
    degrees = [round(math.degrees(value), 3) for value in limits.position_max]
    assert degrees == [150, 180, -5, 100, 70, 120]
    assert [round(math.degrees(value), 3) for value in limits.position_min] == [
        -150,
        0,
        -100,
        -100,
        -70,
        -120,
    ]
    assert limits.velocity == (3.0, 3.0, 1.5, 3.0, 3.0, 3.0)
    assert limits.acceleration == (5.0, 5.0, 2.5, 5.0, 5.0, 5.0)
    assert sim.received[0x472] == 12, "the SDK's own questions were enough"


def test_what_was_not_answered_is_asked_again(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    sim.mute(0x47C)
    arm.connect()
    threading.Timer(0.2, sim.mute).start()
    limits = arm.firmware_limits()
    assert limits is not None
    assert limits.acceleration == (5.0,) * 6
    assert sim.received[0x472] > 12


def test_firmware_that_does_not_answer_is_waited_for_a_second(pair: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = pair
    sim.mute(0x473)
    arm.connect()
    begin = time.monotonic()
    assert arm.firmware_limits() is None
    assert 0.9 < time.monotonic() - begin < 3.0


def test_the_arm_tells_everything_of_itself(enabled: tuple[SimulatedPiper, PiperArm]) -> None:
    sim, arm = enabled
    arm.inspect()
    time.sleep(0.3)
    report = arm.inspect()
    assert report is not None
    assert (report.side, report.channel, report.firmware) == ("left", sim.channel, "S-V1.8-6")
    assert (report.control_mode, report.faults) == ("CAN control", ())
    assert report.powered == (True,) * 7
    np.testing.assert_allclose(report.joints, HOME[:6], atol=1e-3)
    assert report.gripper == pytest.approx(HOME[6], abs=1e-4)
    assert report.voltages == (24.0,) * 6
    assert report.motor_temperatures == (32,) * 6
    assert report.driver_temperatures == (35,) * 6
    assert (report.bus, report.adapter) == (None, None)
    rates = {frame.kind: frame.rate for frame in report.frames}
    assert 100 < rates["joints"] < 250
    assert 20 < rates["drivers"] < 60
    assert all(frame.age < 1.0 for frame in report.frames)
    sim.set_error(joint=2, driver_bits=1 << 1)
    assert wait(lambda: bool(arm.inspect().faults))  # type: ignore[union-attr]
    assert arm.inspect().faults == ((FaultCode.TEMPERATURE, "joint 2: motor too hot"),)  # type: ignore[union-attr]


def test_another_adapter_than_the_sites_is_refused_before_the_bus_is_opened() -> None:
    arm = PiperArm("left", CanConfig(channel="can_nowhere", adapter="A1"))
    with pytest.raises(ArmError, match="expected the CAN adapter with serial number A1, found none"):
        arm.connect()
