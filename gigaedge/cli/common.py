"""What several commands share: output, progress, extras that may not be installed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigaedge.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from gigaedge.fidelity import Check

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace --out when it exists.")]
BundleArgument = Annotated[Path, typer.Argument(help="A bundle folder.", show_default=False)]


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a missing package into one line that says which extra brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gigaedge"):
            raise
        raise InputError(f"{error.name} is not installed; run `pip install 'gigaedge[{extra}]'`") from error


class StageProgress:
    """A bar on stderr for the stage that is under way, with its rate and the time left."""

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


@contextmanager
def progress(quiet: bool) -> Iterator[StageProgress]:
    """Progress on stderr while the block runs; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        yield StageProgress(bar)


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
    Console(soft_wrap=True).print(table)


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
                "ok" if c.passed else "FAIL",
            ]
            for c in checks
        ]
        print_table(title, ["stage", "max abs", "relative L2", "cosine", ""], rows)
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
