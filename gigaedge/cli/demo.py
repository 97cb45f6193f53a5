"""`gigaedge demo`: the whole path with no hardware, from the shipped checkpoint to a block in the air."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigaedge.cli.common import JsonOption, print_json
from gigaedge.cli.export import describe
from gigaedge.cli.run import INTERRUPTED, parse_duration, print_run, run_with_progress
from gigaedge.errors import CheckFailedError

if TYPE_CHECKING:
    from gigaedge_runtime.report import RunReport

TASK = "lift-block"
FILM = "demo.mp4"
SITE = """\
# A cell with physics: two simulated PiPER arms behind the real piper_sdk, three simulated cameras behind the real
# librealsense, a block on a table in MuJoCo. Run it again: gigaedge run {path} --for 30s --view again.mp4
schema: 1
bundle: bundle
simulation: world.yaml
cameras:
  - {{role: cam_high, driver: sim, width: 320, height: 240, fps: 30}}
  - {{role: cam_left_wrist, driver: sim, width: 320, height: 240, fps: 30}}
  - {{role: cam_right_wrist, driver: sim, width: 320, height: 240, fps: 30}}
arms:
  - {{side: left, driver: sim, base: {{y: 0.3}}}}
  - {{side: right, driver: sim, base: {{y: -0.3}}}}
timing:
  max_feedback_age: 0.2 # 0.05 with real arms; simulated ones share this computer with everything else
  max_image_age: 0.4 # pictures are drawn on this computer, too
  max_skew: 0.15
"""
WORLD = """\
# Another seed: another block, table, light and beginning. Those below 100000 were never trained on.
schema: 1
kind: physics
task: {task}
seed: {seed}
"""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("demo", epilog="Example: `gigaedge demo --seed 7 --out demo-out`")(demo_command)


def demo_command(
    out: Annotated[
        Path, typer.Option(help="Folder for bundle, site file, film and report; replaced.")
    ] = Path("demo-out"),
    duration: Annotated[str, typer.Option("--for", help="How long the arms run in each attempt.")] = "12s",
    seed: Annotated[int, typer.Option(help="Of the first attempt's scene; the next one has the next.")] = 0,
    attempts: Annotated[int, typer.Option(help="At most so many, until one succeeds.", min=1)] = 3,
    json: JsonOption = False,
) -> None:
    """Show the whole path with no hardware: a policy that sees lifts a block.

    Exports the shipped checkpoint to ONNX, verifies it against PyTorch, and lets it lift a red block in a simulated
    cell, in real time: with the real piper_sdk, CAN frames and the real librealsense. Leaves a film of it (MP4) and a
    report. Exit code 1 when no attempt succeeded.
    """
    from gigaedge.bundle import open_bundle
    from gigaedge.cli.named import make_trained_bundle
    from gigaedge.cli.view import shown
    from gigaedge.files import write_text
    from gigaedge.site import load_site

    seconds = parse_duration(duration)
    bundle = make_trained_bundle(out / "bundle", quiet=json)
    site_file = out / "site.yaml"
    write_text(site_file, SITE.format(path=site_file))
    if not json:
        typer.echo(describe(bundle, open_bundle(bundle).manifest))
    report_file, film = out / "report.json", out / FILM
    for number in range(attempts):
        write_text(out / "world.yaml", WORLD.format(task=TASK, seed=seed + number))
        site = load_site(site_file)
        with shown(site, str(film), replace=True):
            report = run_with_progress(site, seconds, dry_run=False, report=report_file, quiet=json)
        if report.ended_by == "signal" or _lifted(report):
            break
    if json:
        print_json({"bundle": str(bundle), "site": str(site_file), "film": str(film), **asdict(report)})
    else:
        print_run(report)
        typer.echo(f"film: {film}   report: {report_file}   again: gigaedge run {site_file} --for 30s")
    if report.ended_by == "signal":
        raise typer.Exit(INTERRUPTED)
    if not _lifted(report):
        raise CheckFailedError(
            f"the block was not lifted in {attempts} attempts; a computer that is too slow is one reason: see "
            "`simulated time` above"
        )


def _lifted(report: RunReport) -> bool:
    return report.physics is not None and report.physics.done_after is not None
