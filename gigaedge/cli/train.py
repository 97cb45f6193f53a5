"""`gigaedge train`: demonstrations -> checkpoint."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gigaedge.cli.common import (
    ForceOption,
    HtmlOption,
    JsonOption,
    StageProgress,
    draw_bar,
    needs,
    print_json,
    print_table,
)
from gigaedge.cli.dataset import open_dataset
from gigaedge.cli.export import parse_size
from gigaedge.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from gigaedge_export.training.fit import Fitted
    from gigaedge_export.training.sample import OpenLoop
    from gigaedge_export.training.team import Outcome

MINUTES = 60.0
"""Of the policy, where neither minutes nor steps are asked for."""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        "train",
        epilog="Example: `gigaedge train lift --out checkpoint --minutes 60`; after an interruption the same with "
        "`--resume`",
    )(train_command)


def train_command(
    dataset: Annotated[Path, typer.Argument(help="A LeRobot v3 dataset.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Checkpoint folder to write.", show_default=False)],
    minutes: Annotated[
        float | None,
        typer.Option(help="Time for the policy; default 60.", min=0.01, show_default=False),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps in place of minutes: the same weights every time.", min=1, show_default=False
        ),
    ] = None,
    vae: Annotated[
        Path | None, typer.Option(help="A trained VAE; without one it is trained first.", show_default=False)
    ] = None,
    vae_minutes: Annotated[float, typer.Option(help="Time for the VAE.", min=0.01)] = 25.0,
    generation: Annotated[Literal["GWP-0", "GWP-0.5"], typer.Option(help="Which architecture.")] = "GWP-0.5",
    video_loss: Annotated[
        float,
        typer.Option(help="Weight of the video loss beside 5 for actions; 0: no future at all.", min=0.0),
    ] = 1.0,
    mask: Annotated[
        Literal["causal", "full"],
        typer.Option(
            help="full, an ablation: state and picture see actions and future, so nothing can be cached."
        ),
    ] = "causal",
    batch: Annotated[int, typer.Option(help="Pictures per step.", min=1)] = 32,
    rate: Annotated[float, typer.Option(help="Largest learning rate.", min=0.0)] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of weights, order and noise.", min=0)] = 0,
    held_out: Annotated[int, typer.Option(help="Episodes that are only evaluated on.", min=1)] = 10,
    view_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the composite, px.")] = "320x384",
    jobs: Annotated[int, typer.Option(help="Processes, with a thread each.", min=1)] = 1,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for latents, log and state; default: OUT.training.", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was interrupted, where one was.")
    ] = False,
    html: HtmlOption = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Train a tiny GigaWorld-Policy on demonstrations and write a checkpoint that `gigaedge export` takes.

    Both flow-matching losses under the causal mask: 5 x actions + 1 x future frames. Every picture is encoded once by
    the VAE. Interrupt it as you like: `--resume` goes on from the last saved step.
    """
    from gigaedge.files import require_free
    from gigaedge.machine import describe_machine

    with needs("export,dataset"):
        import torch

        from gigaedge_export.training.policy import Origin, train_policy
        from gigaedge_export.training.settings import PolicyTraining
    if html is not None:
        with needs("plots"):
            from gigaedge.cli.training_page import write_training_page
    if minutes is not None and steps is not None:
        raise InputError("--minutes and --steps exclude each other; pass one of them")
    settings = PolicyTraining(
        minutes=MINUTES if minutes is None and steps is None else minutes,
        steps=steps,
        generation=generation,
        view=parse_size(view_size),
        seed=seed,
        mask=mask,
        video_weight=video_loss,
        batch=batch,
        clips=batch // 4,
        rate=rate,
        held_out=held_out,
        jobs=jobs,
    )
    require_free(out, replace=force)
    folder = work or out.with_name(f"{out.name}.training")
    torch.set_num_threads(1)
    origin = Origin(
        command=shlex.join(["gigaedge", *sys.argv[1:]]),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=describe_machine(),
    )
    if vae is not None and not (vae / "config.json").is_file():
        raise InputError(f"{vae}: no VAE here (config.json is missing); leave out --vae to train one")
    with open_dataset(dataset, cameras=True) as opened, watching(quiet=json) as observer:
        trained = vae or train_vae(dataset, folder / "vae", vae_minutes, seed, resume, observer)
        fitted = train_policy(
            opened, trained, out, folder, settings, origin, observer, resume=resume, replace=force
        )
    if html is not None:
        write_training_page(html, out, folder)
    if json:
        print_json({"out": str(out), "steps": fitted.steps, "held_out": asdict(fitted.evaluation)})
    else:
        print_fitted(out, fitted)


def train_vae(
    dataset: Path, out: Path, minutes: float, seed: int, resume: bool, observer: TrainingBar
) -> Path:
    """Train a VAE of its own into `out`, or take the one that is finished there."""
    from gigaedge_export.training.vae import VaeTraining
    from gigaedge_export.training.vae import train_vae as train

    if not (out / "config.json").is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        train(dataset, out, VaeTraining(minutes=minutes, seed=seed, resume=resume), observer)
    return out


class TrainingBar(StageProgress):
    """Stages as everywhere, then one bar over the training with its losses; a line on stderr per evaluation."""

    def __init__(self, bar: Progress, quiet: bool) -> None:
        super().__init__(bar)
        self._quiet = quiet
        self._fitting = False
        self._losses = ""
        self._began = time.monotonic()

    def trained(self, step: int, done: float, outcome: Outcome) -> None:
        """Move the bar."""
        if not self._fitting:
            self("training", 1000)
            self._fitting = True
        self._losses = f"action {outcome.action:.3f}, video {outcome.video:.3f}"
        self.show(f"step {step}: {self._losses}", min(done, 1.0) * 1000)

    def evaluated(self, step: int, found: OpenLoop) -> None:
        """Say how far the held-out episodes are off."""
        if not self._quiet:
            minutes = (time.monotonic() - self._began) / 60
            typer.echo(
                f"step {step}, {minutes:.0f} min: {self._losses}; held out: {describe(found)}", err=True
            )


@contextmanager
def watching(quiet: bool) -> Iterator[TrainingBar]:
    """Bars on stderr for all that a training does."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"), TimeElapsedColumn())
    with draw_bar((*columns, TextColumn("left"), TimeRemainingColumn()), quiet) as bar:
        yield TrainingBar(bar, quiet)


def describe(found: OpenLoop) -> str:
    """An evaluation in a few words."""
    report = found.report
    return (
        f"joints {report.joints.mean_abs:.2f} deg, fingertips {report.fingertips.mean_abs:.1f} mm; "
        f"at the end of first chunks {found.moving:.1f} mm"
    )


def print_fitted(out: Path, fitted: Fitted) -> None:
    """What came of a training."""
    from gigaedge.openloop import ERROR_HEADER

    print_table(f"{out}: held-out episodes, open loop", ERROR_HEADER, fitted.evaluation.report.rows())
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    prompts = sorted((out / "prompts").glob("*.safetensors"))
    typer.echo(f"{fitted.steps} steps in {fitted.seconds / 60:.1f} min; {size / 1e6:.1f} MB")
    named = " ".join(f"--prompt {path.stem}={os.fspath(path)}" for path in prompts)
    typer.echo(f"next: gigaedge export --checkpoint {out} {named} --out BUNDLE")
