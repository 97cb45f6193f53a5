"""`gigaedge calibrate board`: the board as a PDF to print, and the print's measured size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from gigaedge.cli.calibrate.results import (
    StrictOption,
    conclude,
    judgement_data,
    open_site,
    print_judgements,
)
from gigaedge.cli.common import JsonOption, needs, print_json
from gigaedge.errors import CalibrationError, InputError

if TYPE_CHECKING:
    from gigaedge.calibration import BoardInfo, Calibration

SQUARES: Final = "9x7"
SQUARE_MM: Final = 27.0
MARKER_PART: Final = 0.75
"""Of a square's edge; the white around a marker is what its detection needs."""


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(
        "board",
        epilog="Examples: `gigaedge calibrate board --out board.pdf`, "
        "`gigaedge calibrate board site.yaml --squares 9x7 --square-mm 27 --paper a4 --out board.pdf`, "
        "`gigaedge calibrate board site.yaml --measured-mm 243.1`",
    )(board_command)


def board_command(
    site: Annotated[
        Path | None,
        typer.Argument(help="Site file whose calibration is to know the board.", show_default=False),
    ] = None,
    squares: Annotated[
        str | None, typer.Option(help=f"Columns x rows, rows odd; default: {SQUARES}.", show_default=False)
    ] = None,
    square_mm: Annotated[
        float | None,
        typer.Option(
            help=f"Edge of a square, mm; default: {SQUARE_MM:g}.", min=2, max=490, show_default=False
        ),
    ] = None,
    marker_mm: Annotated[
        float | None,
        typer.Option(
            help=f"Edge of a marker, mm; default: {MARKER_PART:g} of a square.",
            min=2,
            max=490,
            show_default=False,
        ),
    ] = None,
    dictionary: Annotated[
        str | None, typer.Option(help="OpenCV's name; default: DICT_5X5_100.", show_default=False)
    ] = None,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="An old print, in the pattern of OpenCV before 4.6.")
    ] = False,
    paper: Annotated[Literal["a4", "a3", "a2", "letter"], typer.Option(help="For --out.")] = "a4",
    out: Annotated[Path | None, typer.Option(help="PDF to write.", show_default=False)] = None,
    measured_mm: Annotated[
        float | None,
        typer.Option(
            help="What a ruler says from the outer edge of the first column to that of the last one, mm.",
            min=1,
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace --out when it exists; believe --measured-mm however far off."),
    ] = False,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Draw a ChArUco board to scale, and record the print's measured size in the site's calibration.

    Print at 100 %, fix the sheet to a flat plate, and measure over all columns: a wrong scale shows in no picture.
    """
    from gigaedge.calibration import amend, load_calibration
    from gigaedge.files import atomic_file, require_free

    with needs("robot"):
        from gigaedge_calibration.board import black_rectangles, judge_scale, measured_board
        from gigaedge_calibration.board_pdf import board_pdf
    if site is None and (out is None or measured_mm is not None):
        raise InputError("name the site file whose board was measured, or --out for a PDF to print")
    file = open_site(site)[1] if site else None
    before = load_calibration(file) if file and file.exists() else None
    described = any(option is not None for option in (squares, square_mm, marker_mm, dictionary)) or legacy
    nominal = before.board if before and not described and out is None else None
    if nominal is None:
        if not described and out is None:
            raise CalibrationError(
                "no board is known for this site; describe it: --squares 9x7 --square-mm 27"
            )
        nominal = _described(squares or SQUARES, square_mm or SQUARE_MM, marker_mm, dictionary, legacy)
    black_rectangles(nominal)  # refuses what cannot be
    board = nominal if measured_mm is None else measured_board(nominal, measured_mm / 1e3, force=force)
    if out is not None:
        require_free(out, replace=force)
        data = board_pdf(nominal, paper)
        with atomic_file(out) as temporary:
            temporary.write_bytes(data)
    rows = [judge_scale(nominal, board)] if site else []
    if file is not None:
        amend(file, lambda calibration: calibration.model_copy(update={"board": board}))
    if json:
        print_json(
            {
                "board": board.model_dump(),
                "pdf": str(out) if out else None,
                "calibration": str(file) if file else None,
                "judgements": judgement_data(rows),
            }
        )
    else:
        if out is not None:
            typer.echo(
                f"{out}: {board.columns}x{board.rows} squares of {1e3 * nominal.square:g} mm on {paper}"
            )
        if file is not None:
            typer.echo(f"{file}: squares of {1e3 * board.square:.3f} mm")
            print_judgements("Board", rows)
    if before and before.board != board and (stale := _stale(before)):
        typer.echo(f"note: computed with the board before: {', '.join(stale)}; run these again", err=True)
    conclude(rows, strict=strict)


def _described(
    squares: str, square_mm: float, marker_mm: float | None, dictionary: str | None, legacy: bool
) -> BoardInfo:
    from pydantic import ValidationError

    from gigaedge.calibration import BoardInfo
    from gigaedge.validation import first_problem

    match = re.fullmatch(r"(\d{1,2})x(\d{1,2})", squares)
    if match is None:
        raise InputError(f"--squares {squares!r}: expected COLUMNSxROWS, such as {SQUARES}")
    try:
        return BoardInfo(
            columns=int(match[1]),
            rows=int(match[2]),
            square=square_mm / 1e3,
            marker=(square_mm * MARKER_PART if marker_mm is None else marker_mm) / 1e3,
            dictionary=dictionary or BoardInfo.model_fields["dictionary"].default,
            legacy=legacy,
        )
    except ValidationError as error:
        raise InputError(f"board: {first_problem(error, BoardInfo)}") from error


def _stale(calibration: Calibration) -> list[str]:
    """What a calibration has that another board's size makes wrong."""
    stale = [f"hand-eye of {camera.role}" for camera in calibration.cameras if camera.mount]
    return stale + [f"witness of the {witness.side} arm" for witness in calibration.witnesses]
