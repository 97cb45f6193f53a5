"""A cell whose truth is known, and what its cameras would see of a board: corners by kinematics, lens and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.kinematics import DhIsOffset
from gigaedge.lens import Lens
from gigaedge_calibration.prediction import BoardLook, Setup, predict

Array = NDArray[np.float64]

LOW = np.array([-2.5, 0.05, -2.9, -1.7, -1.2, -2.05])
HIGH = np.array([2.5, 3.1, -0.05, 1.7, 1.2, 2.05])
"""rad, a little within the limits of a PiPER."""

COLUMNS, ROWS, SQUARE = 9, 7, 0.027
CENTRE = np.array([COLUMNS, ROWS, 0]) * SQUARE / 2

WRIST_LENS = Lens(640, 480, 435.0, 435.4, 321.3, 238.2, (-0.055, 0.066, 0.0004, -0.0003, -0.021))
FRONT_LENS = Lens(640, 480, 612.3, 612.0, 318.7, 243.6, (0.12, -0.25, 0.0005, -0.0004, 0.10))


def board_points(columns: int = COLUMNS, rows: int = ROWS, square: float = SQUARE) -> Array:
    """Inner corners, row by row, in board coordinates (origin at the outer corner, x right, y down), m, (n, 3)."""
    x, y = np.meshgrid(np.arange(1, columns), np.arange(1, rows))
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=-1) * square


@dataclass(frozen=True)
class Cell:
    """The truth."""

    setup: Setup
    lens: Lens
    camera: Array
    """`T_link6_cam` (wrist) or `T_base_cam` (fixed)."""
    board: Array
    """`T_base_board` or `T_link6_board`."""
    near: float
    far: float
    """m, how far from the camera the board is held."""
    zeros: Array
    """Added to what the arm reports, rad, shape (6,)."""
    dh_is_offset: DhIsOffset = 1
    sigma_px: float = 0.2
    sigma_joint: float = float(np.radians(0.05))


def wrist_cell() -> Cell:
    """A camera on a bracket above the gripper, tilted towards the fingertips; the board on the table."""
    camera = poses.pose(
        poses.rotation(np.array([0.0, 0.0, np.pi / 2])) @ poses.rotation(np.array([-0.25, 0.03, 0.02])),
        np.array([-0.072, 0.006, 0.041]),
    )
    board = poses.pose(
        poses.rotation(np.array([np.pi, 0, 0])) @ poses.rotation(np.array([0, 0, 0.3])), np.zeros(3)
    )
    board[:3, 3] = np.array([0.34, 0.02, 0.003]) - board[:3, :3] @ CENTRE
    return Cell("wrist", WRIST_LENS, camera, board, 0.16, 0.45, np.zeros(6))


def front_cell() -> Cell:
    """A camera about a metre away that looks at the arm; the board in its gripper."""
    ahead = np.array([-0.75, 0.12, -0.5])
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    camera = poses.pose(
        np.stack([right, np.cross(ahead, right), ahead], axis=-1), np.array([1.0, -0.1, 0.75])
    )
    board = poses.pose(poses.rotation(np.array([0.05, 0.4, 0.1])), np.zeros(3))
    board[:3, 3] = np.array([0.0, 0.0, 0.20]) - board[:3, :3] @ CENTRE
    return Cell("fixed", FRONT_LENS, camera, board, 0.6, 1.3, np.zeros(6))


def views(cell: Cell, joints: NDArray[Any]) -> Array:
    """True pixels of all corners at true joint angles (..., 6), px, shape (..., n, 2)."""
    return predict(
        cell.lens, cell.setup, cell.camera, cell.board, joints, board_points(), cell.dh_is_offset
    ).pixels


def good_poses(cell: Cell, count: int, rng: np.random.Generator, margin: float = 4.0) -> Array:
    """Random joint angles, rad, shape (count, 6), at which the camera sees the whole front of the board."""
    found: list[Array] = []
    size = np.array([cell.lens.width, cell.lens.height])
    while sum(len(part) for part in found) < count:
        joints = rng.uniform(LOW, HIGH, (10_000, 6))
        outline = board_points()[[0, COLUMNS - 2, -(COLUMNS - 1), -1]]
        seen = predict(cell.lens, cell.setup, cell.camera, cell.board, joints, outline, cell.dh_is_offset)
        inside = np.all((seen.pixels > margin) & (seen.pixels < size - 1 - margin), axis=(-1, -2))
        depth = seen.in_camera[..., 2]
        # Far off the axis the lens's polynomial folds back into the picture; no glass does.
        ahead = np.all(np.abs(seen.in_camera[..., :2]) < 0.85 * depth[..., np.newaxis], axis=(-1, -2))
        good = inside & ahead & np.all((depth > cell.near) & (depth < cell.far), axis=-1)
        edges = seen.in_camera[:, 1:3] - seen.in_camera[:, :1]
        normal = np.cross(edges[:, 0], edges[:, 1])
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        towards = np.einsum("ij,ij->i", normal, seen.in_camera.mean(axis=1))
        towards /= np.linalg.norm(seen.in_camera.mean(axis=1), axis=-1)
        found.append(joints[good & (towards > np.cos(np.radians(60)))])
    return np.concatenate(found)[:count]


def look(cell: Cell, reported: Array, rng: np.random.Generator, drop: float = 0.0) -> BoardLook:
    """One noisy look at reported joint angles, rad, (6,); each corner is missed with probability `drop`."""
    true = reported + cell.zeros + rng.normal(0, cell.sigma_joint, 6)
    pixels = views(cell, true) + rng.normal(0, cell.sigma_px, (len(board_points()), 2))
    kept = rng.random(len(pixels)) >= drop
    return BoardLook(reported, board_points()[kept], pixels[kept])


def looks_of(cell: Cell, count: int, seed: int, drop: float = 0.0) -> list[BoardLook]:
    """Noisy looks from random poses."""
    rng = np.random.default_rng(seed)
    return [look(cell, joints, rng, drop) for joints in good_poses(cell, count, rng)]


def sweep(cell: Cell, joint: int, count: int, seed: int) -> list[BoardLook]:
    """Noisy looks while one joint alone turns, from 1."""
    rng = np.random.default_rng(seed)
    start = good_poses(cell, 1, rng)[0]
    angles = np.repeat(start[np.newaxis], count, axis=0)
    angles[:, joint - 1] += np.linspace(-0.6, 0.6, count)
    return [look(cell, joints, rng) for joints in angles]


def mispaired(looks: list[BoardLook], index: int, turn: float = float(np.radians(3))) -> list[BoardLook]:
    """The looks, one of them with the joint angles of a moment at which the arm was elsewhere, rad."""
    wrong = looks[index].joints + turn * np.array([1, -1, 1, -1, 1, -1]) / np.sqrt(6)
    return [replace(one, joints=wrong) if i == index else one for i, one in enumerate(looks)]
