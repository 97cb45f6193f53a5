"""A solved hand-eye as the calibration file keeps it, how good it is, and where two of them say that the arms stand."""

from __future__ import annotations

from typing import Final

import numpy as np

from gigaedge import poses
from gigaedge.calibration import Frame, Matrix6, MountInfo, TransformInfo
from gigaedge.robot import CameraRole, Side
from gigaedge_calibration import acceptance
from gigaedge_calibration.causes import zero_sigmas
from gigaedge_calibration.hand_eye import HandEye, worst_sigmas
from gigaedge_calibration.prediction import Array, Setup
from gigaedge_calibration.verdicts import Judgement, Verdict, judged

ARM_OF: Final[dict[CameraRole, Side]] = {"cam_left_wrist": "left", "cam_right_wrist": "right"}
_BASES: Final[dict[Side, Frame]] = {"left": "left_base", "right": "right_base"}
_HANDS: Final[dict[Side, Frame]] = {"left": "left_link6", "right": "right_link6"}


def setup_of(role: CameraRole) -> Setup:
    """Whether a camera goes with an arm or looks at one."""
    return "wrist" if role in ARM_OF else "fixed"


def mount_info(result: HandEye, role: CameraRole, side: Side) -> MountInfo:
    """For the calibration file; `side`: the arm that carried the camera, or the board."""
    camera_parent, board_parent = _HANDS[side], _BASES[side]
    if setup_of(role) == "fixed":
        camera_parent, board_parent = board_parent, camera_parent
    estimate = result.estimate
    return MountInfo(
        transform=transform_info(camera_parent, role, estimate.camera, result.camera_covariance),
        board=transform_info(board_parent, "board", estimate.board, result.board_covariance),
        dh_is_offset=result.model.dh_is_offset,
        zero_offsets=tuple(estimate.zeros.tolist()),
        zero_sigmas=tuple(zero_sigmas(estimate).tolist()),
        sigma_px=estimate.sigma_px,
        sigma_joint=estimate.sigma_joint,
        poses=len(result.used),
        rejected=result.rejected,
        held_out_ratio=result.held_out_ratio,
        second_opinion=result.second_opinion,
        causes=result.causes,
    )


def transform_info(parent: Frame, child: Frame, transform: Array, covariance: Array) -> TransformInfo:
    """A transform, (4, 4), and its covariance, (6, 6), for the file."""
    symmetric = (covariance + covariance.T) / 2
    return TransformInfo(
        parent=parent,
        child=child,
        quaternion=tuple(poses.quaternion(transform[:3, :3]).tolist()),
        translation=tuple(transform[:3, 3].tolist()),
        covariance=tuple(tuple(row) for row in symmetric.tolist()),
    )


def transform_of(info: TransformInfo) -> Array:
    """`T_parent_child`, shape (4, 4)."""
    return poses.pose(poses.from_quaternion(np.array(info.quaternion)), np.array(info.translation))


def judge_mount(role: CameraRole, mount: MountInfo) -> list[Judgement]:
    """A new answer: how sure it is, whether the poses bear it out, and what of poses or arm had to be allowed for."""
    return [*judge_answer(role, mount), *_allowed_for(role, mount)]


def judge_answer(role: CameraRole, mount: MountInfo) -> list[Judgement]:
    """How sure the answer is, and whether the poses bear it out."""
    front = setup_of(role) == "fixed"
    because = "; ".join(mount.causes)
    again = "mend that and calibrate again" if because else "take more poses, turned further from each other"
    rows = []
    if mount.transform.covariance is not None:
        turn, shift = worst_sigmas(np.array(mount.transform.covariance))
        few = because or f"{mount.poses} poses like these do not tell it better"
        limits = (
            (acceptance.FRONT_ROTATION, acceptance.FRONT_TRANSLATION)
            if front
            else (acceptance.WRIST_ROTATION, acceptance.WRIST_TRANSLATION)
        )
        for name, value, limit in (
            ("rotation", 2 * float(np.degrees(turn)), limits[0]),
            ("translation", 2e3 * shift, limits[1]),
        ):
            rows.append(judged(f"mount, {name}, two sigma", role, value, limit, cause=few, mend=again))
    noise = because or "no single cause shows"
    rows.append(
        judged("mount, noise of corners", role, mount.sigma_px, acceptance.SIGMA_PX, cause=noise, mend=again)
    )
    joint = float(np.degrees(mount.sigma_joint))
    rows.append(
        judged("mount, noise of joints", role, joint, acceptance.SIGMA_JOINT, cause=noise, mend=again)
    )
    if mount.held_out_ratio is not None:
        unsure = (
            "poses that were kept out are predicted worse than they should be: the uncertainty is too small"
        )
        rows.append(
            judged(
                "mount, held-out error",
                role,
                mount.held_out_ratio,
                acceptance.HAND_EYE_HELD_OUT,
                cause=because or unsure,
                mend=again,
            )
        )
    if mount.second_opinion is not None:
        other = "the closed form answers otherwise"
        rows.append(
            judged(
                "mount, second opinion",
                role,
                mount.second_opinion,
                acceptance.SECOND_OPINION,
                cause=because or other,
                mend=again,
            )
        )
    return rows


def _allowed_for(role: CameraRole, mount: MountInfo) -> list[Judgement]:
    """What is wrong with poses or arm and yet does not spoil the answer: it warns."""
    rows = []
    if mount.rejected:
        listed = ", ".join(str(index) for index in mount.rejected)
        rows.append(
            Judgement(
                "poses left out",
                role,
                Verdict.WARN,
                float(len(mount.rejected)),
                cause="; ".join(cause for cause in mount.causes if cause.startswith("pose "))
                or f"pose {listed}",
                mend="nothing if there was one; with more of them, find out what moves",
            )
        )
    offsets = np.degrees(mount.zero_offsets)
    worst = int(np.argmax(np.abs(offsets)))
    verdict = min(acceptance.WITNESS_JOINT.judge(float(abs(offsets[worst]))), Verdict.WARN)
    bad = verdict is not Verdict.PASS
    about = [cause for cause in mount.causes if cause.startswith("joint")]
    rows.append(
        Judgement(
            f"zero error, joint {worst + 1}",
            role,
            verdict,
            float(abs(offsets[worst])),
            float(np.degrees(mount.zero_sigmas[worst])),
            acceptance.WITNESS_JOINT,
            ("; ".join(about) or "the joint is not where the arm says") if bad else "",
            "the calibration allows for it; the arm's own kinematics do not" if bad else "",
        )
    )
    return rows


def bases_of(left: MountInfo, right: MountInfo) -> TransformInfo:
    """`T_left_base_right_base`, from both wrist cameras having seen one board that stayed where it was.

    Its covariance is that of both boards; joint 1 of either arm is taken at its word, for it turns a base and the board
    alike.
    """
    first, second = transform_of(left.board), transform_of(right.board)
    result = first @ poses.inverse(second)
    turn = result[:3, :3]
    lever = poses.skew(turn @ second[:3, 3])
    by_first, by_second = np.eye(6), np.zeros((6, 6))
    by_first[3:, :3] = lever
    by_second[:3, :3] = by_second[3:, 3:] = -turn
    by_second[3:, :3] = -lever @ turn
    covariance = np.zeros((6, 6))
    for derivative, mount in ((by_first, left), (by_second, right)):
        covariance += derivative @ _covariance(mount.board.covariance) @ derivative.T
    return transform_info("left_base", "right_base", result, covariance)


def _covariance(values: Matrix6 | None) -> Array:
    return np.zeros((6, 6)) if values is None else np.array(values)
