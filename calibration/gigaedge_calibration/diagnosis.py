"""Why a board was not found in a picture: what else would have been found, tried out, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import BoardInfo
from gigaedge_calibration.cv_compat import Detection, detect, dictionaries, dictionary_size, find_markers

ENOUGH: Final = 6
"""Markers, or corners, that are no accident."""
DARK: Final = 40.0
"""Mean of a picture, 0 to 255."""
BRIGHT: Final = 0.3
"""Part of a picture's pixels that are at the end of the scale."""


def explain(image: NDArray[np.uint8], board: BoardInfo, detection: Detection) -> str:
    """What is the matter with a picture, RGB uint8 (height, width, 3), in which `detection` was all that was found.

    One line: cause; mend. Takes up to a second or two; meant for a picture that should have shown the board.
    """
    markers, corners = len(detection.markers), len(detection.ids)
    if markers >= ENOUGH and corners * 4 < markers:
        return _explain_layout(image, board, detection)
    if markers >= 1 and corners >= 1:
        whole = (board.columns - 1) * (board.rows - 1)
        return f"{corners} of {whole} corners are in view; bring more of the board into the picture"
    return _explain_markers(image, board, detection)


def _explain_layout(image: NDArray[np.uint8], board: BoardInfo, detection: Detection) -> str:
    """Markers of the right dictionary, and no corners: they are arranged otherwise."""
    seen = f"{len(detection.markers)} markers of the board and {len(detection.ids)} corners"
    best, most = None, ENOUGH - 1
    for layout in _layouts(board):
        found = len(detect(image, layout).ids)
        if found > most:
            best, most = layout, found
    if best is None:
        return (
            f"{seen}: not a board of {board.columns}x{board.rows} squares; count them and correct --squares"
        )
    if best.legacy and not board.legacy:
        same = (best.columns, best.rows) == (board.columns, board.rows)
        size = "" if same else f" of {best.columns}x{best.rows} squares"
        return (
            f"{seen}: a legacy print{size}, in the pattern of OpenCV before 4.6; print an odd number of rows, or set "
            "`legacy: true`" + ("" if same else f" and --squares {best.columns}x{best.rows}")
        )
    pattern = "" if best.legacy == board.legacy else ", not in the legacy pattern"
    return f"{seen}: a board of {best.columns}x{best.rows} squares{pattern}; correct --squares"


def _layouts(board: BoardInfo) -> Iterator[BoardInfo]:
    """Boards that a person may have taken for this one, the likeliest first."""
    near = [(board.columns, board.rows), (board.rows, board.columns)]
    near += [
        (board.columns + wider, board.rows + higher)
        for wider in (0, -1, 1, -2, 2)
        for higher in (0, -1, 1, -2, 2)
        if wider or higher
    ]
    for columns, rows in near:
        if min(columns, rows) < 3 or columns * rows // 2 > dictionary_size(board.dictionary):
            continue
        for legacy in (True, False):
            if rows % 2 == 0 and not legacy:
                continue  # refused by `detect`
            yield board.model_copy(update={"columns": columns, "rows": rows, "legacy": legacy})


def _explain_markers(image: NDArray[np.uint8], board: BoardInfo, detection: Detection) -> str:
    """Hardly a marker."""
    mean = float(image.mean())
    if mean < DARK:
        return f"the picture is too dark (mean {mean:.0f} of 255); more light, or a longer exposure"
    if float(np.mean(image >= 254)) > BRIGHT:
        return "the picture is too bright (a third of it is white); less light, or a shorter exposure"
    other = _other_dictionary(image, board)
    if other:
        return f"no marker of {board.dictionary}, but of {other}: another board; correct --dictionary"
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    if len(find_markers(np.asarray(half, np.uint8), board.dictionary)) >= ENOUGH:
        return "the picture is blurred; hold the board and the camera still, and look at the lens"
    double = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    if len(find_markers(np.asarray(double, np.uint8), board.dictionary)) >= ENOUGH:
        return "the board is too far away; bring it nearer"
    return "no board in the picture; hold it into the view, flat, in even light, with all of it visible"


def _other_dictionary(image: NDArray[np.uint8], board: BoardInfo) -> str:
    """The smallest dictionary that has all the markers in the picture, if there are enough; else empty."""
    largest = [name for name in dictionaries() if name.endswith("_1000")]
    counts = {name: find_markers(image, name) for name in largest}
    best = max(counts, key=lambda name: len(counts[name]))
    if len(counts[best]) < ENOUGH:
        return ""
    family = [name for name in dictionaries() if name.startswith(best.removesuffix("1000"))]
    fitting = [name for name in family if dictionary_size(name) > counts[best].max()]
    return "" if board.dictionary in fitting else min(fitting, key=dictionary_size)
