"""Hand-eye calibration in closed form: Shah's to start from, Park and Martin's as a second opinion.

Both take, per look, `reach` (gigaedge_calibration.prediction) and `view` = `T_cam_board`, shapes (m, 4, 4), and answer
camera @ view = reach @ board for all looks. They weigh all looks alike and know of no noise: good to start with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses

Array = NDArray[np.float64]


def shah(reaches: NDArray[Any], views: NDArray[Any]) -> tuple[Array, Array]:
    """`camera` and `board`, shapes (4, 4): M. Shah, "Solving the robot-world/hand-eye calibration problem using the
    Kronecker product", J. Mechanisms Robotics 5 (2013).
    """
    turn, seen = reaches[:, :3, :3], views[:, :3, :3]
    # Of all looks: R_board = R_reach^T R_camera R_view, which is linear in the nine numbers of each (row by row).
    system = np.einsum("mab,mcd->bdac", turn, seen).reshape(9, 9)
    left, _, right = np.linalg.svd(system)
    camera_turn, board_turn = _nearest_rotation(right[0]), _nearest_rotation(left[:, 0])
    rows = np.concatenate([np.broadcast_to(np.eye(3), turn.shape), -turn], axis=-1).reshape(-1, 6)
    wanted = reaches[:, :3, 3] - views[:, :3, 3] @ camera_turn.T
    shifts = np.linalg.lstsq(rows, wanted.ravel(), rcond=None)[0]
    return poses.pose(camera_turn, shifts[:3]), poses.pose(board_turn, shifts[3:])


def park(reaches: NDArray[Any], views: NDArray[Any]) -> Array:
    """`camera`, shape (4, 4): F. C. Park, B. J. Martin, "Robot sensor calibration: solving AX = XB on the Euclidean
    group", IEEE Trans. Robotics Automation 10 (1994), over all pairs of looks.
    """
    first, second = np.triu_indices(len(reaches), 1)
    arm = reaches[second] @ poses.inverse(reaches[first])
    seen = views[second] @ poses.inverse(views[first])
    moment = poses.rotation_vector(seen[:, :3, :3]).T @ poses.rotation_vector(arm[:, :3, :3])
    turn = _nearest_rotation(moment.T)
    rows = (np.eye(3) - arm[:, :3, :3]).reshape(-1, 3)
    wanted = arm[:, :3, 3] - seen[:, :3, 3] @ turn.T
    return poses.pose(turn, np.linalg.lstsq(rows, wanted.ravel(), rcond=None)[0])


def _nearest_rotation(numbers: Array) -> Array:
    """The rotation next to a multiple, of either sign, of nine numbers, row by row."""
    matrix = numbers.reshape(3, 3)
    left, _, right = np.linalg.svd(matrix * np.sign(np.linalg.det(matrix)))
    return np.asarray(left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right)
