"""What a wrist camera should see of a fixed board, and what it would see had one thing in the cell moved.

Every supposition is fitted to all looks together, those that were stored when all was well (before) and those of now
(after), as the most probable values: each look's joints are uncertain by `sigma_joint`, the mount by its covariance,
each sighting by its corners' noise, and where the board is, only the looks say. Whatever is the same before and after
(the mount, the lens, the arm's sag in a pose) cancels where the arm goes to the same poses again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.errors import CalibrationError
from gigaedge.kinematics import DhIsOffset, link6_motion
from gigaedge.lens import Lens
from gigaedge_calibration.gripper import GripperOffset
from gigaedge_calibration.sighting import Sighting

Array = NDArray[np.float64]
Supposition = Literal[
    "nothing", "joint 1", "joint 2", "joint 3", "joint 4", "joint 5", "joint 6", "wrist camera", "board",
    "front camera",
]  # fmt: skip
"""What may have moved; one thing at a time."""
SUPPOSITIONS: Final[tuple[Supposition, ...]] = get_args(Supposition)

_ROUNDS: Final = 10
_NEAREST, _FARTHEST = 0.03, 0.5
"""m from a wrist camera to its gripper."""
_STEP: Final = 1e-6
"""Of central differences, rad and m."""


@dataclass(frozen=True)
class WristLook:
    """The board in the wrist camera's picture."""

    joints: Array
    """As the arm reported them, rad, shape (6,)."""
    sighting: Sighting
    gripper: GripperOffset | None = None
    """Against a picture from before; only of looks after."""


@dataclass(frozen=True)
class Wrist:
    """An arm with a camera, as it was calibrated."""

    transform: Array
    """`T_link6_cam`, shape (4, 4)."""
    covariance: Array
    """Of the same, shape (6, 6)."""
    zero_offsets: Array
    """Added to reported joints, rad, shape (6,)."""
    dh_is_offset: DhIsOffset
    lens: Lens
    gripper: tuple[float, float] | None = None
    """Middle of the region of its picture that shows the gripper, px; needed where `WristLook.gripper` is used."""


@dataclass(frozen=True)
class Evidence:
    """All that is known when somebody asks who moved."""

    wrist: Wrist
    sigma_joint: float
    """Standard deviation of a reported joint angle, rad."""
    before: tuple[WristLook, ...]
    after: tuple[WristLook, ...]
    front_before: Sighting | None = None
    """The board in the front camera's picture."""
    front_after: Sighting | None = None

    @property
    def front(self) -> bool:
        """The front camera saw the board both times."""
        return self.front_before is not None and self.front_after is not None

    @property
    def gripper(self) -> bool:
        """The gripper was compared in at least one look."""
        return any(look.gripper is not None for look in self.after)


@dataclass(frozen=True)
class Fit:
    """One supposition, fitted."""

    supposition: Supposition
    change: Array
    """What moved, and how far: nothing (0,); an angle to add to what the arm reports, rad, (1,); or a six-vector
    (gigaedge.poses) that moves the camera in link 6, the board in the base, or the front camera in the base."""
    covariance: Array
    chi2: float
    """Squared residuals in standard deviations, summed."""
    freedom: int
    """Residuals less what was fitted: what `chi2` is on average when the supposition is true."""


def fit(evidence: Evidence, supposition: Supposition) -> Fit:
    """The most probable values under one supposition. Raises CalibrationError: no looks, or no front view for it."""
    if not evidence.before or not evidence.after:
        raise CalibrationError("witness: no looks to compare; store some with `gigaedge calibrate witness`")
    if supposition == "front camera" and not evidence.front:
        raise CalibrationError("witness: the front camera did not see the board both times")
    guess = _start(evidence, supposition)
    widths = guess.widths
    for _ in range(_ROUNDS):
        residual, jacobian = _system(evidence, guess)
        information = jacobian.T @ jacobian
        step = np.linalg.solve(information, -jacobian.T @ residual)
        guess = guess.stepped(step)
        if float(np.linalg.norm(step)) < 1e-8:
            break
    residual, jacobian = _system(evidence, guess)
    spread = np.linalg.inv(jacobian.T @ jacobian)
    change, by_unknown = guess.change()
    return Fit(
        supposition,
        change,
        by_unknown @ spread @ by_unknown.T,
        float(residual @ residual),
        len(residual) - sum(widths.values()),
    )


def joint_sigmas(evidence: Evidence) -> Array:
    """Standard deviation of every joint's shift, rad, shape (6,), were all six unknown at once: how well the looks
    tell one from another. Of evidence in which nothing moved.
    """
    _, jacobian = _system(evidence, _start(evidence, "nothing"))
    joints = [each for each in SUPPOSITIONS if each.startswith("joint")]
    columns = [_system(evidence, _start(evidence, each))[1][:, -1] for each in joints]
    whole = np.column_stack([jacobian, *columns])
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(whole.T @ whole))[-len(joints) :]))


