from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gigaedge.errors import CalibrationError
from gigaedge.lens import Lens
from gigaedge_calibration.coverage import CELLS, coverage
from gigaedge_calibration.cv_compat import Detection, detect
from gigaedge_calibration.figures import coverage_figure, sigma_figure
from gigaedge_calibration.intrinsics import IntrinsicsResult, judge_intrinsics, solve_intrinsics
from gigaedge_calibration.lens_uncertainty import (
    compare_lenses,
    factory_info,
    grid,
    lens_of,
    policy_crop,
    projection_sigmas,
)
from gigaedge_calibration.verdicts import Verdict
from tests.calibration.rendered_board import BOARD, LENS, detected, placements, rendered_set

SIZE = (640, 480)
SEEDS = 20


def parameters(lens: Lens) -> np.ndarray:
    return np.array([lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion])


@pytest.fixture(scope="module")
def rendered() -> IntrinsicsResult:
    found = [detect(view.picture, BOARD) for view in rendered_set()]
    return solve_intrinsics(found, SIZE, BOARD, crop=policy_crop("cam_high", SIZE))


def test_twenty_rendered_views_pass(rendered: IntrinsicsResult) -> None:
    assert abs(rendered.lens.fx - LENS.fx) < 0.5
    assert abs(rendered.lens.fy - LENS.fy) < 0.5
    assert rendered.model == "radial_tangential"
    assert len(rendered.views) == 20
    assert not rendered.rejected
    assert not rendered.unread
    assert rendered.rms < 0.08
    deviations = (parameters(rendered.lens) - parameters(LENS)) / np.sqrt(np.diag(rendered.covariance))
    assert np.abs(deviations).max() < 3.5
    rows = judge_intrinsics(rendered, "cam_high", replace(LENS, distortion=()))
    assert {row.verdict for row in rows} == {Verdict.PASS}
    assert len(rows) == 6
    info = rendered.info()
    assert lens_of(info) == rendered.lens
    assert info.covariance is not None
    assert len(info.covariance) == 9
    assert info.views == 20


def test_the_focal_length_is_right_and_its_sigma_honest() -> None:
    """Corners carry the noise that the detector was measured to have at most, independently; rendered pictures are few.

    The same over rendered pictures: `python -m tests.calibration.study_intrinsics`.
    """
    errors, deviations, ratios = [], [], []
    for seed in range(SEEDS):
        found = detected(placements(BOARD, 20, 100 + seed), seed)
        result = solve_intrinsics(found, SIZE, BOARD, model="radial_tangential")
        off = parameters(result.lens) - parameters(LENS)
        errors.append(abs(off[0]))
        deviations.append(off / np.sqrt(np.diag(result.covariance)))
        ratios.append(result.held_out_rms / result.rms)
    assert np.median(errors) < 0.5
    rms = np.sqrt(np.mean(np.square(deviations), axis=0))
    assert (rms > 0.5).all()
    assert (rms < 1.5).all()
    assert 0.7 < np.sqrt(np.mean(np.square(deviations))) < 1.4
    assert 0.98 < np.median(ratios) < 1.05


