"""RealSense colour streams through librealsense: live cameras by serial number, and recordings of them.

A stream runs into a queue of one frame, from which a thread copies the pixels out at once. That keeps every
wait short (a pipeline that is waited on directly blocks for 15 s when its camera is unplugged) and never
drains the pool of 16 frames that the library has. A camera that is not connected is never started: that
would stop every thread of the process for 15 s, so the list of devices is asked first, and asked again
until a camera that was unplugged is back.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from gigaedge import librealsense
from gigaedge.clock import Clock, monotonic
from gigaedge.errors import CameraError
from gigaedge.site import CameraConfig
from gigaedge_runtime.devices import Frame, FrameLight, Stamp, Trouble
from gigaedge_runtime.devices.realsense_light import ColourLight
from gigaedge_runtime.devices.threaded import MAX_WAIT, ThreadedCamera, owned

MAX_STAMP_AGE: Final = 1.0
"""s; a camera stamp older than this when its frame arrives is a jump of the clock, not a slow transport."""

REORDERED: Final = 16
"""Frames, the library's whole pool; a number further back than that is a camera that counts from one again."""

PRESENCE_INTERVAL: Final = 1.0
"""s of silence after which the camera is looked for on the bus, and again after each further interval."""

SILENCE_LIMIT: Final = 5.0
"""s of silence after which a camera that is still listed is started again: it may have been gone in between."""

RECONNECT_INTERVAL: Final = 0.5
"""s between two looks for a camera that was lost."""

RECONNECT_LIMIT: Final = 30.0
"""s without a frame after which a camera is given up: arms that held for longer are not to move by themselves."""

LOCK_PATIENCE: Final = 0.5
"""s of frames against the site file's exposure or white balance after which the camera's pictures are refused."""