@dataclass(frozen=True)
class _Unknown:
    """Values of everything that is fitted; `after` is the moved thing's own copy."""

    supposition: Supposition
    board: Array
    """`T_base_board`."""
    camera: Array
    """`T_link6_cam`."""
    front: Array | None
    """`T_base_high`; None: nothing was seen by it."""
    angle: float = 0.0
    moved: Array | None = None

    @property
    def joint(self) -> int | None:
        """Index of the joint that is supposed to have moved."""
        return int(self.supposition[-1]) - 1 if self.supposition.startswith("joint") else None

    @property
    def widths(self) -> dict[str, int]:
        """Number of unknowns by block, in the order of the columns."""
        widths = {"board": 6, "camera": 6}
        if self.front is not None:
            widths["front"] = 6
        if self.supposition != "nothing":
            widths["change"] = 1 if self.joint is not None else 6
        return widths

    @property
    def offsets(self) -> dict[str, int]:
        """Index of each block's first column."""
        widths = self.widths
        ends = np.cumsum([*widths.values()])
        return {name: int(end) - widths[name] for name, end in zip(widths, ends, strict=True)}

    def stepped(self, step: Array) -> _Unknown:
        """All values moved by a solution of the linearised system."""
        parts = {name: step[at : at + self.widths[name]] for name, at in self.offsets.items()}
        return _Unknown(
            self.supposition,
            poses.moved(self.board, parts["board"]),
            poses.moved(self.camera, parts["camera"]),
            None if self.front is None else poses.moved(self.front, parts["front"]),
            self.angle + float(parts["change"][0]) if self.joint is not None else 0.0,
            None if self.moved is None else poses.moved(self.moved, parts["change"]),
        )

    def change(self) -> tuple[Array, Array]:
        """What moved how far, (k,), and its derivative by all unknowns, (k, n)."""
        widths, offsets = self.widths, self.offsets
        width = widths.get("change", 0)
        by_unknown = np.zeros((width, sum(widths.values())))
        if width:
            by_unknown[:, offsets["change"] :] = np.eye(width)
        if self.moved is None:
            return np.array([self.angle] if width else []), by_unknown
        name = {"board": "board", "wrist camera": "camera", "front camera": "front"}[self.supposition]
        by_unknown[:, offsets[name] : offsets[name] + 6] = -np.eye(6)
        return poses.difference(self.moved, getattr(self, name)), by_unknown


def _start(evidence: Evidence, supposition: Supposition) -> _Unknown:
    """Values that explain the first look before, and the first after."""
    wrist = evidence.wrist
    first, later = evidence.before[0], evidence.after[0]
    board = _link6(wrist, first.joints) @ wrist.transform @ first.sighting.pose
    front = None
    moved = None
    if evidence.front_before is not None and evidence.front_after is not None:
        front = board @ poses.inverse(evidence.front_before.pose)
        if supposition == "front camera":
            moved = board @ poses.inverse(evidence.front_after.pose)
    if supposition == "board":
        moved = _link6(wrist, later.joints) @ wrist.transform @ later.sighting.pose
    if supposition == "wrist camera":
        moved = poses.inverse(_link6(wrist, later.joints)) @ board @ poses.inverse(later.sighting.pose)
    return _Unknown(supposition, board, wrist.transform, front, moved=moved)


def _system(evidence: Evidence, at: _Unknown) -> tuple[Array, Array]:
    """All residuals in standard deviations, (m,), and their derivative by the unknowns, (m, n)."""
    parts = list(_parts(evidence, at))
    offsets, width = at.offsets, sum(at.widths.values())
    residuals, jacobians = [], []
    for residual, covariance, by_block in parts:
        jacobian = np.zeros((len(residual), width))
        for block, derivative in by_block.items():
            jacobian[:, offsets[block] : offsets[block] + derivative.shape[1]] = derivative
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        residuals.append(whitening @ residual)
        jacobians.append(whitening @ jacobian)
    return np.concatenate(residuals), np.concatenate(jacobians)


def _parts(evidence: Evidence, at: _Unknown) -> Iterator[tuple[Array, Array, dict[str, Array]]]:
    """Residual, its covariance, and its derivative by each block of unknowns it depends on."""
    wrist = evidence.wrist
    yield poses.difference(wrist.transform, at.camera), wrist.covariance, {"camera": -np.eye(6)}
    for look in evidence.before:
        yield _look(evidence, at, look, after=False)
    for look in evidence.after:
        yield _look(evidence, at, look, after=True)
        if look.gripper is not None:
            yield _gripper(wrist, at, look.gripper)
    if at.front is not None:
        for after, seen in ((False, evidence.front_before), (True, evidence.front_after)):
            if seen is not None:
                yield _front(at, seen, after=after)


