"""The most probable hand-eye: every pose has a joint error of its own, and how large they are is read off the poses.

Least squares over corners alone takes the arm for exact; on an arm that is not it does worse than a closed form and
claims to be far better. Here the unknowns are camera, board, constant zero errors of joints 2 to 5 (a wide prior: 1
and 6 cannot be told from board and camera) and six joint corrections per pose with a Gaussian prior. The corrections
are eliminated (Schur complement), so that a solve is a matter of milliseconds. The standard deviations of a corner and
of a joint are variance components (W. Foerstner, 1979): each group's squares over its part of the redundancy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.kinematics import DhIsOffset
from gigaedge.lens import Lens
from gigaedge.robot import JOINTS
from gigaedge_calibration.prediction import Looks, Prediction, Setup, predict

Array = NDArray[np.float64]

HEALTHY_PX: Final = 0.2
"""px, of a corner."""
HEALTHY_JOINT: Final = float(np.radians(0.05))
"""rad, of a joint angle."""
ZERO_PRIOR: Final = float(np.radians(3.0))
"""rad, standard deviation of a joint's zero error before anything is known."""
ZERO_JOINTS: Final = (1, 2, 3, 4)
"""Joints, from 0, whose zero errors show."""
FEWEST_FOR_COMPONENTS: Final = 8
"""Poses; with fewer, the standard deviations are those of a healthy arm and a healthy detector."""

_CAMERA: Final = slice(0, 6)
_BOARD: Final = slice(6, 12)
_ZEROS: Final = slice(12, 12 + len(ZERO_JOINTS))
_SHARED: Final = _ZEROS.stop
_ROUNDS: Final = 60
_LEAST_PX: Final = 0.01
_LEAST_JOINT: Final = 1e-5
"""Standard deviations never fall below these (px, rad): data without noise would divide by zero."""


@dataclass(frozen=True)
class Model:
    """What the solver takes as given."""

    lens: Lens
    setup: Setup
    dh_is_offset: DhIsOffset = 1
    lens_prior: Array | None = None
    """Covariance of (fx, fy, cx, cy, *distortion) to be solved for, too; None: the lens is as it is."""


@dataclass(frozen=True)
class Estimate:
    """The unknowns, and what the looks say of them."""

    camera: Array
    """`T_link6_cam` (wrist) or `T_base_cam` (fixed), shape (4, 4)."""
    board: Array
    """`T_base_board` or `T_link6_board`."""
    zeros: Array
    """Added to reported joint angles, rad, shape (6,); 0 for joints 1 and 6."""
    corrections: Array
    """Of each pose's joint angles on top of that, rad, shape (m, 6)."""
    lens: Lens
    sigma_px: float
    sigma_joint: float
    """rad."""
    covariance: Array
    """Of (camera's six-vector, board's, zeros of joints 2 to 5[, lens]), shape (16[+k], 16[+k])."""
    condition: float
    """Of that covariance's inverse, scaled to a diagonal of ones."""
    by_lens: Array
    """How the first 16 follow a change of the lens that was taken as given, shape (16, k)."""


@dataclass(frozen=True)
class _State:
    camera: Array
    board: Array
    zeros: Array
    corrections: Array
    lens: Lens
    change: Array
    """Of the lens, since the start."""


@dataclass(frozen=True)
class _Squares:
    """Products of the derivatives, per pose: of shared unknowns (lens last), and of the pose's own."""

    shared: Array
    cross: Array
    own: Array
    by_shared: Array
    by_own: Array
    residual: float
    """Sum of squares, px^2."""


def lens_parameters(lens: Lens) -> Array:
    """(fx, fy, cx, cy, *distortion)."""
    return np.array([lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion])


def with_parameters(lens: Lens, values: Array) -> Lens:
    """The lens with other (fx, fy, cx, cy, *distortion)."""
    fx, fy, cx, cy, *distortion = (float(value) for value in values)
    return replace(lens, fx=fx, fy=fy, cx=cx, cy=cy, distortion=tuple(distortion))


