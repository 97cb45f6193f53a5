from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from gigaedge import poses
from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge.lens import Lens
from gigaedge_calibration.cv_compat import (
    calibrate,
    detect,
    dictionaries,
    dictionary_size,
    find_markers,
    object_points,
    projection_jacobian,
    solve_pose,
)
from tests.calibration.rendered_board import (
    BOARD,
    LENS,
    place_board,
    placements,
    render,
    rendered_set,
    true_corners,
)


def errors(pictures: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Detected minus true, px, shape (n, 2), of poses and pictures."""
    found = []
    for t_cam_board, picture in pictures:
        detection = detect(picture, BOARD)
        assert len(detection.ids) >= 10
        found.append(detection.corners - true_corners(BOARD, t_cam_board, detection.ids))
    return np.concatenate(found)


def test_corners_are_exact() -> None:
    off = errors([(view.t_cam_board, view.picture) for view in rendered_set()])
    assert np.abs(off.mean(axis=0)).max() < 0.01
    assert np.sqrt(np.mean(off**2)) < 0.045
    assert np.percentile(np.abs(off), 99) < 0.15


@pytest.mark.parametrize(("blur", "noise"), [(1.2, 2.0), (0.6, 5.0)])
def test_blur_and_noise_cost_little(blur: float, noise: float) -> None:
    placed = placements(BOARD, 3, 5)
    off = errors([(place, render(BOARD, place, blur=blur, noise=noise)) for place in placed])
    assert np.abs(off.mean(axis=0)).max() < 0.02
    assert np.sqrt(np.mean(off**2)) < 0.06


def test_a_board_far_away() -> None:
    place = place_board(BOARD, 0.9, np.radians(25), 1.0, 0.1, (330, 230), LENS)
    off = errors([(place, render(BOARD, place))])
    assert len(off) >= 30
    assert np.sqrt(np.mean(off**2)) < 0.12


def test_the_same_picture_gives_the_same_answer_in_the_same_shapes() -> None:
    picture = rendered_set()[0].picture
    first, second = detect(picture, BOARD), detect(picture, BOARD)
    np.testing.assert_array_equal(first.corners, second.corners)
    assert first.corners.shape == (len(first.ids), 2)
    assert first.corners.dtype == np.float64
    assert first.ids.dtype == first.markers.dtype == np.int64
    assert (np.diff(first.ids) > 0).all()
    assert (np.diff(first.markers) > 0).all()
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    np.testing.assert_array_equal(detect(grey, BOARD).corners, first.corners)


def test_an_empty_picture() -> None:
    nothing = detect(np.full((480, 640, 3), 128, np.uint8), BOARD)
    assert nothing.ids.shape == nothing.markers.shape == (0,)
    assert nothing.corners.shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 6}, "an even number of rows means another pattern"),
        ({"dictionary": "DICT_5x5_100"}, "no dictionary 'DICT_5x5_100'; use DICT_5X5_100"),
        ({"marker": 0.03}, "marker of 30 mm does not fit into its square of 27 mm"),
        ({"columns": 19, "rows": 11}, "needs 104 markers, and DICT_5X5_100 has 100"),
    ],
)
def test_boards_that_cannot_be(change: dict[str, object], message: str) -> None:
    board = BOARD.model_copy(update=change)
    with pytest.raises(CalibrationError, match=message):
        detect(np.zeros((48, 64, 3), np.uint8), board)


def test_a_legacy_print_is_read_when_said_to_be_one() -> None:
    board = BoardInfo(columns=9, rows=6, square=0.027, marker=0.02, legacy=True)
    place = place_board(board, 0.45, 0.3, 1.0, 0.1, (320, 240), LENS)
    detection = detect(render(board, place), board)
    off = detection.corners - true_corners(board, place, detection.ids)
    assert len(off) == 40
    assert np.abs(off).max() < 0.3


def test_object_points_are_opencvs() -> None:
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    board = cv2.aruco.CharucoBoard((9, 7), 0.027, 0.02, dictionary)
    theirs = np.asarray(board.getChessboardCorners()).reshape(-1, 3)
    np.testing.assert_allclose(object_points(BOARD), theirs, atol=1e-7)
    np.testing.assert_allclose(object_points(BOARD, np.array([9, 3])), theirs[[9, 3]], atol=1e-7)


def test_dictionaries() -> None:
    assert "DICT_5X5_100" in dictionaries()
    assert all(dictionary_size(name) in (50, 100, 250, 1000) for name in dictionaries())
    markers = find_markers(rendered_set()[0].picture, "DICT_5X5_50")
    assert len(markers) >= 15
    assert markers.max() < 31


@pytest.mark.parametrize("terms", [0, 5, 8])
def test_projection_jacobian_is_the_derivative(terms: int) -> None:
    lens = replace(LENS, distortion=(*LENS.distortion, 0.02, 0.01, -0.01)[:terms])
    place, points = placements(BOARD, 1, 3)[0], object_points(BOARD)
    _, by_lens = projection_jacobian(lens, place, points)
    assert by_lens.shape == (2 * len(points), 4 + terms)
    values = np.array([lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion])
    for column in range(len(values)):
        step = 1e-6 * max(abs(values[column]), 1.0)
        moved = [
            Lens(640, 480, *changed[:4], tuple(changed[4:])).project(poses.apply(place, points))
            for changed in (values + step * np.eye(len(values))[column] * sign for sign in (1, -1))
        ]
        slope = (moved[0] - moved[1]).ravel() / (2 * step)
        np.testing.assert_allclose(by_lens[:, column], slope, rtol=1e-4, atol=1e-4)


def test_solve_pose() -> None:
    for place in placements(BOARD, 4, 1):
        points = object_points(BOARD)
        corners = LENS.project(poses.apply(place, points))
        found = solve_pose(corners, points, LENS)
        assert found is not None
        np.testing.assert_allclose(found, place, atol=1e-6)
    on_a_line = np.arange(8)
    assert solve_pose(corners[on_a_line], points[on_a_line], LENS) is None
    assert solve_pose(corners[:3], points[:3], LENS) is None


def test_calibrate_without_distortion_keeps_none() -> None:
    straight = replace(LENS, distortion=())
    points = object_points(BOARD)
    placed = placements(BOARD, 6, 2, lens=straight)
    corners = [straight.project(poses.apply(place, points)) for place in placed]
    start = Lens(640, 480, 500, 500, 300, 250)
    lens, found = calibrate([points] * 6, corners, start, "pinhole")
    assert lens.distortion == ()
    np.testing.assert_allclose((lens.fx, lens.fy, lens.cx, lens.cy), (612.3, 611.9, 322.4, 238.1), atol=1e-3)
    np.testing.assert_allclose(found, placed, atol=1e-5)
