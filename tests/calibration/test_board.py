from __future__ import annotations

import cv2
import numpy as np
import pytest

from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge_calibration.board import black_rectangles, judge_scale, measured_board, require_measured
from gigaedge_calibration.cv_compat import detect
from gigaedge_calibration.diagnosis import edge_blur, explain
from gigaedge_calibration.verdicts import Verdict
from tests.calibration.rendered_board import BOARD, LENS, pattern, place_board, render


def shown(board: BoardInfo, distance: float = 0.45, blur: float = 0.6) -> np.ndarray:
    place = place_board(board, distance, 0.35, 1.0, 0.1, (320, 240), LENS)
    return render(board, place, blur=blur, samples=3)


def test_the_pattern_is_opencvs() -> None:
    # 21 px per square and 14 per marker, 2 per module: both drawings are exact.
    board = BoardInfo(columns=9, rows=7, square=0.021, marker=0.014)
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    theirs = cv2.aruco.CharucoBoard((9, 7), 0.021, 0.014, dictionary).generateImage((9 * 42, 7 * 42))
    ours = np.full_like(theirs, 255)
    for left, top, right, bottom in np.rint(black_rectangles(board) * 2000).astype(int):
        ours[top:bottom, left:right] = 0
    np.testing.assert_array_equal(ours, theirs)
    assert pattern(board).shape == (8 * 64, 10 * 64)


def test_a_measured_board_is_scaled_as_a_whole() -> None:
    board = measured_board(BOARD, 0.2436)
    assert board.square == pytest.approx(0.2436 / 9)
    assert board.marker / board.square == pytest.approx(20 / 27)
    assert board.measured == 0.2436
    require_measured(board)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (0.216, r"measured 216.0 mm \(as long as 8 of its squares\), but 9 columns of 27 mm are 243.0 mm"),
        (0.251, "measured 251.0 mm, but 9 columns"),
    ],
)
def test_a_misread_ruler_is_refused(length: float, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        measured_board(BOARD, length)
    assert measured_board(BOARD, length, force=True).measured == length


def test_hand_eye_requires_a_measurement() -> None:
    with pytest.raises(
        CalibrationError, match="the board was never measured, and a wrong scale shows in no picture"
    ):
        require_measured(BOARD)


@pytest.mark.parametrize(
    ("length", "verdict"),
    [(0.2431, Verdict.PASS), (0.2437, Verdict.WARN), (0.2480, Verdict.WARN), (None, Verdict.WARN)],
)
def test_scale_is_judged_and_never_fails(length: float | None, verdict: Verdict) -> None:
    board = BOARD if length is None else measured_board(BOARD, length)
    row = judge_scale(BOARD, board)
    assert row.verdict is verdict
    assert (row.value is None) == (length is None)
    assert bool(row.mend) == (verdict is not Verdict.PASS)


LEGACY = BoardInfo(columns=9, rows=6, square=0.027, marker=0.02, legacy=True)


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        (LEGACY, "27 markers of the board and 0 corners: a legacy print of 9x6 squares"),
        (
            BoardInfo(columns=11, rows=7, square=0.025, marker=0.018),
            "and 0 corners: a board of 11x7 squares; correct --squares",
        ),
        (
            BoardInfo(columns=14, rows=5, square=0.019, marker=0.014),
            "and 0 corners: not a board of 9x7 squares; count them and correct --squares",
        ),
        (
            BOARD.model_copy(update={"dictionary": "DICT_4X4_50"}),
            "no marker of DICT_5X5_100, but of DICT_4X4_50: another board; correct --dictionary",
        ),
    ],
)
def test_another_board_is_named(printed: BoardInfo, message: str) -> None:
    picture = shown(printed)
    detection = detect(picture, BOARD)
    assert len(detection.ids) == 0
    assert message in explain(picture, BOARD, detection)


def test_bad_pictures_are_named() -> None:
    good = shown(BOARD)
    dark = (good * 0.06).astype(np.uint8)
    bright = np.clip(good.astype(int) * 3, 0, 255).astype(np.uint8)
    empty = np.full_like(good, 128)
    aside = render(BOARD, place_board(BOARD, 0.3, 0.35, 1.0, 0.1, (20, 40), LENS), samples=3)
    for picture, message in (
        (dark, "too dark"),
        (bright, "too bright"),
        (shown(BOARD, blur=3.2), "the picture is blurred"),
        (empty, "no board in the picture"),
        (aside, "of 48 corners are seen; bring all of the board into the picture"),
    ):
        assert message in explain(picture, BOARD, detect(picture, BOARD))


@pytest.mark.parametrize("blur", [1.0, 2.0, 3.0])
def test_edge_blur(blur: float) -> None:
    assert edge_blur(shown(BOARD, blur=blur)) == pytest.approx(blur, abs=0.4)


def test_edge_blur_of_nothing() -> None:
    assert edge_blur(np.full((48, 64, 3), 128, np.uint8)) is None
