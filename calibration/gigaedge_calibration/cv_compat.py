"""OpenCV 4.9 to 5.0 behind one door: what differs between them ends here, in arrays of one shape.

Between them the board detector's answers changed shape, and methods came and went. Nothing else in this package calls
`cv2.aruco`, `cv2.calibrateCamera` or `cv2.solvePnP`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge.lens import Lens

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """What of a board was found in one picture."""

    ids: NDArray[np.int64]
    """Of the inner corners, ascending, shape (n,): row by row, `columns - 1` to a row."""
    corners: Array
    """px, shape (n, 2)."""
    markers: NDArray[np.int64]
    """Of the markers, ascending, shape (m,)."""


def detect(image: NDArray[np.uint8], board: BoardInfo) -> Detection:
    """Find a board in a picture, RGB uint8 of shape (height, width, 3) or grey of shape (height, width).

    The same picture gives the same answer; nothing found is an answer, too. Raises CalibrationError: a board that
    cannot be, or one with an even number of rows that is not said to be `legacy`.
    """
    _, detector = _detector(*_key(board))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    corners, ids, _, markers = detector.detectBoard(grey)
    # No corner is None or an empty array, (n, 1, 2) in 4.x and (n, 2) in 5.0.
    found = np.zeros(0, np.int64) if ids is None else np.asarray(ids, np.int64).reshape(-1)
    places = np.zeros((0, 2)) if corners is None else np.asarray(corners, np.float64).reshape(-1, 2)
    seen = np.zeros(0, np.int64) if markers is None else np.asarray(markers, np.int64).reshape(-1)
    order = np.argsort(found, kind="stable")
    return Detection(found[order], places[order], np.sort(seen))


def object_points(board: BoardInfo, ids: NDArray[np.int64] | None = None) -> Array:
    """Inner corners in board coordinates, m, shape (n, 3): those with `ids`, or all in the order of their ids.

    The origin is the outer corner of the first square; x runs along the columns, y along the rows, z = x cross y points
    away from whoever looks at the print.
    """
    across = board.columns - 1
    chosen = np.arange(across * (board.rows - 1)) if ids is None else np.asarray(ids)
    grid = np.stack([chosen % across + 1, chosen // across + 1, np.zeros_like(chosen)], axis=-1)
    return np.asarray(grid * board.square, dtype=np.float64)


def marker_bits(board: BoardInfo) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """Every marker of a board: its column, its row and its modules, True where black, border included.

    Raises CalibrationError as `detect` does.
    """
    made, _ = _detector(*_key(board))
    dictionary = made.getDictionary()
    modules = dictionary.markerSize + 2
    markers = []
    for marker, corners in zip(np.asarray(made.getIds()).reshape(-1), made.getObjPoints(), strict=True):
        x, y = np.asarray(corners, np.float64).reshape(-1, 3)[:, :2].mean(axis=0)
        picture = np.asarray(dictionary.generateImageMarker(int(marker), modules))
        markers.append((int(x / board.square), int(y / board.square), picture < 128))
    return markers


def solve_pose(corners: Array, points: Array, lens: Lens) -> Array | None:
    """`T_cam_board`, shape (4, 4), that projects `points`, m, (n, 3), to `corners`, px, (n, 2); None: no answer.

    A planar set is solved by IPPE, with its two mirrored answers compared, and then refined (cv2.solvePnPGeneric,
    cv2.solvePnPRefineLM); it takes four points that are not on a line.
    """
    if len(points) < 4:
        return None
    world, pixels = np.ascontiguousarray(points), np.ascontiguousarray(corners)
    matrix, coefficients = lens.matrix, lens.coefficients
    try:
        count, turns, shifts, _ = cv2.solvePnPGeneric(
            world, pixels, matrix, coefficients, flags=cv2.SOLVEPNP_IPPE
        )
    except cv2.error:
        return None  # points on a line have no homography
    best, least = None, np.inf
    for turn, shift in zip(turns[:count], shifts[:count], strict=True):
        if not (np.isfinite(turn).all() and np.isfinite(shift).all()):
            continue
        turn, shift = cv2.solvePnPRefineLM(world, pixels, matrix, coefficients, turn, shift)
        pose = poses.from_six(np.concatenate([np.ravel(turn), np.ravel(shift)]).astype(np.float64))
        error = np.sum((lens.project(poses.apply(pose, world)) - pixels) ** 2)
        if error < least:  # NaN, a board behind the camera, is not
            best, least = pose, float(error)
    return best


def calibrate(
    points: Sequence[Array], corners: Sequence[Array], size: tuple[int, int], start: Lens, *, rational: bool
) -> tuple[Lens, list[Array]]:
    """The lens, and `T_cam_board` of every view, with the least squared reprojection error.

    `points`, m, (n, 3) and `corners`, px, (n, 2) per view; `size` is width and height, px; `start` is the first guess.
    A start without distortion keeps none; else k1 k2 p1 p2 k3, with `rational` k4 k5 k6, too
    (cv2.calibrateCameraExtended). Raises CalibrationError: OpenCV finds no answer.
    """
    flags = cv2.CALIB_USE_INTRINSIC_GUESS | (cv2.CALIB_RATIONAL_MODEL if rational else 0)
    terms = 8 if rational else 5
    if not start.distortion:
        terms = 0
        flags |= cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    first = np.zeros(max(terms, 5))
    first[: len(start.distortion)] = start.distortion[: len(first)]
    try:
        _, matrix, coefficients, turns, shifts, *_ = cv2.calibrateCameraExtended(
            [np.ascontiguousarray(view, np.float32) for view in points],
            [np.ascontiguousarray(view, np.float32) for view in corners],
            size,
            start.matrix,
            first,
            flags=flags,
            criteria=(cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-10),
        )
    except cv2.error as error:
        raise CalibrationError(
            f"the views have no solution ({error.err}); take views from more sides"
        ) from error
    distortion = tuple(float(value) for value in np.ravel(coefficients)[:terms])
    lens = Lens(
        *size,
        float(matrix[0, 0]),
        float(matrix[1, 1]),
        float(matrix[0, 2]),
        float(matrix[1, 2]),
        distortion,
    )
    six = [
        np.concatenate([np.ravel(turn), np.ravel(shift)]) for turn, shift in zip(turns, shifts, strict=True)
    ]
    return lens, [poses.from_six(view.astype(np.float64)) for view in six]


def dictionaries() -> tuple[str, ...]:
    """The names of the marker dictionaries that this OpenCV knows, without AprilTag's and MIP's."""
    return tuple(sorted(name for name in dir(cv2.aruco) if name.startswith("DICT_") and name[5].isdigit()))


def _key(board: BoardInfo) -> tuple[int, int, float, float, str, bool]:
    return (board.columns, board.rows, board.square, board.marker, board.dictionary, board.legacy)


@lru_cache(maxsize=32)
def _detector(
    columns: int, rows: int, square: float, marker: float, dictionary: str, legacy: bool
) -> tuple[Any, Any]:
    """cv2.aruco.CharucoBoard and cv2.aruco.CharucoDetector."""
    if rows % 2 == 0 and not legacy:
        raise CalibrationError(
            f"board of {columns}x{rows}: an even number of rows means another pattern in OpenCV before 4.6; print an "
            "odd one, or set `legacy: true` for a print of that pattern"
        )
    number = getattr(cv2.aruco, dictionary, None)
    if number is None or not dictionary.startswith("DICT_"):
        near = difflib.get_close_matches(dictionary, dictionaries(), n=1)
        raise CalibrationError(
            f"board: OpenCV has no dictionary {dictionary!r}; use {near[0] if near else 'DICT_5X5_100'}"
        )
    if marker >= square:
        raise CalibrationError(
            f"board: its marker of {1e3 * marker:g} mm does not fit into its square of {1e3 * square:g} mm"
        )
    markers = cv2.aruco.getPredefinedDictionary(number)
    needed, there = columns * rows // 2, len(markers.bytesList)
    if needed > there:
        raise CalibrationError(
            f"board of {columns}x{rows} needs {needed} markers, and {dictionary} has {there}; use fewer squares"
        )
    board = cv2.aruco.CharucoBoard((columns, rows), square, marker, markers)
    board.setLegacyPattern(legacy)
    return board, cv2.aruco.CharucoDetector(board)
