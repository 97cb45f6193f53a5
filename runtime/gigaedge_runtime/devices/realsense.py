"""RealSense colour streams through librealsense: live cameras by serial number, and recordings of them.

A stream runs into a queue of one frame, from which a thread copies the pixels out at once. That keeps every
wait short (a pipeline that is waited on directly blocks for 15 s when its camera is unplugged) and never
drains the pool of 16 frames that the library has. A camera that is not connected is never started: that
would stop every thread of the process for 15 s, so the list of devices is asked first.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from gigaedge import librealsense
from gigaedge.clock import Clock, monotonic
from gigaedge.errors import CameraError
from gigaedge.site import CameraConfig
from gigaedge_runtime.devices import Frame
from gigaedge_runtime.devices.threaded import MAX_WAIT, ThreadedCamera, owned

MAX_STAMP_AGE: Final = 1.0
"""s; a camera stamp older than this when its frame arrives is a jump of the clock, not a slow transport."""

REORDERED: Final = 16
"""Frames, the library's whole pool; a number further back than that is a camera that counts from one again."""

PRESENCE_INTERVAL: Final = 1.0
"""s of silence after which the camera is looked for on the bus, and again after each further interval."""

_log = logging.getLogger(__name__)


class RealSenseCamera(ThreadedCamera):
    """The colour stream of one RealSense: live (`config.serial`) or played back (`config.file`).

    A recording plays in real time and, unless `repeat` is off, starts again at its end; its frame numbers go
    on rising then, and its frames count as captured when they are received. A recording that ended, like a
    camera that was unplugged, makes `latest` raise. Odd frames of a live camera are `out_of_order` (came after
    a later one) and `untrusted_stamp` (stamped in the future, or more than MAX_STAMP_AGE back).
    """

    def __init__(self, config: CameraConfig, *, repeat: bool = True, clock: Clock = monotonic) -> None:
        """Opens nothing yet; `clock` is CLOCK_MONOTONIC, s."""
        super().__init__(config)
        self._repeat = repeat
        self._clock = clock
        self._rs: Any = None
        self._pipeline: Any = None
        self._queue: Any = None
        self._playback: Any = None
        self._number: int | None = None
        self._offset = 0
        self._heard = 0.0

    def _open(self) -> None:
        rs = self._rs = librealsense.load()
        if self.config.serial is not None:
            _check_connected(self.config)
        self._number, self._offset, self._heard = None, 0, self._clock()
        self._pipeline = rs.pipeline(librealsense.context())
        self._queue = rs.frame_queue(1)
        request = _request(self.config, self._repeat)
        try:
            profile = self._pipeline.start(request, self._queue)
            if self.config.file is not None:
                self._playback = profile.get_device().as_playback()
        except RuntimeError as error:
            raise _refused(self.config, error) from error

    def _read(self) -> Frame | None:
        try:
            item = self._queue.wait_for_frame(int(MAX_WAIT * 1e3))
        except RuntimeError:  # the library's way to say that none came in time
            self._check_alive()
            return None
        wall, received = time.time(), self._clock()
        self._heard = received
        colour = item.as_frameset().get_color_frame()
        if not colour:
            return None
        number = self._next_number(int(colour.frame_number))
        if number is None:
            return None
        return Frame(
            role=self.role,
            image=owned(np.asanyarray(colour.get_data()), self.config.flip),
            number=number,
            captured=self._captured(colour, wall, received),
            received=received,
        )

    def _close(self) -> None:
        if self._pipeline is not None:
            with contextlib.suppress(RuntimeError):  # it never started, or its camera is gone
                self._pipeline.stop()
        # A playback device stays in the list of devices for as long as anything refers to it.
        self._pipeline = self._queue = self._playback = None

    def _next_number(self, number: int) -> int | None:
        """The number of a frame to use; None for one that was delivered before or comes after a later one."""
        last = self._number
        if last is not None and self._playback is None and last - REORDERED <= number <= last:
            if number < last:
                self.odd_frames["out_of_order"] += 1
            return None
        self._number = number
        if last is None or self._playback is None:
            return number
        if number <= last:  # the recording began again
            self._offset += last
        return number + self._offset

    def _captured(self, colour: Any, wall: float, received: float) -> float:
        domains = self._rs.timestamp_domain
        comparable = colour.frame_timestamp_domain in (domains.global_time, domains.system_time)
        if self._playback is not None or not comparable:
            return received
        captured = captured_at(float(colour.timestamp), wall, received)
        if captured is None:
            self.odd_frames["untrusted_stamp"] += 1
            return received
        return captured

    def _check_alive(self) -> None:
        """Raise when the silence is final. A camera that is there but silent is left to the age checks."""
        if self._playback is not None:
            if self._playback.current_status() == self._rs.playback_status.stopped:
                raise CameraError(f"{self.role}: the recording {self.config.file} has ended")
            return
        now = self._clock()
        if now - self._heard < PRESENCE_INTERVAL:
            return
        self._heard = now
        if all(info.serial != self.config.serial for info in librealsense.list_devices()):
            raise CameraError(
                f"{self.role}: RealSense {self.config.serial} was unplugged or lost power; "
                "check cable and hub, then start again"
            )


