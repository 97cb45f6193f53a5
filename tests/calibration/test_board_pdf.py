from __future__ import annotations

import re

import numpy as np
import pytest

from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge_calibration.board_pdf import PAPERS, board_pdf, draw_board
from gigaedge_calibration.cv_compat import detect, object_points
from tests.calibration.rendered_board import BOARD

MM = 25.4 / 72


def rectangles(pdf: bytes) -> list[np.ndarray]:
    """What a viewer fills: x, y, width, height, mm, per path."""
    paths, current = [], []
    for line in pdf.decode("latin-1").splitlines():
        if line.endswith(" re"):
            current.append([float(value) * MM for value in line.split()[:4]])
        elif line == "f":
            paths.append(np.array(current))
            current = []
    return paths


def test_the_sheet_is_to_scale() -> None:
    pattern, ticks = rectangles(board_pdf(BOARD, "a4"))
    resolution = 10  # px per mm
    width, height = 297, 210
    sheet = np.full((height * resolution, width * resolution), 255, np.uint8)
    for x, y, across, up in pattern:
        left, right = round(x * resolution), round((x + across) * resolution)
        low, high = round((height - y) * resolution), round((height - y - up) * resolution)
        sheet[high:low, left:right] = 0
    detection = detect(sheet, BOARD)
    assert len(detection.ids) == 48
    places = (detection.corners + 0.5) / resolution
    wanted = 1e3 * object_points(BOARD)[:, :2]
    offsets = places - wanted
    np.testing.assert_allclose(offsets, np.broadcast_to(offsets.mean(axis=0), offsets.shape), atol=0.06)
    edges = pattern[:, 0].min(), (pattern[:, 0] + pattern[:, 2]).max()
    assert edges[1] - edges[0] == pytest.approx(243.0, abs=1e-3)
    assert (pattern[:, 1] + pattern[:, 3]).max() - pattern[:, 1].min() == pytest.approx(189.0, abs=1e-3)
    middles = ticks[:, :2] + ticks[:, 2:] / 2
    upright = ticks[:, 3] > ticks[:, 2]
    for along, length in ((middles[upright, 0], 200), (middles[~upright, 1], 190)):
        np.testing.assert_allclose(np.diff(along), 1.0, atol=1e-3)
        assert np.ptp(along) == pytest.approx(length, abs=1e-3)


def test_nothing_overlaps_or_leaves_the_sheet() -> None:
    for paper, (short, long) in PAPERS.items():
        for columns, rows, square in ((9, 7, 0.024), (5, 9, 0.025)):
            board = BoardInfo(columns=columns, rows=rows, square=square, marker=0.75 * square)
            drawing = draw_board(board, paper)
            assert (drawing.width, drawing.height) == ((long, short) if columns > rows else (short, long))
            assert drawing.pattern[:, :2].min() >= 12.0 - 1e-9
            assert drawing.pattern[:, 2].max() <= drawing.width - 17.0 + 1e-9
            assert drawing.pattern[:, 3].max() <= drawing.height - 5.0 + 1e-9
            assert drawing.ticks.min() >= 5.0 - 1e-9
            assert drawing.ticks[:, [0, 2]].max() <= drawing.width - 5.0 + 1e-9


def test_the_file_is_a_pdf() -> None:
    pdf = board_pdf(BOARD, "a4")
    assert pdf == board_pdf(BOARD, "a4")
    assert pdf.startswith(b"%PDF-1.")
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", pdf)[1])  # type: ignore[index]
    lines = pdf[start:].split(b"\n")
    assert lines[0] == b"xref"
    for number, line in enumerate(lines[3:8], start=1):
        assert pdf[int(line[:10]) :].startswith(b"%d 0 obj\n" % number)
    length = int(re.search(rb"/Length (\d+)", pdf)[1])  # type: ignore[index]
    body = pdf[pdf.index(b"stream\n") + 7 :]
    assert body[length:].startswith(b"\nendstream")
    assert b"/MediaBox [0 0 841.8898 595.2756]" in pdf
    assert b"Print at 100 %" in pdf
    assert b"9x7 squares of 27 mm, markers of 20 mm, DICT_5X5_100" in pdf
    assert rb"outer edge to outer edge \(243 mm as drawn\)" in pdf


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    board = BoardInfo(columns=9, rows=7, square=0.03, marker=0.02)
    with pytest.raises(CalibrationError, match=r"do not fit on a4; the largest that do have 27\.5 mm"):
        board_pdf(board, "a4")
    board_pdf(board.model_copy(update={"square": 0.0275}), "a4")
    board_pdf(board, "a3")


@pytest.mark.parametrize("legacy", [True, False])
def test_even_rows_are_not_printed(legacy: bool) -> None:
    with pytest.raises(CalibrationError, match="print an odd number of rows"):
        board_pdf(BoardInfo(columns=9, rows=6, square=0.02, marker=0.015, legacy=legacy), "a4")
