"""What a PiPER's status bits mean for somebody who wants to move it, in words.

Values as in piper_sdk's `piper_msgs/msg_v2/feedback`: arm_feedback_status.py (0x2A1),
arm_feedback_low_spd.py (0x261-6) and arm_feedback_gripper.py (0x2A8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gigaedge_runtime.states import FaultCode

CAN_CONTROL: Final = 1
POWERED: Final = 1 << 6
"""Driver bit of a joint or the gripper: the motor has power."""

_TEACH_CONTROL: Final = 2
_EMERGENCY_STOP: Final = 1

_CONTROL_MODES: Final = {
    0: "standby",
    1: "CAN control",
    2: "teach mode",
    3: "Ethernet control",
    4: "Wi-Fi control",
    5: "remote control",
    6: "linkage teaching input",
    7: "offline trajectory",
}
_ARM_STATES: Final = {
    1: (FaultCode.ESTOP, "emergency stop"),
    2: (FaultCode.ARM, "no solution for the target"),
    3: (FaultCode.ARM, "singularity"),
    4: (FaultCode.JOINT, "target exceeds a joint limit"),
    5: (FaultCode.JOINT, "joint communication error"),
    6: (FaultCode.JOINT, "joint brake not released"),
    7: (FaultCode.COLLISION, "collision"),
    8: (FaultCode.TEACH, "overspeed while being taught"),
    9: (FaultCode.JOINT, "joint in an abnormal state"),
    10: (FaultCode.ARM, "other error"),
    11: (FaultCode.TEACH, "recording a taught trajectory"),
    12: (FaultCode.TEACH, "executing a taught trajectory"),
    13: (FaultCode.TEACH, "taught trajectory paused"),
    14: (FaultCode.TEMPERATURE, "main controller too hot"),
    15: (FaultCode.TEMPERATURE, "brake resistor too hot"),
}
_JOINT_BITS: Final = (
    (0, FaultCode.JOINT, "voltage too low"),
    (1, FaultCode.TEMPERATURE, "motor too hot"),
    (2, FaultCode.JOINT, "driver overcurrent"),
    (3, FaultCode.TEMPERATURE, "driver too hot"),
    (4, FaultCode.COLLISION, "collision"),
    (5, FaultCode.JOINT, "driver error"),
    (7, FaultCode.COLLISION, "stalled"),
)
_GRIPPER_BITS: Final = (
    *_JOINT_BITS[:4],
    (4, FaultCode.JOINT, "sensor error"),
    (5, FaultCode.JOINT, "driver error"),
)
"""Bit 7 of the gripper says whether it was homed, which is no fault."""


_FIRST: Final = (
    FaultCode.ESTOP,
    FaultCode.TEACH,
    FaultCode.BUS,
    FaultCode.COLLISION,
    FaultCode.POWER,
    FaultCode.TEMPERATURE,
    FaultCode.JOINT,
    FaultCode.ARM,
    FaultCode.FEEDBACK,
    FaultCode.MODE,
)
"""Which of several faults decides what a person is told to do: causes before their consequences."""

Fault = tuple[FaultCode, str]
"""What is wrong, for a table and for a person."""


@dataclass(frozen=True)
class PiperStatus:
    """The status values of one arm at one time, as the firmware sends them."""

    control_mode: int
    """0x2A1 byte 0."""
    arm_status: int
    """0x2A1 byte 1."""
    teach_status: int
    """0x2A1 byte 3."""
    error_code: int
    """0x2A1 bytes 6-7: bits 0-5 joint communication, bits 8-13 joint angle limit."""
    joint_bits: tuple[int, ...]
    """0x261-6 byte 5, six values."""
    gripper_bits: int
    """0x2A8 byte 6."""

    @property
    def powered(self) -> tuple[bool, ...]:
        """Which of the six joint motors have power."""
        return tuple(bool(bits & POWERED) for bits in self.joint_bits)

    @property
    def gripper_powered(self) -> bool:
        """The gripper's motor has power."""
        return bool(self.gripper_bits & POWERED)


def find_faults(status: PiperStatus, *, armed: bool) -> list[Fault]:
    """Everything for which the arm cannot be commanded; empty when it can.

    `armed`: it was enabled, so that lost power or control is a fault too.
    """
    return list(_faults(status, armed))


def describe_faults(status: PiperStatus, *, armed: bool) -> str | None:
    """`find_faults` in words, or None when there are none."""
    return join_faults(find_faults(status, armed=armed))


def join_faults(faults: Sequence[Fault]) -> str | None:
    """Faults as one line, or None when there are none."""
    return ", ".join(text for _, text in faults) or None


def gravest(faults: Sequence[Fault]) -> FaultCode:
    """The fault that decides what is to be done; NONE when there are none."""
    return min((code for code, _ in faults), key=_FIRST.index, default=FaultCode.NONE)


def mode_in_words(control_mode: int) -> str:
    """Who commands the arm: 0x2A1 byte 0."""
    return _CONTROL_MODES.get(control_mode, f"mode {control_mode:#x}")


def _faults(status: PiperStatus, armed: bool) -> Iterator[Fault]:
    if status.arm_status == _EMERGENCY_STOP:
        yield _ARM_STATES[_EMERGENCY_STOP]
    if status.control_mode == _TEACH_CONTROL or status.teach_status:
        yield FaultCode.TEACH, "teach mode (the button on the arm)"
    if status.arm_status > _EMERGENCY_STOP:
        unknown = FaultCode.ARM, f"unknown arm status {status.arm_status:#x}"
        yield _ARM_STATES.get(status.arm_status, unknown)
    for joint, bits in enumerate(status.joint_bits, start=1):
        if status.error_code >> (joint - 1) & 1:
            yield FaultCode.JOINT, f"joint {joint}: communication error"
        if status.error_code >> (joint + 7) & 1:
            yield FaultCode.JOINT, f"joint {joint}: angle limit"
        yield from ((code, f"joint {joint}: {text}") for bit, code, text in _JOINT_BITS if bits >> bit & 1)
        if armed and not bits & POWERED:
            yield FaultCode.POWER, f"joint {joint}: lost power"
    for bit, code, text in _GRIPPER_BITS:
        if status.gripper_bits >> bit & 1:
            yield code, f"gripper: {text}"
    if armed and not status.gripper_powered:
        yield FaultCode.POWER, "gripper: lost power"
    if armed and status.control_mode not in (CAN_CONTROL, _TEACH_CONTROL):
        yield FaultCode.MODE, f"not in CAN control ({mode_in_words(status.control_mode)})"