def captured_at(stamp_ms: float, wall: float, received: float) -> float | None:
    """A camera stamp of the host's epoch as time on CLOCK_MONOTONIC, s; None when it cannot be true.

    `stamp_ms` in ms since 1970, as the domains global_time and system_time have it; `wall` (s since 1970) and
    `received` (s, monotonic) are one moment, that of arrival. Global time is a fit that sometimes jumps, so
    an age below zero or above MAX_STAMP_AGE is not believed.
    """
    age = wall - stamp_ms / 1e3
    return received - age if 0.0 <= age <= MAX_STAMP_AGE else None


def read_recording(config: CameraConfig) -> Iterator[Frame]:
    """Every frame of the recording `config.file` in its order, as fast as they are asked for.

    No frame is dropped, so that several recordings read in turn stay in lockstep. `captured` and `received`
    are the recorded stamp, s: comparable within and across recordings, unrelated to this machine's clock.
    Raises CameraError as `RealSenseCamera.start` does.
    """
    rs = librealsense.load()
    pipeline = rs.pipeline(librealsense.context())
    request = _request(config, repeat=False)
    try:
        # Must be set before the start, or the first frames are dropped.
        request.resolve(pipeline).get_device().as_playback().set_real_time(False)
        playback = pipeline.start(request).get_device().as_playback()
    except RuntimeError as error:
        raise _refused(config, error) from error
    try:
        while True:
            arrived, frames = pipeline.try_wait_for_frames(int(MAX_WAIT * 1e3))
            if not arrived:
                if playback.current_status() == rs.playback_status.stopped:
                    return
                continue
            colour = frames.get_color_frame()
            stamp = float(colour.timestamp) / 1e3
            image = owned(np.asanyarray(colour.get_data()), config.flip)
            number = int(colour.frame_number)
            del frames, colour  # before the caller takes its time with the picture
            yield Frame(config.role, image, number, captured=stamp, received=stamp)
    finally:
        pipeline.stop()


def _request(config: CameraConfig, repeat: bool) -> Any:
    """What the pipeline is asked for. Raises CameraError when there is no such recording."""
    rs = librealsense.load()
    request = rs.config()
    if config.file is not None:
        _check_recording(config.role, config.file)
        request.enable_device_from_file(str(config.file), repeat)
    else:
        request.enable_device(config.serial)
    request.enable_stream(rs.stream.color, config.width, config.height, rs.format.rgb8, config.fps)
    return request


def _check_recording(role: str, file: Path) -> None:
    if file.suffix not in (".db3", ".bag"):
        raise CameraError(f"{role}: {file} is no RealSense recording; expected a .db3 or .bag file")
    if not file.is_file():
        raise CameraError(f"{role}: no recording {file}; correct `file`")


def _check_connected(config: CameraConfig) -> None:
    connected = librealsense.list_devices()
    found = next((info for info in connected if info.serial == config.serial), None)
    if found is None:
        listed = ", ".join(str(info) for info in connected) or "none"
        raise CameraError(
            f"{config.role}: no RealSense with serial {config.serial}; connected: {listed}; "
            "correct `serial` or check the cable"
        )
    if found.usb.startswith("2"):
        _log.warning(
            "%s: RealSense %s runs at USB %s, too slow for three cameras; use a USB 3 port and cable",
            config.role,
            found.serial,
            found.usb,
        )


def _refused(config: CameraConfig, error: RuntimeError) -> CameraError:
    """librealsense's refusal to start a stream, in words that help."""
    text = " ".join(str(error).split())
    source = config.file if config.file is not None else f"RealSense {config.serial}"
    if "resolve requests" in text:
        wanted = f"{config.width}x{config.height} RGB8 at {config.fps} Hz"
        return CameraError(
            f"{config.role}: {source} has no colour stream {wanted}; it has {_offered(config)}; "
            "correct `width`, `height` or `fps`"
        )
    if any(sign in text for sign in ("already", "streaming", "busy")):
        return CameraError(
            f"{config.role}: {source} is in use ({text}); close the other program that holds the camera"
        )
    mend = (
        "record it again or name another" if config.file is not None else "unplug it, plug it in, try again"
    )
    return CameraError(f"{config.role}: {source} does not start ({text}); {mend}")


def _offered(config: CameraConfig) -> str:
    """The RGB8 colour streams that the camera or recording does have, such as `640x480@30/60`."""
    rs = librealsense.load()
    rates: defaultdict[str, set[int]] = defaultdict(set)
    request = rs.config()
    if config.file is not None:
        request.enable_device_from_file(str(config.file), False)
    else:
        request.enable_device(config.serial)
    try:
        device = request.resolve(rs.pipeline(librealsense.context())).get_device()
        for profile in (p for sensor in device.query_sensors() for p in sensor.get_stream_profiles()):
            if profile.stream_type() == rs.stream.color and profile.format() == rs.format.rgb8:
                video = profile.as_video_stream_profile()
                rates[f"{video.width()}x{video.height()}"].add(profile.fps())
    except RuntimeError as error:
        return f"nothing that can be listed ({' '.join(str(error).split())})"
    return (
        ", ".join(f"{size}@{'/'.join(map(str, sorted(fps)))}" for size, fps in sorted(rates.items()))
        or "none"
    )
