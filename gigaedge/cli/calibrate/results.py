"""What the commands of this group share: which file a site's calibration is, and how judgements are shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigaedge.cli.common import print_table
from gigaedge.cli.run import INTERRUPTED
from gigaedge.errors import InputError
from gigaedge.robot import CameraRole

if TYPE_CHECKING:
    from gigaedge.site import Site
    from gigaedge_calibration.verdicts import Judgement

SiteArgument = Annotated[Path, typer.Argument(help="Site file of the robot cell.", show_default=False)]
RoleOption = Annotated[CameraRole, typer.Option(help="The camera.", show_default=False)]
FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from", help="Solve again from a folder of captures; needs no hardware.", show_default=False
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Move without asking: the way is free.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit with 1 on a warning, too.")]


def open_site(path: Path) -> tuple[Site, Path]:
    """A site and where its calibration is or will be. Raises ConfigError."""
    from gigaedge.site import default_calibration, load_site

    site = load_site(path)
    return site, site.calibration or default_calibration(path)


def captures_folder(file: Path, purpose: str, subject: str) -> Path:
    """Where captures are kept: beside the calibration `file`."""
    return file.with_name(f"{file.stem}.captures") / f"{purpose}-{subject}"


def judgement_data(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Judgements for `--json`."""
    return [
        {
            "check": row.check,
            "subject": row.subject,
            "verdict": row.verdict.name.lower(),
            "measured": row.measured,
            "value": row.value,
            "sigma": row.sigma,
            "unit": row.limit.unit if row.limit else None,
            "warn_above": row.limit.warn if row.limit else None,
            "fail_above": row.limit.fail if row.limit else None,
            "cause": row.cause,
            "mend": row.mend,
        }
        for row in judgements
    ]


def print_judgements(title: str, judgements: Sequence[Judgement]) -> None:
    """A table, and below it what is not good, with its cause and its mend."""
    rows = []
    for row in judgements:
        unit = row.limit.unit if row.limit else ""
        value = "" if row.value is None else f"{row.value:.3g}"
        spread = "" if row.sigma is None else f"{2 * row.sigma:.2g}"
        limit = f"{row.limit.warn:g} / {row.limit.fail:g}" if row.limit else ""
        rows.append([row.check, value, spread, limit, unit, row.verdict.name])
    print_table(title, ["check", "measured", "+- (2 sigma)", "warn / fail above", "", ""], rows)
    for row in judgements:
        if row.cause:
            typer.echo(f"{row.verdict.name}: {row.check}: {row.cause}; {row.mend}")


def conclude(judgements: Sequence[Judgement], *, strict: bool) -> None:
    """End the command with 1 where a check failed, or warned and `strict` is set."""
    from gigaedge_calibration.verdicts import Verdict, gravest

    worst = gravest(judgements)
    if worst is Verdict.FAIL or (strict and worst is Verdict.WARN):
        raise typer.Exit(1)


def press_enter(text: str) -> None:
    """Return when a person has done what `text` says. Raises InputError: nobody is there."""
    if not sys.stdin.isatty():
        raise InputError("nobody is there to press Enter; pass --yes when all is ready, or --auto")
    typer.prompt(f"{text}, and press Enter", default="", show_default=False, err=True)


def ask_first(question: str) -> None:
    """Raises InputError: nobody is there; Exit: the answer is no."""
    if not sys.stdin.isatty():
        raise InputError("nobody is there to ask; pass --yes when the arm's way is free")
    if not typer.confirm(question, err=True):
        typer.echo("nothing was moved", err=True)
        raise typer.Exit(INTERRUPTED)