def by_lens(lens: Lens, points: Array) -> Array:
    """Derivatives of pixels by (fx, fy, cx, cy, *distortion), (..., 2, 4 + k), of camera points (..., 3), m, ahead."""
    values = lens_parameters(lens)
    steps = np.full(len(values), 1e-4)
    return np.stack(
        [
            (
                with_parameters(lens, values + step).project(points)
                - with_parameters(lens, values - step).project(points)
            )
            / (2 * steps[index])
            for index, step in enumerate(np.diag(steps))
        ],
        axis=-1,
    )


def solve_map(
    model: Model, looks: Looks, camera: Array, board: Array, zeros: Array | None = None
) -> Estimate:
    """The most probable answer, from a start that is near (gigaedge_calibration.closed_form).

    With fewer than `FEWEST_FOR_COMPONENTS` looks the standard deviations are fixed at the healthy ones. Whether the
    looks determine the answer is for the caller to say, by `condition`.
    """
    state = _State(
        camera,
        board,
        np.zeros(JOINTS) if zeros is None else zeros,
        np.zeros((len(looks), JOINTS)),
        model.lens,
        np.zeros(len(lens_parameters(model.lens))),
    )
    sigma_px, sigma_joint = HEALTHY_PX, HEALTHY_JOINT
    estimated = len(looks) >= FEWEST_FOR_COMPONENTS
    squares = _squares(model, looks, state)
    damping = 1e-6
    for _ in range(_ROUNDS):
        system = _System(model, squares, state, sigma_px, sigma_joint)
        candidate = system.step(state, damping)
        found = _squares(model, looks, candidate)
        before = _cost(model, squares, state, sigma_px, sigma_joint)
        after = _cost(model, found, candidate, sigma_px, sigma_joint)
        if not after <= before * (1 + 1e-9):
            damping = max(damping, 1e-8) * 10
            if damping > 1e8:
                break
            continue
        state, squares, damping = candidate, found, damping / 10
        if before - after > 0.01 * before:
            continue  # far off: the residuals say nothing of the noise yet
        if not estimated:
            if before - after < 1e-9 * before:
                break
            continue
        sigmas = _System(model, squares, state, sigma_px, sigma_joint).components(looks, state)
        steady = (
            abs(sigmas[0] - sigma_px) < 1e-3 * sigma_px and abs(sigmas[1] - sigma_joint) < 1e-3 * sigma_joint
        )
        sigma_px, sigma_joint = sigmas
        if steady and before - after < 1e-6 * before:
            break
    system = _System(model, squares, state, sigma_px, sigma_joint)
    return Estimate(
        state.camera,
        state.board,
        state.zeros,
        state.corrections,
        state.lens,
        sigma_px,
        sigma_joint,
        system.covariance(),
        system.condition(),
        system.by_lens(),
    )


def correction_of(model: Model, estimate: Estimate, looks: Looks) -> Array:
    """The joint corrections, rad, (m, 6), that looks outside the solve would need, all else as estimated."""
    start = replace(model, lens=estimate.lens, lens_prior=None)
    corrections = np.zeros((len(looks), JOINTS))
    for _ in range(10):
        state = _State(
            estimate.camera, estimate.board, estimate.zeros, corrections, estimate.lens, np.zeros(0)
        )
        squares = _squares(start, looks, state)
        own = squares.own / estimate.sigma_px**2 + np.eye(JOINTS) / estimate.sigma_joint**2
        pull = squares.by_own / estimate.sigma_px**2 - corrections / estimate.sigma_joint**2
        corrections = corrections + np.linalg.solve(own, pull[..., np.newaxis])[..., 0]
    return corrections


def predict_looks(model: Model, estimate: Estimate, looks: Looks) -> tuple[Array, Array]:
    """Errors of looks outside the solve, px, (m, n, 2), and their predicted covariance, px^2, (m, 2n, 2n).

    What is not known of camera, board, zeros and of each look's own joint angles is in it, and the corner's noise.
    Padding has neither error nor covariance.
    """
    seen = _at(model, looks, estimate.camera, estimate.board, looks.joints + estimate.zeros, estimate.lens)
    by_shared, by_own = _derivatives(seen, looks)
    shared = by_shared @ estimate.covariance[:_SHARED, :_SHARED] @ np.swapaxes(by_shared, -1, -2)
    own = estimate.sigma_joint**2 * by_own @ np.swapaxes(by_own, -1, -2)
    weight = np.repeat(looks.seen, 2, axis=-1)
    noise = estimate.sigma_px**2 * weight[..., np.newaxis] * np.eye(weight.shape[-1])
    return (looks.pixels - seen.pixels) * looks.seen[..., np.newaxis], shared + own + noise


