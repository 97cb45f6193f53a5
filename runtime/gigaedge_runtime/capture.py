"""All cameras of a cell together: the newest picture of each, or the reason why there is no observation."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import load_calibration
from gigaedge.clock import Clock, monotonic
from gigaedge.errors import CameraError, ConfigError
from gigaedge.robot import CameraRole
from gigaedge.site import CameraConfig, Site
from gigaedge_runtime.devices import Camera, Frame
from gigaedge_runtime.histogram import Histogram
from gigaedge_runtime.report import CameraHealth

DARKEST: Final = 8.0
BRIGHTEST: Final = 247.0
"""Mean of a picture's pixels, of 0..255: beyond, hardly a pixel is left that is not black, or not white."""

_SAMPLED: Final = 8
"""Of a picture's rows and columns every so many are looked at."""


@dataclass(frozen=True)
class CapturedViews:
    """The newest frame of every camera, none too old and all near enough in time."""

    frames: Mapping[CameraRole, Frame]
    age: float
    """Of the oldest picture since its exposure, s."""
    skew: float
    """Between the first and the last exposure, s; between arrivals where the stamps are not of one clock."""
    fresh: bool
    """At least one picture was not in the views that `observe` returned before."""

    @property
    def oldest(self) -> Frame:
        """The one that was exposed first."""
        return min(self.frames.values(), key=lambda frame: frame.captured)

    @property
    def captured(self) -> float:
        """Exposure of the oldest picture, s on CLOCK_MONOTONIC."""
        return self.oldest.captured

    @property
    def images(self) -> dict[CameraRole, NDArray[np.uint8]]:
        """RGB uint8 pictures of shape (height, width, 3), for the compositor."""
        return {role: frame.image for role, frame in self.frames.items()}


@dataclass(frozen=True)
class Refusal:
    """Why there is no observation now; a later one may be good again."""

    reason: Literal["missing", "stale", "skew", "exposure", "lost", "unlocked"]
    role: CameraRole
    """The camera without a picture, with the oldest one, with the earliest exposure, that sees nothing or is in
    trouble."""
    value: float = 0.0
    """Age (stale) or skew (skew), s; mean of the pixels, 0..255 (exposure); else 0."""
    limit: float = 0.0
    """What `value` was compared with, in its unit; 0 where there is none."""
    trouble: str = ""
    """What the camera says of itself (lost, unlocked)."""

    def __str__(self) -> str:
        if self.trouble:
            return self.trouble
        if self.reason == "missing":
            return f"{self.role}: no picture yet"
        if self.reason == "exposure":
            seen, mend = (
                ("black", "light and lens cap")
                if self.value < self.limit
                else ("white", "exposure and glare")
            )
            return (
                f"{self.role}: picture is all but {seen}, its mean {self.value:.0f} of 255 is beyond "
                f"{self.limit:.0f}; check {mend}"
            )
        what = "old" if self.reason == "stale" else "behind another camera's"
        value, limit = round(self.value * 1e3), round(self.limit * 1e3)
        return f"{self.role}: picture is {value} ms {what}; at most {limit} ms allowed"


class Startable(Protocol):
    """Something that must run while the cameras do, such as the host of simulated ones."""

    def start(self) -> None:
        """Begin. Raises CameraError."""

    def stop(self) -> None:
        """End; may be called more than once."""


