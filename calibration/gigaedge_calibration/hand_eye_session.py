"""Collecting the looks of a hand-eye calibration: by hand, or from one planned pose to the next.

A look is taken where the arm stands and two pictures in a row agree. From the fourth on, a rough answer says how sure
the final one will be and where to look from next; before that, small turns of the wrist do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge.robot import CameraRole, Side, arm_slice
from gigaedge_calibration.captures import Capture
from gigaedge_calibration.collecting import STILL as AGREE
from gigaedge_calibration.collecting import as_delivered
from gigaedge_calibration.cv_compat import Detection, detect, object_points
from gigaedge_calibration.diagnosis import explain
from gigaedge_calibration.hand_eye import rough_hand_eye, worst_sigmas
from gigaedge_calibration.intrinsics import is_usable
from gigaedge_calibration.live import LiveCell
from gigaedge_calibration.map_solver import Model
from gigaedge_calibration.pose_plan import (
    Room,
    Rough,
    hidden_cells,
    next_pose,
    nudges,
    predicted_covariance,
)
from gigaedge_calibration.prediction import BoardLook, reach

Array = NDArray[np.float64]
Show = Callable[[str], None]

STANDING: Final = float(np.radians(0.2))
"""rad/s; a joint that is slower stands,"""
STANDING_FOR: Final = 0.4
"""s of feedback long."""
NEW_TURN: Final = float(np.radians(10))
"""rad; a look by hand is new when link 6 is turned so far from all others,"""
NEW_PLACE: Final = 0.06
"""m, or shifted by so much."""
OUT_OF_VIEW: Final = "bring the board into view"
ENOUGH: Final = 8
"""Looks that are worth solving when time is up."""
_SETTLING: Final = 6.0
"""s that a planned look may take."""
_UNSEEN: Final = 4
"""Pictures in a row without a board, of an arm that has arrived, before it goes on."""
_MISSES: Final = 5
"""Poses in a row that show no board before the reason is told."""


def look_of(capture: Capture, board: BoardInfo, side: Side) -> BoardLook | None:
    """What a kept picture shows; None: too little of the board.

    Raises CalibrationError: the arm's joints were not kept with it.
    """
    if capture.joints is None:
        raise CalibrationError("a picture without joint angles; name captures of a hand-eye calibration")
    found = detect(capture.image, board)
    if not is_usable(found, board):
        return None
    joints = np.array(capture.joints[arm_slice(side)][:6])
    return BoardLook(joints, object_points(board, found.ids), found.corners)


def standing(stamps: NDArray[np.float64], joints: NDArray[np.float64]) -> bool:
    """Whether every joint of the feedback, (n,), s, and (n, 6), rad, was slow enough for the last `STANDING_FOR`."""
    recent = stamps >= stamps[-1] - STANDING_FOR
    if stamps[0] > stamps[-1] - STANDING_FOR or recent.sum() < 3:
        return False
    times = stamps[recent] - stamps[recent].mean()
    slopes = times @ (joints[recent] - joints[recent].mean(axis=0)) / (times @ times)
    return bool(np.abs(slopes).max() < STANDING)


class Session:
    """The looks so far, and what they are good for."""

    def __init__(
        self,
        cell: LiveCell,
        role: CameraRole,
        side: Side,
        model: Model,
        board: BoardInfo,
        wanted: int,
        flip: str = "none",
    ) -> None:
        """`side`: the arm that carries the camera or the board; `flip`: the site's, which the lens knows not."""
        self.cell, self.role, self.side = cell, role, side
        self.model, self.board, self.wanted, self.flip = model, board, wanted, flip
        self.captures: list[Capture] = []
        self.looks: list[BoardLook] = []
        self._tried: list[tuple[Array, NDArray[np.intp]]] = []
        """Joint angles where the arm stood and looked, rad, and the corners that were seen from there."""
        self._before: Detection | None = None
        self._image: NDArray[np.uint8] | None = None

    @property
    def taken(self) -> Array:
        """Joint angles of the looks, rad, shape (n, 6)."""
        return np.array([look.joints for look in self.looks]).reshape(-1, 6)

    def rough(self) -> Rough | None:
        """What is known so far; None: the looks tell nothing yet."""
        try:
            camera, board = rough_hand_eye(self.model, self.looks)
        except CalibrationError:
            return None
        rough = Rough(self.model, camera, board, object_points(self.board), self.board.columns - 1)
        joints = np.array([joints for joints, _ in self._tried])
        corners = np.arange(len(rough.points))
        seen = np.array([np.isin(corners, ids) for _, ids in self._tried])
        return replace(rough, hidden=hidden_cells(rough, joints, seen))

    def progress(self, needed: tuple[float, float]) -> str:
        """How sure the answer will be, in words; `needed`: standard deviations, rad and m."""
        rough = self.rough()
        count = f"{len(self.looks)} of {self.wanted}"
        if rough is None:
            return f"{count}: turn the wrist about different axes"
        turn, shift = worst_sigmas(predicted_covariance(rough, self.taken))
        return (
            f"{count}: {np.degrees(turn):.2f} deg / {1e3 * shift:.1f} mm, needs {np.degrees(needed[0]):.2f} / "
            f"{1e3 * needed[1]:.1f}"
        )

    def is_new(self) -> bool:
        """Whether the arm is turned or shifted away from all looks so far."""
        if not self.looks:
            return True
        now = reach(self.cell.joints(self.side), "fixed")
        away = poses.difference(reach(self.taken, "fixed"), now)
        turned = np.linalg.norm(away[:, :3], axis=-1) > NEW_TURN
        shifted = np.linalg.norm(away[:, 3:], axis=-1) > NEW_PLACE
        return bool(np.all(turned | shifted))

    def try_look(self) -> str:
        """Look once; returns what to do, in words, and nothing when a look was taken.

        Raises CameraError or ArmError: a device was lost.
        """
        picture = self.cell.next_pictures()[self.role]
        image = as_delivered(picture.image, self.flip)
        found = detect(image, self.board)
        before, self._before, self._image = self._before, found, image
        if not is_usable(found, self.board):
            return OUT_OF_VIEW
        if not standing(*self.cell.history(self.side)) or not _agree(before, found):
            return "hold still"
        state = self.cell.state()
        joints = self.cell.joints_at(self.side, picture.captured)
        state[arm_slice(self.side)][:6] = joints
        self.captures.append(Capture(self.role, image, tuple(state.tolist()), picture.captured))
        self.looks.append(BoardLook(joints, object_points(self.board, found.ids), found.corners))
        self._tried.append((joints, found.ids))
        self._before = None
        return ""

    def missed(self) -> None:
        """The arm stands where the board was expected, and too little of it is seen."""
        if self._before is not None:
            self._tried.append((self.cell.joints(self.side), self._before.ids))

    def why_not(self) -> str:
        """Why the newest picture shows no board, in words."""
        if self._image is None or self._before is None:
            return "no picture was taken"
        return explain(self._image, self.board, self._before)


