"""`gigaedge calibrate light`: exposure and white balance, fixed and proven on frames."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigaedge.cli.calibrate.results import (
    SiteArgument,
    StrictOption,
    conclude,
    judgement_data,
    open_site,
    print_judgements,
)
from gigaedge.cli.common import JsonOption, needs, print_json, print_table, progress
from gigaedge.cli.run import parse_duration
from gigaedge.errors import CalibrationError, InputError
from gigaedge.robot import CameraRole

if TYPE_CHECKING:
    from gigaedge.librealsense import DeviceInfo
    from gigaedge.site import CameraConfig, Site
    from gigaedge_calibration.light import LockedLight
    from gigaedge_calibration.verdicts import Judgement
    from gigaedge_runtime.devices import FrameLight

SETTLE = "3s"
VERIFY = 1.5
"""s of frames that are held against what was set; longer than what the driver waits for."""
READY = 10.0
"""s; a RealSense that was just plugged in takes three."""

EPILOG = (
    "Examples: `gigaedge calibrate light cell.yaml --from-auto 3s --write` fixes what auto exposure finds now; "
    "`gigaedge calibrate light cell.yaml` verifies what the site file says."
)


def register(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("light", epilog=EPILOG)(light_command)


def light_command(
    site: SiteArgument,
    from_auto: Annotated[
        str | None,
        typer.Option(
            help=f"Let the automatics settle so long and take what they find; default: {SETTLE} for a camera without "
            "`exposure` and `white_balance`, others stay as the site file says.",
            show_default=False,
        ),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the values into the site file.")] = False,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Fix exposure, gain and white balance of the live cameras: set, read back, and verified on their frames.

    Training saw no change of light, so what a camera does by itself is an error here. Light the cell as it will be
    lit, with the robot where it works. Without --write the site file's lines are only printed.
    """
    loaded, file = open_site(site)
    configs = [camera for camera in loaded.cameras if camera.device is not None]
    if not configs:
        raise InputError(f"{site}: no live camera; pictures from a file are as they are")
    automatic = [
        camera
        for camera in configs
        if from_auto is not None or (camera.exposure is None and camera.white_balance is None)
    ]
    settle = parse_duration(from_auto or SETTLE, "--from-auto")
    with needs("robot"):
        from gigaedge_calibration.light import judge_light
    with progress(2, json) as begin:
        begin("automatics settle")
        found = _settled(automatic, loaded, settle)
        begin("set and verify")
        locked = [_locked(camera, found.get(camera.role, {})) for camera in configs]
        lights, devices = _verified(locked, loaded)
    judgements = [row for light in lights for row in judge_light(light)]
    values = {light.role: dict(light.wanted) for light in lights if light.role in found}
    if write and values:
        from gigaedge.site_edit import edit_cameras

        edit_cameras(site, values)
    if write or not values:
        _keep(file, locked, lights, devices, judgements)
    _print(site, lights, judgements, values, written=write, as_json=json)
    conclude(judgements, strict=strict)


def _settled(
    configs: Sequence[CameraConfig], site: Site, seconds: float
) -> dict[CameraRole, dict[str, float]]:
    """What the automatics of these cameras choose. Raises CalibrationError: frames that do not tell."""
    if not configs:
        return {}
    from gigaedge_runtime.capture import open_cameras

    free = [
        camera.model_copy(update={"exposure": None, "gain": None, "white_balance": None})
        for camera in configs
    ]
    with open_cameras(free, site) as cameras:
        cameras.wait_ready(READY)
        time.sleep(seconds)
        frames = {role: camera.latest() for role, camera in cameras.cameras.items()}
    found = {role: _told(frame.light) for role, frame in frames.items() if frame is not None}
    for role in frames:
        if "exposure" not in found.get(role, {}):
            raise CalibrationError(
                f"{role}: its frames do not tell what auto exposure chose; set `exposure`, `gain` and "
                "`white_balance` in the site file by hand"
            )
    return found


def _told(light: FrameLight) -> dict[str, float]:
    from gigaedge_calibration.light import SETTINGS

    told = {name: getattr(light, name) for name in SETTINGS}
    return {name: value for name, value in told.items() if value is not None}


def _locked(camera: CameraConfig, found: Mapping[str, float]) -> CameraConfig:
    return type(camera).model_validate(camera.model_dump() | dict(found))


