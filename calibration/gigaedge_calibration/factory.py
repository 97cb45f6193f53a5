"""The lens that a RealSense was given in its factory, read without starting it; nothing is ever written to a camera.

Its coefficients are k1 k2 p1 p2 k3. Colour streams call their model inverse Brown-Conrady, but librealsense projects
with it forwards (`rs2_project_point_to_pixel`), and so it is read here; only the tangential terms would differ, by
their product with the radial ones.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from gigaedge import librealsense
from gigaedge.calibration import IntrinsicsInfo
from gigaedge.errors import CalibrationError, CameraError
from gigaedge.validation import first_problem


def factory_lens(serial: str, width: int, height: int, fps: int) -> IntrinsicsInfo:
    """The lens of a connected camera's colour stream.

    Raises CameraError: no such camera, no such stream; CalibrationError: it says what cannot be.
    """
    rs = librealsense.load()
    try:
        found = _colour_profile(rs, serial, width, height, fps).get_intrinsics()
    except RuntimeError as error:
        raise CameraError(f"camera {serial}: its lens cannot be read ({error}); plug it in again") from error
    terms = tuple(float(value) for value in found.coeffs)
    try:
        return IntrinsicsInfo(
            source="factory",
            model="radial_tangential" if any(terms) else "pinhole",
            width=found.width,
            height=found.height,
            fx=found.fx,
            fy=found.fy,
            cx=found.ppx,
            cy=found.ppy,
            distortion=terms if any(terms) else (),
        )
    except ValidationError as error:
        raise CalibrationError(
            f"camera {serial}: its own lens cannot be true: {first_problem(error, IntrinsicsInfo)}"
        ) from error


def _colour_profile(rs: Any, serial: str, width: int, height: int, fps: int) -> Any:
    """The profile of a stream, read from the list of those that the device offers."""
    known = []
    for device in librealsense.context().query_devices():
        known.append(device.get_info(rs.camera_info.serial_number))
        if known[-1] != serial:
            continue
        for sensor in device.query_sensors():
            for profile in sensor.get_stream_profiles():
                if profile.stream_type() != rs.stream.color:
                    continue
                video = profile.as_video_stream_profile()
                if (video.width(), video.height(), video.fps()) == (width, height, fps):
                    return video
        raise CameraError(f"camera {serial} has no colour stream of {width}x{height} at {fps}/s")
    raise CameraError(f"camera {serial} is not connected; connected: {', '.join(sorted(known)) or 'none'}")
