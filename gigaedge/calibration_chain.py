"""Where a calibration came from: the files before it, and the captures that it was computed from.

`amend` (gigaedge.calibration) names the file before by its checksum and keeps it; `follow` walks back through them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gigaedge.calibration import Calibration, CaptureInfo, kept_file, load_calibration
from gigaedge.documents import FileInfo, verify_files
from gigaedge.errors import BundleError, CalibrationError
from gigaedge.files import sha256


@dataclass(frozen=True)
class Link:
    """One version of a calibration."""

    file: Path
    sha256: str
    created: datetime


@dataclass(frozen=True)
class Chain:
    """A calibration and those before it, the newest first."""

    links: tuple[Link, ...]
    broken: str = ""
    """Where it breaks and why; empty where it reaches the first file."""


@dataclass(frozen=True)
class KeptCapture:
    """One set of captures that a calibration names, and whether it is still what it was."""

    info: CaptureInfo
    problem: str = ""
    """What is missing or altered; empty: nothing."""


def follow(file: Path) -> Chain:
    """The chain that ends in `file`. Raises CalibrationError when `file` itself cannot be read."""
    calibration = load_calibration(file)
    links = [Link(file, sha256(file), calibration.created)]
    while (checksum := calibration.previous) is not None:
        before = kept_file(file, checksum)
        if not before.is_file():
            return Chain(tuple(links), f"{before.name} is missing; {links[-1].file.name} replaced it")
        if (found := sha256(before)) != checksum:
            return Chain(
                tuple(links),
                f"{before.name} was altered: its SHA-256 is {found[:12]}..., {links[-1].file.name} says "
                f"{checksum[:12]}...",
            )
        try:
            calibration = load_calibration(before)
        except CalibrationError as error:
            return Chain(tuple(links), str(error))
        links.append(Link(before, checksum, calibration.created))
    return Chain(tuple(links))


def verify_captures(file: Path, calibration: Calibration) -> list[KeptCapture]:
    """Compare all captures that the calibration in `file` names with their checksums."""
    return [KeptCapture(info, _problem(file.parent / info.folder, info)) for info in calibration.captures]


def _problem(folder: Path, info: CaptureInfo) -> str:
    document = folder / "looks.json"
    if not document.is_file():
        return (
            f"{folder} has no {document.name}; copy the folder back: without it nothing can be solved again"
        )
    if sha256(document) != info.sha256:
        return f"{document} is not the one that was solved (another SHA-256); copy it back, or solve it again"
    looks = json.loads(document.read_text(encoding="utf-8"))["looks"]
    try:
        verify_files(document, [FileInfo.model_validate(look["picture"]) for look in looks])
    except BundleError as error:
        return str(error)
    return ""
