"""A board that was seen once, as its pose in the camera with what is not known of it.

All that its corners say is in those six numbers and their covariance, as long as the lens is right: what comes after
reckons with poses and not with pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.errors import CalibrationError
from gigaedge.lens import Lens
from gigaedge_calibration.cv_compat import solve_pose

Array = NDArray[np.float64]

FEWEST: Final = 6
"""Corners. Four determine a plane's pose, but leave nothing to see an error by."""

_ROUNDS: Final = 20
_AMBIGUOUS: Final = 9.0
"""Two poses of a plane whose squared residuals, in standard deviations, differ by less than this are not told apart."""


@dataclass(frozen=True)
class Sighting:
    """One view of a board by one camera."""

    pose: Array
    """`T_cam_board`, shape (4, 4)."""
    covariance: Array
    """Of (rotation vector, rad; translation, m) in camera coordinates, shape (6, 6)."""
    rms: float
    """What the corners are off the pose, px, both coordinates together."""


def sight(
    lens: Lens,
    points: NDArray[Any],
    pixels: NDArray[Any],
    sigma_px: float,
    near: NDArray[Any] | None = None,
) -> Sighting:
    """The pose of least squared error of a flat board.

    `points`: corners in board coordinates with z = 0, m, (n, 3); `pixels`: where they were seen, (n, 2); `sigma_px`:
    their noise in each coordinate. A plane that is small or seen head-on has two poses that look alike: then the one
    nearer to `near` (4, 4) is taken, and without it the one of smaller error. Raises CalibrationError: too few corners,
    all in one line, or a pose that does not converge.
    """
    if len(points) < FEWEST:
        raise CalibrationError(f"board: {len(points)} corners seen, {FEWEST} are needed; show more of it")
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[1] < 1e-3 * spread[0]:
        raise CalibrationError("board: all corners seen are in one line; show more of it")
    starts = (near, solve_pose(np.asarray(pixels), np.asarray(points), lens))
    refined = [_refine(lens, points, pixels, np.asarray(start)) for start in starts if start is not None]
    found = [candidate for candidate in refined if candidate is not None]
    if not found:
        raise CalibrationError("board: no pose fits the corners; check the board's size and the lens")
    least = min(cost for _, _, cost in found)
    alike = [candidate for candidate in found if candidate[2] - least < _AMBIGUOUS * sigma_px**2]
    if near is None:
        pose, information, cost = min(alike, key=lambda candidate: candidate[2])
    else:
        pose, information, cost = min(
            alike, key=lambda candidate: float(np.linalg.norm(poses.difference(candidate[0], near)[:3]))
        )
    covariance = np.asarray(sigma_px**2 * np.linalg.inv(information))
    return Sighting(pose, covariance, float(np.sqrt(cost / (2 * len(points)))))


def _refine(
    lens: Lens, points: NDArray[Any], pixels: NDArray[Any], start: Array
) -> tuple[Array, Array, float] | None:
    """Pose, J^T J and squared error after damped Gauss-Newton steps; None: the board went behind the camera."""
    pose, damping = start, 1e-4
    if np.any(poses.apply(pose, points)[:, 2] <= 0):
        return None
    residual, jacobian = _linear(lens, points, pixels, pose)
    cost = float(residual @ residual)
    for _ in range(_ROUNDS):
        information = jacobian.T @ jacobian
        damped = information + damping * np.diag(np.diag(information))
        step = np.linalg.solve(damped, -jacobian.T @ residual)
        trial = poses.moved(pose, step)
        if np.all(poses.apply(trial, points)[:, 2] > 0):
            after, slope = _linear(lens, points, pixels, trial)
            lower = float(after @ after)
            if lower <= cost:
                done = cost - lower < 1e-9 * (cost + 1e-9)
                pose, residual, jacobian, cost, damping = trial, after, slope, lower, damping / 10
                if done:
                    break
                continue
        damping *= 10
    return pose, jacobian.T @ jacobian, cost


def _linear(lens: Lens, points: NDArray[Any], pixels: NDArray[Any], pose: Array) -> tuple[Array, Array]:
    """Errors, px, (2n,), and their derivative by a six-vector that moves the pose, (2n, 6)."""
    turned = points @ pose[:3, :3].T
    seen, by_point = lens.project_jacobian(turned + pose[:3, 3])
    by_six = np.concatenate([-(by_point @ poses.skew(turned)), by_point], axis=-1)
    return (seen - pixels).ravel(), by_six.reshape(-1, 6)
