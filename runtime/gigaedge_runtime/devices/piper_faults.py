"""What a PiPER's status bits mean for somebody who wants to move it, in words.

Values as in piper_sdk's `piper_msgs/msg_v2/feedback`: arm_feedback_status.py (0x2A1),
arm_feedback_low_spd.py (0x261-6) and arm_feedback_gripper.py (0x2A8).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

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
    1: "emergency stop",
    2: "no solution for the target",
    3: "singularity",
    4: "target exceeds a joint limit",
    5: "joint communication error",
    6: "joint brake not released",
    7: "collision",
    8: "overspeed while being taught",
    9: "joint in an abnormal state",
    10: "other error",
    11: "recording a taught trajectory",
    12: "executing a taught trajectory",
    13: "taught trajectory paused",
    14: "main controller too hot",
    15: "brake resistor too hot",
}
_JOINT_BITS: Final = (
    (0, "voltage too low"),
    (1, "motor too hot"),
    (2, "driver overcurrent"),
    (3, "driver too hot"),
    (4, "collision"),
    (5, "driver error"),
    (7, "stalled"),
)
_GRIPPER_BITS: Final = (*_JOINT_BITS[:4], (4, "sensor error"), (5, "driver error"))
"""Bit 7 of the gripper says whether it was homed, which is no fault."""


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


def describe_faults(status: PiperStatus, *, armed: bool) -> str | None:
    """Why the arm cannot be commanded, in words, or None when it can.

    `armed`: it was enabled, so that lost power or control is a fault too.
    """
    return ", ".join(_faults(status, armed)) or None


def _faults(status: PiperStatus, armed: bool) -> Iterator[str]:
    if status.arm_status == _EMERGENCY_STOP:
        yield "emergency stop"
    if status.control_mode == _TEACH_CONTROL or status.teach_status:
        yield "teach mode (the button on the arm)"
    if status.arm_status > _EMERGENCY_STOP:
        yield _ARM_STATES.get(status.arm_status, f"unknown arm status {status.arm_status:#x}")
    for joint, bits in enumerate(status.joint_bits, start=1):
        if status.error_code >> (joint - 1) & 1:
            yield f"joint {joint}: communication error"
        if status.error_code >> (joint + 7) & 1:
            yield f"joint {joint}: angle limit"
        yield from (f"joint {joint}: {text}" for bit, text in _JOINT_BITS if bits >> bit & 1)
        if armed and not bits & POWERED:
            yield f"joint {joint}: lost power"
    yield from (f"gripper: {text}" for bit, text in _GRIPPER_BITS if status.gripper_bits >> bit & 1)
    if armed and not status.gripper_powered:
        yield "gripper: lost power"
    if armed and status.control_mode not in (CAN_CONTROL, _TEACH_CONTROL):
        mode = _CONTROL_MODES.get(status.control_mode, f"mode {status.control_mode:#x}")
        yield f"not in CAN control ({mode})"
