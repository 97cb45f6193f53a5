"""What arm and cameras did while an arm swung: recorded from a live cell, kept on disk as signals.

A picture is kept as the four numbers of its motion, not as pixels: that is all that is solved from, and solved again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from gigaedge.calibration_entries import LOOKS
from gigaedge.documents import FileInfo, Part, describe_file, verify_files, write_document
from gigaedge.errors import CalibrationError, CameraError
from gigaedge.files import atomic_directory
from gigaedge.robot import CAMERA_ROLES, JOINTS, CameraRole, Side
from gigaedge.validation import first_problem
from gigaedge_calibration.latency import GREATEST
from gigaedge_calibration.live import LiveCell
from gigaedge_calibration.picture_motion import picture_motions, thumbnail

Array = NDArray[np.float64]

SWING: Final = (0.12, 0.0, 0.0, 0.2, 0.2, 0.0)
"""rad, each joint to either side: what both the wrist's and the front camera see, and a table does not mind."""
_POLL: Final = 0.004
"""s; well below the time between two frames."""
_SIGNALS: Final = "motion.npz"


@dataclass(frozen=True)
class CameraMotion:
    """One camera's side of it."""

    stamps: Array
    """Of its frames, s on CLOCK_MONOTONIC as the device says, shape (m,)."""
    motion: Array
    """Between successive frames, shape (m - 1, 4), from `picture_motions`."""


@dataclass(frozen=True)
class MotionRecord:
    """One arm's swing."""

    side: Side
    stamps: Array
    """Of the joint feedback, s on the same clock, shape (n,)."""
    joints: Array
    """rad, shape (n, 6)."""
    cameras: Mapping[CameraRole, CameraMotion]


class _Signals(Part):
    """The entry of `looks.json`."""

    picture: FileInfo
    side: Side


class _Looks(Part):
    looks: tuple[_Signals]


def swing(
    cell: LiveCell, side: Side, lowest: Sequence[float], highest: Sequence[float]
) -> tuple[Array, Array]:
    """Two poses about where the arm stands, rad, (6,) each, within the site's position limits."""
    middle = cell.joints(side)
    low, high = (np.array(bound) + sign * 0.02 for bound, sign in ((lowest, 1), (highest, -1)))
    return np.clip(middle - SWING, low, high), np.clip(middle + SWING, low, high)


def record_motion(
    cell: LiveCell, side: Side, seconds: float, between: tuple[Array, Array] | None = None
) -> MotionRecord:
    """Watch for so many seconds while the arm moves: between two poses, or by a person's hand.

    Moves are finished, the last one back to where the arm stood. Raises CameraError: no picture, or a camera was lost;
    ArmError: what `LiveCell.move` raises.
    """
    watch = _Watch(cell)
    deadline = time.monotonic() + seconds
    if between is None:
        while time.monotonic() < deadline:
            watch.look()
            time.sleep(_POLL)
    else:
        home = cell.joints(side)
        with watch:
            turn = 0
            while time.monotonic() < deadline or turn < 2:
                cell.move(side, between[turn % 2])
                turn += 1
            cell.move(side, home)
            time.sleep(GREATEST)
    stamps, joints = cell.history(side)
    return MotionRecord(side, stamps, joints, watch.cameras())


class _Watch:
    """Keeps every picture, small; on a thread of its own inside a `with` block."""

    def __init__(self, cell: LiveCell) -> None:
        self._cell = cell
        self._frames: dict[CameraRole, list[tuple[int, float, NDArray[np.uint8]]]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._error: CameraError | None = None

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Keep what is new."""
        for role, picture in self._cell.pictures().items():
            kept = self._frames.setdefault(role, [])
            if not kept or kept[-1][0] != picture.number:
                kept.append((picture.number, picture.captured, thumbnail(picture.image)))

    def cameras(self) -> dict[CameraRole, CameraMotion]:
        """Every camera's motion. Raises CameraError: one was lost, or delivered nothing."""
        if self._error is not None:
            raise self._error
        silent = [role for role, kept in self._frames.items() if len(kept) < 2]
        if silent or not self._frames:
            raise CameraError(f"no pictures from {', '.join(silent) or 'any camera'} while the arm moved")
        return {
            role: CameraMotion(
                np.array([stamp for _, stamp, _ in kept]),
                picture_motions(np.stack([image for *_, image in kept])),
            )
            for role, kept in self._frames.items()
        }

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_POLL):
                self.look()
        except CameraError as error:
            self._error = error


def save_motion(folder: Path, record: MotionRecord) -> None:
    """Keep a record in a folder of its own, in place of an earlier one; whole or not at all."""
    arrays: dict[str, Any] = {"stamps": record.stamps, "joints": record.joints}
    for role, camera in record.cameras.items():
        arrays[f"{role}.stamps"], arrays[f"{role}.motion"] = camera.stamps, camera.motion
    with atomic_directory(folder, mark=LOOKS, replace=True) as temporary:
        np.savez_compressed(temporary / _SIGNALS, **arrays)
        signals = _Signals(picture=FileInfo(**describe_file(temporary / _SIGNALS)), side=record.side)
        write_document(temporary / LOOKS, _Looks(looks=(signals,)))


def load_motion(folder: Path) -> MotionRecord:
    """Read a record, checked against its checksum. Raises CalibrationError: none there, or damaged."""
    document = folder / LOOKS
    if not document.is_file():
        raise CalibrationError(f"{folder}: no {LOOKS}; name a folder that `gigaedge calibrate time` wrote")
    try:
        (entry,) = _Looks.model_validate_json(document.read_bytes()).looks
    except ValidationError as error:
        raise CalibrationError(f"{document}: {first_problem(error, _Looks)}") from error
    verify_files(document, [entry.picture])
    with np.load(folder / entry.picture.file, allow_pickle=False) as file:
        arrays = {name: np.asarray(file[name], np.float64) for name in file.files}
    cameras = {
        role: CameraMotion(arrays[f"{role}.stamps"], arrays[f"{role}.motion"])
        for role in CAMERA_ROLES
        if f"{role}.stamps" in arrays
    }
    return MotionRecord(entry.side, arrays["stamps"], arrays["joints"].reshape(-1, JOINTS), cameras)