def information(
    model: Model,
    joints: Array,
    points: Array,
    camera: Array,
    board: Array,
    sigma_px: float,
    sigma_joint: float,
) -> Array:
    """What a look at `points` (n, 3) from each of the joint angles (m, 6) would tell of (camera, board, zeros).

    Shape (m, 16, 16): sums of these over looks, plus `prior()`, are the inverse of the covariance.
    """
    seen = predict(model.lens, model.setup, camera, board, joints, points, model.dh_is_offset)
    shared, own = _stacked(seen)
    turned = np.swapaxes(shared, -1, -2)
    cross = turned @ own / sigma_px**2
    inner = np.swapaxes(own, -1, -2) @ own / sigma_px**2 + np.eye(JOINTS) / sigma_joint**2
    return np.asarray(
        turned @ shared / sigma_px**2 - cross @ np.linalg.solve(inner, np.swapaxes(cross, -1, -2))
    )


def prior() -> Array:
    """What is known of (camera, board, zeros) before the first look, as information, shape (16, 16)."""
    known = np.zeros((_SHARED, _SHARED))
    known[_ZEROS, _ZEROS] = np.eye(len(ZERO_JOINTS)) / ZERO_PRIOR**2
    return known


def _at(model: Model, looks: Looks, camera: Array, board: Array, joints: Array, lens: Lens) -> Prediction:
    return predict(lens, model.setup, camera, board, joints, looks.points, model.dh_is_offset)


def _stacked(seen: Prediction) -> tuple[Array, Array]:
    """Derivatives by (camera, board, zeros), (m, 2n, 16), and by the pose's own joints, (m, 2n, 6)."""
    rows = (*seen.pixels.shape[:-2], -1)
    zeros = seen.by_joints[..., list(ZERO_JOINTS)]
    shared = np.concatenate([seen.by_camera, seen.by_board, zeros], axis=-1)
    return shared.reshape(*rows, _SHARED), seen.by_joints.reshape(*rows, JOINTS)


def _derivatives(seen: Prediction, looks: Looks) -> tuple[Array, Array]:
    weight = np.repeat(looks.seen, 2, axis=-1)[..., np.newaxis]
    shared, own = _stacked(seen)
    return shared * weight, own * weight


def _squares(model: Model, looks: Looks, state: _State) -> _Squares:
    joints = looks.joints + state.zeros + state.corrections
    seen = _at(model, looks, state.camera, state.board, joints, state.lens)
    shared, own = _derivatives(seen, looks)
    ahead = seen.in_camera * (1, 1, 0) + np.maximum(seen.in_camera, 0.005) * (0, 0, 1)
    of_lens = by_lens(state.lens, ahead) * looks.seen[..., np.newaxis, np.newaxis]
    shared = np.concatenate([shared, of_lens.reshape(*shared.shape[:-1], -1)], axis=-1)
    residual = ((looks.pixels - seen.pixels) * looks.seen[..., np.newaxis]).reshape(*shared.shape[:-1], 1)
    turned = np.swapaxes(shared, -1, -2)
    return _Squares(
        (turned @ shared).sum(axis=0),
        turned @ own,
        np.swapaxes(own, -1, -2) @ own,
        (turned @ residual)[..., 0].sum(axis=0),
        (np.swapaxes(own, -1, -2) @ residual)[..., 0],
        float((residual**2).sum()),
    )


def _precision(model: Model, size: int) -> Array:
    """Of the shared unknowns before the looks."""
    known = np.zeros((size, size))
    known[:_SHARED, :_SHARED] = prior()
    if model.lens_prior is not None:
        known[_SHARED:, _SHARED:] = np.linalg.inv(model.lens_prior)
    return known


def _values(state: _State) -> Array:
    return np.concatenate([np.zeros(12), state.zeros[list(ZERO_JOINTS)], state.change])


def _cost(model: Model, squares: _Squares, state: _State, sigma_px: float, sigma_joint: float) -> float:
    values = _values(state)
    return float(
        squares.residual / sigma_px**2
        + (state.corrections**2).sum() / sigma_joint**2
        + values @ _precision(model, len(values)) @ values
    )


