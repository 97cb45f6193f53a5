"""`gigaedge calibrate ...`: commands for integrators, one module each."""

from __future__ import annotations

import typer

from gigaedge.cli.calibrate import (
    board,
    check,
    hand_eye,
    intrinsics,
    light,
    report,
    roles,
    time,
    transfer,
    views,
    witness,
)

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Cameras and arms: find them, get them right, and see that they still are.

    In this order: roles, light, views; board, intrinsics, hand-eye, witness, time; check, report. What is measured goes
    into the site's calibration file, with its uncertainty, and the pictures that it came from beside it.

    Exit codes: 0 good (warnings included; --strict makes them 1), 1 a check failed, 2 bad input or captures that do not
    determine the answer, 3 a device failed, 130 interrupted.
    """


for module in (roles, light, views, board, intrinsics, hand_eye, witness, time, check, report, transfer):
    module.register(app)
