"""Looks at a fixed board: which poses tell most, what of a picture is stored, and the evidence of then and now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import (
    BoardInfo,
    Calibration,
    CameraCalibration,
    CaptureInfo,
    IntrinsicsInfo,
    Look,
    MountInfo,
    WitnessInfo,
)
from gigaedge.clock import monotonic
from gigaedge.errors import CalibrationError, InputError
from gigaedge.kinematics import link6_pose
from gigaedge.robot import JOINTS, CameraRole, Side, arm_slice
from gigaedge_calibration.captures import Capture
from gigaedge_calibration.collecting import as_delivered
from gigaedge_calibration.cv_compat import detect, object_points
from gigaedge_calibration.gripper import GripperOffset, gripper_offset
from gigaedge_calibration.lens_uncertainty import lens_of
from gigaedge_calibration.live import LiveCell
from gigaedge_calibration.sighting import FEWEST, Sighting, sight
from gigaedge_calibration.witness_model import Evidence, Wrist, WristLook, joint_sigmas

Array = NDArray[np.float64]

FRONT: Final[CameraRole] = "cam_high"
_ROLES: Final[dict[Side, CameraRole]] = {"left": "cam_left_wrist", "right": "cam_right_wrist"}
_UNKNOWN_MOUNT: Final = np.diag(np.square([np.radians(0.2)] * 3 + [0.002] * 3))
"""Of an imported mount that says nothing of its own uncertainty; (J) as good as hand-eye calibrations by others are."""
_LEAST_PX: Final = 0.1
"""px; no corner is seen better, whatever the hand-eye's residuals say."""
_LEAST_JOINT: Final = float(np.radians(0.02))
"""rad."""
_GRIPPER_FLOOR: Final = np.diag(np.square([0.1, 0.1, np.radians(0.1)]))
"""px and rad; what another background costs, whatever the fit says: rms 0.05 to 0.1 px (S)."""
_STILL: Final = float(np.radians(0.2))
"""rad/s; what a joint may move by while the picture is taken."""
_STILL_FOR: Final = 0.4
"""s."""
_OPENING: Final = 0.002
"""m; a gripper that is open by more or less than it was does not look the same."""


def wrist_role(side: Side) -> CameraRole:
    """The camera on an arm."""
    return _ROLES[side]


def wrist_of(calibration: Calibration, side: Side) -> Wrist:
    """An arm's camera as it was calibrated. Raises CalibrationError: lens or mount is missing, naming the command."""
    role = wrist_role(side)
    known, intrinsics, mount = _calibrated(calibration, role)
    placed = mount.transform
    if placed.parent != f"{side}_link6":
        raise CalibrationError(f"{role}: its mount is relative to {placed.parent}, expected {side}_link6")
    covariance = _UNKNOWN_MOUNT if placed.covariance is None else np.array(placed.covariance)
    return Wrist(
        placed.matrix,
        covariance,
        np.array(mount.zero_offsets),
        mount.dh_is_offset,
        lens_of(intrinsics),
        _gripper_middle(known),
    )


def board_of(calibration: Calibration) -> BoardInfo:
    """Raises CalibrationError: nobody described it."""
    if calibration.board is None:
        raise CalibrationError(
            "no board is described; see `gigaedge calibrate board --help` (squares, and their size as measured)"
        )
    return calibration.board


def read_look(capture: Capture, board: BoardInfo) -> Look | None:
    """What a capture (a picture as the camera delivers it, with the robot's state) shows; None: too little board."""
    if capture.joints is None:
        raise CalibrationError(
            f"{capture.role}: a picture without the arms' joints cannot be a look; capture again"
        )
    found = detect(capture.image, board)
    if len(found.ids) < FEWEST:
        return None
    corners = tuple((float(u), float(v)) for u, v in found.corners)
    return Look(
        role=capture.role, joints=capture.joints, ids=tuple(int(each) for each in found.ids), corners=corners
    )


def store_looks(calibration: Calibration, side: Side, captures: Sequence[Capture]) -> WitnessInfo:
    """The looks of captures of the wrist camera and, where it sees the board, of the front camera.

    Raises CalibrationError: the board is not in every wrist picture, or something is not calibrated.
    """
    board, role = board_of(calibration), wrist_role(side)
    wrist_of(calibration, side)
    _, _, mount = _calibrated(calibration, role)
    looks = [read_look(capture, board) for capture in captures if capture.role == role]
    for number, look in enumerate(looks, start=1):
        if look is None:
            raise CalibrationError(
                f"{role}: look {number} does not show enough of the board; move the arm so that it fills a third of "
                "the picture"
            )
    if not looks:
        raise CalibrationError(f"no picture of {role} among the captures")
    front = best_front(captures, board)
    known = calibration.camera(FRONT)
    usable = front is not None and known is not None and (known.intrinsics or known.factory) is not None
    return WitnessInfo(
        side=side,
        looks=tuple(look for look in looks if look is not None),
        front=(front,) if front is not None and usable else (),
        sigma_px=max(mount.sigma_px, _LEAST_PX),
        sigma_joint=max(mount.sigma_joint, _LEAST_JOINT),
    )


