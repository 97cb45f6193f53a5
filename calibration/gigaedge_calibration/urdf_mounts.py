"""Mounts of cameras as URDF joints: fixed, from the frame that a camera is on to the camera's optical frame.

A URDF joint's origin is where the child is, in the parent: the same `T_parent_child` as in the calibration. The child
is an optical frame (x right, y down, z forward), not ROS's body frame (x forward, y left, z up).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import TransformInfo


def write(mounts: Sequence[TransformInfo]) -> str:
    """A URDF document with a link and a joint per mount; links of the parents are left to the robot's own URDF."""
    lines = [
        '<?xml version="1.0"?>',
        "<!-- Copy the links and joints into your robot's URDF and name the parent links as they are there.",
        "     origin places the child in the parent: it takes child coordinates to parent coordinates. A camera's",
        "     child is an optical frame: x right, y down, z forward. rpy are turns about the parent's fixed x, y, z,",
        "     in rad; xyz in m. *_base and *_link6 are the first and last DH frame of a PiPER arm. -->",
        '<robot name="gigaedge_cameras">',
    ]
    for mount in mounts:
        xyz = " ".join(map(repr, mount.translation))
        rpy = " ".join(map(repr, roll_pitch_yaw(mount.matrix[:3, :3])))
        child = f"{mount.child}_optical_frame" if mount.child.startswith("cam_") else mount.child
        lines += [
            f'  <link name="{child}"/>',
            f'  <joint name="{mount.parent}_to_{mount.child}" type="fixed">',
            f'    <parent link="{mount.parent}"/>',
            f'    <child link="{child}"/>',
            f'    <origin xyz="{xyz}" rpy="{rpy}"/>',
            "  </joint>",
        ]
    return "\n".join([*lines, "</robot>", ""])


def roll_pitch_yaw(matrix: NDArray[np.float64]) -> tuple[float, float, float]:
    """URDF's angles, rad, of a rotation matrix: Rz(yaw) Ry(pitch) Rx(roll). Straight up or down, yaw is 0."""
    level = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    pitch = float(np.arctan2(-matrix[2, 0], level))
    if level < 1e-9:
        turn = float(np.arctan2(-matrix[1, 2], matrix[1, 1]))
        return turn, pitch, 0.0
    return (
        float(np.arctan2(matrix[2, 1], matrix[2, 2])),
        pitch,
        float(np.arctan2(matrix[1, 0], matrix[0, 0])),
    )
