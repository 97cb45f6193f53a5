"""The robot the policy was trained on: a pair of PiPER arms, 14 values for state and action.

Order, everywhere an array has 14 columns: left joints 1-6, left gripper, right joints 1-6, right gripper.
Joints in rad, grippers in m (total opening between the fingers).
"""

from __future__ import annotations

from typing import Final, Literal

Side = Literal["left", "right"]
SIDES: Final[tuple[Side, Side]] = ("left", "right")

JOINTS: Final = 6
ARM_DIM: Final = JOINTS + 1
"""Values per arm: six joints and a gripper."""

ROBOT_DIM: Final = ARM_DIM * len(SIDES)

DIM_NAMES: Final[tuple[str, ...]] = tuple(
    f"{side}_{part}" for side in SIDES for part in (*(f"joint_{j}" for j in range(1, JOINTS + 1)), "gripper")
)
DIM_UNITS: Final[tuple[str, ...]] = tuple("m" if name.endswith("gripper") else "rad" for name in DIM_NAMES)

DELTA_MASK: Final[tuple[bool, ...]] = tuple(not name.endswith("gripper") for name in DIM_NAMES)
"""True where the policy predicts a difference to the state at observation time (joints)."""

CameraRole = Literal["cam_high", "cam_left_wrist", "cam_right_wrist"]
CAMERA_ROLES: Final[tuple[CameraRole, CameraRole, CameraRole]] = (
    "cam_high",
    "cam_left_wrist",
    "cam_right_wrist",
)


def arm_slice(side: Side) -> slice:
    """Columns of one arm in a 14-value state or action."""
    start = SIDES.index(side) * ARM_DIM
    return slice(start, start + ARM_DIM)
