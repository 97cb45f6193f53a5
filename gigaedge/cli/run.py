"""`gigaedge run`: the loop from cameras to arms."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigaedge.cli.common import (
    JsonOption,
    draw_bar,
    needs,
    print_json,
    print_notices,
    print_table,
)
from gigaedge.cli.view import ViewCommand, ViewOption, shown
from gigaedge.errors import InputError

if TYPE_CHECKING:
    from gigaedge.site import Site
    from gigaedge_runtime.report import (
        CameraHealth,
        ControlReport,
        PhysicsReport,
        PolicyReport,
        RecordingReport,
        RunReport,
        Spread,
    )

INTERRUPTED = 130

_SECONDS = {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        "run",
        cls=ViewCommand,
        epilog="Examples: `gigaedge run examples/bimanual.yaml --for 10s`, "
        "`gigaedge run examples/cell.yaml --for 10s --view run.mp4`",
    )(run_command)


def run_command(
    site: Annotated[Path, typer.Argument(help="Site file of the robot cell.", show_default=False)],
    duration: Annotated[
        str | None, typer.Option("--for", help="How long, as in 60s or 2m; default: until Ctrl-C.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the arms and decide, but never enable nor command them.")
    ] = False,
    park: Annotated[
        bool, typer.Option("--park", help="At the end, move the arms slowly to their park poses.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Report to write, also of a failed run: JSON, or a page where the name ends in .html.",
            show_default=False,
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Flight record (MCAP) to write: for `replay`, `plot` and Foxglove.", show_default=False
        ),
    ] = None,
    view: ViewOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace --record and the film of --view when they exist.")
    ] = False,
    skip_check: Annotated[
        bool,
        typer.Option("--skip-check", help="Start even if the cameras see something else than calibrated."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run a policy on a robot cell: cameras, inference, limits, arms. Ctrl-C slows down and holds.

    Before anything moves, the views are compared with the calibration's (`gigaedge calibrate check`).
    The arms stay powered and hold when the run ends, however it ends. A fault latches: the next run refuses these
    arms until `gigaedge arms clear`. With --park, another Ctrl-C stops the parking. Software limits are no certified
    safety function: keep a hardware emergency stop within reach.
    """
    from gigaedge.site import load_site

    loaded = load_site(site)
    seconds = None if duration is None else parse_duration(duration)
    if record is not None:
        check_record(record, replace=force)
    showing = nullcontext() if view is None else shown(loaded, view, replace=force)
    if report is not None and report.suffix == ".html":
        with needs("plots"):
            import matplotlib  # noqa: F401  that it is missing is said here, not after the run
    unchecked: list[str] = []
    if not skip_check:
        from gigaedge.cli.calibrate.check import check_before_run

        unchecked = check_before_run(loaded)
    if isinstance(loaded.bundle, str):
        from gigaedge.cli.named import find_bundle

        loaded = loaded.model_copy(update={"bundle": find_bundle(loaded.bundle, quiet=json)})
    with showing:
        result = run_with_progress(
            loaded, seconds, dry_run=dry_run, report=report, quiet=json, park=park, record=record
        )
    if result.control is not None:
        print_notices(result.control.notices)
    print_notices(unchecked)
    if json:
        print_json(asdict(result))
    else:
        print_run(result)
    if result.recording is not None and result.recording.stopped is not None:
        print_notices([result.recording.stopped])
    if result.ended_by == "signal":
        raise typer.Exit(INTERRUPTED)


def check_record(target: Path, *, replace: bool) -> None:
    """Raise InputError when a flight record cannot be written to `target`."""
    from gigaedge.files import require_free

    with needs("robot"):
        import mcap  # noqa: F401  the recorder needs it; that it is missing is said here

        from gigaedge_runtime.recording import partial_path
    if target.suffix != ".mcap":
        raise InputError(f"--record {target}: a flight record is an MCAP file; call it {target.stem}.mcap")
    for path in (target, partial_path(target)):
        require_free(path, replace=replace, option="--record")


