"""Park poses: where the arms go at the end, and how an arm that was taken for the other one is noticed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import ConfigError
from gigaedge.robot import ARM_DIM, DIM_NAMES, JOINTS, SIDES, arm_slice
from gigaedge.site import Site

Array = NDArray[np.float64]

NEAR: float = 0.15
"""rad; an arm with no joint further than this from a park pose stands there, even if it has sunk a little."""

FAR: float = 0.5
"""rad; an arm with a joint further than this from a park pose does not stand there."""

ROUNDING: float = 1e-3
"""rad or m; a park pose less than this beyond a limit was read off an arm at its limit."""


def park_pose(site: Site, lower: Array, upper: Array) -> Array | None:
    """Where both arms are parked: rad and m, shape (14,); None when an arm that exists has no park pose.

    An absent arm is parked at its `pose`. `lower` and `upper` are the position limits, shape (14,). Raises
    ConfigError for a pose outside them.
    """
    left, right = (site.arm(side).pose or site.arm(side).park for side in SIDES)
    if left is None or right is None:
        return None
    target = np.array([*left, *right])
    outside = np.flatnonzero((target < lower - ROUNDING) | (target > upper + ROUNDING))
    if outside.size:
        worst = int(outside[0])
        index = next(i for i, arm in enumerate(site.arms) if arm.side == SIDES[worst // ARM_DIM])
        raise ConfigError(
            f"arms[{index}].park: {DIM_NAMES[worst]} is {target[worst]:g}, "
            f"outside its limits {lower[worst]:g}..{upper[worst]:g}"
        )
    return np.clip(target, lower, upper, out=target)


def find_swap(park: Array, measured: Array) -> str | None:
    """Why the two arms seem to have changed places, in words, or None.

    Each arm stands where the other one is parked, and far from its own park pose. That is proof enough to
    stop, but its absence proves nothing: arms that are parked alike, or that do not start from their park
    poses, look the same either way. `can.adapter` is the sure way. Both arrays of shape (14,).
    """
    left, right = (arm_slice(side) for side in SIDES)
    own = [_distance(park[side], measured[side]) for side in (left, right)]
    other = [_distance(park[left], measured[right]), _distance(park[right], measured[left])]
    if min(own) <= FAR or max(other) > NEAR:
        return None
    return (
        "each arm stands where the other one is parked: the left and the right arm seem to be swapped; "
        "check which cable is on which CAN interface, and `can.channel` of both arms"
    )


def _distance(a: Array, b: Array) -> float:
    """Largest difference of a joint, rad; the gripper does not count."""
    return float(np.abs(a - b)[:JOINTS].max())
