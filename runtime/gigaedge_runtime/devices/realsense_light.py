"""Exposure and white balance of a RealSense: set at every start, read back, and held against every frame.

They are options of whichever sensor has the colour stream: `RGB Camera`, or `Stereo Module` of a D405, which has no
other. What a camera was set to before, by whom ever, does not matter: what the site file does not set is automatic.
"""

from __future__ import annotations

from typing import Any, Final

from gigaedge import librealsense
from gigaedge.errors import CameraError
from gigaedge.site import CameraConfig
from gigaedge_runtime.devices import FrameLight

STEREO_MODULE: Final = "Stereo Module"
"""A sensor of this name counts exposure in us; a colour sensor in 100 us, as UVC cameras do."""

EXPOSURE_TOLERANCE: Final = 0.05
"""Of the exposure: a sensor exposes whole rows, so it comes near what it is set to."""

KELVIN_TOLERANCE: Final = 50.0
"""K; steps of white balance are 10 K."""


class ColourLight:
    """The exposure and white balance of one camera that was opened."""

    def __init__(self, config: CameraConfig, device: Any) -> None:
        """`device` is the `pyrealsense2.device` of the camera, whose colour sensor is looked for; sets nothing."""
        self._rs = librealsense.load()
        self._config = config
        self._sensor = self._colour_sensor(device)
        name = self._sensor.get_info(self._rs.camera_info.__members__["name"])
        self._unit = 1e-6 if name == STEREO_MODULE else 1e-4

    def apply(self) -> dict[str, float]:
        """Set what the site file says, and the rest to automatic; returns what is read back.

        In the units of the site file (s, K); switches are 0 or 1. Raises CameraError: no such setting, out of the
        camera's range, or it does not keep the value.
        """
        config, kept = self._config, {}
        for name, value in (("global_time_enabled", 1.0), ("auto_exposure_priority", 0.0)):
            if self._has(name):
                kept[name] = self._set(name, name, value)
        for key, switch in (
            ("exposure", "enable_auto_exposure"),
            ("white_balance", "enable_auto_white_balance"),
        ):
            wanted = getattr(config, key)
            if self._has(switch):
                kept[switch] = self._set(key, switch, float(wanted is None))
            if wanted is None:
                continue
            unit = self._unit if key == "exposure" else 1.0
            kept[key] = self._set(key, key, wanted, unit)
            if key == "exposure" and (config.gain is not None or self._has("gain")):
                gain = self._range("gain").default if config.gain is None else config.gain
                kept["gain"] = self._set("gain", "gain", gain)
        return kept

    def of(self, colour: Any) -> FrameLight:
        """What the metadata of a colour frame says of its exposure."""
        fields = self._rs.frame_metadata_value

        def read(field: Any, unit: float = 1.0) -> float | None:
            return colour.get_frame_metadata(field) * unit if colour.supports_frame_metadata(field) else None

        auto = read(fields.auto_exposure)
        return FrameLight(
            exposure=read(fields.actual_exposure, self._unit),
            gain=read(fields.gain_level),
            white_balance=read(fields.manual_white_balance),
            auto_exposure=None if auto is None else bool(auto),
        )

    def contradiction(self, light: FrameLight) -> str | None:
        """How a frame was not exposed as the site file says; None: as it says, or it does not tell."""
        config = self._config
        if config.exposure is not None:
            if light.auto_exposure:
                return "auto exposure came back"
            least = 2 * self._unit
            if _apart(light.exposure, config.exposure, max(EXPOSURE_TOLERANCE * config.exposure, least)):
                return f"exposure is {1e3 * (light.exposure or 0):.1f} ms in place of {1e3 * config.exposure:.1f} ms"
            if config.gain is not None and _apart(light.gain, config.gain, 1.0):
                return f"gain is {light.gain:g} in place of {config.gain:g}"
        if config.white_balance is not None and _apart(
            light.white_balance, config.white_balance, KELVIN_TOLERANCE
        ):
            return f"white balance is {light.white_balance:g} K in place of {config.white_balance:g} K"
        return None

    def _colour_sensor(self, device: Any) -> Any:
        for sensor in device.query_sensors():
            if any(p.stream_type() == self._rs.stream.color for p in sensor.get_stream_profiles()):
                return sensor
        raise CameraError(f"{self._config.role}: RealSense {self._config.serial} has no colour sensor")

    def _has(self, option: str) -> bool:
        code = getattr(self._rs.option, option)
        return bool(self._sensor.supports(code) and not self._sensor.is_option_read_only(code))

    def _range(self, option: str) -> Any:
        return self._sensor.get_option_range(getattr(self._rs.option, option))

    def _set(self, key: str, option: str, value: float, unit: float = 1.0) -> float:
        """Set an option to `value`, in a unit of the site file, and return what is read back."""
        who = f"{self._config.role}: RealSense {self._config.serial}"
        if not self._has(option):
            raise CameraError(f"{who} has no {key} to set; remove `{key}`")
        code, bounds = getattr(self._rs.option, option), self._range(option)
        low, high = bounds.min * unit, bounds.max * unit
        if not low - 1e-9 <= value <= high + 1e-9:
            raise CameraError(f"{who} takes {key} from {low:g} to {high:g}, not {value:g}; correct `{key}`")
        try:
            self._sensor.set_option(code, round(value / unit, 3))
            found = float(self._sensor.get_option(code)) * unit
        except RuntimeError as error:
            text = " ".join(str(error).split())
            raise CameraError(
                f"{who} does not take {key} {value:g} ({text}); close other programs that use the camera"
            ) from error
        if (
            abs(found - value)
            > max(bounds.step * unit, EXPOSURE_TOLERANCE * value if unit != 1.0 else 0.0) + 1e-9
        ):
            raise CameraError(
                f"{who} does not keep {option} {value:g}: it reads back {found:g}; "
                "close other programs that use the camera"
            )
        return found


def _apart(found: float | None, wanted: float, tolerance: float) -> bool:
    return found is not None and abs(found - wanted) > tolerance + 1e-9
