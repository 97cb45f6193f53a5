"""Captures on disk: the pictures and joint angles that a calibration was computed from, so that it can be again.

A folder with `looks.json` and one PNG per picture (lossless: what is solved again is what was solved).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from gigaedge.calibration_entries import LOOKS
from gigaedge.documents import FileInfo, Part, describe_file, verify_files, write_document
from gigaedge.errors import CalibrationError
from gigaedge.files import atomic_directory
from gigaedge.robot import CameraRole
from gigaedge.validation import first_problem


@dataclass(frozen=True)
class Capture:
    """One picture and where the robot was."""

    role: CameraRole
    image: NDArray[np.uint8]
    """RGB, shape (height, width, 3)."""
    joints: tuple[float, ...] | None = None
    """Both arms' measured state, 14 values (gigaedge.robot), or None where no arm matters."""
    captured: float = 0.0
    """s, on one clock within a set."""


class _Entry(Part):
    picture: FileInfo
    role: CameraRole
    joints: tuple[float, ...] | None = Field(None, min_length=14, max_length=14)
    captured: float


class _Looks(Part):
    looks: tuple[_Entry, ...]


def save_captures(folder: Path, captures: Sequence[Capture], *, replace: bool = False) -> Path:
    """Write a set of captures, whole or not at all; returns its `looks.json`. Raises InputError: `folder` exists."""
    with atomic_directory(folder, mark=LOOKS, replace=replace) as temporary:
        entries = []
        for index, capture in enumerate(captures):
            file = temporary / f"{index:03d}-{capture.role}.png"
            # Bytes first: cv2.imwrite reports nothing when a disk is full.
            _, encoded = cv2.imencode(".png", cv2.cvtColor(capture.image, cv2.COLOR_RGB2BGR))
            file.write_bytes(encoded.tobytes())
            picture = FileInfo(**describe_file(file))
            entries.append(
                _Entry(picture=picture, role=capture.role, joints=capture.joints, captured=capture.captured)
            )
        write_document(temporary / LOOKS, _Looks(looks=tuple(entries)))
    return folder / LOOKS


def load_captures(folder: Path) -> list[Capture]:
    """Read a set of captures, pictures checked against their checksums. Raises CalibrationError."""
    document = folder / LOOKS
    if not document.is_file():
        raise CalibrationError(
            f"{folder}: no {LOOKS}; name a folder of captures that `gigaedge calibrate` wrote"
        )
    try:
        looks = _Looks.model_validate(json.loads(document.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{document}: not valid JSON ({error}); capture again") from error
    except ValidationError as error:
        raise CalibrationError(f"{document}: {first_problem(error, _Looks)}") from error
    verify_files(document, [entry.picture for entry in looks.looks])
    captures = []
    for entry in looks.looks:
        image = cv2.imread(str(folder / entry.picture.file), cv2.IMREAD_COLOR)
        if image is None:
            raise CalibrationError(f"{folder / entry.picture.file}: not a readable picture; capture again")
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        captures.append(Capture(entry.role, rgb, entry.joints, entry.captured))
    return captures