def test_the_map_of_sigmas_is_that_of_projected_points() -> None:
    pixels = grid((0.0, 0.0, 639.0, 479.0), 5, 4)
    result = solve_intrinsics(detected(placements(BOARD, 20, 1), 1), SIZE, BOARD, model="radial_tangential")
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(parameters(result.lens), result.covariance, size=400)
    directions = result.lens.rays(pixels)
    places = [Lens(*SIZE, *values[:4], tuple(values[4:])).project(directions) for values in drawn]
    spread = [np.linalg.eigvalsh(np.cov(points.T))[-1] for points in np.swapaxes(places, 0, 1)]
    np.testing.assert_allclose(
        projection_sigmas(result.lens, result.covariance, pixels), np.sqrt(spread), rtol=0.15
    )
    assert (
        projection_sigmas(result.lens, result.covariance, grid(result.crop)).max() == result.projection_sigma
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_flat_views_are_refused_although_their_residual_is_good(seed: int) -> None:
    found = detected(placements(BOARD, 20, seed, tilt=(0, 3)), seed)
    with pytest.raises(CalibrationError, match="do not determine the focal length") as refusal:
        solve_intrinsics(found, SIZE, BOARD)
    text = str(refusal.value)
    assert "no view is tilted by more than 3 degrees; tilt the board by 30 to 45 degrees" in text
    assert "(the reprojection error of 0.08 px cannot show this)" in text


def test_views_of_the_middle_alone_are_refused() -> None:
    found = detected(placements(BOARD, 20, 0, centred=True), 0)
    with pytest.raises(CalibrationError, match=r"corners in \d+ % of the picture's cells, none in the"):
        solve_intrinsics(found, SIZE, BOARD)


def test_few_and_like_views_are_refused() -> None:
    found = detected(placements(BOARD, 1, 3, tilt=(25, 30)) * 8, 0, noise=0.3)
    with pytest.raises(CalibrationError, match="8 views are too few or too much alike"):
        solve_intrinsics(found, SIZE, BOARD)
    with pytest.raises(CalibrationError, match=r"intrinsics need 6 views .*; 5 of 5 do"):
        solve_intrinsics(found[:5], SIZE, BOARD)


def test_a_view_that_contradicts_the_others_is_rejected_and_named() -> None:
    found = detected(placements(BOARD, 20, 3), 0)
    smear = np.random.default_rng(0).normal(0, 0.8, found[4].corners.shape)
    found[4] = replace(found[4], corners=found[4].corners + smear)
    found[9] = Detection(found[9].ids[:5], found[9].corners[:5], found[9].markers)
    result = solve_intrinsics(found, SIZE, BOARD, model="radial_tangential")
    assert result.rejected == (4,)
    assert result.unread == (9,)
    assert abs(result.lens.fx - LENS.fx) < 1.0
    rows = [row for row in judge_intrinsics(result, "cam_high") if row.check == "views rejected"]
    assert [(row.verdict, row.cause) for row in rows] == [
        (Verdict.WARN, "these contradict the others: 4 (from 0)")
    ]


def test_views_that_all_contradict_each_other_are_refused() -> None:
    found = detected(placements(BOARD, 8, 3), 0)
    rng = np.random.default_rng(1)
    for number, size in ((1, 5.0), (4, 20.0), (6, 80.0)):
        noise = rng.normal(0, size, found[number].corners.shape)
        found[number] = replace(found[number], corners=found[number].corners + noise)
    with pytest.raises(CalibrationError, match="the views contradict each other: 3 or more of 8 are far off"):
        solve_intrinsics(found, SIZE, BOARD)


def test_the_rational_model_is_taken_where_it_predicts_better() -> None:
    bent = replace(LENS, distortion=(1.2, -0.6, 0.0008, -0.0006, 0.1, 1.4, -0.2, 0.3))
    found = detected(placements(BOARD, 24, 2, lens=bent), 2, lens=bent)
    assert solve_intrinsics(found, SIZE, BOARD).model == "radial_tangential"
    fisheye = replace(LENS, fx=330.0, fy=330.0, distortion=(3.0, 2.2, 0.0, 0.0, 0.15, 3.4, 3.2, 0.8))
    found = detected(placements(BOARD, 30, 5, lens=fisheye), 5, lens=fisheye)
    wide = solve_intrinsics(found, SIZE, BOARD, crop=(120.0, 60.0, 520.0, 420.0))
    assert wide.model == "rational"
    assert len(wide.info().distortion) == 8
    assert abs(wide.lens.fx - 330.0) < 5 * wide.focal_sigma


def test_lenses_are_compared_over_the_picture() -> None:
    longer = replace(LENS, fx=LENS.fx * 1.01, fy=LENS.fy * 1.01)
    apart = compare_lenses(longer, LENS)
    assert apart.focal == pytest.approx(0.01)
    corner = np.hypot(322.4, 241.9) * 0.01
    assert apart.worst == pytest.approx(corner, rel=0.15)
    assert compare_lenses(LENS, LENS).worst < 1e-9
    with pytest.raises(CalibrationError, match="lenses of 640x480 and 1280x720 px cannot be compared"):
        compare_lenses(LENS, replace(LENS, width=1280, height=720))


def test_a_far_off_factory_lens_is_judged(rendered: IntrinsicsResult) -> None:
    factory = replace(LENS, fx=LENS.fx * 1.08, fy=LENS.fy * 1.08)
    row = judge_intrinsics(rendered, "cam_high", factory)[-1]
    assert (row.check, row.verdict) == ("focal length against the factory's", Verdict.FAIL)
    assert row.value == pytest.approx(7.4, abs=0.1)
    assert factory_info(factory).model == "radial_tangential"
    assert factory_info(replace(factory, distortion=())).model == "pinhole"


@pytest.mark.parametrize(
    ("role", "crop"),
    [("cam_high", (-0.5, 47.5, 639.5, 431.5)), ("cam_left_wrist", (119.5, -0.5, 519.5, 479.5))],
)
def test_the_policys_crop(role: str, crop: tuple[float, ...]) -> None:
    assert policy_crop(role, SIZE) == pytest.approx(crop)  # type: ignore[arg-type]


def test_coverage_names_what_is_missing() -> None:
    across, down = np.meshgrid(np.arange(0, 640, 10.0), np.arange(0, 480, 10.0))
    points = np.stack([across, down], axis=-1).reshape(-1, 2)
    whole = coverage([points], [0.6], SIZE)
    assert (whole.part, whole.emptiest) == (1.0, "")
    assert whole.advice == "tilt the board another way, and go nearer"
    seen = points[(points[:, 0] < 420) | (points[:, 1] < 320)]
    part = coverage([seen], [0.6, 0.7], SIZE)
    assert part.emptiest == "lower right"
    assert part.advice == "go to the lower right of the picture"
    assert part.part == pytest.approx(1 - 4 / np.prod(CELLS), abs=0.05)
    assert coverage([seen], [0.1, 0.2, 0.5], SIZE).advice.startswith("tilt the board more")
    assert coverage([seen], np.radians([5, 15, 25, 35, 80]).tolist(), SIZE).histogram.tolist() == [1] * 5
    assert coverage([points + 0.6], [0.0], SIZE).part == 1.0


def test_figures_show_the_views_and_the_map(rendered: IntrinsicsResult) -> None:
    corners = [view.corners for view in rendered.views]
    drawn = coverage_figure(corners, [view.tilt for view in rendered.views], SIZE, rendered.crop)
    picture, bars = drawn.axes
    assert len(picture.lines) == 20
    assert sum(bar.get_height() for bar in bars.patches) == 20
    figure = sigma_figure(rendered.info(), rendered.crop)
    assert figure is not None
    sigmas = figure.axes[0].images[0].get_array()
    assert sigmas.shape == (48, 64)
    assert 0.05 < sigmas.min() < sigmas.max() < 2.0
    assert sigma_figure(factory_info(LENS)) is None
