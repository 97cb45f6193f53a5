"""A camera's lens from views of a board, with what is not known of it; refused where the views do not determine it.

The reprojection error cannot judge a lens: it is as good where the focal length is free. The covariance can, and what
it makes of a point in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import BoardInfo, IntrinsicsInfo
from gigaedge.errors import CalibrationError
from gigaedge.lens import Lens
from gigaedge_calibration import acceptance
from gigaedge_calibration.coverage import Coverage, coverage, tilt_of
from gigaedge_calibration.cv_compat import (
    Detection,
    LensModel,
    calibrate,
    object_points,
    projection_jacobian,
    solve_pose,
)
from gigaedge_calibration.lens_uncertainty import Crop, compare_lenses, grid, projection_sigmas
from gigaedge_calibration.verdicts import Judgement, Verdict, judged

Array = NDArray[np.float64]
LEAST_VIEWS: Final = 6
LEAST_CORNERS: Final = 10
"""A view with fewer says nothing that its own pose does not take up."""
SPLITS: Final = 4
"""The held-out error is over every view, computed from the other three quarters."""
BETTER: Final = 0.95
"""The rational model is taken when it brings the held-out error below this part of the plain one's."""
OUTLIER: Final = 3.0
"""A view whose error is so many times the median's is not of the same lens and board: it moved, or was misread."""
OUTLIER_PART: Final = 0.25
"""More outliers than this part of all views, and it is the views that are wrong."""
FLAT: Final = 15.0
"""degrees; where no view is tilted further, that is what is missing."""


@dataclass(frozen=True)
class ViewFit:
    """One view in the solution."""

    index: int
    """Among the views that were given."""
    t_cam_board: Array
    ids: NDArray[np.int64]
    corners: Array
    """px, shape (n, 2), as detected."""
    residuals: Array
    """Detected minus projected, px, shape (n, 2)."""

    @property
    def rms(self) -> float:
        """Length of a residual, px."""
        return _rms([self.residuals])

    @property
    def tilt(self) -> float:
        """rad."""
        return tilt_of(self.t_cam_board)


@dataclass(frozen=True)
class IntrinsicsResult:
    """A lens, and what it rests on."""

    lens: Lens
    model: LensModel
    covariance: Array
    """Of (fx, fy, cx, cy, *distortion)."""
    views: tuple[ViewFit, ...]
    """Those that it was computed from."""
    rejected: tuple[int, ...]
    """Views that contradict the others."""
    unread: tuple[int, ...]
    """Views with too little of the board in them."""
    held_out_rms: float
    """px."""
    crop: Crop
    """What the policy sees of the picture."""

    @property
    def rms(self) -> float:
        """Length of a residual, px; over all views."""
        return _rms([view.residuals for view in self.views])

    @property
    def coverage(self) -> Coverage:
        """What the views have seen."""
        size = (self.lens.width, self.lens.height)
        return coverage([view.corners for view in self.views], [view.tilt for view in self.views], size)

    @property
    def focal_sigma(self) -> float:
        """Standard deviation of the worse known focal length, px."""
        return float(np.sqrt(np.max(np.diag(self.covariance)[:2])))

    @property
    def projection_sigma(self) -> float:
        """Worst standard deviation of a projected point within `crop`, px."""
        return float(projection_sigmas(self.lens, self.covariance, grid(self.crop)).max())

    def info(self) -> IntrinsicsInfo:
        """What the calibration file keeps."""
        seen = self.coverage
        return IntrinsicsInfo(
            source="own",
            model=self.model,
            width=self.lens.width,
            height=self.lens.height,
            fx=self.lens.fx,
            fy=self.lens.fy,
            cx=self.lens.cx,
            cy=self.lens.cy,
            distortion=self.lens.distortion,
            covariance=tuple(tuple(row) for row in self.covariance.tolist()),
            rms=self.rms,
            held_out_rms=self.held_out_rms,
            projection_sigma=self.projection_sigma,
            views=len(self.views),
            coverage=seen.part,
            greatest_tilt=seen.greatest_tilt,
        )


