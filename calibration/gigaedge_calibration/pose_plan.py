"""Which pose to go to next: one that the arm can take, that shows the board, and that tells most of what is unknown.

The first poses turn the wrist as far from each other as can be; from then on the next is the one that lowers the
predicted covariance of the camera most (a greedy A-optimal design).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.kinematics import arm_points
from gigaedge.robot import JOINTS, Side
from gigaedge.site import Site
from gigaedge_calibration.map_solver import HEALTHY_JOINT, HEALTHY_PX, Model, information, prior
from gigaedge_calibration.prediction import reach

Array = NDArray[np.float64]

SEEN: Final = 0.75
"""Part of the corners that the picture must show."""
STEEPEST: Final = float(np.radians(55))
"""rad between the board's normal and the line of sight; detection fails above."""
SMALLEST_SQUARE: Final = 14.0
"""px along the shorter edge; markers are not read below."""
MARGIN: Final = float(np.radians(3))
"""rad from the joint limits."""
CLEARANCE: Final = 0.05
"""m between the arm's points (elbow, wrist, fingertip; at a held board, its corners) and board or ground."""
SPREAD: Final = (0.5, 0.4, 0.4, 0.7, 0.6, 1.0)
"""rad, standard deviations of the candidates' joints about where the arm stands."""
FIRST_BY_ROTATION: Final = 4
"""Poses that are chosen by rotation alone."""
NEEDED_ROTATION: Final = float(np.radians(0.05))
NEEDED_TRANSLATION: Final = 0.5e-3
"""rad and m: how a turn is weighed against a shift."""


@dataclass(frozen=True)
class Room:
    """Where an arm may go."""

    low: Array
    high: Array
    """Joint limits, margin taken off, rad, shape (6,)."""
    box: tuple[Array, Array] | None = None
    """Corners of the workspace in base coordinates, m, (3,) each; None: everywhere."""
    ground: float = CLEARANCE
    """m; the arm's points stay above it in base coordinates."""

    @staticmethod
    def of(site: Site, side: Side, joints: NDArray[np.float64]) -> Room:
        """The site's limits; an arm that stands lower than the ground's clearance at `joints` may stay that low."""
        workspace = site.arm(side).workspace
        box = None if workspace is None else (np.asarray(workspace.min), np.asarray(workspace.max))
        return Room(
            np.asarray(site.limits.position_min) + MARGIN,
            np.asarray(site.limits.position_max) - MARGIN,
            box,
            min(CLEARANCE, float(arm_points(joints)[:, 2].min())),
        )

    def holds(self, joints: Array, points: Array) -> NDArray[np.bool_]:
        """Whether joint angles (..., 6) and the arm's points there, m, (..., n, 3), are within, shape (...)."""
        inside = np.all((joints >= self.low) & (joints <= self.high), axis=-1)
        inside &= np.all(points[..., 2] >= self.ground, axis=-1)
        if self.box is not None:
            inside &= np.all((points >= self.box[0]) & (points <= self.box[1]), axis=(-1, -2))
        return np.asarray(inside)


@dataclass(frozen=True)
class Rough:
    """What is known so far: enough to predict pictures."""

    model: Model
    camera: Array
    board: Array
    """(4, 4) each, see gigaedge_calibration.prediction."""
    points: Array
    """All corners in board coordinates, m, shape (n, 3)."""
    across: int
    """Corners in a row: neighbours in a row are next to each other, those of a column this far apart."""
    hidden: NDArray[np.bool_] | None = None
    """Cells of the picture, shape (rows, columns), in which no corner is to be seen, as behind the gripper."""
    sigma_px: float = HEALTHY_PX
    sigma_joint: float = HEALTHY_JOINT

    def pixels(self, joints: Array) -> Array:
        """Where the corners are at joint angles (m, 6), px, shape (m, n, 2); NaN behind the camera."""
        placed = poses.inverse(self.camera) @ _reach(self, joints) @ self.board
        return self.model.lens.project(poses.apply(placed, self.points))


def cells_of(pixels: Array, size: tuple[int, int], cells: tuple[int, int]) -> tuple[Array, NDArray[np.bool_]]:
    """Row and column, (..., 2), of pixels (..., 2) in a picture of `size`, width and height, cut into `cells`, rows and
    columns; and which are in the picture, (...).
    """
    with np.errstate(invalid="ignore"):
        inside = np.all((pixels >= 0) & (pixels < size), axis=-1)
    scaled = np.where(inside[..., np.newaxis], pixels, 0.0)[..., ::-1] * cells / size[::-1]
    return np.asarray(scaled.astype(np.intp)), inside


