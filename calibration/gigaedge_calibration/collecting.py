"""Collecting views of a board that a person moves: one is taken when it stands still and shows something new."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import BoardInfo
from gigaedge.errors import CalibrationError
from gigaedge.lens import Lens
from gigaedge.robot import CameraRole
from gigaedge_calibration.captures import Capture
from gigaedge_calibration.coverage import TILTED, TILTED_PART, Coverage, coverage, tilt_of
from gigaedge_calibration.cv_compat import Detection, detect, object_points, solve_pose
from gigaedge_calibration.diagnosis import explain
from gigaedge_calibration.intrinsics import first_guess, is_usable
from gigaedge_calibration.live import LiveCell

Array = NDArray[np.float64]

STILL: Final = 0.15
"""px; corners of two pictures in a row that agree so well (median) are of a board that stands."""
TURNED: Final = np.radians(10.0)
"""rad; a view of a board that is turned so far from all others is new,"""
MOVED: Final = 0.12
"""or that is so far from them in the picture, of its width,"""
SCALED: Final = 0.2
"""or nearer or farther by so much, relative."""
COVERED: Final = 0.75
"""Of the cells of the picture are to be seen; the last part of the views is kept for what is missing."""
KEPT: Final = 0.4
"""That last part."""
SILENCE: Final = 3.0
"""s without a board before the reason is looked for."""


class Offer(Enum):
    """What became of a picture, in words."""

    TAKEN = "taken"
    UNSEEN = "not enough of the board in view"
    MOVING = "hold still"
    KNOWN = "seen from there already"
    FLAT = "enough views are as flat as this"
    COVERED = "enough views of this part of the picture"


@dataclass(frozen=True)
class _Taken:
    t_cam_board: Array
    corners: Array


class Collector:
    """Decides about one picture after the other, and says what to do next."""

    def __init__(
        self, board: BoardInfo, size: tuple[int, int], wanted: int, lens: Lens | None = None
    ) -> None:
        """`size`: width and height of the picture, px; `lens`: about what it is, to tell tilts."""
        self.board, self.size, self.wanted = board, size, wanted
        self._lens = lens or first_guess(size)
        self._before: Detection | None = None
        self._taken: list[_Taken] = []

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def coverage(self) -> Coverage:
        """Of what was taken."""
        tilts = [tilt_of(view.t_cam_board) for view in self._taken]
        return coverage([view.corners for view in self._taken], tilts, self.size)

    def offer(self, detection: Detection) -> Offer:
        """Decide about the next picture."""
        before, self._before = self._before, detection
        if not is_usable(detection, self.board):
            return Offer.UNSEEN
        if before is None or not self._stands(before, detection):
            return Offer.MOVING
        t_cam_board = solve_pose(detection.corners, object_points(self.board, detection.ids), self._lens)
        if t_cam_board is None:
            return Offer.UNSEEN
        if any(self._alike(view.t_cam_board, t_cam_board) for view in self._taken):
            return Offer.KNOWN
        seen, new = self.coverage, coverage([detection.corners], [tilt_of(t_cam_board)], self.size)
        flat = int(np.sum(np.degrees(seen.tilts) < TILTED))
        if np.degrees(new.greatest_tilt) < TILTED and flat >= (1 - TILTED_PART) * self.wanted:
            return Offer.FLAT
        adds = bool(np.any((new.cells > 0) & (seen.cells == 0)))
        if len(self) >= (1 - KEPT) * self.wanted and seen.part < COVERED and not adds:
            return Offer.COVERED
        self._taken.append(_Taken(t_cam_board, detection.corners))
        return Offer.TAKEN

    def _stands(self, before: Detection, now: Detection) -> bool:
        _, first, second = np.intersect1d(before.ids, now.ids, return_indices=True)
        if len(first) < len(now.ids) / 2:
            return False
        shifts = np.linalg.norm(before.corners[first] - now.corners[second], axis=-1)
        return bool(np.median(shifts) < STILL)

    def _alike(self, one: Array, other: Array) -> bool:
        middle = np.array([[self.board.columns, self.board.rows, 0.0]]) * self.board.square / 2
        places = [poses.apply(view, middle)[0] for view in (one, other)]
        turn = np.linalg.norm(poses.rotation_vector(one[:3, :3] @ other[:3, :3].T))
        shift = np.linalg.norm(self._lens.project(places[0]) - self._lens.project(places[1])) / self.size[0]
        scale = abs(places[0][2] / places[1][2] - 1)
        return bool(turn < TURNED and shift < MOVED and scale < SCALED)


def as_delivered(image: NDArray[np.uint8], flip: str) -> NDArray[np.uint8]:
    """A picture of the live cell as the camera delivered it, without the site's `flip`: lenses are of that one."""
    rows = slice(None, None, -1 if flip in ("vertical", "both") else 1)
    columns = slice(None, None, -1 if flip in ("horizontal", "both") else 1)
    return np.ascontiguousarray(image[rows, columns])


def collect(
    cell: LiveCell,
    role: CameraRole,
    collector: Collector,
    *,
    flip: str = "none",
    timeout: float = 300.0,
    show: Callable[[Collector, str], None],
) -> list[Capture]:
    """Take views until there are as many as `collector` wants; pictures are kept without `flip`.

    `show` is called after every picture with what to do, in words. Raises CalibrationError: not enough within
    `timeout`, s; CameraError: the camera was lost.
    """
    captures: list[Capture] = []
    deadline = time.monotonic() + timeout
    seen, reason = time.monotonic(), ""
    while len(collector) < collector.wanted:
        if time.monotonic() > deadline:
            raise CalibrationError(
                f"{role}: {len(collector)} of {collector.wanted} views after {timeout:.0f} s; "
                f"{reason or collector.coverage.advice}"
            )
        picture = cell.next_pictures()[role]
        image = as_delivered(picture.image, flip)
        detection = detect(image, collector.board)
        offer = collector.offer(detection)
        if offer is Offer.TAKEN:
            captures.append(Capture(role, image, captured=picture.captured))
        if offer is not Offer.UNSEEN:
            seen, reason = time.monotonic(), ""
        elif time.monotonic() - seen > SILENCE:
            # Trying out causes takes a while: not with every picture.
            reason, seen = explain(image, collector.board, detection), time.monotonic()
        hint = offer.value if offer is Offer.MOVING else collector.coverage.advice
        show(collector, reason or hint)
    return captures