class CameraSet:
    """Cameras that are started, observed and stopped together; one thread calls it.

    A context manager: entering starts the cameras (all or none), leaving stops them.
    """

    def __init__(self, cameras: Sequence[Camera], host: Startable | None = None) -> None:
        """`host` is started before the cameras and stopped after them.

        Raises ConfigError: no camera, or a role twice.
        """
        self.cameras: dict[CameraRole, Camera] = {camera.role: camera for camera in cameras}
        if not cameras or len(self.cameras) != len(cameras):
            roles = ", ".join(camera.role for camera in cameras) or "none"
            raise ConfigError(f"cameras: expected at least one and each role once; got {roles}")
        self.host = host
        self.latencies: Mapping[CameraRole, float] = {}
        """What `observe` adds to each camera's stamps, s, so that ages, skew and the state that goes with the pictures
        are of the moment that they show (`gigaedge.calibration.LatencyInfo`). The devices' own frames keep theirs."""
        self._seen: dict[CameraRole, int] = {}
        self._skews = {role: Histogram() for role in self.cameras}
        self._by_arrival = 0

    def start(self) -> None:
        """Start all cameras, after stopping any that run.

        Raises CameraError when one fails; those that had started are stopped again.
        """
        self.stop()
        self._seen = {}
        self._skews = {role: Histogram() for role in self.cameras}
        self._by_arrival = 0
        with ExitStack() as started:
            for device in (*([self.host] if self.host else []), *self.cameras.values()):
                started.callback(device.stop)
                device.start()
            started.pop_all()

    def stop(self) -> None:
        """Stop all cameras; may be called at any time, more than once."""
        with ExitStack() as stopping:
            if self.host is not None:
                stopping.callback(self.host.stop)
            for camera in self.cameras.values():
                stopping.callback(camera.stop)

    def __enter__(self) -> CameraSet:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def observe(self, now: float, max_age: float, max_skew: float) -> CapturedViews | Refusal:
        """The newest frame of every camera, or why they make no observation; returns at once.

        `now` in s on CLOCK_MONOTONIC, `max_age` (since exposure) and `max_skew` (between exposures) in s.
        Raises CameraError when a camera was lost.
        """
        frames: dict[CameraRole, Frame] = {}
        for role, camera in self.cameras.items():
            frame = camera.latest()
            if (trouble := camera.trouble) is not None:
                return Refusal(trouble.reason, role, trouble=trouble.text)
            if frame is None:
                return Refusal("missing", role)
            latency = self.latencies.get(role)
            frames[role] = frame if latency is None else replace(frame, captured=frame.captured + latency)
        oldest = min(frames.values(), key=lambda frame: frame.captured)
        age = now - oldest.captured
        if age > max_age:
            return Refusal("stale", oldest.role, age, max_age)
        moments, by_arrival = _comparable(frames)
        newest = max(moments.values())
        behind = {role: newest - moment for role, moment in moments.items()}
        last = max(behind, key=lambda role: behind[role])
        if behind[last] > max_skew:
            return Refusal("skew", last, behind[last], max_skew)
        for frame in frames.values():
            mean = float(frame.image[::_SAMPLED, ::_SAMPLED].mean())
            if not DARKEST <= mean <= BRIGHTEST:
                limit = DARKEST if mean < DARKEST else BRIGHTEST
                return Refusal("exposure", frame.role, mean, limit)
        numbers = {role: frame.number for role, frame in frames.items()}
        fresh, self._seen = numbers != self._seen, numbers
        if fresh:
            self._by_arrival += by_arrival
            for role, skew in behind.items():
                self._skews[role].add(skew)
        return CapturedViews(frames, age, behind[last], fresh)

    def health(self) -> list[CameraHealth]:
        """How every camera has done since the start."""
        return [
            replace(
                camera.health(),
                skew=self._skews[role].spread(),
                skew_by_arrival=self._by_arrival,
            )
            for role, camera in self.cameras.items()
        ]

    def odd_frames(self) -> dict[str, int]:
        """Frames of all cameras that were not used, or whose stamp was not believed, by what was wrong."""
        return dict(sum((Counter(camera.odd_frames) for camera in self.cameras.values()), Counter[str]()))

    def wait_ready(self, timeout: float, clock: Clock = monotonic) -> None:
        """Return as soon as every camera has delivered a picture.

        Raises CameraError when that took longer than `timeout`, s, or when a camera was lost.
        """
        deadline = clock() + timeout
        while silent := [role for role, camera in self.cameras.items() if camera.latest() is None]:
            if clock() > deadline:
                raise CameraError(
                    f"no picture from {', '.join(silent)} within {timeout:g} s; check cable, USB 3 port and "
                    "power, and that no other program uses the camera (a recording: that its version plays)"
                )
            time.sleep(0.005)


def calibrated_latencies(site: Site) -> dict[CameraRole, float]:
    """What a site's calibration says of its cameras' stamps, s; none of a camera that was not measured.

    Assumed: the stamps come as they did when they were measured (same driver, rate and clock), and joint feedback is as
    late as it was then, its own delay being part of the number. Raises CalibrationError: the file.
    """
    if site.calibration is None:
        return {}
    known = load_calibration(site.calibration).cameras
    return {camera.role: camera.latency.seconds for camera in known if camera.latency is not None}


def _comparable(frames: Mapping[CameraRole, Frame]) -> tuple[dict[CameraRole, float], bool]:
    """When each frame was taken, s on CLOCK_MONOTONIC, by clocks that may be compared, and whether that is arrival.

    Stamps say something of each other only when all come from the same kind of clock.
    """
    by_arrival = len({frame.stamp for frame in frames.values()}) > 1 or any(
        frame.stamp == "arrival" for frame in frames.values()
    )
    return {r: frame.received if by_arrival else frame.captured for r, frame in frames.items()}, by_arrival


def open_cameras(configs: Sequence[CameraConfig], site: Site | None = None) -> CameraSet:
    """The cameras that a site file describes, not yet started; simulated ones bring their host.

    `site` says which world simulated cameras see, and where its arms are heard. Drivers are imported only where they
    are used: a cell without a RealSense needs no librealsense.
    Raises ConfigError: no camera, a role twice, or what is wrong with the world.
    """
    simulated = [config for config in configs if config.driver == "sim"]
    host = None
    if simulated:
        from gigaedge_runtime.devices.sim_cell import cell_of
        from gigaedge_runtime.devices.sim_realsense import SimulatedRealSense

        host = SimulatedRealSense(simulated, None if site is None else cell_of(site))
        by_role = {config.role: config for config in host.configs}
        configs = [by_role[config.role] if config.driver == "sim" else config for config in configs]
    return CameraSet([_driver(config) for config in configs], host)


def _driver(config: CameraConfig) -> Camera:
    if config.driver == "video":
        from gigaedge_runtime.devices.files import VideoCamera

        return VideoCamera(config)
    from gigaedge_runtime.devices.realsense import RealSenseCamera

    return RealSenseCamera(config)
