"""What stands in the synthetic cell: textured rectangles, each fixed to a body that may move.

Bodies are the cell itself, the board, and each arm's base, upper arm, forearm, link 6 and two fingers. A rectangle's
coordinates are x right, y down and z away from who looks at its face; only its face is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.kinematics import FINGERTIP, A, D, arm_points, link6_pose
from gigaedge.poses import from_six, pose
from gigaedge.robot import JOINTS, Side, arm_slice
from gigaedge.simulation import SimulatedArm, SimulatedBoard, Vector, World
from gigaedge_runtime.devices.sim_texture import PAPER, Texture, board_texture, paper_border, printed

Array = NDArray[np.float64]

CELL: Final = 0
BOARD: Final = 1
_ARM_BODIES: Final = ("base", "upper", "forearm", "link6", "finger1", "finger2")

_PALM: Final = 0.045
"""Where the fingers begin along z of link 6, m."""
_TEXEL: Final = 0.0005
"""m; of what is looked at from near."""
_SINES: Final = 8
"""Terms of the error of a joint."""
_TURNS: Final = 10.0
"""rad per rad; how fast that error changes with the pose."""


@dataclass(frozen=True)
class Face:
    """A textured rectangle."""

    body: int
    place: Array
    """`T_body_face`, shape (4, 4); its origin is the top left corner."""
    texture: Texture


def body_of(side: Side, part: str) -> int:
    """The number of a body of an arm."""
    return 2 + _ARM_BODIES.index(part) + (len(_ARM_BODIES) if side == "right" else 0)


BODIES: Final = 2 + 2 * len(_ARM_BODIES)


def build_faces(world: World) -> tuple[Face, ...]:
    """Everything that can be seen in a world; first the table, then what else belongs to the cell.

    Raises ConfigError: a board that cannot be.
    """
    arms = [face for arm in world.arms for face in _arm_faces(arm.side, world.seed)]
    board = () if world.board is None else _board_faces(world.board.model_copy(update={"place": None}))
    return (*_room(world.seed), *_objects(world.objects, world.object_count), *arms, *board)


def true_joints(arm: SimulatedArm, reported: NDArray[np.float64], seed: int) -> Array:
    """Where the joints are, rad, shape (6,), when the arm reports `reported`, rad, shape (6,)."""
    rng = np.random.default_rng([seed, 7, int(arm.side == "right")])
    turns = rng.normal(0.0, _TURNS, (JOINTS, _SINES, JOINTS))
    phases = rng.uniform(0.0, 2 * np.pi, (JOINTS, _SINES))
    wave = np.sin(turns @ reported + phases).sum(axis=1) * np.sqrt(2 / _SINES)
    return np.asarray(reported + np.radians(np.array(arm.zero_errors) + arm.joint_noise * wave))


def body_poses(world: World, state: NDArray[np.float64]) -> Array:
    """`T_cell_body` of every body, shape (BODIES, 4, 4), for what the arms report, shape (14,).

    The board of a person's hand is left where the cell is: it depends on who sees it.
    """
    bodies = np.broadcast_to(np.eye(4), (BODIES, 4, 4)).copy()
    for arm in world.arms:
        reported = state[arm_slice(arm.side)]
        joints = true_joints(arm, reported[:JOINTS], world.seed)
        elbow, wrist, _ = arm_points(joints, arm.dh_is_offset)
        base = arm.base
        link6 = base @ link6_pose(joints, arm.dh_is_offset)
        across = np.array([-np.sin(joints[0]), np.cos(joints[0]), 0.0])
        shoulder = np.array([0.0, 0.0, D[0]])
        opening = float(reported[JOINTS]) / 2
        for part, transform in (
            ("base", base),
            ("upper", base @ _along(shoulder, elbow, across)),
            ("forearm", base @ _along(elbow, wrist, across)),
            ("link6", link6),
            ("finger1", link6 @ from_six(np.array([0.0, 0.0, 0.0, 0.0, opening, 0.0]))),
            ("finger2", link6 @ from_six(np.array([0.0, 0.0, 0.0, 0.0, -opening, 0.0]))),
        ):
            bodies[body_of(arm.side, part)] = transform
    if world.board is not None and world.board.at != "hand":
        at = world.board.at
        holder = CELL if at == "cell" else body_of(at, "link6")
        bodies[BOARD] = bodies[holder] @ world.board.transform
    return np.asarray(bodies)


@lru_cache(maxsize=2)
def _room(seed: int) -> tuple[Face, ...]:
    table = _flat((1.0, 0.75, 0.0), x=(0.0, -1.0, 0.0), y=(-1.0, 0.0, 0.0))
    wall = _flat((1.6, 1.6, 1.6), x=(0.0, -1.0, 0.0), y=(0.0, 0.0, -1.0))
    floor = _flat((1.6, 1.6, -0.75), x=(0.0, -1.0, 0.0), y=(-1.0, 0.0, 0.0))
    return (
        Face(CELL, table, printed((seed, 1), 1.5, 1.35, 0.0006, figures=420)),
        Face(CELL, wall, printed((seed, 2), 3.2, 2.35, 0.003, figures=60)),
        Face(CELL, floor, printed((seed, 3), 3.2, 2.6, 0.003)),
    )


@lru_cache(maxsize=4)
def _board_faces(board: SimulatedBoard) -> tuple[Face, ...]:
    """The print and its white back, 0.1 mm behind."""
    front = board_texture(board)
    back = Texture.of(np.full((16, 16, 3), PAPER, np.uint8), front.width, front.height)
    edge = -paper_border(board)
    turned = np.diag([-1.0, 1.0, -1.0, 1.0])
    turned[:3, 3] = front.width + edge, edge, 1e-4
    return Face(BOARD, pose(np.eye(3), np.array([edge, edge, 0.0])), front), Face(BOARD, turned, back)


@lru_cache(maxsize=4)
def _arm_faces(side: Side, seed: int) -> tuple[Face, ...]:
    boxes: tuple[tuple[str, Vector, Vector], ...] = (
        ("base", (-0.05, -0.05, 0.0), (0.05, 0.05, 0.15)),
        ("upper", (-0.032, -0.032, -0.03), (0.032, 0.032, A[2] + 0.03)),
        ("forearm", (-0.028, -0.028, -0.02), (0.028, 0.028, float(np.hypot(A[3], D[3])))),
        ("link6", (-0.027, -0.027, -0.10), (0.027, 0.027, 0.01)),
        ("link6", (-0.02, -0.06, 0.01), (0.02, 0.06, _PALM)),
        ("finger1", (-0.012, 0.0, _PALM), (0.012, 0.016, FINGERTIP)),
        ("finger2", (-0.012, -0.016, _PALM), (0.012, 0.0, FINGERTIP)),
    )
    faces: list[Face] = []
    for number, (part, low, high) in enumerate(boxes):
        kind = (seed, 5, int(side == "right"), number)
        faces += _box(body_of(side, part), np.eye(4), np.array(low), np.array(high), kind, figures=2)
    return tuple(faces)


@lru_cache(maxsize=4)
def _objects(seed: int, number: int) -> tuple[Face, ...]:
    """Boxes and upright cards on the table, clear of the arms' bases and of the middle, where a board may lie."""
    rng = np.random.default_rng([seed, 11])
    faces: list[Face] = []
    count = 0
    while count < number:
        x, y = rng.uniform(0.05, 0.85), rng.uniform(-0.62, 0.62)
        if np.hypot(x, abs(y) - 0.3) < 0.14 or (0.3 < x < 0.66 and abs(y) < 0.2):
            continue
        card = count % 3 == 2
        length, depth, height = rng.uniform(0.04, 0.11), rng.uniform(0.03, 0.09), rng.uniform(0.03, 0.14)
        if card:
            depth = 0.004
        angle = rng.uniform(-np.pi, np.pi)
        stand = from_six(np.array([0.0, 0.0, angle, x, y, 0.0]))
        low, high = np.array([-depth / 2, -length / 2, 0.0]), np.array([depth / 2, length / 2, height])
        faces += _box(CELL, stand, low, high, (seed, 13, count), figures=6)
        count += 1
    return tuple(faces)


