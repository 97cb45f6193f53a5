"""Where an arm's elbow, wrist and fingertip may be, and how near the two arms may come to each other.

Paths are checked, not poses: a path is a row of commands, one a control period, and it passes when no sample lies
outside a limit, or, where the arms stand outside already, none lies further outside than the sample before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigaedge.kinematics import DhIsOffset, arm_points
from gigaedge.robot import ARM_DIM, JOINTS, ROBOT_DIM, SIDES
from gigaedge.site import Site

Array = NDArray[np.float64]

ROUNDING = 1e-12
"""m; less than this further out, from one sample to the next, is rounding of the kinematics."""


@dataclass(frozen=True)
class Workspace:
    """Boxes of both arms and the clearance between them."""

    low: Array
    """Least x, y, z of each arm's points in its own base coordinates, m, shape (2, 3); -inf: no limit."""
    high: Array
    """Greatest, likewise."""
    dh_is_offset: DhIsOffset = 1
    clearance: float = 0.0
    """Least distance between the arms' centre lines (elbow to wrist to fingertip), m; 0: not watched."""
    base: Array | None = None
    """`T_cell_base` of both arms as x, y, z (m) and yaw (rad), shape (2, 4); needed for the clearance."""

    @classmethod
    def of(cls, site: Site) -> Workspace | None:
        """The workspace of a site; None when it has none."""
        arms = [site.arm(side) for side in SIDES]
        clearance = site.limits.clearance
        if clearance is None and all(arm.workspace is None for arm in arms):
            return None
        boxes = [arm.workspace for arm in arms]
        bases = [arm.base for arm in arms if arm.base is not None]
        return cls(
            low=np.array([box.min if box else (-np.inf,) * 3 for box in boxes]),
            high=np.array([box.max if box else (np.inf,) * 3 for box in boxes]),
            dh_is_offset=site.limits.bounds.dh_is_offset,
            clearance=clearance or 0.0,
            base=np.array([(b.x, b.y, b.z, b.yaw) for b in bases]) if clearance else None,
        )

    def points(self, path: Array) -> Array:
        """Elbow, wrist, fingertip of both arms in their base coordinates, m, (m, 2, 3, 3), along a path, (m, 14)."""
        arms = path.reshape(-1, ROBOT_DIM // ARM_DIM, ARM_DIM)
        return arm_points(arms[..., :JOINTS], self.dh_is_offset)

    def boxes_hold(self, points: Array) -> NDArray[np.bool_]:
        """For each arm, shape (2,): no point goes further outside its box along the path."""
        beyond = np.maximum(self.low[:, np.newaxis] - points, points - self.high[:, np.newaxis])
        before = np.maximum(beyond[:-1], 0.0)
        return np.asarray((beyond[1:] <= before + ROUNDING).all(axis=(0, 2, 3)))

    def shortfall(self, points: Array) -> Array:
        """By how much the arms are nearer to each other than the clearance, m, shape (m,); -inf: not watched."""
        if self.base is None:
            return np.full(len(points), -np.inf)
        return self.clearance - self.distance(points)

    def clearance_holds(self, short: Array) -> bool:
        """The arms come no nearer to each other than the clearance, or than they are: `shortfall` along a path."""
        return bool((short[1:] <= np.maximum(short[:-1], 0.0) + ROUNDING).all())

    def distance(self, points: Array) -> Array:
        """Between the arms' centre lines, m, shape (m,), of `points`, shape (m, 2, 3, 3). Needs both bases."""
        if self.base is None:
            raise ValueError("the distance between two arms needs to know where they stand")
        cos, sin = np.cos(self.base[:, 3:]), np.sin(self.base[:, 3:])
        cell = np.empty_like(points)
        cell[..., 0] = cos * points[..., 0] - sin * points[..., 1]
        cell[..., 1] = sin * points[..., 0] + cos * points[..., 1]
        cell[..., 2] = points[..., 2]
        cell += self.base[:, np.newaxis, :3]
        # Every link of one arm against every link of the other: axes 1 and 2.
        left, right = cell[:, 0, :, np.newaxis], cell[:, 1, np.newaxis]
        gaps = _segments(
            left[:, :-1], left[:, 1:] - left[:, :-1], right[:, :, :-1], right[:, :, 1:] - right[:, :, :-1]
        )
        return np.asarray(gaps.min(axis=(1, 2)))


def _segments(start: Array, along: Array, other: Array, across: Array) -> Array:
    """Distance of the segments start + s along and other + t across, 0 <= s, t <= 1; shapes (..., 3) in, (...) out.

    The nearest points of the two lines, s brought into its range, then t for that s, then s for that t.
    """
    between = start - other
    aa, bb = _dot(along, along), _dot(across, across)
    ab, ar, br = _dot(along, across), _dot(along, between), _dot(across, between)
    spread = aa * bb - ab * ab
    # Zero for parallel lines, where any s will do.
    s = np.zeros_like(spread)
    np.divide(ab * br - ar * bb, spread, out=s, where=spread > 1e-12 * aa * bb)
    s = _share(s)
    t = _share((ab * s + br) / bb)
    s = _share((ab * t - ar) / aa)
    gap = between + s[..., np.newaxis] * along - t[..., np.newaxis] * across
    return np.sqrt(_dot(gap, gap))


def _share(values: Array) -> Array:
    """Brought into 0..1; in a tenth of the time that `np.clip` takes for so few."""
    return np.asarray(np.minimum(np.maximum(values, 0.0), 1.0))


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(np.einsum("...i,...i->...", a, b))
