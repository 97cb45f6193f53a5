"""Planned poses: allowed, free, in view, and worth the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gigaedge import poses
from gigaedge.kinematics import arm_points
from gigaedge.site import load_site
from gigaedge_calibration.hand_eye import worst_sigmas
from gigaedge_calibration.map_solver import Model
from gigaedge_calibration.pose_plan import (
    CLEARANCE,
    MARGIN,
    Room,
    Rough,
    candidates,
    hidden_cells,
    next_pose,
    nudges,
    predicted_covariance,
    shows_board,
    stands_free,
    way_is_free,
)
from gigaedge_calibration.prediction import reach
from tests.calibration.synthetic_looks import (
    COLUMNS,
    HIGH,
    LOW,
    Cell,
    board_points,
    front_cell,
    views,
    wrist_cell,
)

STARTS = {"wrist": (-0.42, 0.39, -0.33, -0.14, 0.93, -1.05), "fixed": (-0.22, 1.69, -1.44, -0.57, 1.17, 0.85)}
CELLS = {"wrist": wrist_cell(), "fixed": front_cell()}
ROOM = Room(LOW, HIGH)


def rough_of(cell: Cell) -> Rough:
    return Rough(Model(cell.lens, cell.setup), cell.camera, cell.board, board_points(), COLUMNS - 1)


@pytest.mark.parametrize("name", CELLS)
def test_candidates_are_within_the_limits_free_and_in_view(name: str) -> None:
    cell = CELLS[name]
    drawn = candidates(rough_of(cell), ROOM, np.array(STARTS[name]), np.random.default_rng(0), count=50)
    assert len(drawn) == 50
    assert np.all((drawn >= LOW) & (drawn <= HIGH))
    pixels = views(cell, drawn)
    inside = np.all((pixels >= 0) & (pixels <= (cell.lens.width - 1, cell.lens.height - 1)), axis=-1)
    assert np.all(inside.mean(axis=-1) >= 0.75)
    points = arm_points(drawn)
    assert points[..., 2].min() >= CLEARANCE
    if name == "wrist":
        heights = -(points[:, 1:] - cell.board[:3, 3]) @ cell.board[:3, 2]
        assert heights.min() >= CLEARANCE


def test_a_board_seen_from_behind_too_flat_or_too_far_is_not_in_view() -> None:
    cell = CELLS["wrist"]
    joints = np.array([STARTS["wrist"]])
    assert shows_board(rough_of(cell), joints).all()
    placed = reach(joints[0], "wrist") @ cell.board
    seen = poses.inverse(cell.camera) @ placed
    for change in (
        np.array([np.pi, 0, 0, 0, 0, 0]),
        np.array([np.radians(65), 0, 0, 0, 0, 0]),
        np.array([0, 0, 0, 0, 0, 1.5]),
    ):
        other = cell.camera @ poses.moved(seen, change)
        board = poses.inverse(reach(joints[0], "wrist")) @ other
        assert not shows_board(rough_of(replace(cell, board=board)), joints).any()


def test_the_workspace_and_the_ground_are_kept() -> None:
    cell = CELLS["wrist"]
    around, rng = np.array(STARTS["wrist"]), np.random.default_rng(0)
    box = (np.array([-0.3, -0.2, 0.06]), np.array([0.6, 0.25, 0.6]))
    drawn = candidates(rough_of(cell), replace(ROOM, box=box), around, rng, count=20)
    assert len(drawn)
    points = arm_points(drawn)
    assert np.all((points >= box[0]) & (points <= box[1]))
    assert not len(candidates(rough_of(cell), replace(ROOM, ground=0.6), around, rng, count=1))


def test_the_room_is_the_sites(tmp_path: Path) -> None:
    site = load_site(Path(__file__).parents[2] / "examples" / "sim.yaml")
    room = Room.of(site, "left", np.array(STARTS["wrist"]))
    np.testing.assert_allclose(room.low, np.array(site.limits.position_min) + MARGIN)
    np.testing.assert_allclose(room.high, np.array(site.limits.position_max) - MARGIN)
    assert room.box is None
    assert room.ground == CLEARANCE
    low = np.array([0.0, 2.2, -1.4, 0.0, 0.9, 0.0])
    lowest = arm_points(low)[:, 2].min()
    assert lowest < CLEARANCE
    assert Room.of(site, "left", low).ground == lowest


def test_a_way_through_the_table_is_none() -> None:
    cell = CELLS["wrist"]
    rough = rough_of(cell)
    drawn = candidates(rough, ROOM, np.array(STARTS["wrist"]), np.random.default_rng(1), count=100)
    middles = (drawn[:-1] + drawn[1:]) / 2
    free = stands_free(rough, replace(ROOM, ground=0.12), middles)
    assert free.any()
    assert not free.all()
    for start, end, middle in zip(drawn[:-1][:20], drawn[1:][:20], free[:20], strict=True):
        if way_is_free(rough, replace(ROOM, ground=0.12), start, end):
            assert middle


@pytest.mark.parametrize("name", CELLS)
def test_planned_poses_beat_random_ones(name: str) -> None:
    cell, rng = CELLS[name], np.random.default_rng(3)
    rough = rough_of(cell)
    taken = np.array([STARTS[name]])
    spreads = []
    while len(taken) < 8:
        found = next_pose(rough, ROOM, taken, rng, taken[-1])
        assert found is not None
        taken = np.vstack([taken, found])
        spreads.append(worst_sigmas(predicted_covariance(rough, taken)))
    assert np.all(np.diff([turn for turn, _ in spreads]) < 0)
    drawn = candidates(rough, ROOM, taken[0], rng, count=100)
    random = [
        worst_sigmas(predicted_covariance(rough, rng.choice(drawn, 8, replace=False))) for _ in range(10)
    ]
    turn, shift = np.median(random, axis=0)
    assert spreads[-1][0] < 0.8 * turn
    assert spreads[-1][1] < 0.8 * shift


def test_the_first_poses_turn_the_wrist_far() -> None:
    cell, rng = CELLS["wrist"], np.random.default_rng(3)
    taken = np.array([STARTS["wrist"]])
    found = next_pose(rough_of(cell), ROOM, taken, rng, taken[0])
    assert found is not None
    turn = reach(taken[0], "fixed")[:3, :3].T @ reach(found, "fixed")[:3, :3]
    assert np.linalg.norm(poses.rotation_vector(turn)) > np.radians(90)


def test_nothing_in_view_is_no_pose() -> None:
    cell = CELLS["wrist"]
    away = replace(cell, board=poses.moved(cell.board, np.array([0, 0, 0, 3.0, 0, 0])))
    now = np.array(STARTS["wrist"])
    assert next_pose(rough_of(away), ROOM, now[np.newaxis], np.random.default_rng(0), now) is None


def test_nudges_turn_the_wrist_about_different_axes_within_the_room() -> None:
    now = np.array(STARTS["wrist"])
    near = np.array(nudges(ROOM, now))
    assert len(near) >= 4
    assert np.all((near >= LOW) & (near <= HIGH))
    np.testing.assert_array_equal(near[:, :3], np.tile(now[:3], (len(near), 1)))
    turns = poses.rotation_vector(reach(near, "fixed")[:, :3, :3] @ reach(now, "fixed")[:3, :3].T)
    assert np.linalg.eigvalsh(turns.T @ turns / len(turns))[1] > np.radians(5) ** 2
    assert not nudges(Room(now - 0.01, now + 0.01), now)


def test_where_corners_never_come_the_board_is_not_planned() -> None:
    """As behind a gripper: poses that need what is hidden are no candidates any more, others stay."""
    rough = rough_of(CELLS["wrist"])
    drawn = candidates(rough, ROOM, np.array(STARTS["wrist"]), np.random.default_rng(3), count=100)
    low = rough.pixels(drawn)[..., 1] > 320
    hidden = hidden_cells(rough, drawn, ~low)
    assert hidden.shape == (12, 16)
    assert not hidden[:8].any()
    assert hidden[8:].any()
    shown = shows_board(replace(rough, hidden=hidden), drawn)
    needing = low.mean(axis=1) > 0.3
    assert needing.any()
    assert not shown[needing].any()
    assert shown[~low.any(axis=1)].all()
