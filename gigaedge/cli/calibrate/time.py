"""`gigaedge calibrate time`: how late each camera is, from pictures and joints while an arm swings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigaedge.cli.calibrate.results import (
    FromOption,
    SiteArgument,
    StrictOption,
    YesOption,
    ask_first,
    captures_folder,
    conclude,
    judgement_data,
    open_site,
    press_enter,
    print_judgements,
)
from gigaedge.cli.common import JsonOption, needs, print_json, progress
from gigaedge.robot import SIDES, Side

if TYPE_CHECKING:
    from gigaedge.calibration import Calibration
    from gigaedge.site import Site
    from gigaedge_calibration.motion_record import MotionRecord
    from gigaedge_calibration.timing import Timing

SideOption = Annotated[
    Side | None, typer.Option(help="The arm that swings; default: one after the other.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(
        "time",
        epilog="Examples: `gigaedge calibrate time site.yaml`, `gigaedge calibrate time site.yaml --auto --yes`",
    )(time_command)


def time_command(
    site: SiteArgument,
    side: SideOption = None,
    seconds: Annotated[float, typer.Option(help="Of motion, for each arm.", min=3, max=25)] = 8.0,
    auto: Annotated[
        bool, typer.Option("--auto/--by-hand", help="Swing the wrist slowly, or have a person do it.")
    ] = False,
    yes: YesOption = False,
    source: FromOption = None,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Measure each camera's latency against joint feedback, and the skew between cameras, while a wrist swings.

    Swing it to and fro, about once a second, where the front camera sees it; nothing else may move. The runtime adds
    the latency to a picture's stamp to find the joint angles that belong to it. Skew is free of the feedback's delay.
    """
    with needs("robot"):
        from gigaedge.calibration import amend
        from gigaedge_calibration.motion_record import load_motion, save_motion
        from gigaedge_calibration.timing import judge_timing, measure_timing
    loaded, file = open_site(site)
    folders: dict[Side, Path] = {}
    if source is None:
        sides = [each for each in SIDES if side in (None, each) and loaded.arm(each).driver != "absent"]
        records = _recorded(loaded, sides, seconds, auto=auto, yes=yes, quiet=json)
        for record in records:
            folders[record.side] = captures_folder(file, "time", record.side)
            save_motion(folders[record.side], record)
    else:
        records = [load_motion(source)]
        folders[records[0].side] = source
    timing = measure_timing(records)
    rows = judge_timing(timing)
    amend(file, lambda known: _stored(known, loaded, timing.cameras, file, folders))
    if json:
        print_json(
            {
                "cameras": {each.role: _data(each) for each in timing.cameras},
                "calibration": str(file),
                "captures": {each: str(folder) for each, folder in folders.items()},
                "judgements": judgement_data(rows),
            }
        )
    else:
        print_judgements("Time", rows)
        for each in timing.cameras:
            late = each.latency
            typer.echo(
                f"{each.role}: {1e3 * late.seconds:+.1f} +- {2e3 * late.sigma:.1f} ms against the {each.side} arm"
            )
        typer.echo(f"{file}: written")
    conclude(rows, strict=strict)


def _recorded(
    site: Site, sides: Sequence[Side], seconds: float, *, auto: bool, yes: bool, quiet: bool
) -> list[MotionRecord]:
    with needs("robot"):
        from gigaedge_calibration.motion_record import record_motion, swing
        from gigaedge_runtime.cell import open_cell

    if auto and not yes:
        ask_first(
            f"The {' and the '.join(sides)} wrist will swing slowly by up to 12 degrees. Is the way free?"
        )
    records = []
    with open_cell(site) as cell, progress(len(sides), quiet) as begin:
        for each in sides:
            if not auto and not yes:
                press_enter(f"Be ready to swing the {each} wrist to and fro for {seconds:g} s")
            begin(f"{each} arm")
            limits = site.limits.position_min, site.limits.position_max
            records.append(record_motion(cell, each, seconds, swing(cell, each, *limits) if auto else None))
    return records


def _data(timing: Timing) -> dict[str, Any]:
    late = timing.latency
    return {
        "seconds": late.seconds,
        "sigma": late.sigma,
        "explained": late.explained,
        "frames": late.frames,
        "against": timing.side,
    }


def _stored(
    calibration: Calibration,
    site: Site,
    timings: Sequence[Timing],
    file: Path,
    folders: dict[Side, Path],
) -> Calibration:
    """With the latencies of cameras that the file knows, and of the others as they are in the site."""
    from gigaedge.calibration import LatencyInfo
    from gigaedge.calibration_entries import capture_info, entry_of, with_camera, with_capture

    configs = {config.role: config for config in site.cameras}
    after = calibration
    for timing in timings:
        latency = LatencyInfo(seconds=timing.latency.seconds, sigma=timing.latency.sigma, against=timing.side)
        entry = entry_of(after, configs[timing.role]).model_copy(update={"latency": latency})
        after = with_camera(after, entry)
    for side, folder in folders.items():
        after = with_capture(after, capture_info(file, folder, "time", side))
    return after
