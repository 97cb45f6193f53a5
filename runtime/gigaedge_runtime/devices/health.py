"""Counting how a camera does, in constant memory, while its frames come."""

from __future__ import annotations

from collections import Counter

from gigaedge.librealsense import DeviceInfo
from gigaedge.robot import CameraRole
from gigaedge_runtime.devices import Frame
from gigaedge_runtime.histogram import Histogram
from gigaedge_runtime.report import CameraHealth


class HealthLog:
    """One camera's counts since its start; written by its reader, read by anybody."""

    def __init__(self, role: CameraRole, source: str) -> None:
        self.odd_frames: Counter[str] = Counter()
        """`out_of_order`, `untrusted_stamp` and `unlocked`."""
        self.device: DeviceInfo | None = None
        self.settings: dict[str, float] = {}
        self.dropped = self.duplicates = self.reconnects = 0
        self._role = role
        self._source = source
        self._stamps: Counter[str] = Counter()
        self._transport = Histogram()
        self._first: float | None = None
        self._last = 0.0

    def took(self, frame: Frame) -> None:
        """Count a frame that is used."""
        if self._first is None:
            self._first = frame.received
        self._last = frame.received
        self._stamps[frame.stamp] += 1
        if frame.stamp != "arrival":
            self._transport.add(frame.received - frame.captured)

    def snapshot(self) -> CameraHealth:
        """Everything so far; the skew is the set of cameras' to say."""
        frames = self._stamps.total()
        lasted = 0.0 if self._first is None else self._last - self._first
        device = self.device
        return CameraHealth(
            role=self._role,
            source=self._source,
            serial=device.serial if device else None,
            usb=device.usb if device else None,
            firmware=device.firmware if device else None,
            frames=frames,
            rate=(frames - 1) / lasted if lasted > 0 else 0.0,
            dropped=self.dropped,
            out_of_order=self.odd_frames["out_of_order"],
            duplicates=self.duplicates,
            untrusted_stamps=self.odd_frames["untrusted_stamp"],
            unlocked=self.odd_frames["unlocked"],
            reconnects=self.reconnects,
            stamps=dict(self._stamps),
            transport=self._transport.spread(),
            settings=dict(self.settings),
        )
