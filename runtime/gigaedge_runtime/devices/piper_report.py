"""Looking at a PiPER without commanding it: what it says of itself, for a person and for the check before arming."""

from __future__ import annotations

import math
import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gigaedge.clock import Clock
from gigaedge.profiles import FirmwareLimits
from gigaedge.robot import JOINTS, Side
from gigaedge_runtime.devices.piper_faults import find_faults, mode_in_words
from gigaedge_runtime.devices.piper_link import (
    DRIVER_IDS,
    GRIPPER_ID,
    JOINT_IDS,
    STATUS_ID,
    PiperLink,
    read_status,
)
from gigaedge_runtime.states import FaultCode

if TYPE_CHECKING:
    from piper_sdk import C_PiperInterface_V2

ANSWER_TIMEOUT: Final = 1.0
"""s; firmware answers a question within a few ms. What has not come by then will not come."""

OLDEST_FIRMWARE: Final = (1, 8, 6)
"""S-V1.8-6; before it AgileX's issue tracker knows of control modes that do not take and of wrong efforts."""

KINDS: Final = {
    "status": (STATUS_ID,),
    "joints": JOINT_IDS,
    "gripper": (GRIPPER_ID,),
    "drivers": DRIVER_IDS,
}
"""Feedback by kind: what the runtime reads of an arm."""

_ASK_AGAIN: Final = 0.05
_POLL: Final = 0.005
_LIMITS: Final = struct.Struct(">BhhH")
_ACCELERATION: Final = struct.Struct(">BH")


@dataclass(frozen=True)
class FrameReport:
    """How one kind of feedback arrives."""

    kind: str
    rate: float
    """Hz, of the rarest identifier of its kind, since the last look."""
    age: float
    """s, of the oldest identifier of its kind; infinite before the first."""


@dataclass(frozen=True)
class ArmReport:
    """One arm, at one time."""

    side: Side
    channel: str
    adapter: str | None
    """USB serial number of the CAN adapter, where there is one."""
    bus: str | None
    """State of the CAN interface (ERROR-ACTIVE is healthy); None for an interface without one."""
    firmware: str | None
    control_mode: str
    powered: tuple[bool, ...]
    """The six joint motors and the gripper's."""
    joints: tuple[float, ...]
    """rad."""
    gripper: float
    """m."""
    voltages: tuple[float, ...]
    """V, by joint."""
    motor_temperatures: tuple[int, ...]
    """Degrees Celsius, by joint."""
    driver_temperatures: tuple[int, ...]
    faults: tuple[tuple[FaultCode, str], ...]
    """Why the arm cannot be commanded."""
    frames: tuple[FrameReport, ...]


def read_firmware(sdk: C_PiperInterface_V2) -> str | None:
    """Firmware version such as "S-V1.8-6", or None while the arm has not answered (some 25 ms)."""
    version = sdk.GetPiperFirmwareVersion()
    return version if isinstance(version, str) else None


def firmware_notice(version: str | None) -> str | None:
    """What a person should know of a firmware version; None when there is nothing to say."""
    if version is None:
        return "the firmware did not tell its version"
    numbers = re.fullmatch(r"S-V(\d+)\.(\d+)-(\d+)\D*", version)
    if numbers is None:
        return f"firmware {version} is of no known form"
    if tuple(map(int, numbers.groups())) < OLDEST_FIRMWARE:
        oldest = "S-V{}.{}-{}".format(*OLDEST_FIRMWARE)
        return f"firmware {version} is older than {oldest}, with which this runtime was written; update it"
    return None


def read_firmware_limits(link: PiperLink, clock: Clock) -> FirmwareLimits | None:
    """The limits that the arm keeps itself, or None when it does not answer within `ANSWER_TIMEOUT`.

    Every joint is asked for by itself, and only for what the questions at the connection did not bring: the
    answers are taken from the frames, as the SDK's getters for all joints return one and the same joint.
    """
    wanted = [(0x473, 1), (0x47C, 2)]
    deadline = clock() + ANSWER_TIMEOUT
    while True:
        missing = [
            (joint, content)
            for identifier, content in wanted
            for joint in range(1, JOINTS + 1)
            if (identifier, joint) not in link.replies
        ]
        if not missing:
            break
        if clock() >= deadline:
            return None
        for joint, content in missing:
            link.sdk.SearchMotorMaxAngleSpdAccLimit(joint, content)
        _wait(lambda: len(link.replies) == len(wanted) * JOINTS, clock, _ASK_AGAIN)
    limits = [_LIMITS.unpack_from(link.replies[0x473, joint]) for joint in range(1, JOINTS + 1)]
    accelerations = [_ACCELERATION.unpack_from(link.replies[0x47C, j])[1] for j in range(1, JOINTS + 1)]
    return FirmwareLimits(
        position_min=tuple(math.radians(low / 10.0) for _, _, low, _ in limits),
        position_max=tuple(math.radians(high / 10.0) for _, high, _, _ in limits),
        velocity=tuple(speed / 1000.0 for *_, speed in limits),
        acceleration=tuple(value / 1000.0 for value in accelerations),
    )


class Inspector:
    """Reports on one arm; remembers the last look, for the rates."""

    def __init__(self, side: Side, channel: str, link: PiperLink, clock: Clock) -> None:
        """The link may be opened anew between two looks."""
        self._side: Side = side
        self._channel = channel
        self._link = link
        self._clock = clock
        self._looked = -math.inf
        self._counts: dict[int, int] = {}

    def look(self, *, adapter: str | None = None, bus: str | None = None) -> ArmReport:
        """The arm now. Raises ArmError when it is not connected."""
        link, now = self._link, self._clock()
        sdk, status = link.sdk, read_status(link.sdk)
        drivers = sdk.GetArmLowSpdInfoMsgs()
        motors = [getattr(drivers, f"motor_{joint}") for joint in range(1, JOINTS + 1)]
        angles = link.joints.angles if link.joints else (0,) * JOINTS
        frames = tuple(self._frames(kind, identifiers, now) for kind, identifiers in KINDS.items())
        self._looked, self._counts = now, dict(link.counts)
        return ArmReport(
            side=self._side,
            channel=self._channel,
            adapter=adapter,
            bus=bus,
            firmware=read_firmware(sdk),
            control_mode=mode_in_words(status.control_mode),
            powered=(*status.powered, status.gripper_powered),
            joints=tuple(math.radians(angle / 1000.0) for angle in angles),
            gripper=sdk.GetArmGripperMsgs().gripper_state.grippers_angle * 1e-6,
            voltages=tuple(motor.vol / 10.0 for motor in motors),
            motor_temperatures=tuple(motor.motor_temp for motor in motors),
            driver_temperatures=tuple(motor.foc_temp for motor in motors),
            faults=tuple(find_faults(status, armed=False)),
            frames=frames,
        )

    def _frames(self, kind: str, identifiers: tuple[int, ...], now: float) -> FrameReport:
        counts, arrived = self._link.counts, self._link.arrived
        new = min(max(0, counts.get(i, 0) - self._counts.get(i, 0)) for i in identifiers)
        age = max(now - arrived.get(i, -math.inf) for i in identifiers)
        return FrameReport(kind, new / (now - self._looked), age)


def _wait(condition: Callable[[], bool], clock: Clock, timeout: float) -> None:
    deadline = clock() + timeout
    while not condition() and clock() < deadline:
        time.sleep(_POLL)
