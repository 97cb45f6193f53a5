"""`gigaedge calibrate ...`: commands for integrators."""

from __future__ import annotations

import typer

from gigaedge.cli.common import JsonOption, needs, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Cameras: find them, and get them right.")


@app.callback()
def _group() -> None:
    """Cameras: find them, and get them right."""


@app.command("cameras", epilog="Example: `gigaedge calibrate cameras --json`")
def cameras_command(json: JsonOption = False) -> None:
    """List the connected RealSense cameras: the serial numbers a site file names."""
    with needs("robot"):
        from gigaedge_calibration.cameras import COLUMNS, connected_cameras

    rows = connected_cameras()
    if json:
        print_json([dict(zip(COLUMNS, row, strict=True)) for row in rows])
    elif rows:
        print_table("Connected cameras", list(COLUMNS), [list(row) for row in rows])
    else:
        typer.echo("no RealSense is connected; check the cables and `lsusb -d 8086:`")
