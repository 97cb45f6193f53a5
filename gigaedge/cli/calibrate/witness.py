"""`gigaedge calibrate witness`: looks at a fixed board, stored while all is well; `check --witness` looks again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigaedge.cli.calibrate.results import (
    FromOption,
    SiteArgument,
    StrictOption,
    YesOption,
    ask_first,
    captures_folder,
    conclude,
    judgement_data,
    open_site,
    press_enter,
    print_judgements,
)
from gigaedge.cli.common import JsonOption, needs, print_json, print_notices, progress
from gigaedge.errors import CalibrationError
from gigaedge.robot import JOINTS, CameraRole, Side, arm_slice

if TYPE_CHECKING:
    from gigaedge.calibration import Calibration, WitnessInfo
    from gigaedge.poses import Array
    from gigaedge.site import Site
    from gigaedge_calibration.captures import Capture
    from gigaedge_calibration.verdicts import Judgement
    from gigaedge_calibration.witness import Finding
    from gigaedge_calibration.witness_model import Evidence

SideOption = Annotated[Side, typer.Option(help="The arm that looks.", show_default=False)]
WitnessSideOption = Annotated[
    Side | None,
    typer.Option(
        "--side", help="With --witness: the arm that looks; default: each that has looks.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(
        "witness",
        epilog="Examples: `gigaedge calibrate witness site.yaml --side left`, "
        "`gigaedge calibrate witness site.yaml --side left --auto --yes`",
    )(witness_command)


def witness_command(
    site: SiteArgument,
    side: SideOption,
    looks: Annotated[int, typer.Option(help="Poses to look from.", min=1, max=6)] = 3,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto/--by-hand", help="Go to poses of the hand-eye calibration, or be guided to any."
        ),
    ] = False,
    yes: YesOption = False,
    source: FromOption = None,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Store looks at a board that stays where it is: `gigaedge calibrate check --witness` tells by them who moved.

    Fix the board in the cell where the front camera sees it, too. Choose poses that differ in reach and rotation. What
    is printed is how well these looks can tell: the smallest move that they show is about three of its sigmas.
    """
    with needs("robot"):
        from gigaedge.calibration import amend, load_calibration
        from gigaedge_calibration.captures import load_captures, save_captures
        from gigaedge_calibration.witness_looks import compare_looks, store_looks
    loaded, file = open_site(site)
    calibration = load_calibration(file)
    if source is None:
        joints = _planned(calibration, file, side, looks) if auto else None
        captures = _captured(loaded, side, looks, joints, yes=yes, quiet=json)
        folder = captures_folder(file, "witness", side)
    else:
        captures, folder = load_captures(source), source
    info = store_looks(calibration, side, captures)
    comparison = compare_looks(calibration, info, captures, captures)
    finding, rows = _judged(comparison.evidence, side)
    # Compared with themselves they show how well they tell, and no move.
    rows = [replace(row, value=0.0) for row in rows]
    if source is None:
        save_captures(folder, captures, replace=True)
    amend(file, lambda known: _stored(known, info, file, folder))
    if json:
        print_json(
            {
                "side": side,
                "looks": len(info.looks),
                "front": finding.front,
                "gripper": finding.gripper,
                "calibration": str(file),
                "captures": str(folder),
                "judgements": judgement_data(rows),
                "notes": list(comparison.notes),
            }
        )
    else:
        print_judgements(f"{side} arm: what these looks can tell", rows)
        typer.echo(f"{file}: {len(info.looks)} looks stored")
        print_notices(list(comparison.notes))
    conclude(rows, strict=strict)


def run_witness(
    site: Path, *, side: Side | None, folder: Path | None, yes: bool, strict: bool, json: bool
) -> None:
    """Go to the stored looks, or read captures from there, say who moved, and end with 1 where that is a failure.

    `side`: None for every arm that has looks; `folder`: captures of one arm, which move nothing. Raises
    CalibrationError: no looks are stored; ArmError, CameraError.
    """
    import numpy as np

    from gigaedge.calibration import load_calibration

    with needs("robot"):
        from gigaedge_calibration.captures import load_captures

    loaded, file = open_site(site)
    calibration = load_calibration(file)
    infos = [info for info in calibration.witnesses if side in (None, info.side)]
    if not infos:
        whose = f"of the {side} arm " if side else ""
        raise CalibrationError(
            f"{file}: no looks {whose}are stored; store some with `gigaedge calibrate witness {site} --side "
            f"{side or 'left'}` while all is well"
        )
    if folder is not None and len(infos) > 1:
        raise CalibrationError(
            "looks of both arms are stored; name the one that the captures are of with --side"
        )
    rows: list[Judgement] = []
    answers: list[dict[str, Any]] = []
    for info in infos:
        if folder is None:
            joints = [np.array(look.joints)[arm_slice(info.side)][:JOINTS] for look in info.looks]
            captures = _captured(loaded, info.side, len(joints), joints, yes=yes, quiet=json)
            _keep(file, info.side, captures)
        else:
            captures = load_captures(folder)
        judged, answer = _check(calibration, file, info, captures)
        rows += judged
        answers.append(answer)
        if not json:
            print_judgements(f"Witness: {info.side} arm", judged)
            typer.echo(f"{info.side} arm: {answer['finding']}")
            print_notices(answer["notes"])
    if json:
        print_json({"arms": answers})
    conclude(rows, strict=strict)