def _look(
    evidence: Evidence, at: _Unknown, look: WristLook, *, after: bool
) -> tuple[Array, Array, dict[str, Array]]:
    wrist = evidence.wrist
    camera, camera_block = at.camera, "camera"
    board, board_block = at.board, "board"
    joints = look.joints.copy()
    if after and at.joint is not None:
        joints[at.joint] += at.angle
    if after and at.moved is not None:
        if at.supposition == "wrist camera":
            camera, camera_block = at.moved, "change"
        elif at.supposition == "board":
            board, board_block = at.moved, "change"
    link6, axes, points = link6_motion(joints + wrist.zero_offsets, wrist.dh_is_offset)
    placed = link6 @ camera
    seen, by_camera, by_board = _seen(placed, board)
    by_block = {board_block: -by_board, camera_block: -by_camera @ _both(link6[:3, :3])}
    # A joint turns the camera, and swings its origin about its axis.
    by_joints = by_camera @ np.concatenate([axes, np.cross(axes, placed[:3, 3] - points)], axis=-1).T
    if after and at.joint is not None:
        by_block["change"] = -by_joints[:, at.joint : at.joint + 1]
    covariance = look.sighting.covariance + evidence.sigma_joint**2 * (by_joints @ by_joints.T)
    return poses.difference(look.sighting.pose, seen), covariance, by_block


def _front(at: _Unknown, sighting: Sighting, *, after: bool) -> tuple[Array, Array, dict[str, Array]]:
    camera, camera_block = at.front, "front"
    board, board_block = at.board, "board"
    if after and at.moved is not None:
        if at.supposition == "front camera":
            camera, camera_block = at.moved, "change"
        elif at.supposition == "board":
            board, board_block = at.moved, "change"
    seen, by_camera, by_board = _seen(np.asarray(camera), board)
    by_block = {board_block: -by_board, camera_block: -by_camera}
    return poses.difference(sighting.pose, seen), sighting.covariance, by_block


def _gripper(wrist: Wrist, at: _Unknown, seen: GripperOffset) -> tuple[Array, Array, dict[str, Array]]:
    measured, covariance = np.array([*seen.shift, seen.roll]), seen.covariance
    if at.supposition != "wrist camera" or at.moved is None:
        return measured, covariance, {}
    lens, points = wrist.lens, gripper_points(wrist)
    residual = measured - gripper_shift(lens, points, at.camera, at.moved)
    steps = np.concatenate([np.eye(6), -np.eye(6)]) * _STEP
    now = gripper_shift(lens, points, at.camera, poses.moved(at.moved, steps))
    then = gripper_shift(lens, points, poses.moved(at.camera, steps), at.moved)
    by_change, by_camera = ((side[:6] - side[6:]).T / (2 * _STEP) for side in (now, then))
    return residual, covariance, {"change": -by_change, "camera": -by_camera}


def gripper_points(wrist: Wrist) -> Array:
    """What the gripper's region shows, in link-6 coordinates, m, shape (5, 3): its middle, and points about it.

    At the depth where the line of sight passes nearest to the flange's axis, which the gripper is built around. Raises
    CalibrationError: no region, or the camera, as calibrated, does not look there.
    """
    if wrist.gripper is None:
        raise CalibrationError("witness: no gripper region; set one with `gigaedge calibrate views`")
    around = np.array([[0, 0], [40, 0], [-40, 0], [0, 40], [0, -40]]) + wrist.gripper
    rays = wrist.lens.rays(around)
    origin, middle = wrist.transform[:2, 3], wrist.transform[:2, :3] @ rays[0]
    depth = -float(origin @ middle) / max(float(middle @ middle), 1e-12)
    if not _NEAREST <= depth <= _FARTHEST:
        raise CalibrationError(
            "witness: by its calibration the wrist camera does not see the gripper where its region is; calibrate "
            "hand-eye again, or correct the region"
        )
    return poses.apply(wrist.transform, depth * rays)


def gripper_shift(lens: Lens, points: Array, before: NDArray[Any], after: NDArray[Any]) -> Array:
    """How the gripper moves in the picture, (..., 3): right and down, px, and roll, rad.

    `points`: from `gripper_points`; `before`, `after`: `T_link6_cam`, (..., 4, 4). The gripper stays on link 6.
    """
    was, now = (lens.project(poses.apply(poses.inverse(camera), points)) for camera in (before, after))
    a, b = was - was.mean(axis=-2, keepdims=True), now - now.mean(axis=-2, keepdims=True)
    cross = np.sum(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], axis=-1)
    roll = np.arctan2(cross, np.sum(a * b, axis=(-1, -2)))
    return np.concatenate([now.mean(axis=-2) - was.mean(axis=-2), roll[..., np.newaxis]], axis=-1)


def _seen(camera: Array, board: Array) -> tuple[Array, Array, Array]:
    """`T_cam_board`, and its derivative (6, 6) by a six-vector that moves the camera, or the board, in the base."""
    turn = camera[:3, :3].T
    by_camera = -_both(turn)
    by_camera[3:, :3] = turn @ poses.skew(board[:3, 3] - camera[:3, 3])
    return poses.inverse(camera) @ board, by_camera, _both(turn)


def _both(turn: Array) -> Array:
    """A six-vector in other coordinates: both its halves turned, shape (6, 6)."""
    both = np.zeros((6, 6))
    both[:3, :3] = both[3:, 3:] = turn
    return both


def _link6(wrist: Wrist, joints: Array) -> Array:
    return link6_motion(joints + wrist.zero_offsets, wrist.dh_is_offset)[0]
