"""Where the three cameras of the physical cell are and how they see, for geometry and for MuJoCo alike.

Camera coordinates are those of `gigaedge.lens`: x right, y down, z into the scene. The lenses have no distortion and
their axis goes through the middle of the picture.
"""

from __future__ import annotations

import math
from typing import Final
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray

from gigaedge.lens import Lens
from gigaedge.poses import pose, quaternion, rotation
from gigaedge.robot import CAMERA_ROLES, SIDES, CameraRole, Side
from gigaedge.simulation import Placement, default_camera
from gigaedge_runtime.physics.elements import numbers
from gigaedge_runtime.physics.scene import CameraShift, Scene

Array = NDArray[np.float64]

FIELD: Final[dict[CameraRole, float]] = {
    "cam_high": 2 * math.atan(240 / 612),
    "cam_left_wrist": 2 * math.atan(240 / 435),
    "cam_right_wrist": 2 * math.atan(240 / 435),
}
"""Vertical field of view, rad: about a D435's and a D405's, as in `gigaedge.simulation`."""

HIGH: Final = Placement(position=(-0.02, 0.0, 0.9), look_at=(0.33, 0.0, 0.0))
"""Nearer than a real cell has it, so that a block of 3 cm is 9 px wide in the policy's picture; both arms and the
table between x = 0.1 and 0.65, |y| < 0.45 stay in view."""


def lens(role: CameraRole, width: int, height: int) -> Lens:
    """The lens of a camera for pictures of `width` x `height` px."""
    focal = height / 2 / math.tan(FIELD[role] / 2)
    return Lens(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def mount(role: CameraRole, scene: Scene) -> Array:
    """`T_parent_cam`, shape (4, 4): the parent is the cell for `cam_high`, link 6 of its arm for a wrist camera."""
    ideal = HIGH if role == "cam_high" else default_camera(role).mount
    shift = next((shift for shift in scene.camera_shift if shift.role == role), CameraShift(role))
    moved = pose(rotation(np.array(shift.turned)), np.array(shift.shifted))
    return np.asarray(ideal.transform @ moved)


def wrist_of(role: CameraRole) -> Side | None:
    """Whose wrist a camera is on; None: it is fixed in the cell."""
    return next((side for side in SIDES if role == f"cam_{side}_wrist"), None)


def add_cameras(world: Element, scene: Scene) -> None:
    """Write the cameras into a model whose arms are there already."""
    for role in CAMERA_ROLES:
        side = wrist_of(role)
        parent = world if side is None else world.find(f".//body[@name='{side}_link6']")
        if parent is None:
            raise ValueError(f"{role}: the model has no {side}_link6")
        place = mount(role, scene)
        # MuJoCo's cameras look along -z with y up.
        turned = place[:3, :3] @ np.diag([1.0, -1.0, -1.0])
        SubElement(
            parent,
            "camera",
            name=role,
            pos=numbers(*place[:3, 3]),
            quat=numbers(*quaternion(turned)),
            fovy=numbers(math.degrees(FIELD[role])),
        )
