"""OpenCV 4.9 to 5.0 behind one door: what differs between them ends here, in arrays of one shape.

Between them the board detector's answers changed shape, and methods came and went. Nothing else in this package calls
`cv2.aruco`, `cv2.calibrateCamera` or `cv2.solvePnP`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge.lens import Lens

Array = NDArray[np.float64]
LensModel = Literal["pinhole", "radial_tangential", "rational"]

TERMS: Final[dict[LensModel, int]] = {"pinhole": 0, "radial_tangential": 5, "rational": 8}
"""Distortion coefficients of a model, in the order of `Lens.distortion`."""

_MOST: Final = 0.75
"""Of a board's corners; where fewer are found it is looked for in twice the size: small markers have few pixels."""
_WINDOW: Final = 0.85
"""Half a corner's window, over the distance to the nearest marker: measured best."""
_WINDOWS: Final = (2, 9)
"""Least and greatest half window, px."""
_SOFTENING: Final = 0.7
"""px; halves the picture's noise in what a corner is found from."""


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
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image, np.uint8)
    found = _found(grey, board)
    whole = (board.columns - 1) * (board.rows - 1)
    if len(found.markers) and len(found.ids) < _MOST * whole:
        double = cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        larger = _found(np.asarray(double, np.uint8), board)
        if len(larger.ids) > len(found.ids):
            found = Detection(larger.ids, (larger.corners + 0.5) / 2 - 0.5, larger.markers)
    points = object_points(board, found.ids)[:, :2]
    return Detection(found.ids, _refined(grey, points, found.corners, board), found.markers)


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
        pose = _pose(turn, shift)
        error = np.sum((lens.project(poses.apply(pose, world)) - pixels) ** 2)
        if error < least:  # NaN, a board behind the camera, is not
            best, least = pose, float(error)
    return best


def calibrate(
    points: Sequence[Array], corners: Sequence[Array], start: Lens, model: LensModel
) -> tuple[Lens, list[Array]]:
    """The lens, and `T_cam_board` of every view, with the least squared reprojection error.

    `points`, m, (n, 3) and `corners`, px, (n, 2) per view; `start` is a first guess, for its picture size
    (cv2.calibrateCameraExtended). Raises CalibrationError: OpenCV finds no answer.
    """
    terms = TERMS[model]
    flags = cv2.CALIB_USE_INTRINSIC_GUESS
    if model == "pinhole":
        flags |= cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K1 | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    elif model == "rational":
        flags |= cv2.CALIB_RATIONAL_MODEL
    first = np.zeros(max(terms, 5))
    known = start.distortion[:terms]
    first[: len(known)] = known
    try:
        _, matrix, coefficients, turns, shifts, *_ = cv2.calibrateCameraExtended(
            [np.ascontiguousarray(view, np.float32) for view in points],
            [np.ascontiguousarray(view, np.float32) for view in corners],
            (start.width, start.height),
            start.matrix,
            first,
            flags=flags,
            criteria=(cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-10),
        )
    except cv2.error as error:
        raise CalibrationError(
            f"the views have no solution ({error.err}); take them from more sides"
        ) from error
    (fx, _, cx), (_, fy, cy), _ = np.asarray(matrix, np.float64).tolist()
    distortion = tuple(float(value) for value in np.ravel(coefficients)[:terms])
    lens = Lens(start.width, start.height, fx, fy, cx, cy, distortion)
    return lens, [_pose(turn, shift) for turn, shift in zip(turns, shifts, strict=True)]


def projection_jacobian(lens: Lens, t_cam_board: Array, points: Array) -> tuple[Array, Array]:
    """Derivatives of the pixels of `points`, m, (n, 3), in board coordinates (cv2.projectPoints).

    By the pose, as a rotation vector and a translation, (2 n, 6), and by (fx, fy, cx, cy, *distortion),
    (2 n, 4 + terms).
    """
    turn, _ = cv2.Rodrigues(np.ascontiguousarray(t_cam_board[:3, :3]))
    shift = np.ascontiguousarray(t_cam_board[:3, 3])
    _, slope = cv2.projectPoints(np.ascontiguousarray(points), turn, shift, lens.matrix, lens.coefficients)
    return slope[:, :6], slope[:, 6 : 10 + len(lens.distortion)]


