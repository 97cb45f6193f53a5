"""Textures of the synthetic cell: printed surfaces with detail at every scale, and their reduced copies.

Everything is drawn from a seed: the same arguments give the same texture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import ConfigError
from gigaedge.simulation import SimulatedBoard

Image = NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""

PAPER: Final = 235
INK: Final = 25
"""Of 255, what white paper and black print reflect."""

_SMALLEST: Final = 4
"""px; no reduced copy is smaller."""


@dataclass(frozen=True)
class Texture:
    """A picture on a rectangle, with copies of half the size, a quarter, and so on, each the mean of what it covers.

    Plane coordinates are x to the right and y down from the top left corner of the rectangle; a texel is an area, so
    that its edges, not its centre, lie at whole multiples of its size.
    """

    width: float
    height: float
    """m."""
    levels: tuple[Image, ...]

    @classmethod
    def of(cls, picture: Image, width: float, height: float) -> Texture:
        """The texture of a rectangle of `width` x `height` m."""
        levels = [picture]
        while min(levels[-1].shape[:2]) >= 2 * _SMALLEST:
            rows, columns = levels[-1].shape[:2]
            levels.append(cv2.resize(picture, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA))
        return cls(width, height, tuple(np.ascontiguousarray(level) for level in levels))

    @property
    def texel(self) -> float:
        """Size of a texel of the first level, m."""
        return self.width / int(self.levels[0].shape[1])


def printed(seed: tuple[int, ...], width: float, height: float, texel: float, *, figures: int = 0) -> Texture:
    """A rectangle of `width` x `height` m with cloudy paint of a random colour and `figures` printed shapes."""
    rng = np.random.default_rng(seed)
    columns, rows = max(8, round(width / texel)), max(8, round(height / texel))
    clouds = np.zeros((rows, columns), np.float32)
    cell = max(columns, rows) // 2
    while cell >= 2:
        coarse = rng.normal(size=(rows // cell + 2, columns // cell + 2)).astype(np.float32)
        clouds += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
        cell //= 2
    clouds *= 17 / float(clouds.std())
    colour = rng.uniform(95, 190, 3)
    tint = rng.uniform(0.6, 1.3, 3)
    picture = np.clip(clouds[..., np.newaxis] * tint.astype(np.float32) + colour.astype(np.float32), 5, 250)
    image = np.ascontiguousarray(picture.astype(np.uint8))
    for _ in range(figures):
        _print_figure(image, rng, texel)
    return Texture.of(image, width, height)


def _print_figure(image: Image, rng: np.random.Generator, texel: float) -> None:
    """A disc, ring, card or word of 1 to 9 cm, anywhere and at any angle."""
    rows, columns = image.shape[:2]
    size = float(0.01 * 9 ** rng.uniform()) / texel
    centre = (int(rng.integers(0, columns)), int(rng.integers(0, rows)))
    colour = tuple(int(value) for value in rng.integers(10, 245, 3))
    kind = int(rng.integers(0, 4))
    thickness = max(1, int(size / 8))
    if kind == 0:
        cv2.circle(image, centre, int(size / 2), colour, -1, cv2.LINE_AA)
    elif kind == 1:
        cv2.circle(image, centre, int(size / 2), colour, thickness, cv2.LINE_AA)
    elif kind == 2:
        sides = (size, size * float(rng.uniform(0.3, 1.0)))
        corners = cv2.boxPoints((centre, sides, float(rng.uniform(0, 90))))
        cv2.fillConvexPoly(image, corners.astype(np.int32), colour, cv2.LINE_AA)
    else:
        word = "".join(chr(letter) for letter in rng.integers(ord("A"), ord("Z") + 1, 3))
        cv2.putText(image, word, centre, cv2.FONT_HERSHEY_SIMPLEX, size / 60, colour, thickness, cv2.LINE_AA)


def paper_border(board: SimulatedBoard) -> float:
    """Width of the white paper around the squares, m."""
    return board.square / 2


def board_texture(board: SimulatedBoard) -> Texture:
    """The print with its white border. Raises ConfigError: no such dictionary, or too few markers in it."""
    identifier = getattr(cv2.aruco, board.dictionary, None)
    if identifier is None:
        raise ConfigError(f"simulated board: OpenCV has no dictionary {board.dictionary!r}; try DICT_5X5_100")
    dictionary = cv2.aruco.getPredefinedDictionary(identifier)
    try:
        pattern = cv2.aruco.CharucoBoard((board.columns, board.rows), board.square, board.marker, dictionary)
        pattern.setLegacyPattern(board.legacy)
        # Whole and even: the edges of squares are edges of texels, in the first reduced copy, too.
        square = 96
        print_ = pattern.generateImage((board.columns * square, board.rows * square), marginSize=0)
    except cv2.error as error:
        raise ConfigError(
            f"simulated board of {board.columns}x{board.rows} squares: {' '.join(str(error).split())}"
        ) from error
    border = square // 2
    page = cv2.copyMakeBorder(print_, border, border, border, border, cv2.BORDER_CONSTANT, value=255)
    tones = np.where(page > 127, PAPER, INK).astype(np.uint8)
    image = cv2.cvtColor(tones, cv2.COLOR_GRAY2RGB)
    edge = 2 * paper_border(board)
    return Texture.of(image, board.columns * board.square + edge, board.rows * board.square + edge)