def hidden_cells(
    rough: Rough, joints: Array, seen: NDArray[np.bool_], cells: tuple[int, int] = (12, 16)
) -> NDArray[np.bool_]:
    """Cells where corners were expected at joint angles (m, 6) and hardly ever `seen`, (m, n) of `rough.points`."""
    places, inside = cells_of(rough.pixels(joints), (rough.model.lens.width, rough.model.lens.height), cells)
    expected, found = np.zeros(cells), np.zeros(cells)
    np.add.at(expected, tuple(places[inside].T), 1.0)
    np.add.at(found, tuple(places[inside & seen].T), 1.0)
    return np.asarray((expected > 0) & (found < 0.3 * expected))


def candidates(
    rough: Rough, room: Room, around: NDArray[np.float64], rng: np.random.Generator, count: int = 200
) -> Array:
    """Up to `count` joint angles, rad, (k, 6), near `around`, that the room holds and that show the board well."""
    found: list[Array] = []
    for _ in range(20):
        drawn = around + rng.normal(0, SPREAD, (5000, JOINTS))
        drawn = drawn[np.all((drawn >= room.low) & (drawn <= room.high), axis=-1)]
        drawn = drawn[_looks_at_board(rough, drawn)]
        drawn = drawn[shows_board(rough, drawn)]
        found.append(drawn[stands_free(rough, room, drawn)])
        if sum(len(part) for part in found) >= count:
            break
    return np.concatenate(found)[:count]


def shows_board(rough: Rough, joints: Array) -> NDArray[np.bool_]:
    """Whether the camera would see and read enough of the board at joint angles (m, 6), shape (m,)."""
    lens = rough.model.lens
    placed = poses.inverse(rough.camera) @ _reach(rough, joints) @ rough.board
    points = poses.apply(placed, rough.points)
    pixels = lens.project(points)  # NaN behind the camera, which is neither inside nor large
    edge = 0.02 * lens.width
    size = np.array([lens.width, lens.height])
    inside = np.all((pixels > edge) & (pixels < size - 1 - edge), axis=-1)
    # Beyond the picture's own corners the lens's polynomial may fold back into it.
    rays = np.abs(lens.rays(np.array([[0, 0], [lens.width - 1, lens.height - 1]]))[:, :2]).max(axis=0)
    inside &= np.all(np.abs(points[..., :2]) < 1.1 * rays * points[..., 2:], axis=-1)
    if rough.hidden is not None:
        places, within = cells_of(pixels, (lens.width, lens.height), rough.hidden.shape)
        inside &= ~(rough.hidden[places[..., 0], places[..., 1]] & within)
    sight = points.mean(axis=-2)
    facing = np.einsum("ij,ij->i", placed[:, :3, 2], sight) / np.linalg.norm(sight, axis=-1)
    grid = pixels.reshape(len(joints), -1, rough.across, 2)
    squares = [np.linalg.norm(np.diff(grid, axis=axis), axis=-1).min(axis=(1, 2)) for axis in (1, 2)]
    large = np.minimum(*squares) >= SMALLEST_SQUARE
    return np.asarray((inside.mean(axis=-1) >= SEEN) & (facing > np.cos(STEEPEST)) & large)


def _looks_at_board(rough: Rough, joints: Array) -> NDArray[np.bool_]:
    """Whether the board's middle is in the picture at joint angles (m, 6), shape (m,): quick, most candidates fail."""
    middle = rough.points.mean(axis=0, keepdims=True)
    placed = poses.inverse(rough.camera) @ _reach(rough, joints) @ rough.board
    pixels = rough.model.lens.project(poses.apply(placed, middle))[:, 0]
    size = np.array([rough.model.lens.width, rough.model.lens.height])
    return np.asarray(np.all((pixels > 0) & (pixels < size), axis=-1))


def _reach(rough: Rough, joints: Array) -> Array:
    return reach(joints, rough.model.setup, rough.model.dh_is_offset)


