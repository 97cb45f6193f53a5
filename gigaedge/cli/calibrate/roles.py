"""`gigaedge calibrate cameras` and `calibrate roles`: which cameras are there, and which is which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gigaedge.cli.calibrate.results import (
    SiteArgument,
    StrictOption,
    YesOption,
    ask_first,
    conclude,
    judgement_data,
    open_site,
    print_judgements,
)
from gigaedge.cli.common import JsonOption, needs, print_json, print_notices, print_table, progress
from gigaedge.errors import InputError
from gigaedge.robot import SIDES, CameraRole, Side

if TYPE_CHECKING:
    from gigaedge.librealsense import DeviceInfo
    from gigaedge.site import Site
    from gigaedge_calibration.live import LiveCell, Picture
    from gigaedge_calibration.roles import RoleProof
    from gigaedge_calibration.verdicts import Judgement

BY_HAND_SECONDS = 6.0
"""s; so long somebody has to move a wrist by hand."""

LABEL = 26
"""px at the top of a picture that its label covers."""

ROLES_EPILOG = (
    "Examples: `gigaedge calibrate roles cell.yaml --show views` shows what each camera sees; `gigaedge calibrate "
    "roles cell.yaml --wiggle both --write` proves the wrists and puts the serials right."
)


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command("cameras", epilog="Example: `gigaedge calibrate cameras --json`")(cameras_command)
    app.command("roles", epilog=ROLES_EPILOG)(roles_command)


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


def roles_command(
    site: SiteArgument,
    wiggle: Annotated[
        Literal["left", "right", "both"] | None,
        typer.Option(help="Turn joint 6 of these arms by 5 degrees and back, slowly.", show_default=False),
    ] = None,
    by_hand: Annotated[
        Literal["left", "right", "both"] | None,
        typer.Option(help="Have these wrists moved by hand, the arms in teach mode.", show_default=False),
    ] = None,
    show: Annotated[
        Path | None,
        typer.Option(help="Folder for one labelled PNG per camera; replaced.", show_default=False),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the serials into the site file as the motion says.")
    ] = False,
    yes: YesOption = False,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Show each camera's view, and prove left and right: one wrist moves, and one picture changes.

    A serial number says which device a picture is from, never where it is mounted: only motion does. A camera of the
    site file that is not connected is replaced by one that is, so that roles can be found from nothing. --wiggle powers
    the arms, which keep their power and hold: keep a hand on the emergency stop.
    """
    if wiggle and by_hand:
        raise InputError("--wiggle and --by-hand: give one of them")
    loaded, file = open_site(site)
    sides = _sides(loaded, wiggle or by_hand)
    if wiggle and not yes:
        ask_first(
            f"The {' and the '.join(sides)} wrist will turn slowly by 5 degrees and back. Is the way free?"
        )
    with needs("robot"):
        from gigaedge.librealsense import list_devices
        from gigaedge_calibration.cameras import with_connected_serials
        from gigaedge_calibration.roles import assign, judge_roles
        from gigaedge_runtime.cell import open_cell
    opened, replaced = with_connected_serials(loaded)
    with open_cell(opened, arms=None if wiggle else ()) as cell:
        devices = {info.serial: info for info in list_devices()}
        pictures = cell.next_pictures()
        if show is not None:
            _show(show, pictures, opened)
        proof = _prove(cell, opened, sides, by_hand=by_hand is not None, quiet=json) if sides else None
    serials = {camera.role: camera.device for camera in opened.cameras if camera.device is not None}
    right = assign(serials, proof) if proof else dict(serials)
    judgements = judge_roles(proof) if proof else []
    judgements += _unproven(serials, judgements, replaced)
    written = write and _write(site, loaded, right)
    if written:
        judgements = [_mended(row) for row in judgements]
    _keep(file, opened, right, devices, judgements)
    lines = _lines(right)
    if json:
        print_json(
            {
                "cameras": [_row(role, serial, devices) for role, serial in right.items()],
                "still": dict(proof.still) if proof else None,
                "moved": {side: dict(parts) for side, parts in proof.moved.items()} if proof else None,
                "judgements": judgement_data(judgements),
                "lines": lines,
                "written": written,
            }
        )
    else:
        _print(right, devices, proof, judgements)
        typer.echo(f"{'written to' if written else 'for'} {site}:")
        for line in lines:
            typer.echo(f"  {line}")
    conclude(judgements, strict=strict)


def _sides(site: Site, asked: str | None) -> tuple[Side, ...]:
    """Whose wrists are to move. Raises InputError: an arm that does not exist."""
    if asked is None:
        return ()
    there = tuple(side for side in SIDES if site.arm(side).driver != "absent")
    if asked == "both":
        return there
    if asked not in there:
        raise InputError(f"the {asked} arm is absent in this cell; its wrist cannot be moved")
    return tuple(side for side in SIDES if side == asked)