class RealSenseCamera(ThreadedCamera):
    """The colour stream of one RealSense: live (`config.serial`) or played back (`config.file`).

    A live camera that is unplugged has no picture and is in trouble (`lost`) until it is back and was started again
    with all its settings; after RECONNECT_LIMIT, `latest` raises. One whose frames say for LOCK_PATIENCE that they
    were not exposed as the site file has it is in trouble (`unlocked`). Odd frames are `out_of_order` (came after a
    later one), `untrusted_stamp` (stamped in the future, or more than MAX_STAMP_AGE back) and `unlocked`.

    A recording plays in real time and, unless `repeat` is off, starts again at its end; its frame numbers go
    on rising then, and its frames count as captured when they are received. One that ended makes `latest` raise.
    """

    def __init__(self, config: CameraConfig, *, repeat: bool = True, clock: Clock = monotonic) -> None:
        """Opens nothing yet; `clock` is CLOCK_MONOTONIC, s."""
        super().__init__(config)
        self._repeat = repeat
        self._clock = clock
        self._rs: Any = None
        self._pipeline: Any = None
        self._queue: Any = None
        self._device: Any = None
        self._playback: Any = None
        self._light: ColourLight | None = None
        self._number: int | None = None
        self._offset = 0
        self._delivered = self._heard = self._looked = 0.0
        self._unlocked_since: float | None = None

    def _open(self) -> None:
        self._connect()
        self._delivered = self._clock()

    def _connect(self) -> None:
        rs = self._rs = librealsense.load()
        live = self.config.file is None
        if live:
            self._log.device = _connected(self.config)
        self._pipeline = rs.pipeline(librealsense.context())
        self._queue = rs.frame_queue(1)
        request = _request(self.config, self._repeat)
        try:
            self._device = self._pipeline.start(request, self._queue).get_device()
            if live:
                self._light = ColourLight(self.config, self._device)
                self._log.settings = self._light.apply()
            else:
                self._playback = self._device.as_playback()
        except RuntimeError as error:
            raise _refused(self.config, error) from error
        self._number, self._offset, self._unlocked_since = None, 0, None
        self._heard = self._looked = self._clock()

    def _read(self) -> Frame | None:
        try:
            item = self._queue.wait_for_frame(int(MAX_WAIT * 1e3))
        except RuntimeError:  # the library's way to say that none came in time
            self._check_alive()
            return None
        wall, received = time.time(), self._clock()
        self._delivered = self._heard = self._looked = received
        colour = item.as_frameset().get_color_frame()
        if not colour:
            return None
        number = self._next_number(int(colour.frame_number))
        if number is None:
            return None
        captured, stamp = self._captured(colour, wall, received)
        light = FrameLight() if self._light is None else self._light.of(colour)
        self._check_light(light, received)
        return Frame(
            role=self.role,
            image=owned(np.asanyarray(colour.get_data()), self.config.flip),
            number=number,
            captured=captured,
            received=received,
            stamp=stamp,
            light=light,
        )

    def _close(self) -> None:
        if self._pipeline is not None:
            with contextlib.suppress(RuntimeError):  # it never started, or its camera is gone
                self._pipeline.stop()
        # A playback device stays in the list of devices for as long as anything refers to it.
        self._pipeline = self._queue = self._device = self._playback = self._light = None

    def _next_number(self, number: int) -> int | None:
        """The number of a frame to use; None for one that was delivered before or comes after a later one."""
        last = self._number
        if last is not None and self._playback is None and last - REORDERED <= number <= last:
            if number < last:
                self._log.odd_frames["out_of_order"] += 1
            else:
                self._log.duplicates += 1
            return None
        self._number = number
        if last is not None and number > last:
            self._log.dropped += number - last - 1
        if last is None or self._playback is None:
            return number
        if number <= last:  # the recording began again
            self._offset += last
        return number + self._offset

    def _captured(self, colour: Any, wall: float, received: float) -> tuple[float, Stamp]:
        """When a frame was exposed, s on CLOCK_MONOTONIC, and what that rests on."""
        domains = self._rs.timestamp_domain
        stamps: dict[Any, Stamp] = {domains.global_time: "global_time", domains.system_time: "system_time"}
        stamp = stamps.get(colour.frame_timestamp_domain)
        if self._playback is not None or stamp is None:
            return received, "arrival"
        captured = captured_at(float(colour.timestamp), wall, received)
        if captured is None:
            self._log.odd_frames["untrusted_stamp"] += 1
            return received, "arrival"
        return captured, stamp

    def _check_light(self, light: FrameLight, received: float) -> None:
        """Hold a frame against the site file. What the first frames after a start say is not yet believed."""
        wrong = None if self._light is None else self._light.contradiction(light)
        if wrong is None:
            self._unlocked_since = self._trouble = None
            return
        self._log.odd_frames["unlocked"] += 1
        if self._unlocked_since is None:
            self._unlocked_since = received
        lasted = received - self._unlocked_since >= LOCK_PATIENCE
        text = f"{self.role}: {wrong}; close other programs that use the camera, then start again"
        self._trouble = Trouble("unlocked", text) if lasted else None

    def _check_alive(self) -> None:
        """See what a silence means. A camera that is there but silent is left to the age checks for a while.

        Raises CameraError when there will be no frame any more.
        """
        if self._playback is not None:
            if self._playback.current_status() == self._rs.playback_status.stopped:
                raise CameraError(f"{self.role}: the recording {self.config.file} has ended")
            return
        now = self._clock()
        if now - self._looked < PRESENCE_INTERVAL:
            return
        self._looked = now
        if not self._listed():
            self._reconnect("was unplugged or lost power")
        elif now - self._heard > SILENCE_LIMIT or not self._device.is_connected():
            self._reconnect("fell silent")

    def _reconnect(self, how: str) -> None:
        """Look for the camera until it is back, and start it. Raises CameraError after RECONNECT_LIMIT."""
        what = f"RealSense {self.config.serial} {how}"
        mend = "check cable and hub"
        self._suspend(f"{what}; waiting for it to come back; {mend}")
        self._close()
        while not self._stopping.is_set():
            if self._clock() - self._delivered > RECONNECT_LIMIT:
                raise CameraError(
                    f"{self.role}: {what} and gave no picture for {RECONNECT_LIMIT:g} s; {mend}, then start again"
                )
            try:
                if self._listed():
                    self._connect()
                    self._log.reconnects += 1
                    return
            except CameraError as error:  # one that has just been plugged in may need another moment
                self._close()
                mend = str(error).removeprefix(f"{self.role}: ")
                self._suspend(f"{what}; it is back, but: {mend}")
            self._pause(RECONNECT_INTERVAL)

    def _listed(self) -> bool:
        return any(info.serial == self.config.serial for info in librealsense.list_devices())


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


def _connected(config: CameraConfig) -> librealsense.DeviceInfo:
    """The device that a configuration names. Raises CameraError: absent, not the only one, or at USB 2."""
    connected = librealsense.list_devices()
    found = [info for info in connected if info.serial == config.serial]
    if not found:
        listed = ", ".join(str(info) for info in connected) or "none"
        raise CameraError(
            f"{config.role}: no RealSense with serial {config.serial}; connected: {listed}; "
            "correct `serial` or check the cable"
        )
    if len(found) > 1:
        ports = ", ".join(info.port for info in found)
        raise CameraError(
            f"{config.role}: {len(found)} RealSense report the serial {config.serial} (ports {ports}); "
            "unplug all but one"
        )
    if found[0].usb.startswith("2") and not config.allow_usb2:
        raise CameraError(
            f"{config.role}: RealSense {config.serial} runs at USB {found[0].usb}, too slow for three cameras; use a "
            "USB 3 port and cable and plug it in quickly, or set `allow_usb2: true`"
        )
    return found[0]


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
    request = rs.config()
    if config.file is not None:
        request.enable_device_from_file(str(config.file), False)
    else:
        request.enable_device(config.serial)
    try:
        return librealsense.colour_streams(request.resolve(rs.pipeline(librealsense.context())).get_device())
    except RuntimeError as error:
        return f"nothing that can be listed ({' '.join(str(error).split())})"
