"""Simulated RealSense cameras inside this process: real librealsense devices that only lack the hardware."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import librealsense
from gigaedge.clock import Deadlines
from gigaedge.errors import CameraError
from gigaedge.lens import Lens
from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge.site import CameraConfig
from gigaedge_runtime.devices.sim_cell import SeenCell, View

SCENE_FRAMES: Final = 16
"""Pictures rendered per camera; the scene moves in a circle and starts again."""


_RANGES: Final = {
    "exposure": (1, 10_000, 1, 156),
    "gain": (0, 128, 1, 64),
    "white_balance": (2800, 6500, 10, 4600),
    "enable_auto_exposure": (0, 1, 1, 1),
    "enable_auto_white_balance": (0, 1, 1, 1),
    "auto_exposure_priority": (0, 1, 1, 0),
    "global_time_enabled": (0, 1, 1, 1),
}
"""Options of the colour sensor: lowest, highest, step, default; exposure in 100 us, white balance in K."""

AUTOMATIC: Final = {"exposure": 83, "gain": 32, "white_balance": 5200}
"""What the simulated automatics settle on, at once."""


class SoftwareCamera:
    """One `pyrealsense2.software_device` with a colour sensor; `push` is its shutter.

    Exposure, gain and white balance can be set as in a D435 and are in the metadata of every frame. They change no
    pixel: that is up to whoever makes the picture (`light`).
    """

    def __init__(
        self,
        serial: str,
        width: int,
        height: int,
        fps: int,
        *,
        usb: str = "3.2",
        firmware: str = "5.16.0.1",
        sensor: str = "RGB Camera",
        lens: Lens | None = None,
    ) -> None:
        """A device that is in no context yet; sizes in px, `fps` in Hz; `lens` is what it says of its own."""
        rs = self._rs = librealsense.load()
        self.device = rs.software_device()
        # `camera_info.name` would be the enumeration's own attribute.
        self.device.register_info(rs.camera_info.__members__["name"], "gigaedge simulated camera")
        self.device.register_info(rs.camera_info.serial_number, serial)
        self.device.register_info(rs.camera_info.usb_type_descriptor, usb)
        self.device.register_info(rs.camera_info.firmware_version, firmware)
        self._sensor = self.device.add_sensor(sensor)
        for name, (low, high, step, default) in _RANGES.items():
            bounds = rs.option_range()
            bounds.min, bounds.max, bounds.step, bounds.default = low, high, step, default
            self._sensor.add_option(rs.option.__members__[name], bounds, True)
        self.runaway = False
        """Fault: the automatics work although they are switched off."""
        intrinsics = rs.intrinsics()
        intrinsics.width, intrinsics.height = width, height
        # Without a lens, about the D435's field of view.
        lens = lens or Lens(width, height, 0.95 * width, 0.95 * width, width / 2, height / 2)
        intrinsics.fx, intrinsics.fy = lens.fx, lens.fy
        intrinsics.ppx, intrinsics.ppy = lens.cx, lens.cy
        if lens.distortion:
            intrinsics.model = rs.distortion.brown_conrady
            intrinsics.coeffs = [*lens.distortion, 0.0][:5]
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid, stream.fmt = rs.stream.color, 0, 0, rs.format.rgb8
        stream.width, stream.height, stream.fps, stream.bpp = width, height, fps, 3
        stream.intrinsics = intrinsics
        self._profile = self._sensor.add_video_stream(stream, True).as_video_stream_profile()

    def option(self, name: str) -> float:
        """What an option was set to, in the library's unit."""
        return float(self._sensor.get_option(self._rs.option.__members__[name]))

    def set_option(self, name: str, value: float) -> None:
        """Set an option, as another program would."""
        self._sensor.set_option(self._rs.option.__members__[name], value)

    def light(self) -> dict[str, float]:
        """`exposure` (100 us), `gain` and `white_balance` (K) that the next picture has."""
        switches = dict.fromkeys(("exposure", "gain"), "enable_auto_exposure")
        switches["white_balance"] = "enable_auto_white_balance"
        return {
            name: AUTOMATIC[name] if self.runaway or self.option(switch) else self.option(name)
            for name, switch in switches.items()
        }

    def push(self, image: NDArray[np.uint8], number: int, stamp: float, domain: str = "global_time") -> None:
        """Deliver an RGB picture of shape (height, width, 3), stamped `stamp` s since 1970."""
        fields, light = self._rs.frame_metadata_value, self.light()
        automatic = self.runaway or self.option("enable_auto_exposure") > 0
        for key, value in (
            (fields.actual_exposure, light["exposure"]),
            (fields.gain_level, light["gain"]),
            (fields.manual_white_balance, light["white_balance"]),
            (fields.auto_exposure, automatic),
        ):
            self._sensor.set_metadata(key, int(value))
        # Always a new one: the library owns the frame, and frees its pixels, once it was delivered.
        frame = self._rs.software_video_frame()
        frame.pixels, frame.stride, frame.bpp = image, image.shape[1] * 3, 3
        frame.timestamp, frame.domain = stamp * 1e3, self._rs.timestamp_domain.__members__[domain]
        frame.frame_number, frame.profile = number, self._profile
        self._sensor.on_video_frame(frame)


