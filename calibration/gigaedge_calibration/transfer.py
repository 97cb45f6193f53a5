"""One camera of a calibration to and from other tools' files, by the name of their format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gigaedge.calibration import Calibration, CameraCalibration, IntrinsicsInfo
from gigaedge.errors import CalibrationError
from gigaedge.robot import CameraRole
from gigaedge_calibration import kalibr_chain, mrcal_model, opencv_file, ros_camera_info, urdf_mounts

ExportFormat = Literal["ros", "opencv", "kalibr", "urdf", "mrcal"]
ImportFormat = Literal["ros", "opencv", "kalibr"]


@dataclass(frozen=True)
class Exported:
    """A file to be written."""

    text: str
    notes: tuple[str, ...] = ()
    """What it cannot say, or says differently."""


def export(calibration: Calibration, form: ExportFormat, role: CameraRole | None) -> Exported:
    """Write one camera, or for `urdf` without a role all mounts.

    Raises CalibrationError: the calibration has no lens or mount for it; a lens that the format cannot say.
    """
    if form == "urdf":
        return _mounts(calibration, role)
    if role is None:
        raise CalibrationError(f"--format {form} is of one camera; say which with --role")
    camera = _camera(calibration, role)
    lens = camera.intrinsics or camera.factory
    if lens is None:
        raise CalibrationError(f"{role} has no lens yet; run `gigaedge calibrate intrinsics`, or import one")
    notes = () if camera.intrinsics else (f"{role}: the factory's lens; nobody has measured it here",)
    if lens.covariance is not None:
        notes = (*notes, "the file cannot say how uncertain its numbers are; the calibration does")
    if form == "ros":
        return Exported(ros_camera_info.write(lens, role), notes)
    if form == "opencv":
        return Exported(opencv_file.write(lens), notes)
    if form == "mrcal":
        mount = camera.mount.transform if camera.mount else None
        return Exported(mrcal_model.write(lens, mount), notes)
    text, worst = kalibr_chain.write(lens, role)
    if worst:
        notes = (
            *notes,
            f"fitted anew with Kalibr's four coefficients: a point moves by at most {worst:.3f} px",
        )
    return Exported(text, notes)


def read_lens(
    file: Path, form: ImportFormat, size: tuple[int, int], entry: str | None = None
) -> IntrinsicsInfo:
    """The lens in another tool's file; `size` where that does not say it, `entry` names a camera among several.

    Raises InputError and CalibrationError as the readers do.
    """
    if form == "ros":
        return ros_camera_info.read(file)
    if form == "opencv":
        return opencv_file.read(file, size)
    return kalibr_chain.read(file, entry)


def _mounts(calibration: Calibration, role: CameraRole | None) -> Exported:
    cameras = calibration.cameras if role is None else (_camera(calibration, role),)
    mounts = [camera.mount.transform for camera in cameras if camera.mount is not None]
    if not mounts:
        raise CalibrationError(
            f"no mount of {role or 'any camera'} is known yet; run `gigaedge calibrate hand-eye`"
        )
    if role is None and calibration.bases is not None:
        mounts.append(calibration.bases)
    return Exported(urdf_mounts.write(mounts))


def _camera(calibration: Calibration, role: CameraRole) -> CameraCalibration:
    camera = calibration.camera(role)
    if camera is None:
        known = ", ".join(camera.role for camera in calibration.cameras) or "no camera"
        raise CalibrationError(f"nothing is known of {role}; the calibration has {known}")
    return camera
