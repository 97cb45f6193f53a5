"""Hand-eye calibration of looks at a board: where the camera is, how well that is known, and what is wrong.

Closed form to start, the most probable answer from there, poses that contradict the others left out; refused where
the poses do not determine it. What it says of itself is judged by poses that it has not seen and by a second method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.errors import CalibrationError
from gigaedge_calibration.causes import explain
from gigaedge_calibration.closed_form import park, shah
from gigaedge_calibration.cv_compat import solve_pose
from gigaedge_calibration.map_solver import Estimate, Model, correction_of, predict_looks, solve_map
from gigaedge_calibration.prediction import BoardLook, Looks, reach

Array = NDArray[np.float64]

FEWEST_POSES: Final = 5
"""Three would do without noise; with two more, a wrong one shows."""
LEAST_PAIR_ANGLE: Final = float(np.radians(15))
"""rad, median over all pairs of poses; (S) 10 degrees around one pose cost 0.22 degrees and 1.1 mm."""
LEAST_SECOND_AXIS: Final = float(np.radians(3))
"""rad, rms of the turns about the axis that comes second."""
WORST_CONDITION: Final = 1e6
"""Of the scaled normal equations; about a thousand where all is well, 1e8 in a sweep of one joint (S)."""
REJECT: Final = 4.0
"""Times the median correction of a pose's joints."""
REJECT_AT_MOST: Final = 0.25
"""Of the poses: where more of them contradict the others, nobody knows which ones are right."""


@dataclass(frozen=True)
class HandEye:
    """A solved hand-eye calibration."""

    model: Model
    estimate: Estimate
    camera_covariance: Array
    """Of `estimate.camera`'s six-vector, that of the lens included, shape (6, 6)."""
    board_covariance: Array
    """Of `estimate.board`'s, likewise."""
    used: tuple[int, ...]
    """Numbers of the looks that the answer is from."""
    rejected: tuple[int, ...]
    """Numbers of those that contradict the others."""
    held_out_ratio: float | None
    """Error of looks that were kept out over the predicted one; None: too few to spare any."""
    second_opinion: float
    """Distance to Park and Martin's answer, in standard deviations of the two."""
    causes: tuple[str, ...]
    """What may be wrong, in words."""

    @property
    def sigma(self) -> tuple[float, float]:
        """Standard deviations of the camera's rotation, rad, and translation, m, each in its worst direction."""
        return worst_sigmas(self.camera_covariance)


def worst_sigmas(covariance: Array) -> tuple[float, float]:
    """Greatest standard deviations, in any direction, of rotation, rad, and translation, m, of a (6, 6) covariance."""
    return (
        float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])),
        float(np.sqrt(np.linalg.eigvalsh(covariance[3:, 3:])[-1])),
    )


def solve_hand_eye(
    model: Model,
    looks: Sequence[BoardLook],
    *,
    lens_covariance: Array | None = None,
    hold_out: int = 3,
) -> HandEye:
    """Where the camera is, from looks at one board that stayed where it was (on the table, or in the gripper).

    `lens_covariance`: of (fx, fy, cx, cy, *distortion); what it costs is added to the covariances. `hold_out`: how
    many looks a trial solve does without, so that its prediction of them can be judged (every look once); the answer
    is from all.
    Raises CalibrationError, naming the cause: too few poses, poses that turn too little or about one axis alone, a look
    without a solution, too many looks that contradict each other.
    """
    require_spread(model, looks)
    stacked = Looks.of(looks)
    camera, board, doubtful = _start(model, looks)
    estimate, used = _solve_and_reject(model, stacked, camera, board, doubtful)
    if estimate.condition > WORST_CONDITION:
        raise CalibrationError(
            f"the {len(used)} poses do not determine where the camera is (condition {estimate.condition:.0e}, at most "
            f"{WORST_CONDITION:.0e}); take poses that turn the camera about different axes by 30 degrees and more"
        )
    rejected = tuple(sorted(set(range(len(looks))) - set(used)))
    covariance = estimate.covariance[:12, :12]
    if lens_covariance is not None:
        covariance = covariance + estimate.by_lens[:12] @ lens_covariance @ estimate.by_lens[:12].T
    return HandEye(
        model,
        estimate,
        covariance[:6, :6],
        covariance[6:, 6:],
        tuple(used),
        rejected,
        _held_out_ratio(model, stacked, estimate, used, hold_out, lens_covariance),
        _second_opinion(model, [looks[index] for index in used], estimate, covariance[:6, :6]),
        explain(model, stacked, estimate, used, rejected),
    )


def require_spread(model: Model, looks: Sequence[BoardLook]) -> None:
    """Raise CalibrationError, naming the cause, when no noise-free camera could tell the answer from these poses."""
    if len(looks) < FEWEST_POSES:
        raise CalibrationError(
            f"{len(looks)} poses that show the board are too few for a hand-eye calibration; take {FEWEST_POSES} at "
            "the very least, better 12"
        )
    turns = poses.rotation_vector(_pair_turns(reach(np.stack([look.joints for look in looks]), model.setup)))
    middle = float(np.median(np.linalg.norm(turns, axis=-1)))
    if middle < LEAST_PAIR_ANGLE:
        raise CalibrationError(
            f"the poses differ by {np.degrees(middle):.1f} degrees only (median over all pairs, at least "
            f"{np.degrees(LEAST_PAIR_ANGLE):.0f}); turn the wrist by 30 degrees and more between them"
        )
    second = float(np.sqrt(max(np.linalg.eigvalsh(turns.T @ turns / len(turns))[1], 0)))
    if second < LEAST_SECOND_AXIS:
        raise CalibrationError(
            f"the poses turn about one axis only ({np.degrees(second):.1f} degrees about any other, at least "
            f"{np.degrees(LEAST_SECOND_AXIS):.0f}): camera and arm cannot be told apart along it; turn the wrist about "
            "other axes, too (joints 4, 5 and 6)"
        )


