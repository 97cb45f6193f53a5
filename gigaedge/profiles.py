"""What an arm of a kind can take at most, and whether an arm's own firmware agrees. Angles in rad, lengths in m.

A profile is the outermost bound: a site file may narrow it and never widen it. The numbers are those of AgileX's SDK
(piper_param_manager.py, and the ranges its setters accept); where AgileX publishes none, the text says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from gigaedge.kinematics import DhIsOffset

ProfileName = Literal["piper", "piper-before-1.6-3"]

READ_ROUNDING: Final = 2e-3
"""rad, rad/s; firmware reports angles in steps of 0.1 degrees: a limit narrower by less is the same limit."""

LARGEST_ANGLE: Final = 2 * math.pi
SMALLEST_RANGE: Final = math.radians(5.0)
LARGEST_VELOCITY: Final = 10.0
LARGEST_ACCELERATION: Final = 50.0
"""Beyond these (rad, rad, rad/s, rad/s^2), firmware does not report a limit but garbage.

Seen in the field: limits of -0.1 degrees on both sides, an acceleration of 37548 degrees/s^2.
"""


@dataclass(frozen=True)
class JointLimits:
    """Bounds of the six joints of one arm, each a tuple of six."""

    position_min: tuple[float, ...]
    """rad."""
    position_max: tuple[float, ...]
    """rad."""
    velocity: tuple[float, ...]
    """rad/s."""
    acceleration: tuple[float, ...]
    """rad/s^2."""


@dataclass(frozen=True)
class FirmwareLimits(JointLimits):
    """What an arm's firmware reports of itself (CAN 0x473 and 0x47C), in our units."""


@dataclass(frozen=True)
class Profile:
    """The outermost bounds of one kind of arm."""

    name: ProfileName
    position_min: tuple[float, ...]
    """rad, six joints."""
    position_max: tuple[float, ...]
    """rad, six joints."""
    velocity: float
    """rad/s, every joint: the largest the firmware can be set to."""
    acceleration: float
    """rad/s^2, every joint: the largest the firmware can be set to."""
    jerk: float
    """rad/s^3, every joint. AgileX publishes none: the full acceleration within two ticks of 5 ms."""
    gripper_stroke: float
    """m, total opening of the largest gripper sold for the arm."""
    gripper_effort: float
    """N*m; the largest a gripper command can ask for."""
    dh_is_offset: DhIsOffset
    """Which link parameters the firmware's zero pose follows, see `gigaedge.kinematics`."""


def _piper(name: ProfileName, dh_is_offset: DhIsOffset) -> Profile:
    return Profile(
        name=name,
        position_min=(-2.6179, 0.0, -2.967, -1.745, -1.22, -2.09439),
        position_max=(2.6179, 3.14, 0.0, 1.745, 1.22, 2.09439),
        velocity=3.0,
        acceleration=5.0,
        jerk=500.0,
        gripper_stroke=0.1,
        gripper_effort=5.0,
        dh_is_offset=dh_is_offset,
    )


PROFILES: Final[dict[ProfileName, Profile]] = {
    "piper": _piper("piper", 1),
    "piper-before-1.6-3": _piper("piper-before-1.6-3", 0),
}
"""`piper`: firmware S-V1.6-3 or newer; the other one: older firmware, whose joints 2 and 3 are zeroed elsewhere."""


def compare_with_firmware(ours: JointLimits, firmware: FirmwareLimits) -> list[str]:
    """What is wrong with an arm's own limits, given those it will be commanded within; one line each, empty if nothing.

    Two kinds: values that no arm can have (the firmware's memory is damaged), and limits narrower than ours (the arm
    would refuse or lag behind commands that we hold to be right). Wider ones are fine: ours come first.
    """
    problems = []
    for joint in range(len(ours.position_min)):
        problem = _absurd(firmware, joint)
        if problem is not None:
            problems.append(
                f"joint {joint + 1}: the firmware reports {problem}, which no arm can have; its memory is damaged: "
                "restore the factory limits with AgileX's tool, then switch the arm off and on"
            )
        else:
            problems.extend(f"joint {joint + 1}: {text}" for text in _narrower(ours, firmware, joint))
    return problems


def _absurd(firmware: FirmwareLimits, joint: int) -> str | None:
    low, high = firmware.position_min[joint], firmware.position_max[joint]
    velocity, acceleration = firmware.velocity[joint], firmware.acceleration[joint]
    # Written so that NaN is absurd, too.
    if not (-LARGEST_ANGLE <= low <= high - SMALLEST_RANGE and high <= LARGEST_ANGLE):
        return f"a range from {math.degrees(low):.1f} to {math.degrees(high):.1f} degrees"
    if not 0 < velocity <= LARGEST_VELOCITY:
        return f"a maximum velocity of {velocity:g} rad/s"
    if not 0 < acceleration <= LARGEST_ACCELERATION:
        return f"a maximum acceleration of {acceleration:g} rad/s^2"
    return None


def _narrower(ours: JointLimits, firmware: FirmwareLimits, joint: int) -> list[str]:
    texts = []
    low, high = firmware.position_min[joint], firmware.position_max[joint]
    if low > ours.position_min[joint] + READ_ROUNDING:
        texts.append(_narrow("stops at", low, "rad", "position_min", ours.position_min[joint], "raise"))
    if high < ours.position_max[joint] - READ_ROUNDING:
        texts.append(_narrow("stops at", high, "rad", "position_max", ours.position_max[joint], "lower"))
    if firmware.velocity[joint] < ours.velocity[joint] - READ_ROUNDING:
        texts.append(
            _narrow(
                "goes at most", firmware.velocity[joint], "rad/s", "velocity", ours.velocity[joint], "lower"
            )
        )
    if firmware.acceleration[joint] < ours.acceleration[joint] - READ_ROUNDING:
        text = _narrow(
            "accelerates at most",
            firmware.acceleration[joint],
            "rad/s^2",
            "acceleration",
            ours.acceleration[joint],
            "lower",
        )
        texts.append(text)
    return texts


def _narrow(does: str, theirs: float, unit: str, key: str, ours: float, mend: str) -> str:
    return (
        f"the firmware {does} {theirs:g} {unit}, limits.{key} says {ours:g}; {mend} limits.{key}, "
        "or widen the firmware's limit with AgileX's tool"
    )
