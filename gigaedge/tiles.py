"""Where a camera's picture lies in the composite that the policy sees: pure arithmetic, for all who need it.

A point moves from a picture to the composite by a scale and a shift per axis; what lies beyond the tile is cut off.
Training cut each tile out at random, inference cuts the centre: what is cut off is the slack that a view has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import CAMERA_ROLES, CameraRole

Layout = Literal["tshape", "horizontal"]


@dataclass(frozen=True)
class Cover:
    """A picture scaled to cover a tile and cut in the centre."""

    scaled: tuple[int, int]
    """Width and height after scaling, px."""
    left: int
    upper: int
    """What is cut off on these sides, px."""


@dataclass(frozen=True)
class Tile:
    """One view's place in the composite, for one size of picture."""

    x: int
    y: int
    """Top left corner in the composite, px."""
    width: int
    height: int
    scale: tuple[float, float]
    """Composite px per px of the picture, horizontal and vertical."""
    cut: tuple[int, int]
    """Composite px cut off on the left and above."""
    slack: tuple[float, float]
    """How far training's random crop moved, composite px to either side: half of all that is cut off."""

    def composite(self, pixels: NDArray[Any]) -> NDArray[np.float64]:
        """Points of the picture, px, shape (..., 2), in the composite; pixel (0, 0) is a centre in both."""
        scale = np.array(self.scale)
        corner = np.array([self.x - self.cut[0], self.y - self.cut[1]])
        return np.asarray((pixels + 0.5) * scale - 0.5 + corner)

    def picture(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Points of the composite, px, shape (..., 2), in the picture; the inverse of `composite`."""
        corner = np.array([self.x - self.cut[0], self.y - self.cut[1]])
        return np.asarray((points - corner + 0.5) / np.array(self.scale) - 0.5)


def cover(source: tuple[int, int], tile: tuple[int, int]) -> Cover:
    """How a picture of size `source` (width, height) covers a tile of size `tile`.

    The order of the floating point operations matters: it decides which way a half pixel is rounded.
    """
    width, height = tile
    if height / source[1] < width / source[0]:
        scaled = (width, round(width / source[0] * source[1]))
    else:
        scaled = (round(height / source[1] * source[0]), height)
    return Cover(scaled, (scaled[0] - width) // 2, (scaled[1] - height) // 2)


def tile(
    role: CameraRole,
    source: tuple[int, int],
    composite: tuple[int, int] = (320, 384),
    layout: Layout = "tshape",
) -> Tile:
    """Where the view `role`, a picture of size `source` (width, height), lies in a composite of size `composite`.

    The layouts are those of the runtime's compositor. In `horizontal` nothing is cut off.
    """
    width, height = composite
    if layout == "horizontal":
        index = CAMERA_ROLES.index(role)
        left, right = round(index * width / 3), round((index + 1) * width / 3)
        return Tile(
            left, 0, right - left, height, (width / 3 / source[0], height / source[1]), (0, 0), (0.0, 0.0)
        )
    top, middle = height // 2, width // 2
    x, y, w, h = {
        "cam_high": (0, 0, width, top),
        "cam_left_wrist": (0, top, middle, height - top),
        "cam_right_wrist": (middle, top, width - middle, height - top),
    }[role]
    fit = cover(source, (w, h))
    scale = (fit.scaled[0] / source[0], fit.scaled[1] / source[1])
    slack = ((fit.scaled[0] - w) / 2, (fit.scaled[1] - h) / 2)
    return Tile(x, y, w, h, scale, (fit.left, fit.upper), slack)
