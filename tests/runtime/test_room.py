"""The room around a pose: what it lets pass would have passed the whole check, and most of a work day does pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.kinematics import arm_points
from gigaedge.robot import ARM_DIM, JOINTS, ROBOT_DIM
from gigaedge_runtime.room import HAIR, LEVERS, Room
from gigaedge_runtime.workspace import Workspace

Array = NDArray[np.float64]

HOME = np.array([0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03] * 2)
LOW = np.array([-2.6, 0.0, -2.9, -1.7, -1.2, -2.0, 0.0] * 2)
HIGH = np.array([2.6, 3.1, 0.0, 1.7, 1.2, 2.0, 0.07] * 2)
BASES = np.array([[0.0, 0.3, 0.0, 0.0], [0.0, -0.3, 0.0, 0.0]])
CELL = Workspace(
    np.array([[-0.5, -0.5, -0.1]] * 2), np.array([[0.7, 0.5, 0.9]] * 2), clearance=0.1, base=BASES
)


def measured(workspace: Workspace, pose: Array) -> Room:
    room = Room()
    points = workspace.points(pose[np.newaxis])
    room.measure(workspace, pose, points[0], float(workspace.shortfall(points)[0]))
    return room


def holds(room: Room, path: Array) -> bool:
    return room.surely_holds(
        path[0].tolist(), list(zip(path.min(axis=0).tolist(), path.max(axis=0).tolist(), strict=True))
    )


def test_no_joint_moves_a_point_further_than_its_lever() -> None:
    rng = np.random.default_rng(0)
    poses = rng.uniform(LOW, HIGH, (4000, ROBOT_DIM))[:, :JOINTS]
    turn = 1e-6
    before, largest = arm_points(poses), np.zeros(JOINTS)
    for joint in range(JOINTS):
        turned = poses.copy()
        turned[:, joint] += turn
        moved = np.linalg.norm(arm_points(turned) - before, axis=-1)
        largest[joint] = moved.max() / turn
    assert (largest <= np.array(LEVERS) + 1e-6).all()
    assert (largest[:5] >= 0.9 * np.array(LEVERS[:5])).all(), "and hardly less: the bound wastes little"
    assert LEVERS[5] == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_what_passes_here_passes_the_whole_check(seed: int) -> None:
    rng = np.random.default_rng(seed)
    passed = refused = 0
    for _ in range(300):
        pose = rng.uniform(LOW, HIGH)
        workspace = replace(
            CELL,
            low=CELL.low + rng.uniform(-0.4, 0.2, (2, 3)),
            high=CELL.high + rng.uniform(-0.2, 0.4, (2, 3)),
            clearance=rng.uniform(0.02, 0.2),
        )
        room = measured(workspace, pose)
        ends = rng.uniform(-1, 1, (2, ROBOT_DIM)) * 10.0 ** rng.uniform(-3, -0.5)
        path = pose + ends[0] + np.linspace(0, 1, 40)[:, np.newaxis] * (ends[1] - ends[0])
        points = workspace.points(path)
        kept = workspace.boxes_hold(points).all() and workspace.clearance_holds(workspace.shortfall(points))
        if holds(room, path):
            passed += 1
            assert kept
        else:
            refused += not kept
    assert passed > 20
    assert refused > 20


def test_a_slow_motion_in_the_middle_of_a_cell_needs_no_other_check() -> None:
    room = measured(CELL, HOME)
    slow = HOME + np.linspace(0, 0.03, 20)[:, np.newaxis] * (np.arange(ROBOT_DIM) % ARM_DIM < JOINTS)
    assert holds(room, slow)
    assert not holds(Room(), slow), "nothing is known before the first pose"


@pytest.mark.parametrize("arm", [0, 1])
@pytest.mark.parametrize(("share", "kept"), [(0.99, True), (1.01, False)])
def test_the_room_to_a_face_is_used_up_by_lever_and_angle(arm: int, share: float, kept: bool) -> None:
    """Only one arm moves, and either only backwards or forwards; the command before counts, too."""
    points = CELL.points(HOME[np.newaxis])[0, arm]
    workspace = replace(CELL, low=np.full((2, 3), -9.0), high=np.full((2, 3), 9.0), base=None)
    workspace.high[arm, 2] = points[:, 2].max() + 0.05
    room = measured(workspace, HOME)
    for way in (-1, 1):
        moved = HOME.copy()
        moved[arm * ARM_DIM + 2] += way * share * (0.05 - HAIR) / LEVERS[2]
        assert holds(room, np.array([HOME, moved])) is kept
        assert room.surely_holds(moved.tolist(), [(value, value) for value in HOME.tolist()]) is kept


@pytest.mark.parametrize(("share", "kept"), [(0.99, True), (1.01, False)])
def test_the_gap_between_the_arms_is_used_up_by_both(share: float, kept: bool) -> None:
    workspace = replace(CELL, low=np.full((2, 3), -9.0), high=np.full((2, 3), 9.0))
    points = workspace.points(HOME[np.newaxis])
    workspace = replace(workspace, clearance=float(workspace.distance(points)[0]) - 0.08)
    room = measured(workspace, HOME)
    moved = HOME.copy()
    for arm in (0, 1):
        moved[arm * ARM_DIM] += share * (0.04 - HAIR) / LEVERS[0]
    assert holds(room, np.array([HOME, moved])) is kept
    assert holds(measured(replace(workspace, base=None), HOME), np.array([HOME, moved]))
