"""Joint angles that bring an arm's fingers to a point, for tests that grasp something."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigaedge.kinematics import FINGERTIP, link6_motion
from gigaedge.poses import difference, pose
from gigaedge.robot import JOINTS, Side
from gigaedge_runtime.physics.arm import BASE_Y
from gigaedge_runtime.physics.scene import READY, bounds

Array = NDArray[np.float64]


def pointing_down(side: Side, tip: tuple[float, float, float], yaw: float = 0.0) -> Array:
    """Angles, rad, shape (6,), with the fingertips at `tip` in the cell, sliding along the direction `yaw` + 90 deg."""
    low, high = (bound[:JOINTS] for bound in bounds())
    across = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    down = np.array([0.0, 0.0, -1.0])
    turn = np.stack([np.cross(across, down), across, down], axis=1)
    wanted = pose(turn, np.array(tip) - (0, BASE_Y[side], 0) - FINGERTIP * down)
    angles = np.array(READY[:JOINTS])
    for _ in range(100):
        reached, axes, points = link6_motion(angles)
        error = difference(wanted, reached)
        jacobian = np.concatenate([axes.T, np.cross(axes, reached[:3, 3] - points).T])
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-4 * np.eye(6), error)
        angles = np.clip(angles + step, low, high)
    if np.abs(error).max() > 1e-4:
        raise ValueError(f"{side} arm: {tip} is out of reach, by {error}")
    return angles