class _System:
    """The normal equations at one state, the poses' own unknowns eliminated."""

    def __init__(
        self, model: Model, squares: _Squares, state: _State, sigma_px: float, sigma_joint: float
    ) -> None:
        self.model, self.squares = model, squares
        self.sigma_px, self.sigma_joint = sigma_px, sigma_joint
        self.known = _precision(model, len(squares.shared))
        self.cross = squares.cross / sigma_px**2
        self.inner = np.linalg.inv(squares.own / sigma_px**2 + np.eye(JOINTS) / sigma_joint**2)
        self.pull_own = squares.by_own / sigma_px**2 - state.corrections / sigma_joint**2
        through = self.cross @ self.inner
        self.full = (
            squares.shared / sigma_px**2
            + self.known
            - (through @ np.swapaxes(self.cross, -1, -2)).sum(axis=0)
        )
        self.pull = (
            squares.by_shared / sigma_px**2
            - self.known @ _values(state)
            - (through @ self.pull_own[..., np.newaxis]).sum(axis=0)[..., 0]
        )
        self.free = len(self.full) if model.lens_prior is not None else _SHARED
        self.matrix = self.full[: self.free, : self.free]

    def step(self, state: _State, damping: float) -> _State:
        """Levenberg-Marquardt."""
        damped = self.matrix + damping * np.diag(np.diag(self.matrix) + 1e-9)
        change = np.zeros(len(self.full))
        change[: self.free] = np.linalg.lstsq(damped, self.pull[: self.free], rcond=None)[0]
        own = self.pull_own - np.swapaxes(self.cross, -1, -2) @ change
        zeros = state.zeros.copy()
        zeros[list(ZERO_JOINTS)] += change[_ZEROS]
        lens_change = state.change + change[_SHARED:]
        start = lens_parameters(self.model.lens)
        return _State(
            poses.moved(state.camera, change[_CAMERA]),
            poses.moved(state.board, change[_BOARD]),
            zeros,
            state.corrections + (self.inner @ own[..., np.newaxis])[..., 0],
            with_parameters(self.model.lens, start + lens_change),
            lens_change,
        )

    def covariance(self) -> Array:
        """Of the shared unknowns; huge where the looks say nothing."""
        scale = 1 / np.sqrt(np.maximum(np.diag(self.matrix), 1e-12))
        return np.asarray(
            scale[:, np.newaxis]
            * np.linalg.pinv(self.matrix * np.outer(scale, scale), rcond=1e-14, hermitian=True)
            * scale
        )

    def condition(self) -> float:
        """Of the shared unknowns, scaled to a diagonal of ones."""
        scale = 1 / np.sqrt(np.maximum(np.diag(self.matrix), 1e-12))
        eigenvalues = np.linalg.eigvalsh(self.matrix * np.outer(scale, scale))
        return float(eigenvalues[-1] / max(eigenvalues[0], 1e-300))

    def by_lens(self) -> Array:
        """How camera, board and zeros follow the lens."""
        given, lens = self.full[:_SHARED, :_SHARED], self.full[:_SHARED, _SHARED:]
        return np.asarray(-np.linalg.lstsq(given, lens, rcond=None)[0])

    def components(self, looks: Looks, state: _State) -> tuple[float, float]:
        """Standard deviations of a corner, px, and of a joint, rad."""
        covariance = self.covariance()
        down = self.inner @ np.swapaxes(self.cross[:, : self.free], -1, -2)
        own = self.inner + down @ covariance @ np.swapaxes(down, -1, -2)
        joint = state.corrections.size - np.trace(own, axis1=-2, axis2=-1).sum() / self.sigma_joint**2
        known = self.known[: self.free, : self.free]
        priors = np.linalg.matrix_rank(known) - float((covariance * known).sum())
        observed = 2 * int(looks.seen.sum()) + state.corrections.size + np.linalg.matrix_rank(known)
        pixel = observed - (self.free + state.corrections.size) - joint - priors
        return (
            max(float(np.sqrt(self.squares.residual / max(pixel, 1.0))), _LEAST_PX),
            max(float(np.sqrt((state.corrections**2).sum() / max(joint, 1e-3))), _LEAST_JOINT),
        )
