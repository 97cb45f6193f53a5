"""The witness from pictures: stored, looked at again, and judged through the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gigaedge import poses
from gigaedge.calibration import Calibration, WitnessInfo, load_calibration
from gigaedge.documents import write_document
from gigaedge.errors import CalibrationError, InputError
from gigaedge.kinematics import link6_pose
from gigaedge.simulation import World
from gigaedge_calibration.captures import Capture, save_captures
from gigaedge_calibration.witness import find
from gigaedge_calibration.witness_looks import (
    FRONT,
    Comparison,
    board_of,
    choose_looks,
    compare_looks,
    store_looks,
    take_look,
    wait_still,
    wrist_of,
)
from tests.calibration.rendered_witness import HERE, LEFT, LOOKS, STATE, calibration, looks, world
from tests.command_line import answer, fails, gigaedge

WORLD = world()
KNOWN = calibration(WORLD)


@pytest.fixture(scope="module")
def before() -> list[Capture]:
    return looks(WORLD)


@pytest.fixture(scope="module")
def stored(before: list[Capture]) -> WitnessInfo:
    return store_looks(KNOWN, "left", before)


def turned_camera(role: str, turned: Sequence[float]) -> World:
    mount = WORLD.camera(role).mount  # type: ignore[arg-type]
    there = mount.model_copy(update={"turned": tuple(np.add(mount.turned, turned).tolist())})
    return WORLD.with_camera(role, mount=there)  # type: ignore[arg-type]


def off(joint: int) -> World:
    arm = WORLD.arm("left")
    assert arm is not None
    errors = list(arm.zero_errors)
    errors[joint - 1] += 0.6
    return WORLD.with_arm("left", zero_errors=tuple(errors))


def compared(stored: WitnessInfo, before: list[Capture], truth: World) -> Comparison:
    return compare_looks(KNOWN, stored, before, looks(truth, 50))


def test_looks_are_stored_with_what_the_calibration_knows(stored: WitnessInfo) -> None:
    assert [look.role for look in stored.looks] == [LEFT] * len(LOOKS)
    # Two thirds of 24: the gripper hides some, and OpenCV 4 reads one less than 5 does.
    assert all(len(look.ids) >= 16 for look in (*stored.looks, *stored.front))
    assert stored.front[0].role == FRONT
    assert (stored.sigma_px, stored.sigma_joint) == (0.2, pytest.approx(np.radians(0.05)))


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("nothing", WORLD),
        ("joint 1", off(1)),
        ("joint 2", off(2)),
        ("joint 6", off(6)),
        ("wrist camera", turned_camera(LEFT, (0.7, 0.5, 0.3))),
        ("front camera", turned_camera(FRONT, (0.3, 0.1, 0.0))),
    ],
)
def test_pictures_tell_who_moved(stored: WitnessInfo, before: list[Capture], name: str, truth: World) -> None:
    comparison = compared(stored, before, truth)
    assert (comparison.unseen, comparison.notes) == ((), ())
    finding = find(comparison.evidence)
    assert finding.named == name
    assert finding.explained
    if name.startswith("joint"):
        assert np.degrees(finding.candidates[0].change[0]) == pytest.approx(0.6, abs=0.15)


def test_what_was_not_to_be_seen_is_said(stored: WitnessInfo, before: list[Capture]) -> None:
    wrists = [capture for capture in before if capture.role == LEFT]
    opened = [replace(capture, joints=(*STATE[:6], 0.06, *STATE[7:])) for capture in wrists]
    grey = replace(wrists[1], image=np.full_like(wrists[1].image, 90))
    comparison = compare_looks(KNOWN, stored, wrists, [opened[0], grey, opened[2]])
    assert comparison.unseen == (1,)
    assert comparison.evidence.front is comparison.evidence.gripper is False
    assert [note.split(": ", 1)[1].split(",")[0].split(";")[0] for note in comparison.notes] == [
        "the gripper is not as open as it was",
        "without its gripper's place",
        "without its view of the board",
    ]


def test_a_cell_that_cannot_witness_is_refused(before: list[Capture], stored: WitnessInfo) -> None:
    high, wrist = KNOWN.cameras
    bare = KNOWN.model_copy(update={"cameras": (high, wrist.model_copy(update={"mount": None}))})
    with pytest.raises(CalibrationError, match="cam_left_wrist: its mount is not calibrated; run"):
        wrist_of(bare, "left")
    with pytest.raises(CalibrationError, match="cam_right_wrist: its lens is not known; run"):
        wrist_of(KNOWN, "right")
    with pytest.raises(CalibrationError, match="no board is described"):
        board_of(KNOWN.model_copy(update={"board": None}))
    grey = replace(before[0], image=np.full_like(before[0].image, 90))
    with pytest.raises(CalibrationError, match="look 1 does not show enough of the board"):
        store_looks(KNOWN, "left", [grey])
    with pytest.raises(CalibrationError, match="no picture of cam_left_wrist among the captures"):
        store_looks(KNOWN, "left", [before[1]])
    with pytest.raises(CalibrationError, match="2 pictures of cam_left_wrist, 3 looks are stored"):
        compare_looks(KNOWN, stored, before, before[:3])
    with pytest.raises(CalibrationError, match="without the arms' joints cannot be a look"):
        store_looks(KNOWN, "left", [replace(before[0], joints=None)])


def test_the_looks_that_tell_most_are_chosen() -> None:
    wrist, board = wrist_of(KNOWN, "left"), board_of(KNOWN)
    mount = KNOWN.cameras[1].mount
    assert mount is not None
    alike = [np.array(LOOKS[0]) + 0.01 * step for step in range(3)]
    chosen = choose_looks(
        wrist, board, mount.board.matrix, np.array([*alike, *LOOKS[1:]]), 3, (0.2, np.radians(0.05))
    )
    turns = [link6_pose(np.array([*alike, *LOOKS[1:]])[each])[:3, :3] for each in chosen]
    apart = [
        np.degrees(np.linalg.norm(poses.rotation_vector(one @ other.T)))
        for number, one in enumerate(turns)
        for other in turns[:number]
    ]
    assert min(apart) > 10
    with pytest.raises(CalibrationError, match="1 poses show the board, 3 looks are wanted"):
        choose_looks(wrist, board, mount.board.matrix, np.array(LOOKS[:1]), 3, (0.2, 1e-3))


class StillCell:
    """A cell whose arm stands, or drifts at `speed`, rad/s."""

    def __init__(self, speed: float = 0.0) -> None:
        self.speed = speed

    def history(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        stamps = np.arange(0, 1.0, 0.005)
        return stamps, np.tile(stamps[:, np.newaxis] * self.speed, (1, 6))

    def state(self) -> np.ndarray:
        return STATE

    def next_pictures(self) -> dict[str, Capture]:
        image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
        return {role: Capture(role, image, captured=7.0) for role in (LEFT, FRONT, "cam_right_wrist")}  # type: ignore[arg-type]


def test_a_look_is_taken_when_the_arm_stands_and_kept_as_the_camera_delivers_it() -> None:
    captures = take_look(StillCell(), "left", {LEFT: "both"})  # type: ignore[arg-type]
    assert [capture.role for capture in captures] == [LEFT, FRONT]
    np.testing.assert_array_equal(captures[0].image, captures[1].image[::-1, ::-1])
    assert captures[0].joints == tuple(STATE.tolist())
    with pytest.raises(InputError, match=r"left arm: it did not stand still for 0\.4 s within 0 s; hold it"):
        wait_still(StillCell(0.1), "left", 0.0)  # type: ignore[arg-type]


# -- the commands -----------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, before: list[Capture]) -> Path:
    for name in ("synthetic.yaml", "synthetic-world.yaml"):
        (tmp_path / name).write_text((HERE / name).read_text(encoding="utf-8"), encoding="utf-8")
    write_document(tmp_path / "synthetic.calibration.json", KNOWN)
    save_captures(tmp_path / "before", before)
    return tmp_path / "synthetic.yaml"


def test_looks_are_stored_and_looked_at_again(site: Path) -> None:
    told = answer("calibrate", "witness", site, "--side", "left", "--from", site.parent / "before")
    assert (told["looks"], told["front"], told["gripper"], told["notes"]) == (3, True, True, [])
    sigmas = {row["check"]: row["sigma"] for row in told["judgements"]}
    assert max(sigma for check, sigma in sigmas.items() if check.startswith("joint")) < 0.1
    known: Calibration = load_calibration(site.with_name("synthetic.calibration.json"))
    assert [info.side for info in known.witnesses] == ["left"]
    assert [(info.purpose, info.subject, info.folder) for info in known.captures] == [
        ("witness", "left", "before")
    ]

    save_captures(site.parent / "quiet", looks(WORLD, 60))
    (arm,) = answer("calibrate", "check", site, "--witness", "--from", site.parent / "quiet")["arms"]
    assert (arm["side"], arm["finding"], arm["notes"]) == ("left", "nothing moved", [])
    assert {row["verdict"] for row in arm["judgements"]} == {"pass"}

    save_captures(site.parent / "off", looks(off(3), 60))
    result = gigaedge("calibrate", "check", site, "--witness", "--from", site.parent / "off")
    assert result.returncode == 1, result.stderr
    assert "left arm: joint 3 moved" in result.stdout
    assert "FAIL: joint 3 off: joint 3 of the left arm stands +0." in result.stdout
    assert "set this joint's zero of the left arm again" in result.stdout
    result = gigaedge("calibrate", "check", site, "--witness", "--from", site.parent / "off", "--json")
    assert json.loads(result.stdout)["arms"][0]["candidates"] == ["joint 3"]


def test_what_the_commands_cannot_do_is_said_in_a_line(site: Path) -> None:
    check = ("calibrate", "check", site, "--witness")
    fails("no looks are stored; store some with `gigaedge calibrate witness", *check)
    fails("no looks of the right arm are stored", *check, "--side", "right")
    fails("cam_right_wrist: its lens is not known", "calibrate", "witness", site, "--side", "right",
          "--from", site.parent / "before")  # fmt: skip
    fails("keeps no poses of a hand-eye calibration of the left arm to go to; guide it (--by-hand)",
          "calibrate", "witness", site, "--side", "left", "--auto", "--yes")  # fmt: skip
    answer("calibrate", "witness", site, "--side", "left", "--from", site.parent / "before")
    fails("nobody is there to ask; pass --yes when the arm's way is free", *check)
