"""`gigaedge calibrate check`: is the cell still what was calibrated?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigaedge.cli.calibrate.results import (
    SiteArgument,
    StrictOption,
    YesOption,
    conclude,
    open_site,
    print_judgements,
)
from gigaedge.cli.calibrate.witness import WitnessSideOption, run_witness
from gigaedge.cli.common import JsonOption, needs, print_json, print_notices
from gigaedge.errors import CheckFailedError

if TYPE_CHECKING:
    from gigaedge.cli.calibrate.looking import Sight
    from gigaedge.site import Site

OverlayOption = Annotated[
    Path | None,
    typer.Option("--out", help="PNG to write: reference and live over each other.", show_default=False),
]
LookOption = Annotated[
    Path | None,
    typer.Option("--from", help="Look at a folder of captures; needs no hardware.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(
        "check",
        epilog="Examples: `gigaedge calibrate check site.yaml`, "
        "`gigaedge calibrate check site.yaml --fast --strict --json`, "
        "`gigaedge calibrate check site.yaml --witness`",
    )(check_command)


def check_command(
    site: SiteArgument,
    fast: Annotated[
        bool, typer.Option("--fast", help="Views and light, without motion, in about a second; the default.")
    ] = False,
    witness: Annotated[
        bool,
        typer.Option("--witness", help="Go to the stored looks at the board instead, and say who moved."),
    ] = False,
    side: WitnessSideOption = None,
    yes: YesOption = False,
    out: OverlayOption = None,
    folder: LookOption = None,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Check a cell against its calibration: every camera is in its place, sees what it saw, in the same light.

    Nothing moves, unless with --witness. A wrist view is compared where its arm stands as it stood, else its gripper.
    `gigaedge run` makes this check at every start.
    """
    if witness:
        run_witness(site, side=side, folder=folder, yes=yes, strict=strict, json=json)
        return
    from gigaedge.cli.calibrate.looking import look_back, references_of, watching

    loaded, file = open_site(site)
    references = references_of(file)
    if folder is not None:
        sight = look_back(references, folder)
    else:
        with watching(loaded, references) as look:
            sight = look()
    show_sight("Check", sight, out=out, json=json)
    conclude(sight.check.judgements, strict=strict)


def show_sight(title: str, sight: Sight, *, out: Path | None, json: bool) -> None:
    """Print what was seen, and draw it where `out` says."""
    from gigaedge.cli.calibrate.looking import sight_data

    if out is not None:
        draw_sight(sight, out)
    if json:
        print_json(sight_data(sight))
        return
    for comparison in sight.check.comparisons:
        rows = [row for row in sight.check.judgements if row.subject == comparison.role]
        print_judgements(f"{title}: {comparison.role}", rows)
        if comparison.hint:
            typer.echo(f"to bring {comparison.role} back: {comparison.hint}")
    print_notices(list(sight.check.notes))


def draw_sight(sight: Sight, out: Path) -> None:
    """Write the overlay."""
    with needs("robot"):
        from gigaedge_calibration.overlay import overlay, write_overlay

    write_overlay(out, overlay(sight.references, sight.pictures, sight.check))


def check_before_run(site: Site) -> list[str]:
    """Make the fast check where the site has a calibration with views; its warnings are printed at once.

    Returns what is to be said after the run: that there was nothing to compare a real camera's view with.
    Raises CheckFailedError: a check failed; CalibrationError: the calibration cannot be read; CameraError, ArmError.
    """
    if site.calibration is None:
        if all(camera.driver != "realsense" or camera.serial is None for camera in site.cameras):
            return []
        return ["no calibration: nobody checked what the cameras see; see `gigaedge calibrate --help`"]
    from gigaedge.calibration import load_calibration
    from gigaedge.cli.calibrate.looking import references_of, watching

    if not any(camera.view for camera in load_calibration(site.calibration).cameras):
        return [
            "the calibration has no reference pictures: nobody checked what the cameras see; "
            "`gigaedge calibrate views SITE --capture` takes them"
        ]
    with watching(site, references_of(site.calibration)) as look:
        check = look().check
    from gigaedge_calibration.quick_check import sentence
    from gigaedge_calibration.verdicts import Verdict

    print_notices([sentence(row) for row in check.judgements if row.verdict is Verdict.WARN])
    print_notices(list(check.notes))
    if check.verdict is Verdict.FAIL:
        raise CheckFailedError(f"{check.problem()}; nothing was started (--skip-check goes on all the same)")
    return []