def _prove(cell: LiveCell, site: Site, sides: tuple[Side, ...], *, by_hand: bool, quiet: bool) -> RoleProof:
    from gigaedge_calibration.roles import RoleProof, measure_still, watch, wiggle

    moved: dict[Side, dict[CameraRole, float]] = {}
    with progress(1 + len(sides), quiet) as begin:
        begin("nothing moves")
        still = measure_still(cell)
        for side in sides:
            if by_hand:
                begin(f"move the {side} wrist now")
                typer.echo(f"turn the {side} wrist by hand now, for {BY_HAND_SECONDS:g} s", err=True)
                moved[side] = watch(cell, BY_HAND_SECONDS)
            else:
                begin(f"the {side} wrist turns")
                moved[side] = wiggle(cell, side, site.limits)
    return RoleProof(still, moved)


def _unproven(
    serials: Mapping[CameraRole, str], judgements: list[Judgement], replaced: Mapping[CameraRole, str]
) -> list[Judgement]:
    """Wrist cameras that no motion was asked of, and cameras that the site file does not name."""
    from gigaedge_calibration.verdicts import Judgement, Verdict

    proven = {row.subject for row in judgements}
    rows = [
        Judgement(
            "role", role, Verdict.WARN,
            cause="only its serial number says which it is", mend="prove it with --wiggle both or --by-hand both",
        )
        for role in serials
        if role != "cam_high" and role not in proven
    ]  # fmt: skip
    rows += [
        Judgement(
            "role", role, Verdict.WARN,
            cause=f"the camera of the site file is not connected, {serial} took its place",
            mend="write the lines below into the site file (--write does)",
        )
        for role, serial in replaced.items()
    ]  # fmt: skip
    return rows


def _write(file: Path, site: Site, right: Mapping[CameraRole, str]) -> bool:
    """Whether serials of the site file had to be changed."""
    from gigaedge.site_edit import edit_cameras

    wrong = {
        camera.role: {"serial": right[camera.role]}
        for camera in site.cameras
        if camera.role in right and camera.device != right[camera.role]
    }
    if wrong:
        edit_cameras(file, wrong)
    return bool(wrong)


def _mended(row: Judgement) -> Judgement:
    """A row about a serial that is now right."""
    from dataclasses import replace

    from gigaedge_calibration.verdicts import Verdict

    if "--write" not in row.mend:
        return row
    return replace(row, verdict=Verdict.PASS, cause=f"{row.cause}; corrected", mend="")


def _keep(
    file: Path,
    site: Site,
    right: Mapping[CameraRole, str],
    devices: Mapping[str, DeviceInfo],
    judgements: list[Judgement],
) -> None:
    """Write into the calibration which cameras are proven."""
    from gigaedge.calibration import Calibration, amend
    from gigaedge.calibration_entries import with_camera
    from gigaedge_calibration.cameras import calibration_entry
    from gigaedge_calibration.roles import MOVED
    from gigaedge_calibration.verdicts import Verdict

    proven = {
        row.subject for row in judgements if row.verdict is Verdict.PASS and row.check in MOVED.values()
    }
    if len(proven) == len(MOVED):
        proven.add("cam_high")  # the one that is left
    configs = [camera for camera in site.cameras if camera.role in proven]

    def change(calibration: Calibration) -> Calibration:
        for config in configs:
            entry = calibration_entry(calibration, config, devices[right[config.role]])
            calibration = with_camera(calibration, entry.model_copy(update={"proof": "motion"}))
        return calibration

    if configs:
        amend(file, change)


def _show(folder: Path, pictures: Mapping[CameraRole, Picture], site: Site) -> None:
    """One PNG per camera, with its role and serial number in it."""
    import cv2
    import numpy as np

    from gigaedge.files import atomic_directory

    serials = {camera.role: camera.device or str(camera.file) for camera in site.cameras}
    with atomic_directory(folder, mark="roles.txt", replace=True) as temporary:
        for role, picture in pictures.items():
            image = np.asarray(cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR))
            image[:LABEL] = 0
            place = (6, LABEL - 8)
            text = f"{role}  {serials[role]}"
            cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
            (temporary / f"{role}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        (temporary / "roles.txt").write_text("".join(f"{role} {serials[role]}\n" for role in pictures))


def _row(role: CameraRole, serial: str, devices: Mapping[str, DeviceInfo]) -> dict[str, str]:
    info = devices[serial]
    return {"role": role, "serial": serial, "name": info.name, "usb": info.usb, "port": info.port}


def _lines(right: Mapping[CameraRole, str]) -> list[str]:
    from gigaedge.site_edit import camera_lines

    return camera_lines({role: {"serial": serial} for role, serial in right.items()})


def _print(
    right: Mapping[CameraRole, str],
    devices: Mapping[str, DeviceInfo],
    proof: RoleProof | None,
    judgements: list[Judgement],
) -> None:
    rows = [list(_row(role, serial, devices).values()) for role, serial in right.items()]
    print_table("Cameras", ["role", "serial", "name", "usb", "port"], rows)
    if proof is not None:
        parts = {"still": proof.still, **{f"{side} wrist": part for side, part in proof.moved.items()}}
        table = [[role, *(f"{100 * part[role]:.1f}" for part in parts.values())] for role in right]
        print_table("Changed part of each picture, %", ["role in the site file", *parts], table)
    print_judgements("Roles", judgements)