def solve_intrinsics(
    detections: Sequence[Detection],
    size: tuple[int, int],
    board: BoardInfo,
    *,
    model: LensModel | Literal["auto"] = "auto",
    crop: Crop | None = None,
    start: Lens | None = None,
) -> IntrinsicsResult:
    """The lens that views of a board show, in a picture of `size`, width and height, px.

    Five coefficients of distortion unless eight predict views that were kept out clearly better (`auto`). A view whose
    error is far off is rejected. `crop` is the part that must be known, by default the whole picture; `start` is a
    first guess of the lens.

    Raises CalibrationError, with the cause: too few views, views that contradict each other, or that do not determine
    the lens (focal length, projection within `crop`, part of the picture that was seen).
    """
    width, height = size
    usable = [index for index, detection in enumerate(detections) if is_usable(detection, board)]
    unread = tuple(sorted(set(range(len(detections))) - set(usable)))
    if len(usable) < LEAST_VIEWS:
        raise CalibrationError(
            f"intrinsics need {LEAST_VIEWS} views that show {LEAST_CORNERS} corners of the board or more, better 20; "
            f"{len(usable)} of {len(detections)} do"
        )
    guess = start or first_guess(size)
    chosen: LensModel = "radial_tangential" if model == "auto" else model
    views, lens = _without_outliers([(index, detections[index]) for index in usable], board, guess, chosen)
    rejected = tuple(sorted(set(usable) - {view.index for view in views}))
    held_out = _held_out(views, board, lens, chosen)
    if model == "auto":
        lens8, views8 = _fit([(v.index, v.ids, v.corners) for v in views], board, lens, "rational")
        held_out8 = _held_out(views, board, lens8, "rational")
        if held_out8 < BETTER * held_out:
            lens, views, chosen, held_out = lens8, views8, "rational", held_out8
    whole = (-0.5, -0.5, width - 0.5, height - 0.5)
    result = IntrinsicsResult(
        lens=lens,
        model=chosen,
        covariance=lens_covariance(lens, views, board),
        views=tuple(views),
        rejected=rejected,
        unread=unread,
        held_out_rms=held_out,
        crop=crop or whole,
    )
    _require_determined(result)
    return result


def first_guess(size: tuple[int, int]) -> Lens:
    """A lens to start from, for a picture of `size`, width and height, px; RealSense's are not far from it."""
    width, height = size
    return Lens(width, height, 0.9 * width, 0.9 * width, (width - 1) / 2, (height - 1) / 2)


