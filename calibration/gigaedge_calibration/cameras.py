"""Which cameras are connected, and whether each is fit for a cell of three."""

from __future__ import annotations

from typing import Final

from gigaedge.calibration import Calibration, CameraCalibration
from gigaedge.calibration_entries import entry_of
from gigaedge.errors import CameraError
from gigaedge.librealsense import DeviceInfo, colour_streams_of, list_devices
from gigaedge.robot import CameraRole
from gigaedge.site import CameraConfig, Site

COLUMNS: Final = ("serial", "name", "usb", "firmware", "port", "colour streams")


def connected_cameras() -> list[tuple[str, str, str, str, str, str]]:
    """One row of `COLUMNS` per connected RealSense, in the order of their serial numbers.

    Raises CameraError when librealsense is absent or the bus cannot be read.
    """
    return [
        (info.serial, info.name, info.usb, info.firmware, info.port, colour_streams_of(info.serial))
        for info in list_devices()
    ]


def slow_cameras(rows: list[tuple[str, str, str, str, str, str]]) -> list[str]:
    """One line for each camera that runs at USB 2 and will be refused."""
    return [
        f"{serial} runs at USB {usb}, too slow for three cameras: use a USB 3 port and cable, plug it in quickly"
        for serial, _, usb, *_ in rows
        if usb.startswith("2")
    ]


def calibration_entry(
    calibration: Calibration, config: CameraConfig, device: DeviceInfo
) -> CameraCalibration:
    """What the file knows of this very camera, and what the device says of itself now."""
    said = {"name": device.name, "firmware": device.firmware, "usb": device.usb}
    return entry_of(calibration, config, serial=device.serial).model_copy(update=said)


def with_connected_serials(site: Site) -> tuple[Site, dict[CameraRole, str]]:
    """The site with cameras in place of those that are not connected, and which those are, for a proof of roles.

    Raises CameraError: fewer cameras are connected than the site has.
    """
    configs = [
        camera for camera in site.cameras if camera.driver == "realsense" and camera.serial is not None
    ]
    connected = [info.serial for info in list_devices()] if configs else []
    absent = [camera for camera in configs if camera.serial not in connected]
    free = [serial for serial in connected if serial not in {camera.serial for camera in configs}]
    if len(free) < len(absent):
        missing = ", ".join(f"{camera.role} ({camera.serial})" for camera in absent)
        raise CameraError(
            f"not connected: {missing}; connected: {', '.join(connected) or 'none'}; check cables and hub"
        )
    chosen = {camera.role: serial for camera, serial in zip(absent, free, strict=False)}
    cameras = tuple(
        camera.model_copy(update={"serial": chosen[camera.role]}) if camera.role in chosen else camera
        for camera in site.cameras
    )
    return site.model_copy(update={"cameras": cameras}), chosen