def best_front(captures: Sequence[Capture], board: BoardInfo) -> Look | None:
    """The front camera's look that shows most of the board: an arm may be before it in others."""
    looks = [read_look(capture, board) for capture in captures if capture.role == FRONT]
    return max((look for look in looks if look is not None), key=lambda look: len(look.ids), default=None)


@dataclass(frozen=True)
class Comparison:
    """Then and now, paired."""

    evidence: Evidence
    unseen: tuple[int, ...]
    """Stored looks, from 0, that do not show the board now."""
    notes: tuple[str, ...]
    """What could not be used, and why."""


def compare_looks(
    calibration: Calibration, info: WitnessInfo, before: Sequence[Capture], after: Sequence[Capture]
) -> Comparison:
    """What to judge by: stored looks, and captures of now from the same poses.

    `before`: the pictures that the looks were stored from, for the gripper's place; empty: it is not compared.
    Raises CalibrationError: a look of now is missing, or something is not calibrated.
    """
    board, wrist, role = board_of(calibration), wrist_of(calibration, info.side), wrist_role(info.side)
    stored = [_wrist_look(wrist, look, board, info, None) for look in info.looks]
    known, _, _ = _calibrated(calibration, role)
    then, now = ([each for each in captures if each.role == role] for captures in (before, after))
    if len(now) < len(info.looks):
        raise CalibrationError(
            f"{len(now)} pictures of {role}, {len(info.looks)} looks are stored; look from all poses"
        )
    looks: list[WristLook] = []
    unseen: list[int] = []
    notes: list[str] = []
    for number, (capture, first) in enumerate(zip(now, stored, strict=False)):
        seen = read_look(capture, board)
        if seen is None:
            unseen.append(number)
            continue
        look = _wrist_look(wrist, seen, board, info, first.sighting.pose)
        if number < len(then):
            offset = _gripper(known, then[number], capture, notes)
            look = look if offset is None else replace(look, gripper=offset)
        looks.append(look)
    if not any(look.gripper for look in looks):
        notes.append(f"{role}: without its gripper's place, joint 6 is not told from the camera")
    fronts = _fronts(calibration, info, after, board)
    if not fronts:
        notes.append(f"{FRONT}: without its view of the board, joint 1 is not told from the board")
    evidence = Evidence(wrist, info.sigma_joint, tuple(stored), tuple(looks), *fronts)
    return Comparison(evidence, tuple(unseen), tuple(dict.fromkeys(notes)))


def choose_looks(
    wrist: Wrist,
    board: BoardInfo,
    t_base_board: Array,
    poses_to_go: Array,
    count: int,
    noise: tuple[float, float],
) -> list[int]:
    """Which of some joint angles, rad, (m, 6), tell most of every joint: numbers of `count` of them, best first.

    One after the other is chosen that lowers the worst joint's standard deviation most, all six being unknown.
    `noise`: of a corner, px, and of a joint, rad. Raises CalibrationError: too few poses.
    """
    points = object_points(board)
    cameras = link6_pose(poses_to_go + wrist.zero_offsets, wrist.dh_is_offset) @ wrist.transform
    boards = poses.inverse(cameras) @ t_base_board
    pixels = wrist.lens.project(poses.apply(boards, points))
    seen = np.flatnonzero(np.all(np.isfinite(pixels), axis=(-1, -2)))
    if len(seen) < count:
        raise CalibrationError(f"{len(seen)} poses show the board, {count} looks are wanted; ask for fewer")
    sights = [
        WristLook(poses_to_go[each], sight(wrist.lens, points, pixels[each], noise[0], boards[each]))
        for each in seen
    ]

    def worst(chosen: list[int]) -> float:
        looks = tuple(sights[each] for each in chosen)
        return float(joint_sigmas(Evidence(wrist, noise[1], looks, looks)).max())

    chosen: list[int] = []
    for _ in range(count):
        left = [each for each in range(len(sights)) if each not in chosen]
        chosen.append(min(left, key=lambda each: worst([*chosen, each])))
    return [int(seen[each]) for each in chosen]


def take_look(
    cell: LiveCell, side: Side, flips: dict[CameraRole, str], timeout: float = 15.0
) -> list[Capture]:
    """Pictures of the arm's camera and of the front camera, if the cell has it open, once the arm stands.

    `flips`: of the site, per camera. Raises InputError: it moves for longer than `timeout`, s; CameraError, ArmError.
    """
    wait_still(cell, side, timeout)
    pictures = cell.next_pictures()
    state = tuple(float(value) for value in cell.state())
    return [
        Capture(role, as_delivered(picture.image, flips.get(role, "none")), state, picture.captured)
        for role, picture in pictures.items()
        if role in (wrist_role(side), FRONT)
    ]