def is_usable(detection: Detection, board: BoardInfo) -> bool:
    """Whether a view has enough corners, and these in three rows and three columns."""
    across = board.columns - 1
    spread = min(len(np.unique(detection.ids % across)), len(np.unique(detection.ids // across)))
    return len(detection.ids) >= LEAST_CORNERS and spread >= min(3, board.rows - 1)


def lens_covariance(lens: Lens, views: Sequence[ViewFit], board: BoardInfo) -> Array:
    """Covariance of (fx, fy, cx, cy, *distortion), with the poses of the views left free (Schur complement).

    The noise of a corner is the residuals' own, by the degrees of freedom that are left.
    """
    terms = 4 + len(lens.distortion)
    information = np.zeros((terms, terms))
    for view in views:
        by_pose, by_lens = projection_jacobian(lens, view.t_cam_board, object_points(board, view.ids))
        # What the pose could take up is no information on the lens: project it out.
        basis, _ = np.linalg.qr(by_pose)
        left = by_lens - basis @ (basis.T @ by_lens)
        information += left.T @ left
    squares = sum(float(np.sum(view.residuals**2)) for view in views)
    freedom = sum(view.residuals.size - 6 for view in views) - terms
    # Columns differ by orders of magnitude (px, and powers of a direction): inverted at one scale.
    scale = 1 / np.sqrt(np.diag(information))
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    # What the views do not see at all is uncertain without bound, not certain: it must not be cut off.
    inverse = (vectors / np.maximum(values, 1e-14 * values[-1])) @ vectors.T
    return np.asarray(squares / max(freedom, 1) * inverse * np.outer(scale, scale))


def judge_intrinsics(result: IntrinsicsResult, subject: str, factory: Lens | None = None) -> list[Judgement]:
    """A solved lens against the limits; `subject` is the camera's role."""
    lens, seen = result.lens, result.coverage
    focal = min(lens.fx, lens.fy)
    more = f"take more views: {seen.advice}"
    rows = [
        judged(
            "reprojection error",
            subject,
            result.rms,
            acceptance.INTRINSICS_RMS,
            cause="the board bends, moved during the exposure, or is not the one that the file describes",
            mend="fix the print to a plate, hold it still in good light, and look at --squares",
        ),
        judged(
            "held-out error",
            subject,
            result.held_out_rms / result.rms,
            acceptance.INTRINSICS_HELD_OUT,
            cause="the views do not predict each other: too few for this lens",
            mend=more,
        ),
        judged(
            "projection in the policy's crop",
            subject,
            result.projection_sigma,
            acceptance.INTRINSICS_SIGMA,
            cause="parts of the picture, or the focal length, are known too little",
            mend=more,
        ),
        judged(
            "focal length, two sigma",
            subject,
            200 * result.focal_sigma / focal,
            acceptance.INTRINSICS_FOCAL,
            cause="focal length and distance are hard to tell apart in these views",
            mend="tilt the board by 30 to 45 degrees, another way each time",
        ),
        judged(
            "picture not covered",
            subject,
            100 * (1 - seen.part),
            acceptance.INTRINSICS_UNCOVERED,
            cause=f"no corner was seen in the {seen.emptiest} of the picture",
            mend=more,
        ),
    ]
    if result.rejected:
        named = ", ".join(str(index) for index in result.rejected)
        rows.append(
            Judgement(
                "views rejected",
                subject,
                Verdict.WARN,
                float(len(result.rejected)),
                cause=f"these contradict the others: {named} (from 0)",
                mend="nothing, where they were blurred or the board was moved; else look at the pictures",
            )
        )
    if factory is not None:
        apart = compare_lenses(lens, factory)
        rows.append(
            judged(
                "focal length against the factory's",
                subject,
                100 * abs(apart.focal),
                acceptance.INTRINSICS_FACTORY,
                sigma=100 * result.focal_sigma / focal,
                cause=f"the factory's lens is off by up to {apart.worst:.1f} px in the picture, or the board's squares "
                "are not square",
                mend="measure the print in both directions; if it is right, the factory's numbers are not",
            )
        )
    return rows


def _require_determined(result: IntrinsicsResult) -> None:
    """Raise CalibrationError where the answer is no answer, however small its residuals."""
    lens, seen = result.lens, result.coverage
    good = f"the reprojection error of {result.rms:.2f} px cannot show this"
    spread = 200 * result.focal_sigma / min(lens.fx, lens.fy)
    if not spread <= acceptance.INTRINSICS_FOCAL.fail:
        tilt = np.degrees(seen.greatest_tilt)
        cause = (
            f"no view is tilted by more than {tilt:.0f} degrees"
            if tilt < FLAT
            else f"{len(result.views)} views are too few or too much alike"
        )
        raise CalibrationError(
            f"these views do not determine the focal length: {lens.fx:.0f} px +- {spread:.1f} % (two sigma); {cause}; "
            f"tilt the board by 30 to 45 degrees, another way each time ({good})"
        )
    if not 100 * (1 - seen.part) <= acceptance.INTRINSICS_UNCOVERED.fail:
        raise CalibrationError(
            f"these views do not determine the lens: corners in {100 * seen.part:.0f} % of the picture's cells, none "
            f"in the {seen.emptiest}; hold the board in every part of the picture, and nearer ({good})"
        )
    if not result.projection_sigma <= acceptance.INTRINSICS_SIGMA.fail:
        raise CalibrationError(
            f"these views do not determine the lens: a point within the policy's crop is uncertain by "
            f"{result.projection_sigma:.1f} px; {seen.advice} ({good})"
        )


_Seen = tuple[int, NDArray[np.int64], Array]
"""A view's index, its ids and its corners."""


def _fit(
    seen: Sequence[_Seen], board: BoardInfo, start: Lens, model: LensModel
) -> tuple[Lens, list[ViewFit]]:
    points = [object_points(board, ids) for _, ids, _ in seen]
    lens, placed = calibrate(points, [corners for _, _, corners in seen], start, model)
    fits = []
    for (index, ids, corners), world, t_cam_board in zip(seen, points, placed, strict=True):
        residuals = corners - lens.project(poses.apply(t_cam_board, world))
        fits.append(ViewFit(index, t_cam_board, ids, corners, residuals))
    return lens, fits


def _without_outliers(
    given: Sequence[tuple[int, Detection]], board: BoardInfo, start: Lens, model: LensModel
) -> tuple[list[ViewFit], Lens]:
    """Fit, and as long as a view's error is far off leave out the worst and fit again."""
    seen: list[_Seen] = [(index, detection.ids, detection.corners) for index, detection in given]
    while True:
        lens, views = _fit(seen, board, start, model)
        worst = max(views, key=lambda view: view.rms)
        if worst.rms <= OUTLIER * float(np.median([view.rms for view in views])):
            return views, lens
        seen = [view for view in seen if view[0] != worst.index]
        if len(seen) < max(LEAST_VIEWS, (1 - OUTLIER_PART) * len(given)):
            raise CalibrationError(
                f"the views contradict each other: {len(given) - len(seen)} or more of {len(given)} are far off, "
                f"view {worst.index} by {worst.rms:.1f} px; hold the board still, and look at --squares"
            )


def _held_out(views: Sequence[ViewFit], board: BoardInfo, start: Lens, model: LensModel) -> float:
    """Reprojection error of every view under the lens of the views outside its split, with a pose of its own, px."""
    residuals = []
    for split in range(SPLITS):
        kept = [(v.index, v.ids, v.corners) for number, v in enumerate(views) if number % SPLITS != split]
        lens, _ = _fit(kept, board, start, model)
        for view in views[split::SPLITS]:
            world = object_points(board, view.ids)
            t_cam_board = solve_pose(view.corners, world, lens)
            if t_cam_board is not None:
                residuals.append(view.corners - lens.project(poses.apply(t_cam_board, world)))
    return _rms(residuals)


def _rms(residuals: Sequence[Array]) -> float:
    """Root mean square length of residuals, (n, 2) each."""
    return float(np.sqrt(np.mean(np.sum(np.concatenate(residuals) ** 2, axis=-1))))
