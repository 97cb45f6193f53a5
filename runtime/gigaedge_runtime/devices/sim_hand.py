"""How a person shows a board to a camera: everywhere in the picture, near and far, tilted, and still in between."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.lens import Lens
from gigaedge.poses import Array, apply, difference, from_six, moved, pose, rotation
from gigaedge.simulation import SimulatedBoard

DWELL: Final = 0.7
"""s that the board is held still."""
MOVE: Final = 0.4
"""s from one pose to the next."""

_TILTS: Final = (10.0, 45.0)
"""Degrees away from facing the camera."""
_TRIES: Final = 60
_MARGIN: Final = 6.0
"""px between the outer corners and the edge of the picture."""


def hand_pose(board: SimulatedBoard, lens: Lens, seed: int, time: float) -> Array:
    """`T_cam_board`, shape (4, 4), at a time, s."""
    period = DWELL + MOVE
    number, rest = int(time // period), time % period
    here = _chosen(board, lens, seed, number)
    if rest <= DWELL:
        return here
    there = _chosen(board, lens, seed, number + 1)
    part = (rest - DWELL) / MOVE
    smooth = part * part * (3 - 2 * part)
    return moved(here, smooth * difference(there, here))


@lru_cache(maxsize=64)
def _chosen(board: SimulatedBoard, lens: Lens, seed: int, number: int) -> Array:
    """The pose with this number: the whole board in the picture, its middle in one of nine parts in turn."""
    rng = np.random.default_rng([seed, 19, number])
    width, height = board.columns * board.square, board.rows * board.square
    ends = np.array([[0, 0, 0], [width, 0, 0], [width, height, 0], [0, height, 0]])
    # 5 has no divisor in common with 9: neighbours in time are not neighbours in the picture.
    part = 5 * number % 9
    offset: NDArray[np.float64] = np.array([part % 3 - 1, part // 3 - 1]) * (lens.width / 3, lens.height / 3)
    size = float(rng.uniform(0.45, 0.8)) * lens.width
    place = np.eye(4)
    for attempt in range(_TRIES):
        # Towards the middle, and smaller, until all of it is seen.
        shrink = 1 - attempt / _TRIES
        depth = lens.fx * width / (size * (0.5 + 0.5 * shrink))
        pixel = offset * shrink * 0.9 + (lens.width / 2, lens.height / 2)
        centre = lens.rays(pixel) * depth
        azimuth, tilt = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(*_TILTS))
        roll = np.radians(rng.uniform(-20, 20))
        turn = rotation(tilt * np.array([np.cos(azimuth), np.sin(azimuth), 0.0]))
        turn = turn @ rotation(np.array([0.0, 0.0, roll]))
        place = pose(turn, centre) @ from_six(np.array([0.0, 0.0, 0.0, -width / 2, -height / 2, 0.0]))
        seen = lens.project(apply(place, ends))
        low, high = seen.min(axis=0), seen.max(axis=0)
        if (low > _MARGIN).all() and (high < (lens.width - _MARGIN, lens.height - _MARGIN)).all():
            break
    return place
