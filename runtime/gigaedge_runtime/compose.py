"""Three camera pictures become the one picture the policy sees, pixel for pixel as in its training code.

`tshape`:

    +-----------------+
    |    cam_high     |  H // 2 rows
    +--------+--------+
    |  left  | right  |  the rest; left takes W // 2 columns
    +--------+--------+

Each view is scaled to cover its tile (aspect kept, antialiased bilinear) and cropped in the centre.
`horizontal`: high | left | right, each scaled to the size of the high view, the strip scaled to W x H.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gigaedge.errors import InputError, ObservationError
from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge.tiles import Layout, cover

LAYOUTS: Final[tuple[Layout, ...]] = ("tshape", "horizontal")


class Compositor:
    """Composites of one size and layout, written into a buffer that is allocated once."""

    def __init__(self, size_wh: tuple[int, int], layout: Layout = "tshape") -> None:
        """`size_wh`: width and height of the composite, px, at least 2 each. Raises InputError."""
        width, height = size_wh
        if min(width, height) < 2:
            raise InputError(f"composite size must be at least 2x2 px; got {width}x{height}")
        if layout not in LAYOUTS:
            raise InputError(f"unknown view layout {layout!r}; valid: {', '.join(LAYOUTS)}")
        self.size_wh = (width, height)
        self.layout = layout
        self._out = np.zeros((height, width, 3), np.uint8)

    def compose(self, images: Mapping[CameraRole, NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Composite of one picture per role, each RGB uint8 of shape (height, width, 3), any size.

        Returns uint8 RGB of shape (H, W, 3): always the same array, overwritten by the next call; copy it
        to keep it. Raises ObservationError: a picture is missing, or of another type or shape.
        """
        high, left, right = (_picture(images, role) for role in CAMERA_ROLES)
        width, height = self.size_wh
        if self.layout == "horizontal":
            strip = Image.new("RGB", (high.width * 3, high.height))
            for column, view in enumerate((high, left, right)):
                strip.paste(_resize(view, high.size), (column * high.width, 0))
            self._out[...] = np.asarray(_resize(strip, self.size_wh))
            return self._out
        top, middle = height // 2, width // 2
        self._out[:top] = _cover(high, width, top)
        self._out[top:, :middle] = _cover(left, middle, height - top)
        self._out[top:, middle:] = _cover(right, width - middle, height - top)
        return self._out


def _picture(images: Mapping[CameraRole, NDArray[np.uint8]], role: CameraRole) -> Image.Image:
    image = images.get(role)
    if image is None:
        raise ObservationError(f"{role}: no picture; a composite needs {', '.join(CAMERA_ROLES)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ObservationError(
            f"{role}: expected an RGB picture, uint8 of shape (height, width, 3); "
            f"got {image.dtype} {image.shape}"
        )
    return Image.fromarray(image)


def _cover(image: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    """Scale until both sides cover the tile, then cut the centre."""
    fit = cover(image.size, (width, height))
    box = (fit.left, fit.upper, fit.left + width, fit.upper + height)
    return np.asarray(_resize(image, fit.scaled).crop(box))


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bilinear with antialiasing when shrinking; training used Pillow, and cv2 gives other pixels."""
    return image.resize(size, Image.Resampling.BILINEAR)
