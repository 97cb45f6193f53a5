"""The simulated arm, spoken to in CAN frames as the vendor's manual gives them."""

from __future__ import annotations

import itertools
import os
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import can
import pytest

from gigaedge.errors import ArmError
from gigaedge_runtime.devices.sim_bus import INTERFACE
from gigaedge_runtime.devices.sim_frames import LimitReply
from gigaedge_runtime.devices.sim_piper import SimulatedPiper

pytestmark = pytest.mark.realtime

HOME = (0.1, 0.9, -0.8, 0.2, 0.5, -0.1, 0.03)
_numbers = itertools.count()


@pytest.fixture
def arm() -> Iterator[SimulatedPiper]:
    with SimulatedPiper(f"arm-{os.getpid()}-{next(_numbers)}", HOME) as arm:
        yield arm


@pytest.fixture
def bus(arm: SimulatedPiper) -> Iterator[can.BusABC]:
    with can.Bus(interface=INTERFACE, channel=arm.channel) as bus:
        yield bus


def wait(condition: Callable[[], bool], timeout: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def tell(bus: can.BusABC, identifier: int, *data: int) -> None:
    padded = bytes(data) + bytes(8 - len(data))
    bus.send(can.Message(arbitration_id=identifier, data=padded, is_extended_id=False))


def hear(bus: can.BusABC, identifier: int, timeout: float = 2.0) -> bytes:
    """The newest frame of one identifier, ignoring what was queued before."""
    while bus.recv(0) is not None:
        pass
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        message = bus.recv(0.5)
        if message is not None and message.arbitration_id == identifier:
            return bytes(message.data)
    raise AssertionError(f"no {identifier:#x}")


def take_control(bus: can.BusABC) -> None:
    tell(bus, 0x151, 1, 1, 100, 0xAD)
    tell(bus, 0x471, 7, 2)


def move_joints(bus: can.BusABC, degrees: tuple[float, ...]) -> None:
    for pair in range(3):
        angles = [round(1000 * angle) for angle in degrees[2 * pair : 2 * pair + 2]]
        tell(bus, 0x155 + pair, *struct.pack(">ii", *angles))


def test_feedback_has_every_frame_at_its_rate(arm: SimulatedPiper, bus: can.BusABC) -> None:
    bus.recv(1)
    counts: Counter[int] = Counter()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        message = bus.recv(0.1)
        if message is not None:
            counts[message.arbitration_id] += 1
    fast = [*range(0x2A1, 0x2A9), *range(0x251, 0x257)]
    slow = list(range(0x261, 0x267))
    assert set(counts) == {*fast, *slow}
    assert all(100 <= counts[identifier] <= 206 for identifier in fast)
    assert all(counts[0x2A5] / counts[identifier] == pytest.approx(5, rel=0.15) for identifier in slow)


def test_feedback_is_in_vendor_units(arm: SimulatedPiper, bus: can.BusABC) -> None:
    assert struct.unpack(">ii", hear(bus, 0x2A5)) == (5730, 51566)
    assert struct.unpack(">ii", hear(bus, 0x2A7)) == (28648, -5730)
    assert struct.unpack(">ihBB", hear(bus, 0x2A8)) == (30_000, 0, 0, 0)
    assert struct.unpack(">HhbBH", hear(bus, 0x263)) == (240, 35, 32, 0, 300)
    assert hear(bus, 0x2A1) == bytes(8)


def test_queries_are_answered(arm: SimulatedPiper, bus: can.BusABC) -> None:
    tell(bus, 0x472, 2, 1)
    assert struct.unpack(">BhhHx", hear(bus, 0x473)) == (2, 1800, 0, 3000)
    tell(bus, 0x472, 4, 2)
    assert struct.unpack(">BH5x", hear(bus, 0x47C)) == (4, 5000)
    tell(bus, 0x4AF, 1)
    assert hear(bus, 0x4AF) == b"PIPER-MA"


def test_joints_move_to_their_targets_and_hold(arm: SimulatedPiper, bus: can.BusABC) -> None:
    take_control(bus)
    move_joints(bus, (10, 40, -40, 20, 20, -10))
    assert wait(lambda: arm.joints == pytest.approx((0.1745, 0.698, -0.698, 0.349, 0.349, -0.1745), abs=2e-3))
    assert hear(bus, 0x2A1)[:5] == bytes((1, 0, 1, 0, 0))
    assert 0 < arm.peak_velocity <= 3.0
    held = arm.joints
    time.sleep(0.2)
    assert arm.joints == pytest.approx(held, abs=2e-3)
    assert arm.power_cuts == 0


def test_joint_speed_is_reported(arm: SimulatedPiper, bus: can.BusABC) -> None:
    take_control(bus)
    move_joints(bus, (140, 51.6, -45.8, 11.5, 28.6, -5.7))
    time.sleep(0.2)
    speed, _, _ = struct.unpack(">hhi", hear(bus, 0x251))
    assert speed > 500
    assert hear(bus, 0x2A1)[4] == 1


def test_without_can_control_commands_do_nothing(arm: SimulatedPiper, bus: can.BusABC) -> None:
    tell(bus, 0x471, 7, 2)
    move_joints(bus, (0,) * 6)
    tell(bus, 0x159, *struct.pack(">iHBB", 70_000, 1000, 1, 0))
    assert wait(lambda: arm.received[0x159] == 1)
    time.sleep(0.1)
    assert arm.joints == pytest.approx(HOME[:6], abs=1e-6)
    assert arm.gripper == pytest.approx(0.03)


def test_each_motor_is_powered_for_itself(arm: SimulatedPiper, bus: can.BusABC) -> None:
    for motor in range(1, 7):
        assert not arm.enabled
        tell(bus, 0x471, motor, 2)
        assert wait(lambda: hear(bus, 0x260 + motor)[5] == 0x40)  # noqa: B023
    assert arm.enabled


def test_power_off_drops_the_arm(arm: SimulatedPiper, bus: can.BusABC) -> None:
    take_control(bus)
    assert wait(lambda: arm.enabled)
    tell(bus, 0x471, 7, 1)
    assert wait(lambda: abs(arm.joints[1]) < 0.05)
    assert arm.power_cuts == 6
    assert arm.joints[0] == pytest.approx(HOME[0], abs=1e-3)


def test_power_back_after_a_fall_jumps_to_the_last_target(arm: SimulatedPiper, bus: can.BusABC) -> None:
    take_control(bus)
    tell(bus, 0x471, 7, 1)
    assert wait(lambda: abs(arm.joints[1]) < 0.05)
    tell(bus, 0x471, 7, 2)
    assert wait(lambda: arm.joints == pytest.approx(HOME[:6], abs=5e-3))


def test_gripper_obeys_and_is_powered_by_its_own_command(arm: SimulatedPiper, bus: can.BusABC) -> None:
    take_control(bus)
    tell(bus, 0x159, *struct.pack(">iHBB", 60_000, 1000, 1, 0))
    assert wait(lambda: arm.gripper == pytest.approx(0.06, abs=1e-4))
    assert hear(bus, 0x2A8)[6] == 0x40
    tell(bus, 0x159, *struct.pack(">iHBB", 0, 1000, 0, 0))
    assert wait(lambda: hear(bus, 0x2A8)[6] == 0)
    assert arm.gripper > 0.05
    tell(bus, 0x159, *struct.pack(">iHBB", 0, 1000, 0, 0xAE))
    assert wait(lambda: arm.gripper == 0.0)


@pytest.mark.parametrize("by", ["button", "frame"])
def test_an_estop_descends_slowly_and_obeys_nothing(arm: SimulatedPiper, bus: can.BusABC, by: str) -> None:
    take_control(bus)
    assert wait(lambda: arm.enabled)
    if by == "button":
        arm.press_estop()
    else:
        tell(bus, 0x150, 1)
    assert wait(lambda: hear(bus, 0x2A1)[1] == 1)
    take_control(bus)
    move_joints(bus, (20, 90, -90, 0, 0, 0))
    before = arm.joints[1]
    time.sleep(0.3)
    assert arm.enabled
    assert 0.02 < before - arm.joints[1] < 0.3
    assert arm.peak_velocity <= 0.3 + 1e-9


def test_resume_cuts_the_power_and_wants_two_enables(arm: SimulatedPiper, bus: can.BusABC) -> None:
    take_control(bus)
    assert wait(lambda: arm.enabled)
    arm.press_estop()
    tell(bus, 0x150, 2)
    assert wait(lambda: arm.power_cuts == 6)
    tell(bus, 0x471, 7, 2)
    assert not wait(lambda: arm.enabled, 0.1)
    tell(bus, 0x471, 7, 2)
    assert wait(lambda: arm.enabled)
    assert hear(bus, 0x2A1)[:2] == bytes((0, 0))
    assert wait(lambda: arm.power_cuts == 12)  # 727 ms after the reset


def test_standby_after_control_cuts_the_power(arm: SimulatedPiper, bus: can.BusABC) -> None:
    take_control(bus)
    assert wait(lambda: arm.enabled)
    tell(bus, 0x151, 0, 1, 100, 0)
    start = time.monotonic()
    assert wait(lambda: not arm.enabled)
    assert time.monotonic() - start > 0.6


def test_teach_mode_ignores_commands_and_ends_in_standby(arm: SimulatedPiper, bus: can.BusABC) -> None:
    take_control(bus)
    assert wait(lambda: arm.enabled)
    arm.set_teach(True)
    move_joints(bus, (0,) * 6)
    tell(bus, 0x151, 1, 1, 100, 0xAD)
    assert wait(lambda: hear(bus, 0x2A1)[:4] == bytes((2, 0, 1, 1)))
    assert arm.joints == pytest.approx(HOME[:6], abs=1e-3)
    arm.set_teach(False)
    assert wait(lambda: hear(bus, 0x2A1)[:4] == bytes((0, 0, 1, 0)))
    assert not arm.in_can_control


def test_errors_are_reported_until_cleared(arm: SimulatedPiper, bus: can.BusABC) -> None:
    arm.set_error(status=5, code=0x0102, joint=3, driver_bits=1 << 3)
    assert wait(lambda: hear(bus, 0x2A1) == bytes((0, 5, 0, 0, 0, 0, 1, 2)))
    assert hear(bus, 0x263)[5] == 1 << 3
    arm.set_error(joint=3)
    assert wait(lambda: hear(bus, 0x2A1) == bytes(8))
    assert hear(bus, 0x263)[5] == 0


def test_a_silent_arm_sends_nothing_and_still_hears(arm: SimulatedPiper, bus: can.BusABC) -> None:
    bus.recv(1)
    arm.silence()
    time.sleep(0.05)
    while bus.recv(0) is not None:
        pass
    assert bus.recv(0.1) is None
    take_control(bus)
    assert wait(lambda: arm.enabled)
    arm.silence(False)
    assert bus.recv(1) is not None


def test_single_frames_can_be_left_out(arm: SimulatedPiper, bus: can.BusABC) -> None:
    arm.mute(0x2A6)
    time.sleep(0.05)
    with pytest.raises(AssertionError, match="no 0x2a6"):
        hear(bus, 0x2A6, timeout=0.1)
    assert hear(bus, 0x2A5)
    arm.mute()
    assert hear(bus, 0x2A6)


def test_late_and_lost_feedback(arm: SimulatedPiper, bus: can.BusABC) -> None:
    bus.recv(1)
    arm.delay(0.3)
    begin = time.monotonic()
    hear(bus, 0x2A7)
    assert time.monotonic() - begin > 0.2
    arm.delay(0.0)
    hear(bus, 0x2A7)
    arm.lose(40)
    begin = time.monotonic()
    # A packet may be on its way already: what comes at once was sent before.
    time.sleep(0.02)
    while bus.recv(0) is not None:
        pass
    hear(bus, 0x2A7)
    assert 0.15 < time.monotonic() - begin < 1.0


def test_a_channel_holds_one_arm(arm: SimulatedPiper) -> None:
    with pytest.raises(ArmError, match="is served already; choose another"):
        SimulatedPiper(arm.channel, HOME).start()


def test_home_has_seven_values() -> None:
    with pytest.raises(ArmError, match="home needs 7 values, got 6"):
        SimulatedPiper("short", HOME[:6])


def test_stop_ends_the_thread_and_start_serves_again() -> None:
    before = set(threading.enumerate())
    arm = SimulatedPiper(f"again-{os.getpid()}", HOME)
    for _ in range(2):
        arm.start()
        with can.Bus(interface=INTERFACE, channel=arm.channel) as bus:
            assert hear(bus, 0x2A5)
        arm.stop()
        arm.stop()
        assert set(threading.enumerate()) == before


def test_an_unplugged_adapter_is_gone_and_another_one_when_it_returns(
    arm: SimulatedPiper, bus: can.BusABC
) -> None:
    take_control(bus)
    assert wait(lambda: arm.enabled)
    arm.unplug()
    assert wait(lambda: not opens(arm.channel))
    with pytest.raises(can.CanOperationError, match="the arm is gone"):
        tell(bus, 0x471, 7, 1)
    before = arm.joints
    arm.unplug(False)
    assert wait(lambda: opens(arm.channel))
    assert arm.enabled
    assert arm.joints == pytest.approx(before, abs=1e-3)
    with pytest.raises(can.CanOperationError, match="the arm is gone"):
        tell(bus, 0x471, 7, 1)


def opens(channel: str) -> bool:
    try:
        with can.Bus(interface=INTERFACE, channel=channel):
            return True
    except can.CanInitializationError:
        return False


def test_an_arm_that_is_switched_off_and_on_has_fallen_and_forgets(
    arm: SimulatedPiper, bus: can.BusABC
) -> None:
    take_control(bus)
    assert wait(lambda: arm.enabled)
    arm.set_error(status=7)
    arm.power_cycle()
    assert not arm.enabled
    assert arm.power_cuts == 6
    assert wait(lambda: hear(bus, 0x2A1)[:2] == bytes(2)), "standby, and no error any more"
    assert wait(lambda: arm.joints[1] < 0.5)


def test_limits_and_version_are_what_they_were_set_to(arm: SimulatedPiper, bus: can.BusABC) -> None:
    arm.set_limits(2, LimitReply(low=-100, high=1800, speed=2000, acceleration=4000))
    arm.corrupt_limits(5)
    arm.set_firmware("S-V1.5-2")
    for joint, content, expected in (
        (2, 1, struct.pack(">BhhHx", 2, 1800, -100, 2000)),
        (2, 2, struct.pack(">BH5x", 2, 4000)),
        (5, 1, struct.pack(">BhhHx", 5, -1, -1, 3000)),
        (6, 1, struct.pack(">BhhHx", 6, 1200, -1200, 3000)),
    ):
        tell(bus, 0x472, joint, content)
        assert hear(bus, 0x473 if content == 1 else 0x47C) == expected
    tell(bus, 0x4AF, 1)
    parts = [hear(bus, 0x4AF)]
    while len(parts) < 3 and (message := bus.recv(0.5)) is not None:
        if message.arbitration_id == 0x4AF:
            parts.append(bytes(message.data))
    assert b"S-V1.5-2" in b"".join(parts)