def collect_by_hand(
    session: Session, needed: tuple[float, float], timeout: float, show: Show, hint: Show
) -> None:
    """Take looks while a person guides the arm, until there are as many as wanted.

    `show` is told of every look, `hint` what to do now. When `timeout`, s, is over, `ENOUGH` looks do; with fewer,
    raises CalibrationError.
    """
    deadline = time.monotonic() + timeout
    reason = OUT_OF_VIEW
    while len(session.looks) < session.wanted:
        if time.monotonic() > deadline:
            if len(session.looks) >= ENOUGH:
                return
            raise CalibrationError(
                f"{session.role}: {len(session.looks)} looks after {timeout:.0f} s, at least {ENOUGH} are needed; "
                f"{reason}"
            )
        if not session.is_new():
            reason = "turn the wrist further: this was seen from here already"
            hint(reason)
            time.sleep(0.1)
            continue
        reason = session.try_look()
        if reason:
            hint(reason)
        else:
            show(session.progress(needed))


def collect_planned(
    session: Session, room: Room, needed: tuple[float, float], rng: np.random.Generator, show: Show
) -> None:
    """Move the arm slowly from one planned pose to the next and look, until there are as many looks as wanted.

    Raises CalibrationError: the board is not in view at the start, or lost; nowhere free to look from; ArmError,
    InputError, CameraError as the cell does.
    """
    if not _settled_look(session):
        raise CalibrationError(
            f"{session.role}: the board is not in view where the arm stands; {session.why_not()}"
        )
    show(session.progress(needed))
    near = list(nudges(room, session.looks[0].joints))
    misses = 0
    while len(session.looks) < session.wanted:
        now = session.cell.joints(session.side)
        rough = session.rough()
        if rough is not None:
            target = next_pose(rough, room, session.taken, rng, now)
        else:
            target = near.pop(0) if near else None
        if target is None:
            raise CalibrationError(
                f"{session.role}: after {len(session.looks)} looks no pose within the limits shows the board; move the "
                "board, widen `workspace`, or guide the arm with --by-hand"
            )
        session.cell.move(session.side, target)
        if _settled_look(session):
            misses = 0
            show(session.progress(needed))
        else:
            session.missed()
            misses += 1
            if misses >= _MISSES:
                raise CalibrationError(f"{session.role}: the board was lost; {session.why_not()}")


def _settled_look(session: Session) -> bool:
    """Take a look once the arm stands; False: none within the time, or no board in several pictures."""
    deadline = time.monotonic() + _SETTLING
    unseen = 0
    while time.monotonic() < deadline and unseen < _UNSEEN:
        reason = session.try_look()
        if not reason:
            return True
        unseen = unseen + 1 if reason == OUT_OF_VIEW else 0
    return False


def _agree(before: Detection | None, now: Detection) -> bool:
    if before is None:
        return False
    _, first, second = np.intersect1d(before.ids, now.ids, return_indices=True)
    if len(first) < len(now.ids) / 2:
        return False
    shifts = np.linalg.norm(before.corners[first] - now.corners[second], axis=-1)
    return bool(np.median(shifts) < AGREE)