def rough_hand_eye(model: Model, looks: Sequence[BoardLook]) -> tuple[Array, Array]:
    """Camera and board, (4, 4) each, in closed form: enough to plan poses with. Raises CalibrationError."""
    require_spread(model, looks)
    camera, board, _ = _start(model, looks)
    return camera, board


def _pair_turns(reaches: Array) -> Array:
    first, second = np.triu_indices(len(reaches), 1)
    turn = reaches[:, :3, :3]
    return np.asarray(turn[second] @ np.swapaxes(turn[first], -1, -2))


def _start(model: Model, looks: Sequence[BoardLook]) -> tuple[Array, Array, list[int]]:
    """Camera and board in closed form, and the looks that had to be left out for it to fit the others."""
    reaches = reach(np.stack([look.joints for look in looks]), model.setup, model.dh_is_offset)
    views = np.stack([_view(model, look, index) for index, look in enumerate(looks)])
    kept = list(range(len(looks)))
    while True:
        camera, board = shah(reaches[kept], views[kept])
        misfit = poses.difference(poses.inverse(camera) @ reaches @ board, views)
        angles = np.linalg.norm(misfit[:, :3], axis=-1)
        worst = max(kept, key=lambda index: float(angles[index]))
        plain = angles[worst] <= max(REJECT * float(np.median(angles[kept])), float(np.radians(2)))
        if plain or len(kept) - 1 < _fewest(len(looks)):
            return camera, board, [index for index in range(len(looks)) if index not in kept]
        kept.remove(worst)


def _view(model: Model, look: BoardLook, index: int) -> Array:
    view = solve_pose(look.pixels, look.points, model.lens)
    if view is None:
        raise CalibrationError(
            f"pose {index}: its {len(look.points)} corners do not say where the board is; bring more of the board into "
            "the picture"
        )
    return view


def _fewest(count: int) -> int:
    """Poses that must remain of `count`."""
    return max(FEWEST_POSES, count - int(REJECT_AT_MOST * count))


def _solve_and_reject(
    model: Model, looks: Looks, camera: Array, board: Array, doubtful: Sequence[int]
) -> tuple[Estimate, list[int]]:
    """The answer, and the looks it is from: the worst is left out as long as the others find it far off."""
    out = list(doubtful)
    while True:
        used = [index for index in range(len(looks)) if index not in out]
        estimate = solve_map(model, looks.take(used), camera, board)
        sizes = np.linalg.norm(estimate.corrections, axis=-1)
        if out:
            # What was left out on less evidence than this comes back if the others agree with it after all.
            outside = np.linalg.norm(correction_of(model, estimate, looks.take(out)), axis=-1)
            back = [
                index
                for index, size in zip(out, outside, strict=True)
                if size <= REJECT * np.median(sizes) and index in doubtful
            ]
            if back:
                out = [index for index in out if index not in back]
                doubtful = [index for index in doubtful if index not in back]
                continue
        worst = int(np.argmax(sizes))
        # Where joints hardly show, corrections of good poses differ by more than this; they are small, then.
        if sizes[worst] <= REJECT * max(float(np.median(sizes)), estimate.sigma_joint):
            return estimate, used
        if len(used) - 1 < _fewest(len(looks)):
            raise CalibrationError(
                f"too many of the {len(looks)} poses contradict the others (the worst now is {used[worst]}); did the "
                "board move, or do pictures and joint angles not belong together? Take them again"
            )
        out.append(used[worst])
        camera, board = estimate.camera, estimate.board


def _held_out_ratio(
    model: Model,
    looks: Looks,
    estimate: Estimate,
    used: Sequence[int],
    hold_out: int,
    lens_covariance: Array | None,
) -> float | None:
    """Rms error of all looks, each predicted by a solve without it, over the rms that these solves predict."""
    if hold_out < 1 or len(used) - hold_out < FEWEST_POSES:
        return None
    folds = -(-len(used) // hold_out)
    squares = variances = 0.0
    for fold in range(folds):
        outside = used[fold::folds]  # spread over the set, whose neighbours may be much alike
        rest = [index for index in used if index not in outside]
        trial = solve_map(model, looks.take(rest), estimate.camera, estimate.board, estimate.zeros)
        if lens_covariance is not None:
            trial = replace(
                trial, covariance=trial.covariance + trial.by_lens @ lens_covariance @ trial.by_lens.T
            )
        errors, covariance = predict_looks(model, trial, looks.take(outside))
        squares += float((errors**2).sum())
        variances += float(np.trace(covariance, axis1=-2, axis2=-1).sum())
    return float(np.sqrt(squares / variances))


def _second_opinion(model: Model, looks: Sequence[BoardLook], estimate: Estimate, covariance: Array) -> float:
    """Distance to `park`, over the standard deviations of both; the latter's are jackknifed (each look left out)."""
    joints = np.stack([look.joints for look in looks]) + estimate.zeros
    reaches = reach(joints, model.setup, model.dh_is_offset)
    views = np.stack([_view(model, look, index) for index, look in enumerate(looks)])
    away = poses.difference(park(reaches, views), estimate.camera)
    numbers = np.arange(len(looks))
    without = np.stack(
        [
            poses.difference(park(reaches[numbers != index], views[numbers != index]), estimate.camera)
            for index in numbers
        ]
    )
    scatter = without - without.mean(axis=0)
    theirs = (len(looks) - 1) / len(looks) * scatter.T @ scatter
    return float(np.sqrt(away @ np.linalg.solve(covariance + theirs, away) / 6))