def _box(
    body: int,
    place: Array,
    low: Array,
    high: Array,
    seed: tuple[int, ...],
    *,
    figures: int,
) -> list[Face]:
    """The six faces of a box between two corners, in a frame at `place` on a body."""
    faces = []
    for axis in range(3):
        for outward in (-1.0, 1.0):
            z = np.zeros(3)
            z[axis] = -outward
            # Any two axes of the box that are right-handed with the inward one.
            x = np.zeros(3)
            x[(axis + 1) % 3] = 1.0
            y = np.cross(z, x)
            corner = np.where(x + y + z > 0, low, high)
            size = high - low
            width, height = abs(float(x @ size)), abs(float(y @ size))
            frame = place @ pose(np.stack([x, y, z], axis=1), corner)
            number = 2 * axis + int(outward > 0)
            texture = printed((*seed, number), width, height, _TEXEL, figures=figures)
            faces.append(Face(body, frame, texture))
    return faces


def _flat(corner: Sequence[float], x: Sequence[float], y: Sequence[float]) -> Array:
    """`T_cell_face` of a rectangle with its top left corner at `corner`, and x and y along its edges."""
    axes = np.stack([np.array(x), np.array(y), np.cross(x, y)], axis=1)
    return pose(axes, np.array(corner))


def _along(start: Array, end: Array, across: Array) -> Array:
    """A frame at `start` with its z axis to `end` and its y axis along `across`."""
    z = (end - start) / np.linalg.norm(end - start)
    return pose(np.stack([np.cross(across, z), across, z], axis=1), start)
