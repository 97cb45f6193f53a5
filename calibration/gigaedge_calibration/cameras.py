"""Which cameras are connected, and whether each is fit for a cell of three."""

from __future__ import annotations

from typing import Final

from gigaedge.librealsense import colour_streams_of, list_devices

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
