"""`gigaedge calibrate cameras`: which cameras are there, and which is which."""

from __future__ import annotations

import typer

from gigaedge.cli.common import JsonOption, needs, print_json, print_notices, print_table


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""

    @app.command("cameras", epilog="Example: `gigaedge calibrate cameras --json`")
    def cameras_command(json: JsonOption = False) -> None:
        """List the connected RealSense cameras: the serial numbers a site file names."""
        with needs("robot"):
            from gigaedge_calibration.cameras import COLUMNS, connected_cameras, slow_cameras

        rows = connected_cameras()
        if json:
            print_json([dict(zip(COLUMNS, row, strict=True)) for row in rows])
        elif rows:
            print_table("Connected cameras", list(COLUMNS), [list(row) for row in rows])
            print_notices(slow_cameras(rows))
        else:
            typer.echo("no RealSense is connected; check the cables and `lsusb -d 8086:`")
