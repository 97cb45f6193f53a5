"""Three camera pictures become the one picture the policy sees, pixel for pixel as in its training code.

`tshape`:

    +-----------------+
    |    cam_high     |  H // 2 rows
    +--------+--------+
    |  left  | right  |  the rest; left takes W // 2 columns
    +--------+--------+

Each view is scaled to cover its tile (aspect kept, antialiased bilinear) and cropped in the centre. What the crop
throws away is not computed where that changes no pixel.
`horizontal`: high | left | right, each scaled to the size of the high view, the strip scaled to W x H.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gigaedge.errors import InputError, ObservationError
from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge.tiles import Layout, cover

_EXACT: Final = 256
_LEAST_TRIED: Final = 32
"""px; of a tile's shorter side, for a part of a picture to be tried."""

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
        high, left, right = (_checked(images, role) for role in CAMERA_ROLES)
        width, height = self.size_wh
        if self.layout == "horizontal":
            rows, columns, _ = high.shape
            strip = Image.new("RGB", (columns * 3, rows))
            for column, view in enumerate((high, left, right)):
                strip.paste(_resize(Image.fromarray(view), (columns, rows)), (column * columns, 0))
            self._out[...] = np.asarray(_resize(strip, self.size_wh))
            return self._out
        top, middle = height // 2, width // 2
        self._out[:top] = _cover(high, width, top)
        self._out[top:, :middle] = _cover(left, middle, height - top)
        self._out[top:, middle:] = _cover(right, width - middle, height - top)
        return self._out


def _checked(images: Mapping[CameraRole, NDArray[np.uint8]], role: CameraRole) -> NDArray[np.uint8]:
    image = images.get(role)
    if image is None:
        raise ObservationError(f"{role}: no picture; a composite needs {', '.join(CAMERA_ROLES)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ObservationError(
            f"{role}: expected an RGB picture, uint8 of shape (height, width, 3); "
            f"got {image.dtype} {image.shape}"
        )
    return image


def _cover(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale until both sides cover the tile, then cut the centre.

    Pillow's copy of a picture is freed before the next is made: three at a time would be given back to the system and
    fetched from it again, page by page, for every composite.
    """
    image = Image.fromarray(picture)
    return np.asarray(_cut(image, *_cheapest(image.size, (width, height))))


class _Window(NamedTuple):
    """What is scaled of one axis."""

    begin: float
    """In the source, px."""
    end: float
    pixels: int
    """Into so many it is scaled."""
    skipped: int
    """So many of those are cut off at the beginning."""
    kept: int

    @classmethod
    def of(cls, source: int, scaled: int, first: int, kept: int) -> _Window:
        """For `kept` of `scaled` pixels from the `first` on, as little as is exact.

        Pillow places each pixel at (number + 1/2) times the scale after the window's begin, which it takes in single
        precision: with a scale that is a multiple of 1/256 nothing is rounded, wherever the window begins.
        """
        if source * _EXACT % scaled:
            return cls(0.0, source, scaled, first, kept)
        return cls(first * source / scaled, (first + kept) * source / scaled, kept, 0, kept)


@cache
def _cheapest(source: tuple[int, int], tile: tuple[int, int]) -> tuple[_Window, _Window]:
    """The windows of both axes for a tile of a picture; the whole picture's where those would change a pixel.

    Pillow rounds between the axes, and newer versions choose by the sizes which comes first. So it is tried, on noise,
    of which a third of all pixels tell; a tile of a few pixels might not.
    """
    fit = cover(source, tile)
    whole = (
        _Window(0.0, source[0], fit.scaled[0], fit.left, tile[0]),
        _Window(0.0, source[1], fit.scaled[1], fit.upper, tile[1]),
    )
    if min(tile) < _LEAST_TRIED:
        return whole
    columns = _Window.of(source[0], fit.scaled[0], fit.left, tile[0])
    rows = _Window.of(source[1], fit.scaled[1], fit.upper, tile[1])
    noise = np.random.default_rng(0).integers(0, 256, (source[1], source[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    wanted = _cut(image, *whole).tobytes()
    for windows in ((columns, rows), (columns, whole[1]), (whole[0], rows)):
        if _cut(image, *windows).tobytes() == wanted:
            return windows
    return whole


def _cut(image: Image.Image, columns: _Window, rows: _Window) -> Image.Image:
    box = (columns.begin, rows.begin, columns.end, rows.end)
    part = _resize(image, (columns.pixels, rows.pixels), box)
    x, y = columns.skipped, rows.skipped
    return part.crop((x, y, x + columns.kept, y + rows.kept))


def _resize(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    """Bilinear with antialiasing when shrinking; training used Pillow, and cv2 gives other pixels."""
    return image.resize(size, Image.Resampling.BILINEAR, box=box)
