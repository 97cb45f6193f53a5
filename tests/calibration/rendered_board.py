"""Pictures of a board that are exact but for the camera's noise: every pixel is the mean of what its rays meet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import BoardInfo
from gigaedge.lens import Lens
from gigaedge_calibration.board import black_rectangles
from gigaedge_calibration.cv_compat import object_points

Array = NDArray[np.float64]

BOARD = BoardInfo(columns=9, rows=7, square=0.027, marker=0.02)
LENS = Lens(640, 480, 612.3, 611.9, 322.4, 238.1, (0.12, -0.25, 0.0008, -0.0006, 0.1))
FINE = 64
"""Cells of the pattern per square: rectangles are rounded to them, which their edges outside the inner corners bear."""


@dataclass(frozen=True)
class View:
    """A board in front of the camera."""

    t_cam_board: Array
    picture: NDArray[np.uint8]
    """RGB."""


@lru_cache(maxsize=8)
def pattern(board: BoardInfo) -> NDArray[np.uint8]:
    """Reflectance of the board's plane, 0 or 1, `FINE` cells per square, with a white border of half a square."""
    edge = FINE // 2
    image = np.ones((board.rows * FINE + 2 * edge, board.columns * FINE + 2 * edge), np.uint8)
    for left, top, right, bottom in np.rint(black_rectangles(board) / board.square * FINE).astype(int) + edge:
        image[top:bottom, left:right] = 0
    return image


@lru_cache(maxsize=16)
def rays(lens: Lens, right: float, below: float) -> Array:
    """Directions through every pixel, shape (height, width, 3), from so far beside its centre, px."""
    pixels = np.meshgrid(np.arange(lens.width) + right, np.arange(lens.height) + below)
    return lens.rays(np.stack(pixels, axis=-1))


def brightness(board: BoardInfo, t_cam_board: Array, directions: Array) -> Array:
    """What rays, shape (..., 3), meet, shape (...): black, white, or the wall's grey."""
    normal, origin = t_cam_board[:3, 2], t_cam_board[:3, 3]
    distance = (normal @ origin) / (directions @ normal)
    place = (directions * distance[..., np.newaxis] - origin) @ t_cam_board[:3, :2]
    image = pattern(board)
    cell = np.floor(place / board.square * FINE).astype(int) + FINE // 2
    inside = (distance > 0) & (cell >= 0).all(axis=-1) & (cell < image.shape[::-1]).all(axis=-1)
    bright = np.full(inside.shape, 100.0)
    bright[inside] = np.where(image[cell[inside][:, 1], cell[inside][:, 0]] == 1, 215.0, 30.0)
    return bright


def render(
    board: BoardInfo,
    t_cam_board: Array,
    lens: Lens = LENS,
    *,
    blur: float = 0.6,
    noise: float = 2.0,
    seed: int = 0,
    samples: int = 6,
) -> NDArray[np.uint8]:
    """RGB, shape (height, width, 3), of a board on a grey wall; `blur`, px, and `noise`, DN, are Gaussian sigmas.

    Pixels on an edge are the mean of `samples` x `samples` rays: with three, corners are off by 0.05 px of aliasing.
    """
    quarter = (-0.25, 0.25)
    few = np.stack([brightness(board, t_cam_board, rays(lens, u, v)) for u in quarter for v in quarter])
    grey = few.mean(axis=0)
    window = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(few.max(axis=0), window) > cv2.erode(few.min(axis=0), window)
    centre, right, below = (rays(lens, *offset)[edge] for offset in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)))
    offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * 2
    # Within a pixel a direction is linear in its place.
    many = [
        brightness(board, t_cam_board, centre + u * (right - centre) + v * (below - centre))
        for u in offsets
        for v in offsets
    ]
    grey[edge] = np.mean(many, axis=0)
    across, down = np.meshgrid(np.linspace(-1, 1, lens.width), np.linspace(-1, 1, lens.height))
    grey *= 1 - 0.1 * across - 0.08 * (across**2 + down**2)
    if blur:
        grey = cv2.GaussianBlur(grey, (0, 0), blur)
    colour = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    noisy = colour + np.random.default_rng(seed).normal(0.0, noise, colour.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def place_board(
    board: BoardInfo,
    distance: float,
    tilt: float,
    towards: float,
    roll: float,
    pixel: tuple[float, float],
    lens: Lens,
) -> Array:
    """`T_cam_board` with the board's middle at `distance`, m, behind `pixel`, turned by `roll` and tilted by `tilt`,
    rad, about the axis that lies `towards` in its plane.
    """
    middle = np.array([board.columns, board.rows, 0.0]) * board.square / 2
    axis = np.array([np.cos(towards), np.sin(towards), 0.0])
    turn = poses.rotation(tilt * axis) @ poses.rotation(np.array([0.0, 0.0, roll]))
    centre = lens.rays(np.array(pixel)) * distance
    return poses.pose(turn, centre - turn @ middle)


def placements(
    board: BoardInfo,
    views: int,
    seed: int,
    *,
    tilt: tuple[float, float] = (15, 45),
    centred: bool = False,
    lens: Lens = LENS,
) -> list[Array]:
    """`T_cam_board` of `views` views as a person would hold a board: near, in all parts of the picture, tilted."""
    rng = np.random.default_rng(seed)
    found: list[Array] = []
    while len(found) < views:
        spot = (0.5, 0.5) if centred else rng.uniform(0.25, 0.75, 2)
        pixel = (spot[0] * lens.width, spot[1] * lens.height)
        t_cam_board = place_board(
            board,
            rng.uniform(0.26, 0.45) if not centred else rng.uniform(0.55, 0.7),
            np.radians(rng.uniform(*tilt)),
            rng.uniform(0, 2 * np.pi),
            rng.normal(0, 0.3),
            pixel,
            lens,
        )
        seen = visible(board, t_cam_board, lens)
        if seen.sum() >= 0.6 * len(seen):
            found.append(t_cam_board)
    return found


def visible(
    board: BoardInfo, t_cam_board: Array, lens: Lens = LENS, border: float = 8.0
) -> NDArray[np.bool_]:
    """Which inner corners are in the picture, `border` px from its edge, shape (n,)."""
    pixels = lens.project(poses.apply(t_cam_board, object_points(board)))
    size = np.array([lens.width, lens.height])
    return np.asarray(((pixels > border) & (pixels < size - 1 - border)).all(axis=-1))


def true_corners(board: BoardInfo, t_cam_board: Array, ids: NDArray[np.int64], lens: Lens = LENS) -> Array:
    return lens.project(poses.apply(t_cam_board, object_points(board, ids)))
