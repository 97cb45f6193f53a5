"""Why a hand-eye calibration is not as good as it could be, in words: what its own numbers give away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.kinematics import THETA_DEGREES, DhIsOffset
from gigaedge.profiles import PROFILES
from gigaedge_calibration.acceptance import SIGMA_JOINT, SIGMA_PX
from gigaedge_calibration.map_solver import (
    ZERO_JOINTS,
    Estimate,
    Model,
    correction_of,
    lens_parameters,
    solve_map,
    with_parameters,
)
from gigaedge_calibration.prediction import Looks

Array = NDArray[np.float64]

SHOWN_ZERO: Final = float(np.radians(0.15))
"""rad; a smaller zero error is not worth a word."""
FLAG_MATCH: Final = float(np.radians(0.5))
"""rad, how near zero errors must be to those that a wrong DH flag makes."""
_LENS_DOUBT: Final = (0.02, 0.02, 0.01, 0.01, 0.2, 0.2, 0.005, 0.005, 0.1)
"""Standard deviations of a lens that nobody measured: focal lengths and centre (in focal lengths), k1 k2 p1 p2 k3."""


def explain(
    model: Model, looks: Looks, estimate: Estimate, used: Sequence[int], rejected: Sequence[int]
) -> tuple[str, ...]:
    """One sentence for each thing that may be wrong; `used` and `rejected` are numbers of looks."""
    causes = [_contradicts(model, looks, estimate, index) for index in rejected]
    noisy = np.degrees(estimate.sigma_joint) > SIGMA_JOINT.warn
    blurred = estimate.sigma_px > SIGMA_PX.warn
    lens = _other_lens(model, looks, estimate, used) if noisy or blurred else None
    if lens is not None:
        return (
            *causes,
            lens,
        )  # a wrong lens feigns zero errors and scatter: they say nothing before it is right
    flag = _other_flag(model, looks, estimate, used)
    if flag is not None:
        causes.append(flag)
    causes.extend(_zero_errors(estimate, skip=(1, 2) if flag is not None else ()))
    if noisy:
        causes.append(
            f"the arm's joints scatter by {np.degrees(estimate.sigma_joint):.2f} degrees from pose to pose (0.05 is "
            "healthy): let it come to rest before each picture, see that nothing pulls at it, and that the board did "
            "not move"
        )
    if blurred:
        causes.append(
            f"corners scatter by {estimate.sigma_px:.2f} px (0.2 is healthy): the board is not flat, or the pictures "
            "are blurred or dark"
        )
    return tuple(causes)


def _contradicts(model: Model, looks: Looks, estimate: Estimate, index: int) -> str:
    wanted = correction_of(model, estimate, looks.take([index]))[0]
    size = np.degrees(np.abs(wanted).max())
    return (
        f"pose {index} contradicts the others by {size:.1f} degrees in a joint and was left out: its picture and its "
        "joint angles are not of one moment, or the board or the arm was touched"
    )


def _other_flag(model: Model, looks: Looks, estimate: Estimate, used: Sequence[int]) -> str | None:
    """Zero errors of joints 2 and 3 that are just the difference between the two firmwares' link parameters."""
    other: DhIsOffset = 0 if model.dh_is_offset == 1 else 1
    expected = np.radians(np.subtract(THETA_DEGREES[other], THETA_DEGREES[model.dh_is_offset]))
    if np.abs(estimate.zeros - expected)[1:3].max() > FLAG_MATCH:
        return None
    again = solve_map(replace(model, dh_is_offset=other), looks.take(used), estimate.camera, estimate.board)
    if np.abs(again.zeros[1:3]).max() > FLAG_MATCH:
        return None
    second, third = np.degrees(estimate.zeros[1:3])
    profile = next(name for name, profile in PROFILES.items() if profile.dh_is_offset == other)
    return (
        f"joints 2 and 3 are off by {second:+.2f} and {third:+.2f} degrees: the arm's firmware counts them as "
        f"dh_is_offset {other} does; set `limits.profile: {profile}` in the site file"
    )


def _zero_errors(estimate: Estimate, skip: Sequence[int]) -> list[str]:
    sigmas = zero_sigmas(estimate)
    return [
        f"joint {joint + 1}: its zero is off by {np.degrees(estimate.zeros[joint]):+.2f} "
        f"+- {np.degrees(sigmas[joint]):.2f} degrees; it was allowed for here, and the arm goes wrong by it: set its "
        "zero again with AgileX's tool, or keep it so for training and use alike"
        for joint in ZERO_JOINTS
        if joint not in skip and abs(estimate.zeros[joint]) > max(SHOWN_ZERO, 3 * sigmas[joint])
    ]


def zero_sigmas(estimate: Estimate) -> Array:
    """Standard deviations of `estimate.zeros`, rad, shape (6,); 0 where none is claimed."""
    sigmas = np.zeros(6)
    sigmas[list(ZERO_JOINTS)] = np.sqrt(np.diag(estimate.covariance)[12:16])
    return sigmas


def _other_lens(model: Model, looks: Looks, estimate: Estimate, used: Sequence[int]) -> str | None:
    """Whether the scatter goes away when the lens may be another one."""
    values = lens_parameters(model.lens)
    lens = with_parameters(model.lens, np.concatenate([values, np.zeros(max(0, 9 - len(values)))]))
    doubt = np.full(len(lens_parameters(lens)), 0.1)
    doubt[: len(_LENS_DOUBT)] = _LENS_DOUBT
    doubt[:4] *= model.lens.fx
    free = replace(model, lens=lens, lens_prior=np.diag(doubt**2))
    again = solve_map(free, looks.take(used), estimate.camera, estimate.board, estimate.zeros)
    calmer = again.sigma_joint < 0.5 * estimate.sigma_joint or again.sigma_px < 0.6 * estimate.sigma_px
    if not calmer or np.degrees(again.sigma_joint) > SIGMA_JOINT.warn or again.sigma_px > SIGMA_PX.warn:
        return None
    longer = 100 * (again.lens.fx / model.lens.fx - 1)
    right, down = again.lens.cx - model.lens.cx, again.lens.cy - model.lens.cy
    return (
        f"the lens is not what its intrinsics say: with a focal length {longer:+.1f} %, a centre moved by "
        f"({right:+.1f}, {down:+.1f}) px and other distortion the joints scatter by "
        f"{np.degrees(again.sigma_joint):.2f} degrees instead of {np.degrees(estimate.sigma_joint):.2f}, and corners "
        f"by {again.sigma_px:.2f} px instead of {estimate.sigma_px:.2f}; run `gigaedge calibrate intrinsics` first"
    )