def _verified(
    configs: Sequence[CameraConfig], site: Site
) -> tuple[list[LockedLight], dict[CameraRole, DeviceInfo]]:
    """Set the cameras, watch their frames, and say what came of it; and what devices they are.

    Raises CameraError: out of range, not kept, no picture; CalibrationError: a picture without colour.
    """
    from gigaedge.librealsense import list_devices
    from gigaedge_calibration.light import SETTINGS, LockedLight, light_figures
    from gigaedge_runtime.capture import open_cameras

    lights = []
    with open_cameras(configs, site) as cameras:
        cameras.wait_ready(READY)
        time.sleep(VERIFY)
        listed = {info.serial: info for info in list_devices()}
        devices = {config.role: listed[str(config.device)] for config in configs}
        for config in configs:
            camera = cameras.cameras[config.role]
            frame, trouble, set_to = camera.latest(), camera.trouble, camera.health().settings
            if frame is None:
                raise CalibrationError(
                    f"{config.role}: no picture; {trouble.text if trouble else 'try again'}"
                )
            wanted = {name: getattr(config, name) for name in SETTINGS}
            lights.append(
                LockedLight(
                    config.role,
                    wanted={name: value for name, value in wanted.items() if value is not None},
                    read_back={name: set_to[name] for name in SETTINGS if name in set_to},
                    on_frames=_told(frame.light),
                    figures=light_figures(frame.image),
                    trouble=trouble.text if trouble else "",
                )
            )
    return lights, devices


def _keep(
    file: Path,
    configs: Sequence[CameraConfig],
    lights: Sequence[LockedLight],
    devices: Mapping[CameraRole, DeviceInfo],
    judgements: Sequence[Judgement],
) -> None:
    """Write the light of cameras that keep to it into the calibration."""
    from gigaedge.calibration import Calibration, amend
    from gigaedge.calibration_entries import with_camera
    from gigaedge_calibration.cameras import calibration_entry
    from gigaedge_calibration.verdicts import Verdict

    failed = {row.subject for row in judgements if row.verdict is Verdict.FAIL}

    def change(calibration: Calibration) -> Calibration:
        for config, light in zip(configs, lights, strict=True):
            if config.role not in failed:
                entry = calibration_entry(calibration, config, devices[config.role])
                calibration = with_camera(calibration, entry.model_copy(update={"light": light.info}))
        return calibration

    if failed != {light.role for light in lights}:
        amend(file, change)


def _print(
    site: Path,
    lights: Sequence[LockedLight],
    judgements: Sequence[Judgement],
    values: Mapping[CameraRole, Mapping[str, float]],
    *,
    written: bool,
    as_json: bool,
) -> None:
    from gigaedge.site_edit import camera_lines

    lines = camera_lines(values)
    if as_json:
        print_json(
            {
                "cameras": [
                    {
                        "role": light.role,
                        "set": dict(light.wanted),
                        "read_back": dict(light.read_back),
                        "on_frames": dict(light.on_frames),
                        "luminance": light.figures.luminance,
                        "red_to_green": light.figures.red_to_green,
                        "blue_to_green": light.figures.blue_to_green,
                        "clipped": light.figures.clipped,
                    }
                    for light in lights
                ],
                "judgements": judgement_data(judgements),
                "lines": lines,
                "written": written and bool(lines),
            }
        )
        return
    rows = [
        [light.role, name, *(_value(kind.get(name)) for kind in (light.wanted, light.read_back, light.on_frames))]
        for light in lights
        for name in light.wanted
    ]  # fmt: skip
    print_table("Settings (s, camera's unit, K)", ["", "", "set", "read back", "on frames"], rows)
    figures = [
        [
            light.role,
            f"{light.figures.luminance:.0f}",
            f"{light.figures.red_to_green:.3f}",
            f"{light.figures.blue_to_green:.3f}",
        ]
        for light in lights
    ]
    print_table("Pictures", ["", "luminance, of 255", "red/green", "blue/green"], figures)
    for light in lights:
        print_judgements(light.role, [row for row in judgements if row.subject == light.role])
    if lines:
        typer.echo(f"{'written to' if written else 'for'} {site}:")
        for line in lines:
            typer.echo(f"  {line}")


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
