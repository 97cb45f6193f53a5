"""Which camera sits on which wrist: one wrist turns a little, and one picture changes.

A serial number says which device delivers a picture, never where it is mounted. A part of the picture is changed where
its brightness differs by more than noise does; what changes although nothing is moved is measured first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import CalibrationError
from gigaedge.robot import CameraRole, Side
from gigaedge.site import LimitsConfig
from gigaedge_calibration.live import LiveCell
from gigaedge_calibration.verdicts import Judgement, Verdict

WIGGLE: Final = math.radians(5.0)
"""rad, of joint 6: it turns a wrist camera about its own view and moves nothing else."""
SEEN: Final = 0.05
"""A picture of which less has changed does not show the motion."""
CLEARLY: Final = 3.0
"""So many times more than in any other picture has changed in the one that moves."""
RESTLESS: Final = 0.10
"""More of a picture than this must not change while nothing is moved."""
SHOTS: Final = 3
"""Pictures of one state, of which the median counts."""
LEAST: Final = 10.0
"""Grey levels of 255; a smaller difference is never a change."""
NOISES: Final = 6.0
"""Nor is one of fewer standard deviations of the noise."""

_BLUR: Final = (7, 7)

Still = NDArray[np.float32]
"""A grey picture of a state without motion, 0..255, shape (height, width)."""


@dataclass(frozen=True)
class RoleProof:
    """How much of every camera's picture changes, and by whose motion; parts of the picture, 0..1."""

    still: Mapping[CameraRole, float]
    """While nothing is moved."""
    moved: Mapping[Side, Mapping[CameraRole, float]]
    """While the wrist of one arm is."""

    def mover(self, side: Side) -> CameraRole | None:
        """The camera on this wrist; None: no picture changes enough, or more than one does."""
        excess = {role: max(0.0, part - self.still[role]) for role, part in self.moved[side].items()}
        first, *others = sorted(excess, key=lambda role: -excess[role])
        second = excess[others[0]] if others else 0.0
        return first if excess[first] >= max(SEEN, CLEARLY * second) else None


def look(cell: LiveCell) -> dict[CameraRole, Still]:
    """What every camera sees now, less its noise. Raises CameraError: no picture."""
    shots = [cell.next_pictures() for _ in range(SHOTS)]
    return {role: still_of([shot[role].image for shot in shots]) for role in shots[0]}


def still_of(images: Sequence[NDArray[np.uint8]]) -> Still:
    """The median of RGB pictures of shape (height, width, 3), grey and blurred."""
    grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images])
    middle = np.median(grey, axis=0).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(middle, _BLUR, 0), np.float32)


def changed_part(before: Still, after: Still) -> float:
    """How much of a picture differs, 0..1, when it was made as bright as the other (lamps flicker)."""
    gain = float(np.median(before)) / max(float(np.median(after)), 1.0)
    difference = np.abs(before - gain * after)
    # Half of the pixels or more show noise only, in all but a picture that moves as a whole.
    noise = float(np.median(difference)) / 0.6745
    return float(np.mean(difference > max(LEAST, min(NOISES * noise, 3 * LEAST))))


def measure_still(cell: LiveCell, wait: float = 0.5) -> dict[CameraRole, float]:
    """How much of every picture changes although nothing is moved, over `wait`, s, twice.

    Raises CalibrationError, naming the camera, when that is too much for any proof.
    """
    looks = [look(cell)]
    for _ in range(2):
        time.sleep(wait)
        looks.append(look(cell))
    still = _changed_twice(looks)
    restless = max(still, key=lambda role: still[role])
    if still[restless] > RESTLESS:
        raise CalibrationError(
            f"{restless}: {100 * still[restless]:.0f} % of its picture changes although nothing is moved, at most "
            f"{100 * RESTLESS:.0f} % may; stop what moves or flickers in its view"
        )
    return still


def wiggle(cell: LiveCell, side: Side, limits: LimitsConfig) -> dict[CameraRole, float]:
    """Turn joint 6 of one arm by WIGGLE, slowly, and back; how much of every picture changed both times.

    Raises ArmError or InputError as `LiveCell.move` does, CameraError: no picture.
    """
    home = cell.joints(side)
    middle = (limits.position_min[5] + limits.position_max[5]) / 2
    turned = home.copy()
    turned[5] += WIGGLE if home[5] < middle else -WIGGLE
    looks = [look(cell)]
    for target in (turned, home):
        cell.move(side, target)
        looks.append(look(cell))
    return _changed_twice(looks)


def watch(
    cell: LiveCell, seconds: float, clock: Callable[[], float] = time.monotonic
) -> dict[CameraRole, float]:
    """How much of every picture changes at most while somebody moves a wrist by hand. Raises CameraError."""
    before = look(cell)
    most = dict.fromkeys(before, 0.0)
    deadline = clock() + seconds
    while clock() < deadline:
        for role, picture in cell.next_pictures().items():
            most[role] = max(most[role], changed_part(before[role], still_of([picture.image])))
    return most


def judge_roles(proof: RoleProof) -> list[Judgement]:
    """One row per arm that moved: is the camera on its wrist the one that the site file names?"""
    return [_judge_side(side, proof) for side in proof.moved]


def assign(serials: Mapping[CameraRole, str], proof: RoleProof) -> dict[CameraRole, str]:
    """Serial numbers by role, as the motion says: those of `serials`, with cameras changed places where needed."""
    at = {role: role for role in serials}
    for side in proof.moved:
        mover, wrist = proof.mover(side), wrist_camera(side)
        if mover is None:
            continue
        now = next(role for role, source in at.items() if source == mover)
        at[wrist], at[now] = at[now], at[wrist]
    return {role: serials[source] for role, source in at.items()}


def wrist_camera(side: Side) -> CameraRole:
    """The role of the camera on an arm's wrist."""
    return "cam_left_wrist" if side == "left" else "cam_right_wrist"


def _judge_side(side: Side, proof: RoleProof) -> Judgement:
    check, wrist, mover = f"{side} wrist moved", wrist_camera(side), proof.mover(side)
    value = 100 * proof.moved[side][mover or wrist]
    if mover == wrist:
        return Judgement(check, wrist, Verdict.PASS, value)
    if mover is not None:
        return Judgement(
            check, wrist, Verdict.FAIL, value,
            cause=f"it is the picture of {mover} that changes",
            mend=f"swap the serials of {wrist} and {mover} in the site file (--write does)",
        )  # fmt: skip
    seen = [role for role, part in proof.moved[side].items() if part - proof.still[role] >= SEEN]
    cause = f"{' and '.join(seen)} change alike" if len(seen) > 1 else "no picture changes"
    return Judgement(
        check, wrist, Verdict.FAIL, value, cause=cause,
        mend="see that the camera is on this wrist, not covered, and that only this arm moves",
    )  # fmt: skip


def _changed_twice(looks: Sequence[Mapping[CameraRole, Still]]) -> dict[CameraRole, float]:
    """What changed from the first to the second look and again to the third: a passer-by is there only once."""
    first, second, third = looks
    return {
        role: min(changed_part(first[role], second[role]), changed_part(second[role], third[role]))
        for role in first
    }
