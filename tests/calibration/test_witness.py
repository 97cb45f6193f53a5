"""Who moved: named, measured, and not cried about when nothing did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.errors import CalibrationError
from gigaedge_calibration.sighting import sight
from gigaedge_calibration.verdicts import Verdict, gravest
from gigaedge_calibration.witness import Finding, find, judge, not_seen, require_sensitivity
from gigaedge_calibration.witness_model import fit
from tests.calibration.witness_world import (
    FRONT_LENS,
    LOOKS,
    POINTS,
    SIGMA_JOINT,
    SIGMA_PX,
    WRIST_LENS,
    WitnessWorld,
    evidence,
    seen,
)

WORLD = WitnessWorld()
TRIALS = 20
QUIET_TRIALS = 60

Move = Callable[[np.random.Generator], WitnessWorld]


def turned(degrees: float, random: np.random.Generator) -> NDArray[np.float64]:
    """A six-vector that turns about any axis."""
    axis = random.standard_normal(3)
    return np.concatenate([np.radians(degrees) * axis / np.linalg.norm(axis), np.zeros(3)])


def any_joint(joint: int) -> Move:
    return lambda random: WORLD.turned_joint(joint, 0.5 * random.choice([-1.0, 1.0]))


MOVES: dict[str, Move] = {
    **{f"joint {joint}": any_joint(joint) for joint in range(1, 7)},
    "wrist camera": lambda random: replace(
        WORLD, camera=poses.moved(WORLD.camera, turned(random.uniform(0.5, 1.0), random))
    ),
    "board": lambda random: replace(WORLD, board=poses.moved(WORLD.board, turned(0.5, random))),
    "front camera": lambda random: replace(WORLD, front=poses.moved(WORLD.front, turned(0.3, random))),
}


def found(move: Move, seed: int, **options: Any) -> Finding:
    return find(evidence(WORLD, move(np.random.default_rng(500 + seed)), seed, **options))


@pytest.mark.parametrize("what", MOVES)
def test_what_moved_is_named(what: str) -> None:
    findings = [found(MOVES[what], seed) for seed in range(TRIALS)]
    assert sum(finding.named == what for finding in findings) >= 0.95 * TRIALS
    assert all(finding.explained for finding in findings)


def test_a_quiet_cell_is_left_alone() -> None:
    findings = [found(lambda _: WORLD, 900 + seed) for seed in range(QUIET_TRIALS)]
    assert sum(finding.moved for finding in findings) <= 0.05 * QUIET_TRIALS
    assert not any(finding.certain for finding in findings)
    verdicts = [gravest(judge(finding, "left")) for finding in findings]
    assert Verdict.FAIL not in verdicts


@pytest.mark.parametrize(("joint", "twin"), [("joint 1", "board"), ("joint 6", "wrist camera")])
def test_pairs_that_look_the_same_are_not_told_apart_by_the_wrist_camera(joint: str, twin: str) -> None:
    for seed in range(6):
        finding = found(MOVES[joint], seed, front=False, gripper=False)
        assert finding.named is None
        assert {joint, twin} <= {candidate.supposition for candidate in finding.candidates}
        (row,) = [row for row in judge(finding, "left") if "or another" in row.check][:1]
        assert f"{joint} or the {twin}: turned together they look the same" in row.cause
        assert row.verdict is not Verdict.PASS


@pytest.mark.parametrize(("joint", "twin"), [("joint 1", "board"), ("joint 6", "wrist camera")])
def test_the_other_of_such_a_pair_is_not_called_a_joint_either(joint: str, twin: str) -> None:
    turn = np.concatenate([np.radians([0.0, 0.0, 1.0]), np.zeros(3)])
    if twin == "board":
        about_base = poses.from_six(turn)
        world = replace(WORLD, board=about_base @ WORLD.board)
    else:
        world = replace(WORLD, camera=poses.from_six(turn) @ WORLD.camera)
    blind = find(evidence(WORLD, world, 3, front=False, gripper=False))
    assert {joint, twin} <= {candidate.supposition for candidate in blind.candidates}
    assert find(evidence(WORLD, world, 3)).named == twin


def test_without_the_other_views_the_other_joints_are_named_all_the_same() -> None:
    for joint in (2, 3, 4, 5):
        named = [found(MOVES[f"joint {joint}"], seed, front=False, gripper=False).named for seed in range(5)]
        assert named.count(f"joint {joint}") >= 4  # type: ignore[arg-type]


def test_the_angle_and_its_sigma_are_true() -> None:
    off = []
    for seed in range(20):
        change = fit(evidence(WORLD, WORLD.turned_joint(3, 0.8), seed), "joint 3")
        off.append((change.change[0] - np.radians(0.8)) / np.sqrt(change.covariance[0, 0]))
    assert 0.6 < np.sqrt(np.mean(np.square(off))) < 1.5


@pytest.mark.parametrize("what", ["wrist camera", "board", "front camera"])
def test_a_move_and_its_covariance_are_true(what: str) -> None:
    six = np.array([0.01, -0.02, 0.015, 0.004, 0.003, -0.005])
    attribute = {"wrist camera": "camera", "board": "board", "front camera": "front"}[what]
    world = replace(WORLD, **{attribute: poses.moved(getattr(WORLD, attribute), six)})
    distances = []
    for seed in range(12):
        finding = find(evidence(WORLD, world, seed))
        assert finding.named == what
        assert finding.certain
        best = finding.candidates[0]
        off = best.change - six
        distances.append(off @ np.linalg.solve(best.covariance, off) / 6)
    assert 0.5 < np.mean(distances) < 1.6


def test_words_say_who_how_much_and_what_to_do() -> None:
    rows = judge(find(evidence(WORLD, WORLD.turned_joint(4, 0.9), 1)), "left")
    (row,) = rows
    assert (row.check, row.subject, row.verdict) == ("joint 4 off", "left arm", Verdict.FAIL)
    assert row.value == pytest.approx(0.9, abs=0.15)
    assert row.cause.startswith("joint 4 of the left arm stands +0.")
    assert "degrees from what it reports" in row.cause
    assert "set this joint's zero of the left arm again" in row.mend


def test_a_small_move_that_is_seen_is_said_and_passes() -> None:
    (row,) = judge(find(evidence(WORLD, WORLD.turned_joint(2, -0.27), 4)), "right")
    assert row.verdict is Verdict.PASS
    assert row.cause.startswith("joint 2 of the right arm stands -0.")


def test_a_moved_board_warns_and_no_more() -> None:
    moved = replace(WORLD, board=poses.moved(WORLD.board, np.array([0, 0, 0.1, 0.02, 0, 0])))
    rows = judge(find(evidence(WORLD, moved, 2)), "left")
    assert [row.check for row in rows] == ["board turned", "board shifted"]
    assert {row.verdict for row in rows} == {Verdict.WARN}
    assert "put the board back" in rows[0].mend


def test_a_moved_camera_fails() -> None:
    moved = replace(WORLD, camera=poses.moved(WORLD.camera, np.array([0, 0.03, 0, 0, 0.008, 0])))
    turn, shift = judge(find(evidence(WORLD, moved, 2)), "left")
    assert (turn.verdict, shift.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert turn.value == pytest.approx(np.degrees(0.03), abs=0.1)
    assert shift.value == pytest.approx(8.0, abs=0.5)
    assert "the left wrist camera was turned by 1.7" in turn.cause


def test_a_quiet_cell_has_a_row_for_all_that_was_looked_at() -> None:
    checks = [row.check for row in judge(find(evidence(WORLD, WORLD, 1)), "left")]
    assert checks[:6] == [f"joint {joint} off" for joint in range(1, 7)]
    assert checks[6:] == [
        f"{what} {how}" for what in ("wrist camera", "board", "front camera") for how in ("turned", "shifted")
    ]
    blind = [row.check for row in judge(find(evidence(WORLD, WORLD, 1, front=False, gripper=False)), "left")]
    assert not {"joint 1 off", "joint 6 off", "front camera turned"} & set(blind)


def test_two_moves_at_once_are_not_blamed_on_one() -> None:
    world = replace(
        WORLD.turned_joint(2, 2.0), front=poses.moved(WORLD.front, np.array([0.05, 0, 0, 0, 0, 0]))
    )
    finding = find(evidence(WORLD, world, 1))
    assert not finding.explained
    (row,) = judge(finding, "left")
    assert row.verdict is Verdict.FAIL
    assert row.cause.startswith("no single move explains the looks (chi-squared")


def test_looks_that_could_not_have_seen_it_are_refused() -> None:
    measured = evidence(WORLD, WORLD, 1)
    require_sensitivity(find(measured))
    with pytest.raises(CalibrationError, match=r"tell joint \d to \+-\d\.\d\d degrees only"):
        require_sensitivity(find(replace(measured, sigma_joint=10 * SIGMA_JOINT)))


def test_a_board_that_is_not_seen_any_more_fails() -> None:
    row = not_seen("left", [0, 2])
    assert row.verdict is Verdict.FAIL
    assert "does not see the board in look 1, 3" in row.cause


def test_no_looks_are_refused() -> None:
    with pytest.raises(CalibrationError, match="no looks to compare"):
        find(replace(evidence(WORLD, WORLD, 1), after=()))
    with pytest.raises(CalibrationError, match="the front camera did not see the board both times"):
        fit(evidence(WORLD, WORLD, 1, front=False), "front camera")


def test_a_sighting_is_the_pose_with_its_honest_covariance() -> None:
    truth = poses.inverse(WORLD.front) @ WORLD.board
    random = np.random.default_rng(8)
    distances = []
    for _ in range(30):
        seen_once = sight(FRONT_LENS, POINTS, seen(FRONT_LENS, WORLD.front, WORLD.board, random), SIGMA_PX)
        off = poses.difference(truth, seen_once.pose)
        distances.append(off @ np.linalg.solve(seen_once.covariance, off) / 6)
        assert seen_once.rms == pytest.approx(SIGMA_PX, rel=0.3)
    assert 0.7 < np.mean(distances) < 1.4
    exact = sight(FRONT_LENS, POINTS, seen(FRONT_LENS, WORLD.front, WORLD.board, None), SIGMA_PX)
    np.testing.assert_allclose(exact.pose, truth, atol=1e-8)


def test_a_sighting_needs_corners_that_are_not_in_one_line() -> None:
    pixels = WORLD.corners(LOOKS[0], None)
    with pytest.raises(CalibrationError, match="board: 5 corners seen, 6 are needed"):
        sight(WRIST_LENS, POINTS[:5], pixels[:5], SIGMA_PX)
    with pytest.raises(CalibrationError, match="all corners seen are in one line"):
        sight(WRIST_LENS, POINTS[:8], pixels[:8], SIGMA_PX)
