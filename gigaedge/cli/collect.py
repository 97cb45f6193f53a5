"""`gigaedge collect`: demonstrations by scripted experts, as a dataset to train on."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gigaedge.cli.common import JsonOption, needs, parts_progress, print_json


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(
        "collect",
        epilog="Example: `gigaedge collect --task lift-block --episodes 500 --seed 100000 --out lift --jobs 2`",
    )(collect_command)


def collect_command(
    task: Annotated[str, typer.Option(help="lift-block or another of docs/tasks.md.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the LeRobot v3 dataset.", show_default=False)],
    episodes: Annotated[int, typer.Option(help="Episodes that succeed; others are left out.", min=1)] = 500,
    seed: Annotated[
        int, typer.Option(help="Of the first attempt, 100000 or more; those below are held out for trials.")
    ] = 100_000,
    jobs: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted collection.")] = False,
    json: JsonOption = False,
) -> None:
    """Let a scripted expert do a task in the simulated cell, and record it: three cameras, states, targets.

    Everything is drawn from the seed. Ctrl-C leaves a dataset of the episodes there are; --resume goes on.
    """
    with needs("sim,dataset"):
        # What is needed at the very end, too, is to be missed now.
        import av  # noqa: F401
        import pyarrow  # noqa: F401

        from gigaedge_runtime.collect import Collection, collect
    plan = Collection(task, episodes, seed)
    begin = time.monotonic()
    with parts_progress(quiet=json) as bar, needs("sim,dataset"):
        bar(f"{task}: episodes", episodes)
        done = collect(plan, out, jobs=jobs, resume=resume, advance=bar.advance)
    seconds = time.monotonic() - begin
    if json:
        print_json({"out": str(out), "task": task, "seed": seed, **asdict(done)})
    elif done.episodes:
        attempts = f"{done.failed} of {done.episodes + done.failed} attempts failed"
        typer.echo(f"{out}: {done.episodes} episodes, {done.frames} frames; {attempts}; {seconds:.0f} s")
    if not done.complete:
        typer.echo(f"interrupted at {done.episodes} of {episodes} episodes; go on with --resume", err=True)
        raise typer.Exit(130)