class SimulatedRealSense:
    """Hosts simulated cameras on the shared librealsense context while it is started.

    They are found by serial number and opened by `RealSenseCamera` as real ones are: `configs` are the
    configurations to open. Each delivers what it sees of the `cell`, or else a moving, deterministic scene
    of its own, at its rate, with global_time stamps. Stalls, a pulled cable, wrong clocks, disorder, wrong exposure
    and an auto exposure that comes back can be injected.

    Not simulated: USB bandwidth and power, transport delay (a frame arrives within about a millisecond of its
    stamp), depth, optics, hardware sync, noise; exposure and white balance are options that change no pixel.
    """

    def __init__(self, configs: Sequence[CameraConfig], cell: SeenCell | None = None) -> None:
        """One camera per configuration; one without `serial` is called `sim-` and its role.

        `cell` brings optics and noise, and frames that come as late as it takes to draw them.

        Raises ConfigError: a stream that a camera's lens in the cell is not for.
        """
        self.configs = tuple(
            config.model_copy(update={"driver": "realsense", "file": None, "serial": config.device})
            for config in configs
        )
        self._cell = cell
        self._units = {
            config.role: _Unit(
                config, None if cell is None else cell.view(config.role, config.width, config.height)
            )
            for config in self.configs
        }
        self._stopping = threading.Event()

    def start(self) -> None:
        """Register the devices and begin to feed them. Raises CameraError when a serial number is taken."""
        self.stop()
        self._stopping.clear()
        if self._cell is not None:
            self._cell.start()
        taken = {info.serial for info in librealsense.list_devices()}
        for unit in self._units.values():
            serial = str(unit.config.serial)
            if serial in taken:
                self.stop()
                raise CameraError(
                    f"{unit.config.role}: a camera with serial {serial} exists already; choose another"
                )
            taken.add(serial)
            unit.camera = unit.device(serial)
            unit.handle = librealsense.register(unit.camera.device)
            unit.thread = threading.Thread(
                target=self._feed, args=(unit,), name=f"simulated-{unit.config.role}", daemon=True
            )
            unit.thread.start()

    def stop(self) -> None:
        """Stop feeding and take the devices away; close the cameras that use them first."""
        self._stopping.set()
        for unit in self._units.values():
            if unit.thread is not None:
                unit.thread.join()
            unit.thread = unit.camera = unit.handle = None
            librealsense.pull(str(unit.config.serial), False)
        if self._cell is not None:
            self._cell.stop()

    def __enter__(self) -> SimulatedRealSense:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stall(self, role: CameraRole, stalled: bool = True) -> None:
        """Fault: the camera stays connected and delivers nothing, until called with False."""
        self._units[role].stalled = stalled

    def unplug(self, role: CameraRole, unplugged: bool = True) -> None:
        """Fault: the cable is pulled; called with False, it is plugged in again."""
        librealsense.pull(str(self._units[role].config.serial), unplugged)
        self.stall(role, unplugged)

    def run_away(self, role: CameraRole, runaway: bool = True) -> None:
        """Fault: exposure and white balance are automatic again, whatever was set."""
        self._units[role].runaway = runaway

    def shift_clock(self, role: CameraRole, seconds: float) -> None:
        """Fault: stamp this camera's frames `seconds` later than they are (earlier when negative)."""
        self._units[role].clock_shift = seconds

    def freeze(self, role: CameraRole, frozen: bool = True) -> None:
        """Fault: deliver the same frame again and again, number and stamp included."""
        self._units[role].frozen = frozen

    def disorder(self, role: CameraRole, disordered: bool = True) -> None:
        """Fault: of every two frames deliver the later one first, one frame period before the other."""
        self._units[role].disordered = disordered

    def expose(self, role: CameraRole, level: int | None) -> None:
        """Fault: every pixel of this camera is `level`, 0 black to 255 white; None: the scene again."""
        self._units[role].level = level

    def _feed(self, unit: _Unit) -> None:
        def pause(seconds: float) -> None:
            self._stopping.wait(seconds)

        camera = unit.camera
        with ExitStack() as stack:
            if unit.view is not None:
                unit.view.open()
                stack.callback(unit.view.close)
            deadlines = Deadlines(1 / unit.config.fps, sleep=pause)
            for number in itertools.count(1):
                deadlines.wait()
                if self._stopping.is_set() or camera is None:
                    return
                stamp = time.time()
                image = unit.picture(number, stamp)
                if unit.level is not None:
                    image = np.full_like(image, unit.level)
                shot = _Shot(image, number, stamp + unit.clock_shift)
                camera.runaway = unit.runaway
                for due in unit.deliver(shot):
                    camera.push(due.image, due.number, due.stamp)


