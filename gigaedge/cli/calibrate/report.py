"""`gigaedge calibrate report`: the page that an integrator hands over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigaedge.cli.calibrate.results import StrictOption, conclude, judgement_data
from gigaedge.cli.calibrate.transfer import SiteOrFile, calibration_file
from gigaedge.cli.common import ForceOption, JsonOption, needs, print_json
from gigaedge.errors import CalibrationError, ObservationError

if TYPE_CHECKING:
    from gigaedge.calibration import Calibration
    from gigaedge.robot import Side
    from gigaedge_calibration.report import Views


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command("report", epilog="Example: `gigaedge calibrate report cell.yaml --out cell.html`")(
        report_command
    )


def report_command(
    site: SiteOrFile,
    out: Annotated[
        Path | None,
        typer.Option(help="Page to write; default: beside the calibration.", show_default=False),
    ] = None,
    screenshot: Annotated[
        Path | None,
        typer.Option(help="Picture of the page's top to write, too; needs a Chromium.", show_default=False),
    ] = None,
    force: ForceOption = False,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Write the calibration as one page: every verdict with its limit and reason, and what all of it does not prove.

    What nobody measured is a row, too. `--json` prints the judgements, and writes a page only where --out or
    --screenshot asks for it. Nothing live is looked at: see `gigaedge calibrate check`. Exit code 1: a check failed.
    """
    from gigaedge.calibration import load_calibration
    from gigaedge.calibration_chain import follow, verify_captures
    from gigaedge.files import require_free, write_text

    with needs("robot"):
        from gigaedge_calibration.file_verdicts import judge_file, judge_kept, summary

    file = calibration_file(site)
    calibration = load_calibration(file)
    chain, captures = follow(file), verify_captures(file, calibration)
    judgements = [*judge_file(calibration, _sides(site)), *judge_kept(chain, captures)]
    target = out or (None if json and screenshot is None else file.with_suffix(".html"))
    if target is not None:
        with needs("robot,plots"):
            from gigaedge_calibration.report import render
        for each in filter(None, (target, screenshot)):
            require_free(each, replace=force)
        views, missing = _views(file, calibration)
        title = f"Calibration of {site.stem.removesuffix('.calibration')}"
        write_text(target, render(title, calibration, judgements, chain, captures, views, missing))
        if screenshot is not None:
            from gigaedge.cli import browser

            browser.screenshot(target, screenshot)
    verdict, counts = summary(judgements)
    if json:
        print_json(
            {
                "file": str(file),
                "sha256": chain.links[0].sha256,
                "page": None if target is None else str(target),
                "verdict": verdict.name.lower(),
                "judgements": judgement_data(judgements),
            }
        )
    else:
        typer.echo(f"{target}: {verdict.name}: {counts}")
    conclude(judgements, strict=strict)


def _sides(site: Path) -> tuple[Side, ...]:
    """The arms there are; both where only the calibration is given."""
    from gigaedge.robot import SIDES
    from gigaedge.site import load_site

    if site.suffix == ".json":
        return SIDES
    return tuple(arm.side for arm in load_site(site).arms if arm.driver != "absent")


def _views(file: Path, calibration: Calibration) -> tuple[Views | None, str]:
    """The reference pictures and their composite, or why there is none."""
    from gigaedge.compose import Compositor
    from gigaedge.robot import CAMERA_ROLES
    from gigaedge_calibration.references import load_references
    from gigaedge_calibration.report import Views

    try:
        references = load_references(file, calibration)
    except CalibrationError as error:
        return None, str(error)
    lacking = [role for role in CAMERA_ROLES if role not in references]
    if lacking:
        return None, f"no reference view of {', '.join(lacking)}"
    view = references["cam_high"].info
    pictures = {role: reference.image for role, reference in references.items()}
    try:
        composite = Compositor(view.composite, view.layout).compose(pictures).copy()
    except ObservationError as error:
        return None, str(error)
    return Views(composite, pictures, view.layout), ""
