"""The bytes of a simulated PiPER: feedback packed in place, commands taken apart.

Layouts and units as in piper_sdk (protocol/protocol_v2/piper_protocol_v2.py), big-endian. What repeats 200
times a second is packed into ready-made frames, so that an arm costs about a hundredth of a core.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gigaedge_runtime.devices.sim_bus import FRAME
from gigaedge_runtime.devices.sim_motion import Axis

POWERED: Final = 1 << 6
"""Bit of 0x2A8 byte 6 and 0x261-6 byte 5: the driver is enabled."""

FIRMWARE: Final = "S-V1.8-6"
"""What 0x4AF is answered with, after a name that fills two frames."""

_FAST_IDS: Final = (*range(0x2A1, 0x2A9), *range(0x251, 0x257))
_SLOW_IDS: Final = tuple(range(0x261, 0x267))
_LIMITS_DEG: Final = ((-150, 150), (0, 180), (-170, 0), (-100, 100), (-70, 70), (-120, 120))
"""Joint limits the firmware reports in 0x473, deg."""

_MDEG_PER_RAD: Final = 180000.0 / math.pi
_REACHED: Final = 0.01
"""rad; nearer to the target counts as reached (0x2A1 byte 4)."""

_STATUS: Final = struct.Struct(">6BH")
_PAIR: Final = struct.Struct(">ii")
_GRIPPER: Final = struct.Struct(">ihBx")
_MOTOR: Final = struct.Struct(">hhi")
_DRIVER: Final = struct.Struct(">HhbBH")
_GRIPPER_COMMAND: Final = struct.Struct(">iHBB")
_LIMIT_REPLY: Final = struct.Struct(">BhhHx")
_ACCELERATION_REPLY: Final = struct.Struct(">BH5x")
_DATA_AT: Final = FRAME.size - 8


@dataclass(frozen=True)
class LimitReply:
    """What firmware keeps for one joint, in its own units."""

    low: int
    """0.1 deg, in 0x473."""
    high: int
    speed: int = 3000
    """0.001 rad/s."""
    acceleration: int = 5000
    """0.001 rad/s^2, in 0x47C."""


FACTORY_LIMITS: Final = tuple(LimitReply(low * 10, high * 10) for low, high in _LIMITS_DEG)


class FeedbackEncoder:
    """Feedback frames of one arm as `FRAME` records, one after the other."""

    def __init__(self) -> None:
        self._fast = _template(_FAST_IDS)
        self._slow = _template(_SLOW_IDS)

    def fast(
        self, status: tuple[int, int, int, int], error_code: int, axes: Sequence[Axis], gripper: Axis
    ) -> bytes:
        """0x2A1-8 and 0x251-6. `status`: control mode, arm status, move mode, teach status."""
        frames, size = self._fast, FRAME.size
        moving = any(axis.powered and abs(axis.target - axis.position) > _REACHED for axis in axes)
        _STATUS.pack_into(frames, _DATA_AT, *status, moving, 0, error_code)
        angles = [round(axis.position * _MDEG_PER_RAD) for axis in axes]
        at = 4 * size + _DATA_AT
        for first in (0, 2, 4):
            _PAIR.pack_into(frames, at, angles[first], angles[first + 1])
            at += size
        _GRIPPER.pack_into(frames, at, round(gripper.position * 1e6), 0, POWERED if gripper.powered else 0)
        for axis in axes:
            at += size
            _MOTOR.pack_into(frames, at, round(axis.velocity * 1000), 0, round(axis.position * 1000))
        return bytes(frames)

    def slow(self, axes: Sequence[Axis], error_bits: Sequence[int]) -> bytes:
        """0x261-6: 24.0 V, driver 35 and motor 32 degrees C, the bits, 0.3 A."""
        at = _DATA_AT
        for axis, errors in zip(axes, error_bits, strict=True):
            bits = errors | (POWERED if axis.powered else 0)
            _DRIVER.pack_into(self._slow, at, 240, 35, 32, bits, 300)
            at += FRAME.size
        return bytes(self._slow)


def joint_pair(data: bytes) -> tuple[float, float]:
    """The two target angles of 0x155, 0x156 or 0x157, rad."""
    first, second = _PAIR.unpack(data)
    return first / _MDEG_PER_RAD, second / _MDEG_PER_RAD


def gripper_command(data: bytes) -> tuple[float, int, int]:
    """Opening (m), code (0 off, 1 on, 2 and 3 the same and clear errors) and zero flag (0xAE) of 0x159."""
    opening, _, code, zero = _GRIPPER_COMMAND.unpack(data)
    return opening * 1e-6, code, zero


def limits_reply(joint: int, content: int, limits: LimitReply) -> bytes:
    """What 0x472 is answered with: 0x473 (`content` 1: angle and speed limits) or 0x47C (acceleration)."""
    if content == 1:
        return _frame(0x473, _LIMIT_REPLY.pack(joint, limits.high, limits.low, limits.speed))
    return _frame(0x47C, _ACCELERATION_REPLY.pack(joint, limits.acceleration))


def firmware_reply(version: str) -> list[bytes]:
    """What 0x4AF is answered with, eight bytes a frame."""
    text = f"PIPER-MAIN-FW-{version}".encode()
    text += bytes(-len(text) % 8)
    return [_frame(0x4AF, text[at : at + 8]) for at in range(0, len(text), 8)]


def without(frames: bytes, muted: frozenset[int]) -> bytes:
    """The frames less those with the identifiers in `muted`."""
    pieces = (frames[at : at + FRAME.size] for at in range(0, len(frames), FRAME.size))
    return b"".join(piece for piece in pieces if FRAME.unpack(piece)[0] not in muted)


def _frame(identifier: int, data: bytes) -> bytes:
    return FRAME.pack(identifier, 8, data)


def _template(identifiers: Sequence[int]) -> bytearray:
    """Frames with zeros for data, one after the other, to be filled in place."""
    return bytearray(b"".join(_frame(identifier, bytes(8)) for identifier in identifiers))