def find_markers(image: NDArray[np.uint8], dictionary: str) -> NDArray[np.int64]:
    """Ids of all markers of a dictionary in a picture, RGB or grey as in `detect`, ascending, shape (m,)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    _, ids, _ = cv2.aruco.ArucoDetector(_dictionary(dictionary)).detectMarkers(grey)
    return np.sort(np.zeros(0, np.int64) if ids is None else np.asarray(ids, np.int64).reshape(-1))


def dictionary_size(dictionary: str) -> int:
    """How many markers a dictionary has. Raises CalibrationError: OpenCV has none of that name."""
    return len(_dictionary(dictionary).bytesList)


def dictionaries() -> tuple[str, ...]:
    """The names of the marker dictionaries that this OpenCV knows, without AprilTag's and MIP's."""
    return tuple(sorted(name for name in dir(cv2.aruco) if name.startswith("DICT_") and name[5].isdigit()))


def _found(grey: NDArray[np.uint8], board: BoardInfo) -> Detection:
    _, detector = _detector(*_key(board))
    corners, ids, _, markers = detector.detectBoard(grey)
    # No corner is None or an empty array, (n, 1, 2) in 4.x and (n, 2) in 5.0.
    found = np.zeros(0, np.int64) if ids is None else np.asarray(ids, np.int64).reshape(-1)
    places = np.zeros((0, 2)) if corners is None else np.asarray(corners, np.float64).reshape(-1, 2)
    seen = np.zeros(0, np.int64) if markers is None else np.asarray(markers, np.int64).reshape(-1)
    order = np.argsort(found, kind="stable")
    return Detection(found[order], places[order], np.sort(seen))


def _refined(grey: NDArray[np.uint8], points: Array, corners: Array, board: BoardInfo) -> Array:
    """Corners, (n, 2), found once more in windows that hold as much of the picture as is free of markers.

    OpenCV's own windows reach into the markers of a small or tilted board: on rendered pictures of a board 0.8 to 1.2 m
    away this brings the error from 0.22 to 0.07 px, on near ones from 0.044 to 0.029 px.
    """
    if len(corners) < 4:
        return corners
    plane, _ = cv2.findHomography(points, corners)
    if plane is None:
        return corners  # corners on a line
    mapped = np.concatenate([points, np.ones((len(points), 1))], axis=-1) @ plane.T
    pixels, depth = mapped[:, :2] / mapped[:, 2:], mapped[:, 2, np.newaxis, np.newaxis]
    slope = (plane[:2, :2] - pixels[..., np.newaxis] * plane[2, :2]) / depth
    # px to the nearest marker in the most foreshortened direction.
    free = np.linalg.svd(slope, compute_uv=False)[:, 1] * (board.square - board.marker) / 2
    windows = np.clip(np.rint(_WINDOW * free), *_WINDOWS).astype(int)
    sharp = grey.astype(np.float32)
    soft = cv2.GaussianBlur(sharp, (0, 0), _SOFTENING)
    stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 50, 1e-4)
    refined = np.array(corners)
    for window in np.unique(windows).tolist():
        chosen = windows == window
        start = corners[chosen].astype(np.float32).reshape(-1, 1, 2)
        # In the smallest windows softening would bring the markers in.
        picture = sharp if window == _WINDOWS[0] else soft
        found = cv2.cornerSubPix(picture, start, (window, window), (-1, -1), stop)
        refined[chosen] = np.asarray(found, np.float64).reshape(-1, 2)
    return refined


def _pose(turn: NDArray[Any], shift: NDArray[Any]) -> Array:
    return poses.from_six(np.concatenate([np.ravel(turn), np.ravel(shift)]).astype(np.float64))


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
    if marker >= square:
        raise CalibrationError(
            f"board: its marker of {1e3 * marker:g} mm does not fit into its square of {1e3 * square:g} mm"
        )
    markers = _dictionary(dictionary)
    needed, there = columns * rows // 2, dictionary_size(dictionary)
    if needed > there:
        raise CalibrationError(
            f"board of {columns}x{rows} needs {needed} markers, and {dictionary} has {there}; use fewer squares"
        )
    board = cv2.aruco.CharucoBoard((columns, rows), square, marker, markers)
    board.setLegacyPattern(legacy)
    return board, cv2.aruco.CharucoDetector(board)


def _dictionary(name: str) -> Any:
    """cv2.aruco.Dictionary."""
    if name not in dictionaries():
        near = difflib.get_close_matches(name, dictionaries(), n=1)
        raise CalibrationError(
            f"board: OpenCV has no dictionary {name!r}; use {near[0] if near else 'DICT_5X5_100'}"
        )
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))
