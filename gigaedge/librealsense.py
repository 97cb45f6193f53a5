"""librealsense, loaded when it is first needed: one module, one context for the whole process.

`import pyrealsense2` fails on a system without libusb although nothing else is wrong with it; `load` brings
the libusb of the PyPI package `libusb-package` then. Every RealSense user of gigaedge shares `context()`,
because devices, recordings and simulated devices are only visible inside the context that they belong to.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from collections import defaultdict
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from gigaedge.errors import CameraError
from gigaedge.lens import Lens

_lock = threading.RLock()
_context: Any = None
_pulled: set[str] = set()


@dataclass(frozen=True)
class DeviceInfo:
    """One connected RealSense, as librealsense reports it."""

    serial: str
    """The serial number a site file names."""
    name: str
    usb: str
    """USB type that was negotiated, such as `3.2`; `2.1` is too slow for three cameras."""
    firmware: str
    port: str = "unknown"
    """Where it is plugged in, as the system names it."""

    def __str__(self) -> str:
        return f"{self.serial} ({self.name})"


def load() -> ModuleType:
    """The module `pyrealsense2`. Raises CameraError, with the mend, when it is absent or cannot be loaded."""
    # Since 2.59 every context keeps usage statistics; they must never leave a robot unasked.
    os.environ.setdefault("RS2_RUM_CLOUD_ENABLED", "0")
    _preload_libusb()
    try:
        return importlib.import_module("pyrealsense2")
    except ModuleNotFoundError as error:
        raise CameraError(
            "pyrealsense2 is not installed; install it with `pip install 'gigaedge[robot]'`"
        ) from error
    except ImportError as error:
        raise CameraError(
            f"pyrealsense2 cannot be loaded ({error}); for libusb run `apt-get install libusb-1.0-0` or "
            "`pip install libusb-package`, for GLIBC take a wheel built for this system"
        ) from error


def context() -> Any:
    """The `pyrealsense2.context` of this process, made at the first call.

    Raises CameraError as `load` does.
    """
    global _context
    with _lock:
        if _context is None:
            rs = load()
            try:
                _context = rs.context()
            except RuntimeError as error:
                raise CameraError(f"librealsense does not start: {error}; run `gigaedge doctor`") from error
        return _context


def list_devices() -> tuple[DeviceInfo, ...]:
    """Connected cameras in the order of their serial numbers; takes milliseconds and opens none of them.

    Raises CameraError when librealsense is absent or the bus cannot be read.
    """
    rs = load()
    fields = rs.camera_info

    def read(device: Any, field: Any) -> str:
        return str(device.get_info(field)) if device.supports(field) else "unknown"

    try:
        found = [
            DeviceInfo(
                serial=read(device, fields.serial_number),
                # `fields.name` would be the enumeration's own attribute.
                name=read(device, fields.__members__["name"]),
                usb=read(device, fields.usb_type_descriptor),
                firmware=read(device, fields.firmware_version),
                port=read(device, fields.physical_port),
            )
            for device in context().query_devices()
        ]
    except RuntimeError as error:
        raise CameraError(
            f"cannot list RealSense cameras: {error}; check cables and udev rules, then `gigaedge doctor`"
        ) from error
    return tuple(sorted((info for info in found if info.serial not in _pulled), key=lambda info: info.serial))


def colour_streams(device: Any) -> str:
    """The RGB8 colour streams that a `pyrealsense2.device` has, such as `640x480@30/60`; raises RuntimeError."""
    rs = load()
    rates: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for profile in (p for sensor in device.query_sensors() for p in sensor.get_stream_profiles()):
        if profile.stream_type() == rs.stream.color and profile.format() == rs.format.rgb8:
            video = profile.as_video_stream_profile()
            rates[video.width(), video.height()].add(profile.fps())
    sizes = (f"{w}x{h}@{'/'.join(map(str, sorted(fps)))}" for (w, h), fps in sorted(rates.items()))
    return ", ".join(sizes) or "none"


def colour_streams_of(serial: str) -> str:
    """The same of the connected camera with this serial number, or why they cannot be listed."""
    try:
        for device in context().query_devices():
            if str(device.get_info(load().camera_info.serial_number)) == serial:
                return colour_streams(device)
    except RuntimeError as error:
        return f"unknown ({' '.join(str(error).split())})"
    return "unknown"


def pull(serial: str, pulled: bool = True) -> None:
    """Leave a simulated camera out of the list of devices, as if its cable were pulled, until called with False.

    A software device that streams cannot leave the library's own list.
    """
    (_pulled.add if pulled else _pulled.discard)(serial)


def register(device: Any) -> Any:
    """Add a `pyrealsense2.software_device` to the shared context, so that it is found by its serial number.

    Returns a handle. The context itself holds a software device only weakly: it disappears from the list
    once the handle is dropped and no pipeline uses it any more.
    """
    with _lock:
        shared = context()
        added: list[Any] = []
        shared.set_devices_changed_callback(lambda event: added.append(event.get_new_devices()))
        device.add_to(shared)
        shared.set_devices_changed_callback(lambda event: None)
        return added


def factory_lens(serial: str, width: int, height: int) -> Lens | None:
    """The colour lens that a connected camera says of itself, for pictures of this size, px; None: no such stream.

    Nothing is opened. Raises CameraError: no such camera, or a model of distortion that is not Brown and Conrady's.
    """
    rs = load()
    try:
        for device in context().query_devices():
            if str(device.get_info(rs.camera_info.serial_number)) != serial:
                continue
            for profile in (p for sensor in device.query_sensors() for p in sensor.get_stream_profiles()):
                if profile.stream_type() != rs.stream.color:
                    continue
                video = profile.as_video_stream_profile()
                if (video.width(), video.height()) == (width, height):
                    return _lens(serial, video.get_intrinsics())
            return None
    except RuntimeError as error:
        raise CameraError(f"{serial}: its intrinsics cannot be read: {error}; plug it in again") from error
    raise CameraError(f"{serial}: no such camera is connected; see `gigaedge calibrate cameras`")


def _lens(serial: str, intrinsics: Any) -> Lens:
    coefficients = tuple(float(value) for value in intrinsics.coeffs)
    # librealsense projects with the inverse and the modified kind as with the plain one, but for what tangential terms
    # multiply (rs2_project_point_to_pixel); that is of second order.
    if any(coefficients) and not str(intrinsics.model).endswith("brown_conrady"):
        raise CameraError(
            f"{serial}: distortion {intrinsics.model} is not known here; calibrate its own lens"
        )
    return Lens(
        intrinsics.width,
        intrinsics.height,
        intrinsics.fx,
        intrinsics.fy,
        intrinsics.ppx,
        intrinsics.ppy,
        coefficients if any(coefficients) else (),
    )


def _preload_libusb() -> None:
    """Make libusb's symbols global before pyrealsense2 asks for them, when the system has no libusb."""
    try:
        ctypes.CDLL("libusb-1.0.so.0")
    except OSError:
        try:
            package = importlib.import_module("libusb_package")
        except ModuleNotFoundError:
            return  # the import of pyrealsense2 says what is missing
        ctypes.CDLL(str(package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
