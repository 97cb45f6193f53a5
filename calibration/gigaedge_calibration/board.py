"""The ChArUco board: what is printed, whether a print can be trusted, and why it was not found in a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import BoardInfo
from gigaedge_calibration.cv_compat import marker_bits

Array = NDArray[np.float64]


def black_rectangles(board: BoardInfo) -> Array:
    """What is black on a board: left, top, right, bottom, m in board coordinates, shape (n, 4).

    Chessboard squares, and the modules of every marker in runs along their rows. Raises CalibrationError as
    `cv_compat.detect` does.
    """
    markers = marker_bits(board)
    white = {(column, row) for column, row, _ in markers}
    rectangles = [
        np.array([column, row, column + 1, row + 1]) * board.square
        for row in range(board.rows)
        for column in range(board.columns)
        if (column, row) not in white
    ]
    for column, row, bits in markers:
        corner = (np.array([column, row]) + 0.5) * board.square - board.marker / 2
        module = board.marker / len(bits)
        for line, black in enumerate(bits):
            changes = np.flatnonzero(np.diff(np.concatenate([[False], black, [False]]).astype(int)))
            for first, last in changes.reshape(-1, 2):
                run = np.array([first, line, last, line + 1]) * module
                rectangles.append(run + np.tile(corner, 2))
    return np.array(rectangles)