def wait_still(
    cell: LiveCell, side: Side, timeout: float, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Return when the arm has stood for 0.4 s. Raises InputError: not within `timeout`, s."""
    deadline = monotonic() + timeout
    while True:
        stamps, joints = cell.history(side)
        recent = stamps >= stamps[-1] - _STILL_FOR
        span = np.ptp(joints[recent], axis=0).max() if stamps[-1] - stamps[0] >= _STILL_FOR else np.inf
        if span <= _STILL * _STILL_FOR:
            return
        if monotonic() > deadline:
            raise InputError(
                f"{side} arm: it did not stand still for {_STILL_FOR} s within {timeout:g} s; hold it"
            )
        sleep(0.05)


def capture_folder(calibration: Calibration, file: Path, side: Side) -> Path | None:
    """Where the stored looks' pictures are; None: the file does not say."""
    infos: Sequence[CaptureInfo] = calibration.captures
    found = next((each for each in infos if (each.purpose, each.subject) == ("witness", side)), None)
    return None if found is None else file.parent / found.folder


def _calibrated(
    calibration: Calibration, role: CameraRole
) -> tuple[CameraCalibration, IntrinsicsInfo, MountInfo]:
    known = calibration.camera(role)
    lens = None if known is None else known.intrinsics or known.factory
    if known is None or lens is None:
        raise CalibrationError(
            f"{role}: its lens is not known; run `gigaedge calibrate intrinsics SITE --role {role}`"
        )
    if known.mount is None:
        raise CalibrationError(
            f"{role}: its mount is not calibrated; run `gigaedge calibrate hand-eye SITE --camera {role}`"
        )
    return known, lens, known.mount


def _wrist_look(
    wrist: Wrist, look: Look, board: BoardInfo, info: WitnessInfo, near: NDArray[Any] | None
) -> WristLook:
    joints = np.array(look.joints)[arm_slice(info.side)][:JOINTS]
    return WristLook(joints, _sighting(look, board, wrist.lens, info.sigma_px, near))


def _sighting(
    look: Look, board: BoardInfo, lens: Any, sigma_px: float, near: NDArray[Any] | None
) -> Sighting:
    points = object_points(board, np.array(look.ids))
    return sight(lens, points, np.array(look.corners), sigma_px, near)


def _fronts(
    calibration: Calibration, info: WitnessInfo, after: Sequence[Capture], board: BoardInfo
) -> tuple[Sighting, ...]:
    """The front camera's sightings then and now, or none."""
    known, now = calibration.camera(FRONT), best_front(after, board)
    lens_info = None if known is None else known.intrinsics or known.factory
    if known is None or lens_info is None or not info.front or now is None:
        return ()
    sigma = max(info.sigma_px, known.mount.sigma_px if known.mount else 0.0)
    lens = lens_of(lens_info)
    before = _sighting(info.front[0], board, lens, sigma, None)
    return before, _sighting(now, board, lens, sigma, before.pose)


def _gripper_middle(known: CameraCalibration) -> tuple[float, float] | None:
    """Of its region, px in the picture as the camera delivers it."""
    if known.view is None or known.view.gripper is None:
        return None
    left, top, right, bottom = known.view.gripper
    u, v = (left + right - 1) / 2, (top + bottom - 1) / 2
    stream = known.stream
    if stream.flip in ("horizontal", "both"):
        u = stream.width - 1 - u
    if stream.flip in ("vertical", "both"):
        v = stream.height - 1 - v
    return u, v


def _gripper(known: CameraCalibration, then: Capture, now: Capture, notes: list[str]) -> GripperOffset | None:
    """How the gripper moved in pictures as the camera delivers them; None, with a note, where it cannot be said."""
    if known.view is None or known.view.gripper is None:
        notes.append(f"{known.role}: no gripper region; `gigaedge calibrate views` sets one")
        return None
    opening = arm_slice("left" if known.role == _ROLES["left"] else "right").stop - 1
    if (
        then.joints is None
        or now.joints is None
        or abs(then.joints[opening] - now.joints[opening]) > _OPENING
    ):
        notes.append(f"{known.role}: the gripper is not as open as it was; set it as in the stored looks")
        return None
    flip = known.stream.flip
    try:
        # The region is of the flipped picture.
        offset = gripper_offset(
            as_delivered(then.image, flip), as_delivered(now.image, flip), known.view.gripper
        )
    except CalibrationError as error:
        notes.append(f"{known.role}: {error}")
        return None
    across, down = (-1.0 if flip in (way, "both") else 1.0 for way in ("horizontal", "vertical"))
    signs = np.array([across, down, across * down])
    return GripperOffset(
        signs[:2] * offset.shift,
        float(signs[2] * offset.roll),
        np.diag(signs) @ offset.covariance @ np.diag(signs) + _GRIPPER_FLOOR,
        offset.support,
    )
