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
BLURRED: Final = 2.0
"""px."""

_SOFTENED: Final = (1.0, 3.0)
"""px; both far above the noise."""
_FAINT: Final = 2.0
"""Slope per px below which there is no strong edge."""


def explain(image: NDArray[np.uint8], board: BoardInfo, detection: Detection) -> str:
    """What is the matter with a picture, RGB uint8 (height, width, 3), in which `detection` was all that was found.

    One line: cause; mend. Takes up to a second or two; meant for a picture that should have shown the board.
    """
    markers, corners = len(detection.markers), len(detection.ids)
    mean = float(image.mean())
    if mean < DARK:
        return f"the picture is too dark (mean {mean:.0f} of 255); more light, or a longer exposure"
    if float(np.mean(image >= 254)) > BRIGHT:
        return "the picture is too bright (much of it is white); less light, or a shorter exposure"
    if markers >= ENOUGH and corners * 4 < markers:
        return _explain_layout(image, board, detection)
    if markers < ENOUGH and (other := _other_dictionary(image, board)):
        return f"no marker of {board.dictionary}, but of {other}: another board; correct --dictionary"
    blur = edge_blur(image)
    if blur is not None and blur > BLURRED:
        return f"the picture is blurred (edges of {blur:.1f} px); hold everything still, and look at the lens"
    if markers == 0:
        return "no board in the picture; hold it into the view, near enough to fill half of it"
    whole = (board.columns - 1) * (board.rows - 1)
    return f"{corners} of {whole} corners are seen; bring all of the board into the picture, and nearer"


def edge_blur(image: NDArray[np.uint8]) -> float | None:
    """Standard deviation of the blur of a picture's strong edges, px; None: it has none.

    The slope of an edge falls with its whole blur: how much it falls by more blur tells what there was. Between
    2 and 3 px a board is not found any more.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slopes = []
    for sigma in _SOFTENED:
        soft = cv2.GaussianBlur(grey, (0, 0), sigma)
        across, down = cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)
        slopes.append(float(np.percentile(np.hypot(across, down), 99)) / 8)
    if slopes[0] < _FAINT:
        return None
    little, much = (sigma**2 for sigma in _SOFTENED)
    ratio = (slopes[0] / slopes[1]) ** 2
    return float(np.sqrt(max(much - ratio * little, 0.0) / max(ratio - 1, 1e-9)))


def _explain_layout(image: NDArray[np.uint8], board: BoardInfo, detection: Detection) -> str:
    """Markers of the right dictionary, and no corners: they are arranged otherwise."""
    seen = f"{len(detection.markers)} markers of the board and {len(detection.ids)} corners"
    best, most = None, float(ENOUGH)
    for layout in _layouts(board):
        found = len(detect(image, layout).ids)
        # Larger boards begin with the same markers: of those that find as much the smallest.
        score = found**2 / ((layout.columns - 1) * (layout.rows - 1))
        if score > most:
            best, most = layout, score
    if best is None:
        return (
            f"{seen}: not a board of {board.columns}x{board.rows} squares; count them and correct --squares"
        )
    size = f"{best.columns}x{best.rows}"
    if best.legacy and not board.legacy:
        return (
            f"{seen}: a legacy print of {size} squares, in the pattern of OpenCV before 4.6; print an odd number of "
            f"rows, or describe it: --squares {size} --legacy"
        )
    return f"{seen}: a board of {size} squares; correct --squares"


def _layouts(board: BoardInfo) -> Iterator[BoardInfo]:
    """Boards that a person may have taken for this one."""
    near = {(board.rows, board.columns)} | {
        (board.columns + wider, board.rows + higher) for wider in range(-2, 3) for higher in range(-2, 3)
    }
    for columns, rows in sorted(near):
        if min(columns, rows) >= 3 and columns * rows // 2 <= dictionary_size(board.dictionary):
            # With an odd number of rows both patterns are the same; an even one is read in the legacy pattern only.
            yield board.model_copy(update={"columns": columns, "rows": rows, "legacy": rows % 2 == 0})


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
