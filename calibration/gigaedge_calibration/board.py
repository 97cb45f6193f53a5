"""The ChArUco board: what is printed, and how large it came out."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge_calibration import acceptance
from gigaedge_calibration.cv_compat import marker_bits
from gigaedge_calibration.verdicts import Judgement, Verdict

Array = NDArray[np.float64]

MISREAD: Final = 0.03
"""No printer is so far off, relative: the ruler was misread, or another length measured."""


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


def measured_board(board: BoardInfo, length: float, *, force: bool = False) -> BoardInfo:
    """The board as a ruler shows it: `length`, m, over all columns.

    Raises CalibrationError: `length` is too far off the board's own to be a print of it, unless `force`.
    """
    expected = board.columns * board.square
    ratio = length / expected
    if abs(ratio - 1) > MISREAD and not force:
        squares = round(length / board.square)
        meant = (
            f" (as long as {squares} of its squares)" if abs(length / board.square - squares) < 0.1 else ""
        )
        raise CalibrationError(
            f"measured {1e3 * length:.1f} mm{meant}, but {board.columns} columns of {1e3 * board.square:g} mm are "
            f"{1e3 * expected:.1f} mm; measure from the outer edge of the first column to that of the last one, in mm, "
            "or pass --force if the print is so"
        )
    return board.model_copy(
        update={"square": length / board.columns, "marker": board.marker * ratio, "measured": length}
    )


def require_measured(board: BoardInfo) -> None:
    """Raise CalibrationError when nobody measured the print: its scale shows in no residual."""
    if board.measured is None:
        raise CalibrationError(
            "the board was never measured, and a wrong scale shows in no picture; measure the print over all "
            f"{board.columns} columns and run `gigaedge calibrate board SITE --measured-mm LENGTH`"
        )


def judge_scale(nominal: BoardInfo, board: BoardInfo) -> Judgement:
    """How far a print is from its drawing. It fails never: what was measured is what is used from then on."""
    if board.measured is None:
        return Judgement(
            "board scale",
            "board",
            Verdict.WARN,
            limit=acceptance.BOARD_SCALE,
            cause="nobody measured the print",
            mend=f"measure over all {board.columns} columns and pass --measured-mm",
        )
    off = 100 * abs(board.square / nominal.square - 1)
    verdict = min(acceptance.BOARD_SCALE.judge(off), Verdict.WARN)
    return Judgement(
        "board scale",
        "board",
        verdict,
        off,
        limit=acceptance.BOARD_SCALE,
        cause="printed at another scale" if verdict else "",
        mend="nothing if you measured right: the measured size is used" if verdict else "",
    )
