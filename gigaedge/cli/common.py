"""What several commands share: output, progress, extras that may not be installed."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gigaedge.errors import GigaedgeError, InputError

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

    from gigaedge.fidelity import Check

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace --out when it exists.")]
BundleArgument = Annotated[Path, typer.Argument(help="A bundle folder.", show_default=False)]
ProviderOption = Annotated[Literal["cpu", "cuda", "tensorrt"], typer.Option(help="Where the graphs run.")]
StepsOption = Annotated[
    int | None, typer.Option(help="Sampler steps; default: the bundle's first.", min=1, show_default=False)
]
SolverOption = Annotated[
    Literal["euler", "multistep"], typer.Option(help="euler is upstream's; multistep is of second order.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the noise that is drawn.", min=0)]
HtmlOption = Annotated[
    Path | None, typer.Option(help="Page with the numbers and plots to write.", show_default=False)
]
ReportOption = Annotated[Path | None, typer.Option(help="JSON file to write.", show_default=False)]

FILE_WIDTH = 1000
"""Columns where the output is no terminal: tables are not folded there."""


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a missing package into one line that says which extra brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gigaedge"):
            raise
        raise InputError(f"{error.name} is not installed; run `pip install 'gigaedge[{extra}]'`") from error


def run_script(program: Callable[[], object]) -> None:
    """Run a script's command line; every error on purpose becomes one line on stderr and its exit code."""
    try:
        program()
    except GigaedgeError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


@contextmanager
def progress(total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A bar on stderr over `total` things; call the result with what begins now."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("left"),
    )
    with draw_bar((*columns, TimeRemainingColumn()), quiet) as bar:
        task = bar.add_task("", total=total)
        started = 0

        def begin(what: str) -> None:
            nonlocal started
            bar.update(task, completed=started, description=what)
            started += 1

        yield begin


class StageProgress:
    """A bar for the stage that is under way, over its work, with the time left."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def __call__(self, what: str, total: int = 0) -> None:
        """A stage begins; `total` is its amount of work, or 0 when it is not known."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=total or None)

    def advance(self, amount: int) -> None:
        """More of the stage's work is done."""
        if self._task is not None:
            self._bar.advance(self._task, amount)

    def show(self, what: str, completed: float) -> None:
        """The stage is called something else now, and so much of it is done."""
        if self._task is not None:
            self._bar.update(self._task, description=what, completed=completed)


@contextmanager
def stage_progress(quiet: bool) -> Iterator[StageProgress]:
    """Bars on stderr for work in stages of very different lengths."""
    from rich.progress import (
        BarColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TransferSpeedColumn())
    with draw_bar((*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()), quiet) as bar:
        yield StageProgress(bar)


@contextmanager
def parts_progress(quiet: bool) -> Iterator[StageProgress]:
    """Bars on stderr for work in stages that consist of countable parts."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with draw_bar((*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()), quiet) as bar:
        yield StageProgress(bar)


def draw_bar(columns: Sequence[ProgressColumn], quiet: bool) -> Progress:
    """A bar on stderr; nothing is drawn where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)


def print_json(data: Any) -> None:
    """Machine-readable output, alone on stdout."""
    typer.echo(json.dumps(data, indent=1, allow_nan=False))


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """A plain table; the first column is left-aligned, the others right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(table)


def report_checks(title: str, checks: list[Check], tolerance: float, as_json: bool) -> bool:
    """Print checks; return whether all passed."""
    passed = all(check.passed for check in checks)
    if as_json:
        stages = [{**check.row.model_dump(), "passed": check.passed} for check in checks]
        gate = tolerance if math.isfinite(tolerance) else None
        print_json({"passed": passed, "tolerance": gate, "stages": stages})
    else:
        rows = [
            [
                c.row.stage,
                f"{c.row.max_abs:.2e}",
                f"{c.row.relative_l2:.2e}",
                f"{c.row.cosine:.7f}",
                f"{c.row.joint_degrees:.2g}" if c.row.joint_degrees is not None else "",
                f"{c.row.fingertip_millimetres:.2g}" if c.row.fingertip_millimetres is not None else "",
                "ok" if c.passed else "FAIL",
            ]
            for c in checks
        ]
        print_table(
            title, ["stage", "max abs", "relative L2", "cosine", "joints, deg", "fingertip, mm", ""], rows
        )
    return passed


def parse_pair(text: str, option: str) -> tuple[str, str]:
    """NAME=VALUE of a repeatable option."""
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise InputError(f"{option} {text!r}: expected NAME=VALUE")
    return name, value


def print_notices(notices: list[str]) -> None:
    """Notices go to stderr, one line each."""
    for notice in notices:
        typer.echo(f"note: {notice}", err=True)
