"""Which cameras are connected: what `gigaedge calibrate cameras` prints."""

from __future__ import annotations

from typing import Final

from gigaedge.librealsense import list_devices

COLUMNS: Final = ("serial", "name", "usb", "firmware")


def connected_cameras() -> list[tuple[str, str, str, str]]:
    """One row of `COLUMNS` per connected RealSense, in the order of their serial numbers.

    Raises CameraError when librealsense is absent or the bus cannot be read.
    """
    return [(info.serial, info.name, info.usb, info.firmware) for info in list_devices()]
