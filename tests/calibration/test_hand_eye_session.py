"""Looks collected in a simulated world: planned or by hand, until the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge.robot import CameraRole
from gigaedge.simulation import LensConfig, Placement, SimulatedArm, SimulatedBoard, SimulatedCamera, World
from gigaedge_calibration.captures import Capture
from gigaedge_calibration.hand_eye import solve_hand_eye
from gigaedge_calibration.hand_eye_session import (
    Session,
    collect_by_hand,
    collect_planned,
    look_of,
    standing,
)
from gigaedge_calibration.map_solver import Model
from gigaedge_calibration.mounts import setup_of
from gigaedge_calibration.pose_plan import Room
from tests.calibration.fake_cell import FakeCell

Array = NDArray[np.float64]
BOARD = BoardInfo(columns=7, rows=5, square=0.038, marker=0.026, dictionary="DICT_4X4_50", measured=0.266)
PRINT = {"columns": 7, "rows": 5, "square": 0.038, "marker": 0.026, "dictionary": "DICT_4X4_50"}
HOME = (-0.45, 1.1, -1.05, 0.0, 0.8, 0.0, 0.03)
LEVEL = (0.0, 1.5, -1.4, 0.0, 0.0, 0.0, 0.03)
"""The gripper about level: a board in it faces up and back."""
LOW, HIGH = np.array([-2.6, 0.05, -2.9, -1.7, -1.2, -2.0]), np.array([2.6, 3.1, -0.05, 1.7, 1.2, 2.0])
NEEDED = (np.radians(0.05), 4e-4)


def world(role: CameraRole) -> World:
    if role == "cam_high":
        mount = Placement(position=(-0.15, 0.3, 1.0), look_at=(0.4, 0.3, 0.25))
        lens = LensConfig(
            fx=612.0, fy=612.0, cx=321.7, cy=238.4, distortion=(0.12, -0.25, 0.0006, -0.0004, 0.1)
        )
        board = SimulatedBoard(
            **PRINT, at="left", place=Placement(position=(0.0, 0.0, 0.26), facing=(-1, 0, -1), up=(-1, 0, 1))
        )
    else:
        mount = Placement(position=(-0.075, 0.004, -0.01), look_at=(0, 0, 0.19), up=(-1, 0, 0))
        lens = LensConfig(
            fx=435.0, fy=434.6, cx=318.2, cy=241.1, distortion=(-0.055, 0.062, 0.0003, 0.0005, -0.02)
        )
        board = SimulatedBoard(
            **PRINT, at="cell", place=Placement(position=(0.48, 0.0, 0.002), facing=(0, 0, 1), up=(1, 0, 0))
        )
    camera = SimulatedCamera(role=role, lens=lens, mount=mount)
    arms = (SimulatedArm(side="left", y=0.3, joint_noise=0.05),)
    return World(cameras=(camera,), arms=arms, board=board)


def cell_of(role: CameraRole, hands: list[Array] | None = None) -> FakeCell:
    start = LEVEL if role == "cam_high" else HOME
    return FakeCell(world(role), role, np.array([*start, *HOME]), hands)


def session_of(cell: FakeCell, wanted: int) -> Session:
    model = Model(cell.renderer.lens, setup_of(cell.role))
    return Session(cell, cell.role, "left", model, BOARD, wanted)


def truth(cell: FakeCell) -> Array:
    """`T_link6_cam`, or `T_base_cam` of the left arm."""
    mount = cell.world.camera(cell.role).mount.transform
    arm = cell.world.arm("left")
    return mount if arm is None or cell.role != "cam_high" else poses.inverse(arm.base) @ mount


@pytest.mark.parametrize("role", ["cam_left_wrist", "cam_high"])
def test_planned_looks_find_the_camera(role: CameraRole) -> None:
    cell = cell_of(role)
    session = session_of(cell, 12)
    said: list[str] = []
    room = Room(LOW, HIGH)
    collect_planned(session, room, NEEDED, np.random.default_rng(0), said.append)
    assert len(session.looks) == 12
    assert len(cell.moves) >= 11
    assert all(np.all((move >= LOW) & (move <= HIGH)) for move in cell.moves)
    assert said[0] == "1 of 12: turn the wrist about different axes"
    assert said[-1].startswith("12 of 12: 0.0")
    assert said[-1].endswith("needs 0.05 / 0.4")
    result = solve_hand_eye(session.model, session.looks)
    away = poses.difference(truth(cell), result.estimate.camera)
    assert away @ np.linalg.solve(result.camera_covariance, away) / 6 < 4
    assert np.degrees(result.sigma[0]) < 0.1
    assert result.sigma[1] < 2e-3
    kept = look_of(session.captures[3], BOARD, "left")
    assert kept is not None
    np.testing.assert_array_equal(kept.pixels, session.looks[3].pixels)
    np.testing.assert_array_equal(kept.joints, session.looks[3].joints)


def test_by_hand_a_look_is_taken_wherever_the_arm_stands_and_is_new() -> None:
    home = np.array(HOME[:6])
    turns = [(0.3, 0, 0), (0.3, 0, 0), (0.2, 0.2, 0), (0, 0, 0.5), (-0.3, 0, 0)]
    hands = [home + np.array([0, 0, 0, *turn]) for turn in turns]
    cell = cell_of("cam_left_wrist", hands)
    session = session_of(cell, 5)
    said: list[str] = []
    hints: list[str] = []
    collect_by_hand(session, NEEDED, 60.0, said.append, hints.append)
    np.testing.assert_allclose(session.taken, [home, *hands_of(home, turns)])
    assert len(said) == 5
    assert "hold still" in hints
    assert "turn the wrist further: this was seen from here already" in hints


def hands_of(home: Array, turns: list[tuple[float, float, float]]) -> list[Array]:
    """Each pose once."""
    return [home + np.array([0, 0, 0, *turn]) for turn in dict.fromkeys(turns)]


def test_by_hand_too_few_looks_in_time_are_refused() -> None:
    session = session_of(cell_of("cam_left_wrist"), 12)
    with pytest.raises(
        CalibrationError,
        match=r"cam_left_wrist: 1 looks after 1 s, at least 8 are needed; turn the wrist further",
    ):
        collect_by_hand(session, NEEDED, 1.0, lambda _: None, lambda _: None)


def test_an_arm_that_moves_gives_no_look() -> None:
    cell = cell_of("cam_left_wrist")
    session = session_of(cell, 5)
    cell.restless = True
    assert [session.try_look() for _ in range(3)] == ["hold still"] * 3
    cell.restless = False
    assert session.try_look() == ""
    assert len(session.captures) == 1


def test_a_board_out_of_view_is_said_at_the_start() -> None:
    cell = FakeCell(world("cam_left_wrist"), "cam_left_wrist", np.array([1.5, *HOME[1:], *HOME]))
    with pytest.raises(
        CalibrationError, match=r"cam_left_wrist: the board is not in view where the arm stands; no board"
    ):
        collect_planned(
            session_of(cell, 8), Room(LOW, HIGH), NEEDED, np.random.default_rng(0), lambda _: None
        )
    assert not cell.moves


def test_where_nothing_free_shows_the_board_it_is_said() -> None:
    cell = cell_of("cam_left_wrist")
    around = np.array(HOME[:6])
    room = Room(around - 0.01, around + 0.01)
    with pytest.raises(
        CalibrationError, match="after 1 looks no pose within the limits shows the board; move the"
    ):
        collect_planned(session_of(cell, 8), room, NEEDED, np.random.default_rng(0), lambda _: None)


def test_standing_is_slow_for_long_enough() -> None:
    stamps = np.linspace(0, 1, 201)
    still = np.zeros((201, 6))
    creeping = np.outer(stamps, np.radians([0, 0, 0.5, 0, 0, 0]))
    assert standing(stamps, still)
    assert not standing(stamps, creeping)
    assert standing(stamps, creeping * 0.2)
    assert not standing(stamps[:20], still[:20])


def test_a_capture_without_joints_is_refused() -> None:
    with pytest.raises(CalibrationError, match="a picture without joint angles"):
        look_of(Capture("cam_high", np.zeros((48, 64, 3), np.uint8)), BOARD, "left")
