"""What a chunk costs as the work grows: its length, the picture's size, steps, arms; one page of curves.

python benchmarks/growth.py growth.html
python benchmarks/growth.py growth.html --generation GWP-0 --layers 12 --heads 8 --head-dim 128 --processes 3

Exports variants of one random checkpoint, each with one thing changed, and measures them as `gigaedge bench` does, in
turn.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from gigaedge.benchmark import to_json
from gigaedge.benchmark_page import render
from gigaedge.cli.common import parts_progress, run_script
from gigaedge.files import write_text
from gigaedge_export.checkpoint import CheckpointPaths, LoadedCheckpoint, load_checkpoint
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint
from gigaedge_runtime.bench import measure
from gigaedge_runtime.bench_job import Plan

STEPS = (10, 5, 2)
LOOP = 4.0
"""s of the whole loop per number of arms, of the usual variant."""


@dataclass(frozen=True)
class Variant:
    """One bundle; the first one is the usual."""

    name: str
    chunk: int = 48
    width: int = 320
    height: int = 384


VARIANTS = (
    Variant("usual"),
    Variant("chunk-12", chunk=12),
    Variant("chunk-24", chunk=24),
    Variant("chunk-96", chunk=96),
    Variant("view-160x192", width=160, height=192),
    Variant("view-480x576", width=480, height=576),
)


def main(
    page: Annotated[Path, typer.Argument(help="HTML page to write.")],
    generation: Annotated[Literal["GWP-0", "GWP-0.5"], typer.Option(help="Which architecture.")] = "GWP-0.5",
    layers: Annotated[int, typer.Option(min=1)] = Sizes.layers,
    heads: Annotated[int, typer.Option(min=1)] = Sizes.heads,
    head_dim: Annotated[int, typer.Option(min=2)] = Sizes.head_dim,
    processes: Annotated[int, typer.Option(help="Fresh processes per variant.", min=1)] = 3,
    repeats: Annotated[int, typer.Option(help="Chunks timed per process and step count.", min=1)] = 10,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Export, measure, draw."""
    sizes = Sizes(layers=layers, heads=heads, head_dim=head_dim, ffn=4 * heads * head_dim)
    with tempfile.TemporaryDirectory(prefix="gigaedge-growth-") as name, parts_progress(False) as progress:
        folder = Path(name)
        progress("exporting the variants", len(VARIANTS))
        checkpoint = folder / "checkpoint"
        write_random_checkpoint(checkpoint, generation, sizes)
        loaded = load_checkpoint(CheckpointPaths.in_directory(checkpoint))
        plans = []
        for variant in VARIANTS:
            bundle = export(loaded, variant, folder)
            plan = Plan.read(bundle, steps=(), solver="euler", prompt=None)
            usual = variant is VARIANTS[0]
            plans.append(
                replace(
                    plan,
                    processes=processes,
                    repeats=repeats,
                    steady=0.0,
                    limits=usual,
                    path=LOOP if usual else 0.0,
                )
            )
            progress.advance(1)
        reports = measure(plans, progress)
    write_text(page, render(reports))
    if out is not None:
        write_text(out, to_json(reports))
    for variant, report in zip(VARIANTS, reports, strict=True):
        rows = ", ".join(f"{row.steps} steps {row.chunk.p50:.1f}" for row in report.rows)
        typer.echo(f"{variant.name}: p50 of a chunk, ms: {rows}")
    typer.echo(f"{reports[0].machine.name}; page: {page}")


def export(checkpoint: LoadedCheckpoint, variant: Variant, folder: Path) -> Path:
    """A bundle of the variant in `folder`."""
    bundle = folder / variant.name
    options = ExportOptions(
        steps=STEPS,
        chunk=variant.chunk,
        view_width=variant.width,
        view_height=variant.height,
        replan_after=min(ExportOptions.replan_after, variant.chunk),
    )
    export_bundle(checkpoint, {"random": folder / "checkpoint" / PROMPT}, bundle, options)
    return bundle


if __name__ == "__main__":
    run_script(lambda: typer.run(main))
