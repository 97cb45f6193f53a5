"""Inverse kinematics of a PiPER arm: joints that bring link 6 to a pose, by damped least squares.

The forward kinematics are those of `gigaedge.kinematics`, with the axes that every joint turns on as the Jacobian's
columns (Wampler 1986, Nakamura and Hanafusa 1986: the damping keeps steps finite where the arm is stretched). Angles
in rad, lengths in m.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.kinematics import link6_motion
from gigaedge.poses import difference
from gigaedge.profiles import PROFILES

Array = NDArray[np.float64]

LOWEST: Final = np.array(PROFILES["piper"].position_min) + 0.02
HIGHEST: Final = np.array(PROFILES["piper"].position_max) - 0.02
"""rad; a little inside the joints' range, so that no servo works against its stop."""

POSITION_TOLERANCE: Final = 1e-5
"""m."""
ANGLE_TOLERANCE: Final = 1e-4
"""rad."""

_LEVER: Final = 0.1
"""m; an angle's error counts as that of a point so far away."""
_DAMPING: Final = 1e-3
_LARGEST_STEP: Final = 0.4
"""rad; beyond, the linear prediction is worth little."""
_ITERATIONS: Final = 60
_STARTS: Final = (
    (0.0, 1.6, -1.2, 0.0, 0.9, 0.0),
    (0.0, 2.2, -1.6, 0.0, 0.6, 0.0),
    (0.0, 1.0, -0.6, 0.0, 1.1, 0.0),
)
"""rad; where else to begin: arm forward, hand down, from near to far."""


def joints_of(pose: Array, near: NDArray[np.floating]) -> Array | None:
    """Joint angles, rad, shape (6,), of `T_base_link6`, shape (4, 4); None: the arm does not get there.

    Begins at the angles `near`, rad, (6,), and where those lead nowhere at others, so that of several solutions the
    one close by is preferred.
    """
    azimuth = np.arctan2(pose[1, 3], pose[0, 3])
    for start in (near, *(np.array((azimuth, *rest)) for _, *rest in _STARTS)):
        joints = _descend(pose, np.asarray(start, np.float64))
        if joints is not None:
            return joints
    return None


def _descend(pose: Array, start: Array) -> Array | None:
    joints = np.clip(start, LOWEST, HIGHEST)
    for _ in range(_ITERATIONS):
        reached, axes, points = link6_motion(joints)
        error = difference(pose, reached)
        if np.linalg.norm(error[3:]) < POSITION_TOLERANCE and np.linalg.norm(error[:3]) < ANGLE_TOLERANCE:
            return joints
        shifts = np.cross(axes, reached[:3, 3] - points)
        jacobian = np.concatenate([_LEVER * axes, shifts], axis=1).T
        error[:3] *= _LEVER
        # The damping goes with the error, or the last millimetres would take as many steps as the first ten.
        damping = _DAMPING * (1e-3 + float(error @ error))
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + damping * np.eye(6), error)
        step *= min(1.0, _LARGEST_STEP / max(float(np.abs(step).max()), 1e-12))
        joints = np.clip(joints + step, LOWEST, HIGHEST)
    return None