def _check(
    calibration: Calibration, file: Path, info: WitnessInfo, captures: Sequence[Capture]
) -> tuple[list[Judgement], dict[str, Any]]:
    """Judgements of one arm's looks, and the same for `--json`."""
    from gigaedge_calibration.captures import load_captures
    from gigaedge_calibration.witness import not_seen
    from gigaedge_calibration.witness_looks import capture_folder, compare_looks

    kept = capture_folder(calibration, file, info.side)
    before = load_captures(kept) if kept is not None and kept.is_dir() else []
    comparison = compare_looks(calibration, info, before, captures)
    rows: list[Judgement] = []
    said = "the board is not seen"
    candidates: list[str] = []
    if comparison.unseen:
        rows.append(not_seen(info.side, comparison.unseen))
    if comparison.evidence.after:
        finding, judged = _judged(comparison.evidence, info.side)
        rows += judged
        candidates = [each.supposition for each in finding.candidates]
        said = " or ".join(candidates) + " moved" if finding.moved else "nothing moved"
    answer: dict[str, Any] = {
        "side": info.side,
        "finding": said,
        "candidates": candidates,
        "judgements": judgement_data(rows),
        "notes": list(comparison.notes),
    }
    return rows, answer


def _judged(evidence: Evidence, side: Side) -> tuple[Finding, list[Judgement]]:
    from gigaedge_calibration.witness import find, judge, require_sensitivity

    finding = find(evidence)
    require_sensitivity(finding)
    return finding, judge(finding, side)


def _captured(
    site: Site,
    side: Side,
    count: int,
    joints: Sequence[Array] | None,
    *,
    yes: bool,
    quiet: bool,
) -> list[Capture]:
    """Look from every pose: the arm goes there, or, without poses, a person guides it."""
    with needs("robot"):
        from gigaedge_calibration.witness_looks import FRONT, take_look, wrist_role
        from gigaedge_runtime.cell import open_cell

    if joints is not None and not yes:
        ask_first(f"The {side} arm will move slowly to {count} poses. Is its way free?")
    flips: dict[CameraRole, str] = {camera.role: camera.flip for camera in site.cameras}
    captures: list[Capture] = []
    with open_cell(site, cameras=(wrist_role(side), FRONT)) as cell, progress(count, quiet) as begin:
        for number in range(count):
            begin(f"look {number + 1}")
            if joints is not None:
                cell.move(side, joints[number])
            elif not yes:
                press_enter(
                    f"Look {number + 1} of {count}: guide the {side} arm until its camera sees the board, let it stand"
                )
            captures += take_look(cell, side, flips)
    return captures


def _planned(calibration: Calibration, file: Path, side: Side, looks: int) -> list[Array]:
    """Poses, of those that the hand-eye calibration went to, that tell most."""
    import numpy as np

    from gigaedge_calibration.captures import load_captures
    from gigaedge_calibration.witness_looks import board_of, choose_looks, read_look, wrist_of, wrist_role

    role, board, wrist = wrist_role(side), board_of(calibration), wrist_of(calibration, side)
    known = calibration.camera(role)
    kept = [
        each.folder
        for each in calibration.captures
        if each.purpose == "hand-eye" and each.subject in (side, role)
    ]
    if not kept or known is None or known.mount is None:
        raise CalibrationError(
            f"{file}: keeps no poses of a hand-eye calibration of the {side} arm to go to; guide it (--by-hand)"
        )
    captures = [each for each in load_captures(file.parent / kept[0]) if each.role == role]
    seen = [look for look in (read_look(each, board) for each in captures) if look is not None]
    went = np.array([np.array(look.joints)[arm_slice(side)][:JOINTS] for look in seen])
    noise = (known.mount.sigma_px, known.mount.sigma_joint)
    chosen = choose_looks(wrist, board, known.mount.board.matrix, went, looks, noise)
    return [went[each] for each in chosen]


def _stored(calibration: Calibration, info: WitnessInfo, file: Path, folder: Path) -> Calibration:
    from gigaedge.calibration_entries import capture_info, with_capture

    capture = capture_info(file, folder, "witness", info.side)
    others = tuple(each for each in calibration.witnesses if each.side != info.side)
    return with_capture(calibration.model_copy(update={"witnesses": (*others, info)}), capture)


def _keep(file: Path, side: Side, captures: Sequence[Capture]) -> None:
    """The newest look round, to be judged again with --from."""
    from gigaedge_calibration.captures import save_captures

    save_captures(captures_folder(file, "check", side), captures, replace=True)
