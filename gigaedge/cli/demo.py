"""`gigaedge demo`: the whole path with no hardware."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

import gigaedge
from gigaedge.cli.common import JsonOption, needs, print_json, stage_progress
from gigaedge.cli.export import describe, write_bundle
from gigaedge.cli.run import INTERRUPTED, parse_duration, print_run, run_with_progress

SITE = """\
# Two simulated PiPER arms behind the real piper_sdk, three simulated cameras behind the real librealsense.
# Run it again: gigaedge run {path} --for 30s
schema: 1
bundle: bundle
cameras:
  - {{role: cam_high, driver: sim, fps: 30}}
  - {{role: cam_left_wrist, driver: sim, fps: 30}}
  - {{role: cam_right_wrist, driver: sim, fps: 30}}
arms:
  - {{side: left, driver: sim}}
  - {{side: right, driver: sim}}
timing:
  max_feedback_age: 0.2 # 0.05 with real arms; simulated ones share this computer with everything else
"""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("demo", epilog="Example: `gigaedge demo --for 30s --out demo-out`")(demo_command)


def demo_command(
    out: Annotated[
        Path, typer.Option(help="Folder for checkpoint, bundle, site file and report; replaced.")
    ] = Path("demo-out"),
    duration: Annotated[str, typer.Option("--for", help="How long the arms run.")] = "10s",
    generation: Annotated[Literal["GWP-0", "GWP-0.5"], typer.Option(help="Which architecture.")] = "GWP-0.5",
    json: JsonOption = False,
) -> None:
    """Show the whole path with no hardware.

    Makes a tiny random checkpoint, exports it to ONNX, verifies it against PyTorch, and runs the policy on two
    simulated arms through the real piper_sdk, with pictures from simulated cameras through the real librealsense.
    The policy is untrained: what it shows is the machinery, not a skill.
    """
    from gigaedge.bundle import open_bundle
    from gigaedge.site import load_site

    seconds = parse_duration(duration)
    make_demo_bundle(out, generation, quiet=json)
    site_file = out / "site.yaml"
    site_file.write_text(SITE.format(path=site_file), encoding="utf-8")
    bundle = out / "bundle"
    if not json:
        typer.echo(describe(bundle, open_bundle(bundle).manifest))
    report_file = out / "report.json"
    report = run_with_progress(load_site(site_file), seconds, dry_run=False, report=report_file, quiet=json)
    if json:
        print_json({"bundle": str(bundle), "site": str(site_file), **asdict(report)})
    else:
        print_run(report)
        typer.echo(f"bundle: {bundle}   report: {report_file}   again: gigaedge run {site_file} --for 30s")
    if report.ended_by == "signal":
        raise typer.Exit(INTERRUPTED)


def make_demo_bundle(out: Path, generation: Literal["GWP-0", "GWP-0.5"], *, quiet: bool) -> Path:
    """Write `out`/checkpoint and `out`/bundle, verified; returns the bundle."""
    with needs("export,cpu"):
        from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
        from gigaedge_export.export import ExportOptions
        from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint

    out.mkdir(parents=True, exist_ok=True)
    checkpoint, bundle = out / "checkpoint", out / "bundle"
    with stage_progress(quiet) as begin:
        begin("making a random checkpoint")
        write_random_checkpoint(checkpoint, generation, Sizes(), smooth=True, replace=True)
        loaded = load_checkpoint(CheckpointPaths.in_directory(checkpoint), begin)
        prompts = {"demo": checkpoint / PROMPT}
        write_bundle(loaded, prompts, bundle, ExportOptions(), verify=True, force=True, begin=begin)
    return bundle


def cached_demo_bundle(*, quiet: bool) -> Path:
    """The demo's bundle for site files that say `bundle: demo`; made once and kept in the user's cache.

    One that another exporter made is another one: the folder's name has a hash of the exporter's source.
    """
    from gigaedge.files import user_cache

    folder = user_cache(f"demo-{gigaedge.__version__}-{_exporter_hash()}")
    if not (folder / "bundle" / "manifest.json").is_file():
        if not quiet:
            typer.echo(f"making the demo bundle in {folder}", err=True)
        make_demo_bundle(folder, "GWP-0.5", quiet=quiet)
    return folder / "bundle"


def _exporter_hash() -> str:
    """Of the source files that decide what a bundle is, without importing any of them."""
    core = Path(gigaedge.__file__).parent
    exporter = find_spec("gigaedge_export")
    folders = map(Path, (exporter and exporter.submodule_search_locations) or ())
    files = [core / name for name in ("bundle.py", "robot.py", "sampling.py")]
    files += sorted(path for folder in folders for path in folder.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
