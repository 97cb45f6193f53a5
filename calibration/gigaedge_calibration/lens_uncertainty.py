"""What a lens and its covariance mean in the picture: how uncertain a pixel is, and how far two lenses are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import IntrinsicsInfo
from gigaedge.errors import CalibrationError
from gigaedge.lens import Lens
from gigaedge.robot import CameraRole
from gigaedge.tiles import tile
from gigaedge_calibration.cv_compat import projection_jacobian

Array = NDArray[np.float64]
Crop = tuple[float, float, float, float]
"""Left, top, right, bottom of a part of the picture, px."""


def factory_info(lens: Lens) -> IntrinsicsInfo:
    """A lens as the camera itself knows it, for the calibration file."""
    return IntrinsicsInfo(
        source="factory",
        model="radial_tangential" if lens.distortion else "pinhole",
        width=lens.width,
        height=lens.height,
        fx=lens.fx,
        fy=lens.fy,
        cx=lens.cx,
        cy=lens.cy,
        distortion=lens.distortion,
    )


@dataclass(frozen=True)
class LensDifference:
    """One lens against another of the same picture."""

    focal: float
    """Relative difference of the focal length, the worse of both axes; positive: the first is longer."""
    worst: float
    """Greatest distance between the pixels that both give to the same direction, px, over the picture."""


def lens_of(info: IntrinsicsInfo) -> Lens:
    """The lens that the calibration file describes."""
    return Lens(info.width, info.height, info.fx, info.fy, info.cx, info.cy, info.distortion)


def projection_sigmas(lens: Lens, covariance: NDArray[Any], pixels: Array) -> Array:
    """Standard deviation of where the directions behind `pixels`, (n, 2), are projected, px, in the worst direction."""
    directions = lens.rays(pixels)
    _, slope = projection_jacobian(lens, np.eye(4), directions)
    slope = slope.reshape(len(pixels), 2, -1)
    spread = slope @ covariance @ np.swapaxes(slope, -1, -2)
    return np.sqrt(np.maximum(np.linalg.eigvalsh(spread)[:, -1], 0.0))


def grid(crop: Crop, across: int = 25, down: int = 19) -> Array:
    """Points over a part of the picture, its corners included, shape (across * down, 2), row by row."""
    left, top, right, bottom = crop
    points = np.meshgrid(np.linspace(left, right, across), np.linspace(top, bottom, down))
    return np.stack(points, axis=-1).reshape(-1, 2)


def compare_lenses(first: Lens, second: Lens) -> LensDifference:
    """How far two lenses of the same picture are apart. Raises CalibrationError: pictures of different sizes."""
    if (first.width, first.height) != (second.width, second.height):
        raise CalibrationError(
            f"lenses of {first.width}x{first.height} and {second.width}x{second.height} px cannot be compared; "
            "calibrate the size that the site runs"
        )
    pixels = grid((0.0, 0.0, first.width - 1.0, first.height - 1.0))
    apart = np.linalg.norm(second.project(first.rays(pixels)) - pixels, axis=-1)
    ratios = (first.fx / second.fx - 1, first.fy / second.fy - 1)
    return LensDifference(max(ratios, key=abs), float(apart.max()))


def policy_crop(role: CameraRole, size: tuple[int, int]) -> Crop:
    """What the policy sees of a picture of `size`, width and height, px (gigaedge.tiles)."""
    place = tile(role, size)
    left, top = place.cut[0] / place.scale[0] - 0.5, place.cut[1] / place.scale[1] - 0.5
    return (left, top, left + place.width / place.scale[0], top + place.height / place.scale[1])
