"""A mount in the calibration file: frames, verdicts, and the bases that two of them relate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gigaedge import poses
from gigaedge.calibration import MountInfo
from gigaedge_calibration.hand_eye import HandEye, solve_hand_eye
from gigaedge_calibration.map_solver import Model
from gigaedge_calibration.mounts import bases_of, judge_mount, mount_info, transform_info, transform_of
from gigaedge_calibration.verdicts import Verdict, gravest
from tests.calibration.synthetic_looks import front_cell, looks_of, wrist_cell


@pytest.fixture(scope="module")
def wrist() -> HandEye:
    cell = wrist_cell()
    return solve_hand_eye(Model(cell.lens, cell.setup), looks_of(cell, 15, 0))


def changed(mount: MountInfo, **update: object) -> MountInfo:
    return MountInfo.model_validate({**mount.model_dump(), **update})


def test_a_wrist_camera_is_in_its_own_hand(wrist: HandEye) -> None:
    mount = mount_info(wrist, "cam_right_wrist", "right")
    assert (mount.transform.parent, mount.transform.child) == ("right_link6", "cam_right_wrist")
    assert (mount.board.parent, mount.board.child) == ("right_base", "board")
    np.testing.assert_allclose(transform_of(mount.transform), wrist.estimate.camera, atol=1e-12)
    np.testing.assert_allclose(transform_of(mount.board), wrist.estimate.board, atol=1e-12)
    np.testing.assert_allclose(np.array(mount.transform.covariance), wrist.camera_covariance, atol=1e-15)
    assert mount.poses == 15
    assert (mount.zero_offsets[0], mount.zero_offsets[5]) == (0, 0)
    assert (mount.zero_sigmas[0], mount.zero_sigmas[5]) == (0, 0)
    assert MountInfo.model_validate_json(mount.model_dump_json()) == mount


def test_the_high_camera_is_in_the_base_of_the_arm_that_held_the_board() -> None:
    cell = front_cell()
    result = solve_hand_eye(Model(cell.lens, cell.setup), looks_of(cell, 15, 0))
    mount = mount_info(result, "cam_high", "left")
    assert (mount.transform.parent, mount.transform.child) == ("left_base", "cam_high")
    assert (mount.board.parent, mount.board.child) == ("left_link6", "board")
    rows = judge_mount("cam_high", mount)
    assert (
        next(row.limit.warn for row in rows if row.check == "mount, translation, two sigma" and row.limit)
        == 2.0
    )


def test_verdicts_follow_the_numbers(wrist: HandEye) -> None:
    mount = mount_info(wrist, "cam_left_wrist", "left")
    rows = {row.check: row for row in judge_mount("cam_left_wrist", mount)}
    assert set(rows) >= {
        "mount, rotation, two sigma",
        "mount, translation, two sigma",
        "mount, noise of corners",
        "mount, noise of joints",
        "mount, held-out error",
        "mount, second opinion",
    }
    assert rows["mount, noise of joints"].verdict is Verdict.PASS
    assert rows["mount, noise of joints"].value == pytest.approx(0.05, abs=0.02)
    for update, check in (
        ({"sigma_px": 0.7}, "mount, noise of corners"),
        ({"sigma_joint": np.radians(0.5)}, "mount, noise of joints"),
        ({"held_out_ratio": 2.1}, "mount, held-out error"),
        ({"second_opinion": 11.0}, "mount, second opinion"),
    ):
        worse = {row.check: row for row in judge_mount("cam_left_wrist", changed(mount, **update))}
        assert worse[check].verdict is Verdict.FAIL
        assert worse[check].cause
        assert worse[check].mend == "take more poses, turned further from each other"
    blamed = judge_mount("cam_left_wrist", changed(mount, sigma_px=0.7, causes=("the lens is wrong",)))
    assert next(row.cause for row in blamed if row.check == "mount, noise of corners") == "the lens is wrong"


def test_what_was_allowed_for_warns_and_does_not_fail(wrist: HandEye) -> None:
    mount = mount_info(wrist, "cam_left_wrist", "left")
    zeros = np.radians([0, -2.0, 2.0, 0, 0, 0])
    other = changed(
        mount,
        zero_offsets=tuple(zeros),
        rejected=(3,),
        causes=("pose 3 contradicts the others", "joints 2 and 3 are off"),
    )
    rows = judge_mount("cam_left_wrist", other)
    assert gravest(rows) is Verdict.WARN
    named = {row.check: row for row in rows}
    assert named["poses left out"].cause == "pose 3 contradicts the others"
    assert named["zero error, joint 2"].cause == "joints 2 and 3 are off"


def test_two_wrists_that_saw_one_board_tell_where_the_bases_are(wrist: HandEye) -> None:
    left = mount_info(wrist, "cam_left_wrist", "left")
    true = poses.from_six(np.array([0, 0, 0.4, 0.05, -0.6, 0.01]))
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(wrist.board_covariance)
    normalised = []
    for _ in range(200):
        noise = root @ rng.normal(size=6), root @ rng.normal(size=6)
        boards = (
            poses.moved(wrist.estimate.board, noise[0]),
            poses.moved(poses.inverse(true) @ wrist.estimate.board, noise[1]),
        )
        infos = [
            changed(
                left,
                board=transform_info(parent, "board", board, wrist.board_covariance).model_dump(),
            )
            for parent, board in zip(("left_base", "right_base"), boards, strict=True)
        ]
        found = bases_of(infos[0], infos[1])
        away = poses.difference(true, transform_of(found))
        normalised.append(float(away @ np.linalg.solve(np.array(found.covariance), away)) / 6)
    assert (found.parent, found.child) == ("left_base", "right_base")
    assert 0.85 < np.mean(normalised) < 1.15


def test_sigma_is_that_of_the_worst_direction(wrist: HandEye) -> None:
    turn, shift = np.radians((0.1, 0.2, 0.3)), np.array((1e-3, 2e-3, 1e-3))
    other = replace(wrist, camera_covariance=np.diag(np.concatenate([turn, shift]) ** 2))
    np.testing.assert_allclose(other.sigma, (np.radians(0.3), 2e-3))
