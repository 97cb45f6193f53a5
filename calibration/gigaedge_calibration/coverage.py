"""Where in the picture a board was seen and how it was tilted: what a lens is known by, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CELLS: Final = (8, 6)
"""The picture is divided into so many columns and rows."""
TILT_EDGES: Final = (0.0, 10.0, 20.0, 30.0, 40.0, 90.0)
"""Bounds of the bins of the tilt histogram, degrees."""
TILTED: Final = 20.0
"""degrees; views beyond it tell the focal length from the distance."""
TILTED_PART: Final = 0.5
"""Of the views are to be tilted so far."""

_DOWN: Final = ("upper", "middle", "lower")
_ACROSS: Final = ("left", "centre", "right")


@dataclass(frozen=True)
class Coverage:
    """What a set of views has seen."""

    cells: NDArray[np.int64]
    """Corners per cell of the picture, shape (rows, columns) of `CELLS`."""
    tilts: Array
    """Angle between the board and the picture's plane, rad, one per view."""

    @property
    def part(self) -> float:
        """Part of the cells that a corner was seen in."""
        return float(np.mean(self.cells > 0))

    @property
    def greatest_tilt(self) -> float:
        """rad; 0 where there is no view."""
        return float(np.max(self.tilts, initial=0.0))

    @property
    def histogram(self) -> NDArray[np.int64]:
        """Views per bin of `TILT_EDGES`."""
        counts, _ = np.histogram(np.degrees(self.tilts), TILT_EDGES)
        return np.asarray(counts, np.int64)

    @property
    def emptiest(self) -> str:
        """The ninth of the picture with the greatest part of its cells unseen, in words; empty: all were seen."""
        columns, rows = CELLS
        unseen = self.cells == 0
        if not unseen.any():
            return ""
        parts = np.array(
            [
                [np.mean(unseen[rows * i // 3 : rows * (i + 1) // 3, columns * j // 3 : columns * (j + 1) // 3])
                 for j in range(3)]
                for i in range(3)
            ]
        )  # fmt: skip
        down, across = np.unravel_index(int(np.argmax(parts)), parts.shape)
        return f"{_DOWN[down]} {_ACROSS[across]}"

    @property
    def advice(self) -> str:
        """What the next views should be, in words."""
        tilted = int(np.sum(np.degrees(self.tilts) >= TILTED))
        if len(self.tilts) >= 3 and tilted < TILTED_PART * len(self.tilts):
            return "tilt the board more: 30 to 45 degrees, another way each time"
        if self.emptiest:
            return f"go to the {self.emptiest} of the picture"
        return "tilt the board another way, and go nearer"


def coverage(corners: Sequence[Array], tilts: Sequence[float], size: tuple[int, int]) -> Coverage:
    """Of views with `corners`, px, (n, 2) each, and `tilts`, rad, in a picture of `size`, width and height, px."""
    columns, rows = CELLS
    cells = np.zeros((rows, columns), np.int64)
    for view in corners:
        across, down = (np.floor((view + 0.5) / size * CELLS).astype(int)).T
        # A refined corner may lie a little outside.
        np.add.at(cells, (np.clip(down, 0, rows - 1), np.clip(across, 0, columns - 1)), 1)
    return Coverage(cells, np.asarray(tilts, np.float64))


def tilt_of(t_cam_board: Array) -> float:
    """Angle between the board and the picture's plane, rad in [0, pi / 2]: what tells focal length from distance."""
    return float(np.arccos(np.clip(abs(t_cam_board[2, 2]), 0.0, 1.0)))