def stands_free(rough: Rough, room: Room, joints: Array) -> NDArray[np.bool_]:
    """Whether the arm at joint angles (m, 6) is within the room and away from board and camera, shape (m,)."""
    points = arm_points(joints, rough.model.dh_is_offset)
    if rough.model.setup == "wrist":
        # Before the board, seen from where it is read: its z axis points away from there.
        heights = -(points - rough.board[:3, 3]) @ rough.board[:3, 2]
        return np.asarray(room.holds(joints, points) & np.all(heights[:, 1:] >= CLEARANCE, axis=-1))
    corners = rough.points[[0, rough.across - 1, -rough.across, -1]]
    held = poses.apply(reach(joints, "fixed", rough.model.dh_is_offset) @ rough.board, corners)
    points = np.concatenate([points, held], axis=-2)
    apart = np.linalg.norm(points - rough.camera[:3, 3], axis=-1).min(axis=-1)
    return np.asarray(room.holds(joints, points) & (apart > 4 * CLEARANCE))


def way_is_free(rough: Rough, room: Room, start: NDArray[np.float64], end: NDArray[np.float64]) -> bool:
    """Whether all joints may move at once, evenly, from `start` to `end`, rad, (6,): the ground, box and board are met
    nowhere on the way. `start` itself, where the arm is, counts as free.
    """
    parts = np.linspace(0, 1, 15)[1:, np.newaxis]
    return bool(np.all(stands_free(rough, room, start + parts * (end - start))))


def next_pose(
    rough: Rough, room: Room, taken: NDArray[np.float64], rng: np.random.Generator, now: NDArray[np.float64]
) -> Array | None:
    """Where to go from `now`, rad, (6,), after looks at `taken` (k, 6); None: nowhere that is free shows the board."""
    middle = taken[len(taken) // 2]
    drawn = np.concatenate([candidates(rough, room, now, rng), candidates(rough, room, middle, rng)])
    if not len(drawn):
        return None
    worth = (
        _by_rotation(taken, drawn) if len(taken) < FIRST_BY_ROTATION else _by_covariance(rough, taken, drawn)
    )
    for index in np.argsort(-worth):
        if way_is_free(rough, room, now, drawn[index]):
            return np.asarray(drawn[index])
    return None


def predicted_covariance(rough: Rough, joints: NDArray[np.float64]) -> Array:
    """Of the camera's six-vector after looks from joint angles (m, 6), shape (6, 6); huge where they do not tell."""
    total = prior() + _information(rough, joints).sum(axis=0)
    return np.asarray(_of_camera(total[np.newaxis])[0])


def _information(rough: Rough, joints: NDArray[np.float64]) -> Array:
    return information(
        rough.model,
        np.asarray(joints),
        rough.points,
        rough.camera,
        rough.board,
        rough.sigma_px,
        rough.sigma_joint,
    )


def _of_camera(totals: Array) -> Array:
    """The camera's covariance, (m, 6, 6), of information matrices, (m, 16, 16)."""
    least = np.zeros(totals.shape[-1])
    least[:12] = 1e-2  # 10 rad, 10 m: two looks alone leave directions open
    return np.asarray(np.linalg.inv(totals + np.diag(least))[:, :6, :6])


def _by_rotation(taken: NDArray[np.float64], drawn: Array) -> Array:
    """The least turn of link 6 to any pose that was taken, rad, shape (m,)."""
    before, after = reach(taken, "fixed")[:, :3, :3], reach(drawn, "fixed")[:, :3, :3]
    turns = np.swapaxes(before, -1, -2)[np.newaxis] @ after[:, np.newaxis]
    return np.asarray(np.linalg.norm(poses.rotation_vector(turns), axis=-1).min(axis=1))


def _by_covariance(rough: Rough, taken: NDArray[np.float64], drawn: Array) -> Array:
    """Minus the trace of the camera's covariance, in what is needed, were each pose taken as well, shape (m,)."""
    total = prior() + _information(rough, taken).sum(axis=0)
    scale = 1 / np.repeat([NEEDED_ROTATION, NEEDED_TRANSLATION], 3) ** 2
    variances = np.diagonal(_of_camera(total + _information(rough, drawn)), axis1=-2, axis2=-1)
    return np.asarray(-variances @ scale)


def nudges(room: Room, joints: NDArray[np.float64], turn: float = float(np.radians(18))) -> Sequence[Array]:
    """Poses near where the arm stands, rad, (6,) each, that turn the wrist about different axes: what a first, rough
    answer needs, when nothing is known of where camera and board are.
    """
    steps = ((5, 1), (4, 1), (3, 1), (5, -1), (3, -1), (4, -1))
    found = []
    for joint, sign in steps:
        target = np.array(joints, dtype=np.float64)
        target[joint] += sign * turn
        target[3 if joint != 3 else 5] += 0.5 * sign * turn
        if np.all((target >= room.low) & (target <= room.high)) and bool(
            room.holds(target, arm_points(target))
        ):
            found.append(target)
    return found
