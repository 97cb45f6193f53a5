"""A camera's lens: from directions to pixels and back, as OpenCV's pinhole model with radial-tangential distortion.

Pixel (0, 0) is the centre of the top left pixel, u to the right, v down; camera coordinates are x right, y down,
z forward. What the policy sees is never undistorted: this is for geometry alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TERMS: Final = (0, 4, 5, 8)
_ROUNDS: Final = 20
"""Newton steps of the inverse; five reach 1e-12 in a lens that is one-to-one."""


@dataclass(frozen=True)
class Lens:
    """Intrinsics for one picture size."""

    width: int
    height: int
    """px."""
    fx: float
    fy: float
    """Focal lengths, px."""
    cx: float
    cy: float
    """Principal point, px."""
    distortion: tuple[float, ...] = ()
    """k1, k2, p1, p2[, k3[, k4, k5, k6]] in OpenCV's order; empty: none."""

    def __post_init__(self) -> None:
        if len(self.distortion) not in _TERMS:
            raise ValueError(f"distortion: expected {_TERMS} coefficients, got {len(self.distortion)}")

    @property
    def matrix(self) -> Array:
        """Camera matrix K, shape (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    @property
    def coefficients(self) -> Array:
        """`distortion` as OpenCV takes it, shape (n,); four zeros where there is none."""
        return np.array(self.distortion or (0.0,) * 4, dtype=np.float64)

    def project(self, points: NDArray[Any]) -> Array:
        """Pixels, shape (..., 2), of points in camera coordinates, shape (..., 3).

        A point at or behind the camera (z <= 0) has none: NaN.
        """
        depth = points[..., 2:]
        ahead = depth > 0
        directions = points[..., :2] / np.where(ahead, depth, 1.0)
        bent, _ = self._bend(directions, with_jacobian=False)
        return np.where(ahead, bent * (self.fx, self.fy) + (self.cx, self.cy), np.nan)

    def project_jacobian(self, points: NDArray[Any]) -> tuple[Array, Array]:
        """Pixels (..., 2) and their derivative by the points, px per m, (..., 2, 3); points must be ahead."""
        depth = points[..., 2:]
        directions = points[..., :2] / depth
        bent, by_direction = self._bend(directions, with_jacobian=True)
        focal = np.array([self.fx, self.fy])
        by_point = np.empty((*points.shape[:-1], 2, 3))
        by_point[..., :2] = by_direction / depth[..., np.newaxis]
        by_point[..., 2:] = -(by_direction @ directions[..., np.newaxis]) / depth[..., np.newaxis]
        return bent * focal + (self.cx, self.cy), by_point * focal[:, np.newaxis]

    def rays(self, pixels: NDArray[Any]) -> Array:
        """Directions with z = 1 in camera coordinates, shape (..., 3), of pixels of shape (..., 2)."""
        bent = (np.asarray(pixels, dtype=np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        straight = bent.copy()
        if self.distortion:
            for _ in range(_ROUNDS):
                reached, slope = self._bend(straight, with_jacobian=True)
                change = np.linalg.solve(slope, (bent - reached)[..., np.newaxis])[..., 0]
                straight += change
                if np.max(np.abs(change), initial=0.0) < 1e-12:
                    break
        return np.concatenate([straight, np.ones((*straight.shape[:-1], 1))], axis=-1)

    def _bend(self, directions: Array, *, with_jacobian: bool) -> tuple[Array, Array]:
        """Distorted directions (..., 2), and their derivative by the undistorted ones, (..., 2, 2)."""
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, *(0.0,) * (8 - len(self.distortion)))
        x, y = directions[..., 0], directions[..., 1]
        r2 = x * x + y * y
        above = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        radial = above / below
        bent = np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=-1,
        )
        if not with_jacobian:
            return bent, np.empty(0)
        by_r2 = ((k1 + r2 * (2 * k2 + 3 * r2 * k3)) - radial * (k4 + r2 * (2 * k5 + 3 * r2 * k6))) / below
        slope = np.empty((*directions.shape[:-1], 2, 2))
        slope[..., 0, 0] = radial + 2 * x * x * by_r2 + 2 * p1 * y + 6 * p2 * x
        slope[..., 0, 1] = slope[..., 1, 0] = 2 * x * y * by_r2 + 2 * p1 * x + 2 * p2 * y
        slope[..., 1, 1] = radial + 2 * y * y * by_r2 + 6 * p1 * y + 2 * p2 * x
        return bent, slope
