"""A board as a PDF, drawn to scale: rectangles and text, and two rulers that show whether the printer kept the scale.

All lengths here are mm from the bottom left corner of the paper, until they are written in points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge_calibration.board import black_rectangles

Array = NDArray[np.float64]
PaperName = Literal["a4", "a3", "a2", "letter"]

PAPERS: Final[dict[PaperName, tuple[float, float]]] = {
    "a4": (210.0, 297.0),
    "a3": (297.0, 420.0),
    "a2": (420.0, 594.0),
    "letter": (215.9, 279.4),
}
"""Short and long side, mm."""
POINTS: Final = 72 / 25.4
"""Points per mm."""
EDGE: Final = 5.0
"""mm; most printers leave so much white."""
RULER_BAND: Final = 12.0
"""mm on the left and at the bottom, `EDGE` included."""
TEXT_BAND: Final = 17.0
"""mm on the right, `EDGE` included."""
RULER: Final = 200
"""mm; shorter where the paper is."""
_TICK: Final = 0.15
"""Width of a ruler's tick, mm."""
_TEXT_HEIGHT: Final = 2.5
"""Font size, mm."""


@dataclass(frozen=True)
class Drawing:
    """What is on the sheet."""

    width: float
    height: float
    pattern: Array
    """Left, bottom, right, top of what is black on the board, shape (n, 4)."""
    ticks: Array
    """The same of the rulers' ticks, shape (m, 4)."""
    numbers: tuple[tuple[float, float, bool, str], ...]
    """x, y, whether turned to read upwards, and text."""


def draw_board(board: BoardInfo, paper: PaperName) -> Drawing:
    """Place a board on a sheet of `paper`, lengthwise if it is wider than high.

    Raises CalibrationError: it does not fit (with the largest square that does), or it is no board to print.
    """
    short, long = PAPERS[paper]
    width, height = (long, short) if board.columns >= board.rows else (short, long)
    across, up = width - RULER_BAND - TEXT_BAND, height - RULER_BAND - EDGE
    square = 1e3 * board.square
    if board.legacy or board.rows % 2 == 0:
        raise CalibrationError(
            f"board of {board.columns}x{board.rows}: print an odd number of rows; an even one means another pattern in "
            "OpenCV before 4.6, and is found by one of the two only"
        )
    # Rounding must not refuse the square that it named itself.
    if board.columns * square > across + 1e-6 or board.rows * square > up + 1e-6:
        largest = np.floor(10 * min(across / board.columns, up / board.rows)) / 10
        raise CalibrationError(
            f"{board.columns}x{board.rows} squares of {square:g} mm do not fit on {paper}; the largest that do have "
            f"{largest:g} mm; choose --square-mm {largest:g}, fewer squares or larger paper"
        )
    left = RULER_BAND + (across - board.columns * square) / 2
    top = height - EDGE - (up - board.rows * square) / 2
    black = 1e3 * black_rectangles(board)
    pattern = np.stack(
        [left + black[:, 0], top - black[:, 3], left + black[:, 2], top - black[:, 1]], axis=-1
    )
    ticks, numbers = _rulers(width, height)
    return Drawing(width, height, pattern, ticks, (*numbers, *_texts(board, width)))


def board_pdf(board: BoardInfo, paper: PaperName) -> bytes:
    """The sheet as a PDF of one page, not compressed; the same board gives the same bytes. Raises as `draw_board`."""
    drawing = draw_board(board, paper)
    content = [
        "0 g",
        # One path each: shapes that touch are filled as one, without a seam between them.
        *_path(drawing.pattern),
        *_path(drawing.ticks),
        "BT",
    ]
    for x, y, upwards, text in drawing.numbers:
        turn = "0 1 -1 0" if upwards else "1 0 0 1"
        content += [
            f"/F1 {_TEXT_HEIGHT * POINTS:.3f} Tf",
            f"{turn} {x * POINTS:.4f} {y * POINTS:.4f} Tm",
            f"({_escaped(text)}) Tj",
        ]
    content.append("ET")
    stream = "\n".join(content).encode("latin-1")
    box = f"[0 0 {drawing.width * POINTS:.4f} {drawing.height * POINTS:.4f}]"
    objects = [
        # PrintScaling asks the viewer's print dialogue to begin at 100 %.
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            f"<< /Type /Page /Parent 2 0 R /MediaBox {box} /Contents 5 0 R "
            "/Resources << /Font << /F1 4 0 R >> >> >>"
        ).encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    return _assembled(objects)


def _rulers(width: float, height: float) -> tuple[Array, list[tuple[float, float, bool, str]]]:
    """One along the bottom and one up the left side, each mm a tick, each 20 mm a number."""
    ticks, numbers = [], []
    for length, upwards in ((width, False), (height, True)):
        millimetres = min(RULER, 10 * int((length - RULER_BAND - EDGE) / 10))
        for millimetre in range(millimetres + 1):
            reach = 4.0 if millimetre % 10 == 0 else 3.0 if millimetre % 5 == 0 else 2.0
            at, outer = RULER_BAND + millimetre, RULER_BAND - 3.0
            along, across = (at - _TICK / 2, at + _TICK / 2), (outer - reach, outer)
            (x0, x1), (y0, y1) = (across, along) if upwards else (along, across)
            ticks.append((x0, y0, x1, y1))
            if millimetre % 20 == 0:
                text = f"{millimetre} mm" if millimetre == 0 else str(millimetre)
                beside, foot = at + 0.6, outer - 4.0
                # Turned text stands on the right of its baseline's foot: its top is to the left.
                place = (foot + 0.7 * _TEXT_HEIGHT, beside) if upwards else (beside, foot)
                numbers.append((*place, upwards, text))
    return np.array(ticks), numbers


def _texts(board: BoardInfo, width: float) -> list[tuple[float, float, bool, str]]:
    over = 1e3 * board.columns * board.square
    lines = (
        f"gigaedge board: {board.columns}x{board.rows} squares of {1e3 * board.square:g} mm, markers of "
        f"{1e3 * board.marker:g} mm, {board.dictionary}",
        "Print at 100 % (no fit to page); look at both rulers; fix the sheet to a flat plate.",
        f"Then measure over all {board.columns} columns, outer edge to outer edge ({over:g} mm as drawn): "
        "gigaedge calibrate board SITE --measured-mm LENGTH",
    )
    step = 1.6 * _TEXT_HEIGHT
    return [
        (width - EDGE - 1.0 - step * (len(lines) - 1 - number), RULER_BAND, True, line)
        for number, line in enumerate(lines)
    ]


def _path(rectangles: Array) -> list[str]:
    """Rectangles (n, 4), mm, as one filled path in points."""
    lines = []
    for x0, y0, x1, y1 in (rectangles * POINTS).tolist():
        lines.append(f"{x0:.4f} {y0:.4f} {x1 - x0:.4f} {y1 - y0:.4f} re")
    return [*lines, "f"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def _assembled(objects: list[bytes]) -> bytes:
    """Header, numbered objects, cross-reference table and trailer (PDF 32000-1, 7.5)."""
    data = b"%PDF-1.6\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return data + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (size, table, size, len(data))
    )