@dataclass(frozen=True)
class _Shot:
    """One exposure on its way to the host."""

    image: NDArray[np.uint8]
    number: int
    stamp: float
    """s since 1970."""


@dataclass
class _Unit:
    """One simulated camera and its faults."""

    config: CameraConfig
    view: View | None = None
    scene: list[NDArray[np.uint8]] = field(default_factory=list)
    camera: SoftwareCamera | None = None
    handle: Any = None
    thread: threading.Thread | None = None
    stalled: bool = False
    runaway: bool = False
    frozen: bool = False
    disordered: bool = False
    level: int | None = None
    clock_shift: float = 0.0
    _last: _Shot | None = None
    _held: _Shot | None = None

    def __post_init__(self) -> None:
        if self.view is None:
            self.scene = render_scene(self.config.role, self.config.width, self.config.height)

    def device(self, serial: str) -> SoftwareCamera:
        """The camera, for librealsense."""
        config = self.config
        if self.view is None:
            return SoftwareCamera(serial, config.width, config.height, config.fps)
        usb, lens = self.view.usb, self.view.factory
        return SoftwareCamera(serial, config.width, config.height, config.fps, usb=usb, lens=lens)

    def picture(self, number: int, stamp: float) -> NDArray[np.uint8]:
        """What is exposed at `stamp`, s since 1970."""
        if self.view is None:
            return self.scene[(number - 1) % len(self.scene)]
        return self.view.take(number, stamp)

    def deliver(self, shot: _Shot) -> list[_Shot]:
        """What reaches the host now that `shot` was taken."""
        if self.stalled:
            return []
        if self.frozen and self._last is not None:
            return [self._last]
        self._last = shot
        if not self.disordered:
            self._held = None
            return [shot]
        if shot.number % 2 == 0:
            return [shot]
        held, self._held = self._held, shot
        return [] if held is None else [held]


def render_scene(
    role: CameraRole, width: int, height: int, frames: int = SCENE_FRAMES
) -> list[NDArray[np.uint8]]:
    """A textured table with a block that goes round on it: `frames` RGB pictures of shape (height, width, 3).

    The same arguments give the same pictures; each role has a table and a block of its own.
    """
    seed = CAMERA_ROLES.index(role)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    shade = np.clip(90 + 60 * rows / height + 30 * np.sin(columns / width * (3 + 2 * seed)), 0, 255)
    tint = rng.uniform(0.6, 1.0, 3).astype(np.float32)
    table = np.clip(shade[..., None] * tint + rng.normal(0, 4, (height, width, 1)), 0, 255).astype(np.uint8)
    colour = np.roll(np.array([220, 60, 40], np.uint8), seed)
    half = max(2, min(width, height) // 10)
    pictures = []
    for step in range(frames):
        angle = 2 * np.pi * (step / frames + seed / 3)
        x = int(width / 2 + (width / 2 - half) * 0.7 * np.cos(angle))
        y = int(height / 2 + (height / 2 - half) * 0.7 * np.sin(angle))
        picture = table.copy()
        picture[max(0, y - half) : y + half, max(0, x - half) : x + half] = colour
        pictures.append(picture)
    return pictures
