"""`gigaedge calibrate ...`: commands for integrators."""

from __future__ import annotations

import typer

from gigaedge.cli.common import JsonOption, needs, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Cameras: find, assign and check them.")


@app.callback()
def _group() -> None:
    """Keeps `cameras` a subcommand while it is the only one."""
