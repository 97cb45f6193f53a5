"""What several commands share: output, progress, extras that may not be installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigaedge.errors import InputError

if TYPE_CHECKING:
    from gigaedge.fidelity import Check

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace --out when it exists.")]
BundleArgument = Annotated[Path, typer.Argument(help="A bundle folder.", show_default=False)]

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


@contextmanager
def progress(total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr; call the result with what begins now."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        started = 0

        def begin(what: str) -> None:
            nonlocal started
            bar.update(task, completed=started, description=what)
            started += 1

        yield begin


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
        print_json({"passed": passed, "tolerance": tolerance, "stages": stages})
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
