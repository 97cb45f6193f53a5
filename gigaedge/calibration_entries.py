"""Putting what was measured into a calibration: a camera's entry, and the captures it came from."""

from __future__ import annotations

import os
from pathlib import Path

from gigaedge.calibration import Calibration, CameraCalibration, CaptureInfo, Purpose, StreamInfo
from gigaedge.files import sha256
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import CameraConfig

LOOKS = "looks.json"
"""The document of a folder of captures."""


def stream_of(config: CameraConfig) -> StreamInfo:
    """The picture that a camera of the site delivers."""
    return StreamInfo(width=config.width, height=config.height, fps=config.fps, flip=config.flip)


def entry_of(
    calibration: Calibration, config: CameraConfig, *, serial: str | None = None
) -> CameraCalibration:
    """What the file knows of this very camera, with its stream as it is now; of another one in its place, nothing.

    A lens or a reference picture of another size than the stream's goes. `serial`: of the device, where it is not the
    one that the site names.
    """
    serial, stream = serial or config.identity, stream_of(config)
    known = calibration.camera(config.role)
    if known is None or known.serial != serial:
        return CameraCalibration(role=config.role, serial=serial, stream=stream)
    if (known.stream.width, known.stream.height) != (stream.width, stream.height):
        known = known.model_copy(update={"factory": None, "intrinsics": None, "view": None})
    return known.model_copy(update={"stream": stream})


def with_camera(calibration: Calibration, entry: CameraCalibration) -> Calibration:
    """The calibration with one camera put in, in the order of `CAMERA_ROLES`."""
    others = [camera for camera in calibration.cameras if camera.role != entry.role]
    cameras = sorted([*others, entry], key=lambda camera: CAMERA_ROLES.index(camera.role))
    return calibration.model_copy(update={"cameras": tuple(cameras)})


def capture_info(file: Path, folder: Path, purpose: Purpose, subject: str) -> CaptureInfo:
    """How the calibration `file` refers to a folder of captures."""
    return CaptureInfo(
        purpose=purpose,
        subject=subject,
        folder=os.path.relpath(folder, file.parent),
        sha256=sha256(folder / LOOKS),
    )


def with_capture(calibration: Calibration, capture: CaptureInfo) -> Calibration:
    """The calibration with this set of captures in place of one of the same purpose and subject."""
    kept = [
        known
        for known in calibration.captures
        if (known.purpose, known.subject) != (capture.purpose, capture.subject)
    ]
    return calibration.model_copy(update={"captures": (*kept, capture)})