def run_with_progress(
    site: Site,
    duration: float | None,
    *,
    dry_run: bool,
    report: Path | None,
    quiet: bool,
    park: bool = False,
    record: Path | None = None,
) -> RunReport:
    """Run a site behind a progress bar on stderr."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    with needs("robot,cpu"):
        from gigaedge_runtime.run import run_site
        from gigaedge_runtime.supervisor import Progress

    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"), TimeElapsedColumn())
    with draw_bar(columns, quiet) as bar:
        task = bar.add_task("starting cameras, policy and arms", total=duration)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.elapsed, description=str(progress))

        return run_site(
            site,
            duration=duration,
            dry_run=dry_run,
            park=park,
            report=report,
            record=record,
            on_progress=show,
        )


def print_run(report: RunReport) -> None:
    """What a person wants to know of a run."""
    print_table("Run", ["", ""], _summary(report))
    if report.policy is not None and report.policy.stages:
        title, stages = _latency(report.policy)
        print_table(f"{title}, ms", ["stage", *_SPREAD_COLUMNS], _milliseconds(stages))
    if report.control is not None and report.control.work.count:
        print_table("Control, ms", ["tick", *_SPREAD_COLUMNS], _milliseconds(_tick(report.control)))
    if report.policy is not None and report.policy.cameras:
        print_table("Cameras", _CAMERA_COLUMNS, [_camera(camera) for camera in report.policy.cameras])
    if report.control is not None and report.control.seam.position.count:
        rows = [[name, *_in_units(spread, unit)] for name, spread, unit in _seam(report.control)]
        print_table("Hand-overs between chunks", ["", *_SPREAD_COLUMNS], rows)
    if report.control is not None:
        print_table(
            "Joints (rad) and grippers (m)",
            ["", "commanded travel", "measured travel", "end error", "limits hit"],
            _joints(report.control),
        )


_SPREAD_COLUMNS = ["count", "p50", "p90", "p99", "p99.9", "max"]


def _latency(policy: PolicyReport) -> tuple[str, list[tuple[str, Spread]]]:
    """What the table of stages is called, and its rows: of the whole path, where any chunk reached the arms."""
    path = policy.path
    if path is None:
        return "Latency of chunks that no arm followed", list(policy.stages.items())
    rows: list[tuple[str, Spread]] = []
    for name, spread in path.stages.items():
        rows.append((name, spread))
        if name == "inference":
            rows += [(f"  {part}", each) for part, each in path.inference.items()]
    rows += [
        ("exposure to CAN", path.exposure_to_can),
        ("exposure to the last frame", path.exposure_to_last_frame),
    ]
    return "From exposure to CAN", rows


def _tick(control: ControlReport) -> list[tuple[str, Spread]]:
    stages = [(f"  {name}", spread) for name, spread in control.stages.items()]
    return [("period", control.period), ("work", control.work), *stages]


def _summary(report: RunReport) -> list[list[str]]:
    rows = [
        ["ended by", report.ended_by],
        ["duration", f"{report.duration:.1f} s" + (", dry run" if report.dry_run else "")],
        ["chunks", str(report.chunks)],
        ["processes", ", ".join(f"{name} {pid}" for name, pid in report.pids.items())],
    ]
    if report.policy is not None and report.policy.odd_frames:
        odd = ", ".join(f"{what} x {count}" for what, count in report.policy.odd_frames.items())
        rows.append(["odd camera frames", odd])
    if report.policy is not None and report.policy.refused:
        refused = ", ".join(f"{reason} x {count}" for reason, count in report.policy.refused.items())
        rows.append(["observations refused", refused])
    if report.policy is not None and (
        count := max((c.skew_by_arrival for c in report.policy.cameras), default=0)
    ):
        kinds = ", ".join(f"{c.role} {'/'.join(sorted(c.stamps))}" for c in report.policy.cameras)
        rows.append(["skew of arrival, not of exposure", f"{count} observations ({kinds})"])
    if report.policy is not None and report.policy.path is not None and report.policy.path.by_arrival:
        rows.append(["exposure not known, counted from arrival", f"{report.policy.path.by_arrival} chunks"])
    if report.policy is not None and report.policy.ran_on:
        rows.append(["inference ran on", _ran_on(report.policy.ran_on)])
    if report.memory:
        peaks = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in report.memory.items())
        rows.append(["memory at most", peaks])
    if report.physics is not None:
        rows.append(["task in the physical cell", _task(report.physics)])
        rows.append(["simulated time", _simulated(report.physics)])
    if report.recording is not None:
        rows.append(["flight record", _recording(report.recording)])
    control = report.control
    if control is not None:
        rows += [
            ["states", " -> ".join(change.state for change in control.states) or control.state],
            ["commands", f"{control.sends} sent, {control.failed_sends} failed, {control.missed} ticks missed"],
            ["limits hit", ", ".join(f"{count} {name}" for name, count in control.clamps.totals().items())],
            ["arms enabled", ", ".join(f"{side} {'yes' if on else 'no'}" for side, on in control.enabled.items())],
            ["control scheduling", control.scheduling],
            ["late ticks", ", ".join(f"{cause} x {count}" for cause, count in control.late.items()) or "none"],
        ]  # fmt: skip
    return rows


_CAMERA_COLUMNS = [
    "", "serial", "USB", "frames", "Hz", "dropped", "odd", "reconnects", "transport p50/p99, ms", "skew p50/p99, ms",
    "set to",
]  # fmt: skip


def _camera(health: CameraHealth) -> list[str]:
    odd = health.out_of_order + health.duplicates + health.untrusted_stamps + health.unlocked
    spreads = [
        f"{1e3 * spread.p50:.1f}/{1e3 * spread.p99:.1f}" if spread.count else "-"
        for spread in (health.transport, health.skew)
    ]
    counts = [str(n) for n in (health.dropped, odd, health.reconnects)]
    known = [health.serial or health.source, health.usb or "-", str(health.frames), f"{health.rate:.1f}"]
    return [health.role, *known, *counts, *spreads, _settings(health.settings)]


def _settings(settings: dict[str, float]) -> str:
    """What a camera was locked to; `auto` where nothing was."""
    units = (("exposure", 1e3, " ms"), ("gain", 1.0, " gain"), ("white_balance", 1.0, " K"))
    return ", ".join(f"{settings[name] * s:g}{unit}" for name, s, unit in units if name in settings) or "auto"


def _task(physics: PhysicsReport) -> str:
    done = "not done" if physics.done_after is None else f"done after {physics.done_after:.1f} s"
    return f"{physics.task}, seed {physics.seed}: {done}"


def _simulated(physics: PhysicsReport) -> str:
    lag = f"p99 {1e3 * physics.lag.p99:.0f} ms behind the clock"
    left_out = f", {physics.skipped:.1f} s left out: this computer is too slow" if physics.skipped else ""
    return f"{physics.simulated:.1f} s, {lag}{left_out}"


def _recording(recording: RecordingReport) -> str:
    dropped = [
        f"{count} {what} dropped"
        for count, what in ((recording.ticks_dropped, "ticks"), (recording.chunks_dropped, "chunks"))
        if count
    ]
    return ", ".join([recording.file, f"{recording.ticks} ticks, {recording.chunks} chunks", *dropped])


def _seam(control: ControlReport) -> list[tuple[str, Spread, float]]:
    """What is shown of the seams: name, values, and how many of the shown unit make one of theirs."""
    seam = control.seam
    found = [
        ("jump, mrad", seam.position, 1e3),
        ("jump of velocity, mrad/s", seam.velocity, 1e3),
        ("jump of acceleration, rad/s2", seam.acceleration, 1.0),
        ("after the observation, ms", seam.delay, 1e3),
    ]
    if seam.planned_delay.count:
        found += [("expected by rtc, ms", seam.planned_delay, 1e3), ("later than that, ms", seam.late, 1e3)]
    return found


def _joints(control: ControlReport) -> list[list[str]]:
    return [
        [
            name,
            f"{control.travel_commanded.get(name, 0.0):.3f}",
            f"{travel:.3f}",
            f"{control.end_error[name]:+.4f}" if name in control.end_error else "-",
            str(control.clamps.position.get(name, 0) + control.clamps.velocity.get(name, 0)),
        ]
        for name, travel in control.travel_measured.items()
    ]


def _ran_on(nodes: dict[str, int]) -> str:
    """Execution providers, with how many nodes each took where ONNX Runtime says so."""
    return ", ".join(f"{name} ({count} nodes)" if count else name for name, count in nodes.items())


def _milliseconds(spreads: list[tuple[str, Spread]]) -> list[list[str]]:
    return [[name, *_in_units(spread, 1e3, digits=3)] for name, spread in spreads]


def _in_units(spread: Spread, unit: float, digits: int = 2) -> list[str]:
    values = (spread.p50, spread.p90, spread.p99, spread.p999, spread.max)
    return [str(spread.count), *(f"{value * unit:.{digits}f}" for value in values)]


def parse_duration(text: str, option: str = "--for") -> float:
    """`60s`, `500ms`, `2m`, `1h` or plain seconds, given to `option`, -> s. Raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", text)
    if match is None or float(match.group(1)) <= 0:
        raise InputError(f"{option} {text!r}: expected a time above zero, as in 60s, 500ms or 2m")
    return float(match.group(1)) * _SECONDS[match.group(2)]
