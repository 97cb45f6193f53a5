"""How often `gigaedge bench --baseline` calls noise a regression, and how often it sees a real slowdown.

python benchmarks/noise.py demo
python benchmarks/noise.py int8 --repeats 20 --slowdown 20 --disturb

One baseline, then the same bundle again and again; with --disturb, every other time beside a process that keeps a core
busy. Each measurement is judged as it is, and with its chunks made slower by --slowdown per cent. Exit 1 when noise was
called a regression once.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gigaedge.baseline import compare_rows
from gigaedge.benchmark import BenchReport
from gigaedge.cli.common import run_script
from gigaedge.cli.named import find_bundle
from gigaedge.progress import QUIET
from gigaedge_runtime.bench import measure
from gigaedge_runtime.bench_job import Plan

BUSY = "while True: pass"


def main(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder; `demo` is the demo's.")],
    repeats: Annotated[int, typer.Option(help="Measurements after the baseline.", min=1)] = 20,
    slowdown: Annotated[float, typer.Option(help="Per cent that chunks are made slower by.")] = 20.0,
    tolerance: Annotated[float, typer.Option(help="As of `gigaedge bench`, per cent.")] = 5.0,
    processes: Annotated[int, typer.Option(help="As of `gigaedge bench`.", min=3)] = 5,
    disturb: Annotated[
        bool, typer.Option("--disturb", help="Keep a core busy during every other one.")
    ] = False,
) -> None:
    """Measure, judge, count."""
    folder = find_bundle(bundle, quiet=True)
    plan = replace(
        Plan.read(folder, steps=(), solver="euler", prompt=None),
        processes=processes,
        steady=0.0,
        limits=False,
    )
    (baseline,) = measure([plan], QUIET)
    typer.echo(f"{baseline.machine.name}; baseline p50 {baseline.rows[0].chunk.p50:.2f} ms")
    alarms = seen = 0
    for number in range(repeats):
        with busy_core(disturb and number % 2 == 1):
            (report,) = measure([plan], QUIET)
        found = compare_rows(report, baseline, tolerance / 100)
        alarms += any(each.slower for each in found)
        slower = compare_rows(made_slower(report, 1 + slowdown / 100), baseline, tolerance / 100)
        seen += all(each.slower for each in slower)
        typer.echo(f"{number + 1:3} load {report.machine.load_before:.1f}  {found[0]}")
    typer.echo(f"noise called a regression: {alarms} of {repeats}; {slowdown:g} % seen: {seen} of {repeats}")
    if alarms:
        raise typer.Exit(1)


@contextmanager
def busy_core(wanted: bool) -> Iterator[None]:
    """Keep a core busy inside the block."""
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if wanted else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def made_slower(report: BenchReport, factor: float) -> BenchReport:
    """The report with every chunk, and its processor time, longer by a factor."""

    def longer(groups: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(factor * time for time in group) for group in groups)

    rows = tuple(
        row.model_copy(update={"samples": longer(row.samples), "work": longer(row.work)})
        for row in report.rows
    )
    return report.model_copy(update={"rows": rows})


if __name__ == "__main__":
    run_script(lambda: typer.run(main))
