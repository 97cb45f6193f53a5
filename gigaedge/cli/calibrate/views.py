"""`gigaedge calibrate views`: reference pictures, and whether the cameras still see them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gigaedge.cli.calibrate.check import LookOption, OverlayOption, draw_sight, show_sight
from gigaedge.cli.calibrate.results import (
    SiteArgument,
    StrictOption,
    captures_folder,
    conclude,
    open_site,
)
from gigaedge.cli.common import JsonOption, needs, print_json, progress
from gigaedge.errors import InputError
from gigaedge.robot import CAMERA_ROLES, CameraRole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gigaedge.calibration import Calibration, IntrinsicsInfo, ViewInfo
    from gigaedge.cli.calibrate.looking import Sight
    from gigaedge.site import Site
    from gigaedge_calibration.captures import Capture

FRAMES: Final = 10
"""Pictures of a camera that are averaged for a reference."""
PERIOD: Final = 0.5
"""s between two looks of --live."""


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(
        "views",
        epilog="Examples: `gigaedge calibrate views site.yaml --capture`, "
        "`gigaedge calibrate views site.yaml --capture --role cam_left_wrist --gripper 200,300,440,480`, "
        "`gigaedge calibrate views site.yaml --reference dataset:DATA:0:0`, "
        "`gigaedge calibrate views site.yaml --live --out views.png`",
    )(views_command)


def views_command(
    site: SiteArgument,
    capture: Annotated[
        bool, typer.Option("--capture", help="Take what the cameras see now as the reference.")
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Take this as the reference: dataset:PATH:EPISODE:FRAME, or a picture (with --role).",
            show_default=False,
        ),
    ] = None,
    role: Annotated[
        CameraRole | None, typer.Option(help="This camera alone; default: all.", show_default=False)
    ] = None,
    gripper: Annotated[
        str | None,
        typer.Option(
            help="Region that shows a wrist camera's own gripper: LEFT,TOP,RIGHT,BOTTOM in px (with --role). It is "
            "kept until another is given.",
            show_default=False,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            help="Region with what never moves, to look for nothing else: LEFT,TOP,RIGHT,BOTTOM in px (with --role). "
            "It is kept until another is given.",
            show_default=False,
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Look twice a second until Ctrl-C, to re-aim.")
    ] = False,
    out: OverlayOption = None,
    folder: LookOption = None,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Compare what the cameras see with their references, in pixels of the picture that the policy sees.

    First, with the cell as it should be and both arms at rest: --capture. Later, without it: how far is each view
    shifted, rolled and scaled, is it as bright, as coloured and as sharp, and how is the camera brought back. How much
    is good follows from how much training varied. Wrist views need the arm pose of the reference; with --gripper
    their bracket is watched in any pose.
    """
    loaded, file = open_site(site)
    storing = capture or reference is not None
    if capture and reference is not None:
        raise InputError("--capture and --reference: one reference at a time; choose one of the two")
    if storing and (live or out is not None):
        raise InputError("--live and --out compare; leave out --capture and --reference")
    if gripper is not None and (not storing or role in (None, "cam_high")):
        raise InputError(
            "--gripper belongs to --capture or --reference with --role cam_left_wrist or cam_right_wrist"
        )
    if region is not None and (not storing or role is None):
        raise InputError("--region belongs to --capture or --reference with --role")
    if live and (json or folder is not None):
        raise InputError("--live shows a live cell to a person; leave out --json and --from")
    regions = {
        name: parse_region(name, text)
        for name, text in (("gripper", gripper), ("region", region))
        if text is not None
    }
    roles = CAMERA_ROLES if role is None else (role,)
    if storing:
        taken, lenses, source = _take(loaded, reference, roles, folder, quiet=json)
        _store(loaded, file, taken, lenses, source, regions, json=json)
        return
    from gigaedge.cli.calibrate.looking import look_back, references_of, watching

    known = references_of(file)
    references = {key: value for key, value in known.items() if key in roles}
    if not references:
        raise InputError(f"{role}: has no reference yet; add --capture")
    if folder is not None:
        sight = look_back(references, folder)
    else:
        with watching(loaded, references) as look:
            sight = look()
            while live:
                began = time.monotonic()
                _show_live(sight)
                if out is not None:
                    draw_sight(sight, out)
                time.sleep(max(0.0, began + PERIOD - time.monotonic()))
                sight = look()
    show_sight("View", sight, out=out, json=json)
    conclude(sight.check.judgements, strict=strict)


def parse_region(name: str, text: str) -> tuple[int, int, int, int]:
    """LEFT,TOP,RIGHT,BOTTOM. Raises InputError."""
    try:
        left, top, right, bottom = (int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--{name} {text!r}: expected LEFT,TOP,RIGHT,BOTTOM in px, as 200,300,440,480"
        ) from error
    return left, top, right, bottom


def _show_live(sight: Sight) -> None:
    for comparison in sight.check.comparisons:
        from gigaedge_calibration.verdicts import gravest

        found = comparison.match
        seen = "not compared" if found is None else f"{found.shift[0]:+.1f}, {found.shift[1]:+.1f} px"
        todo = comparison.hint or next((row.cause for row in comparison.judgements if row.cause), "")
        typer.echo(f"{comparison.role}  {gravest(comparison.judgements).name}  {seen}  {todo}")
    typer.echo("")


def _take(
    site: Site, reference: str | None, roles: tuple[CameraRole, ...], folder: Path | None, *, quiet: bool
) -> tuple[list[Capture], Mapping[CameraRole, IntrinsicsInfo], str]:
    """One picture per role, the lenses that the cameras say they have, and where the pictures are from."""
    with needs("robot"):
        from gigaedge_calibration.captures import load_captures
        from gigaedge_calibration.references import average

    if reference is not None:
        return _read_reference(reference, roles), {}, reference
    if folder is not None:
        kept = load_captures(folder)
        groups = [[capture for capture in kept if capture.role == role] for role in roles]
        if not any(groups):
            raise InputError(f"{folder}: has no picture of {', '.join(roles)}; name another folder")
        return [average(group) for group in groups if group], {}, "captured"
    series, lenses = _capture(site, roles, quiet=quiet)
    return [average(series[role]) for role in roles], lenses, "captured"


def _capture(
    site: Site, roles: tuple[CameraRole, ...], *, quiet: bool
) -> tuple[dict[CameraRole, list[Capture]], dict[CameraRole, IntrinsicsInfo]]:
    with needs("robot"):
        from gigaedge.cli.calibrate.looking import SETTLE
        from gigaedge.librealsense import factory_lens
        from gigaedge_calibration.captures import Capture
        from gigaedge_calibration.lens_uncertainty import factory_info
        from gigaedge_runtime.cell import open_cell

    wrists = any(role != "cam_high" for role in roles)
    series: dict[CameraRole, list[Capture]] = {role: [] for role in roles}
    lenses = {}
    with (
        open_cell(site, cameras=roles, arms=None if wrists else ()) as cell,
        progress(FRAMES, quiet) as begin,
    ):
        time.sleep(2 * SETTLE)
        for number in range(FRAMES):
            begin(f"picture {number + 1} of {FRAMES}")
            state = tuple(cell.state().tolist()) if wrists else None
            for role, frame in cell.next_pictures().items():
                series[role].append(Capture(role, frame.image.copy(), state, frame.captured))
        for config in site.cameras:
            if config.role in roles and config.driver != "video" and config.file is None:
                serial = config.serial or f"sim-{config.role}"
                lens = factory_lens(serial, config.width, config.height)
                if lens is not None:
                    lenses[config.role] = factory_info(lens)
    return series, lenses


def _read_reference(reference: str, roles: tuple[CameraRole, ...]) -> list[Capture]:
    with needs("robot"):
        import cv2
        import numpy as np

        from gigaedge_calibration.captures import Capture

    if reference.startswith("dataset:"):
        path, episode, frame = _parse_dataset(reference)
        with needs("dataset"):
            from gigaedge.lerobot import Dataset
        with Dataset(path, cameras=True) as dataset:
            if not 0 <= episode < len(dataset.episodes):
                raise InputError(f"{path}: has episodes 0 to {len(dataset.episodes) - 1}; got {episode}")
            chosen = dataset.episodes[episode]
            if not 0 <= frame < chosen.length:
                raise InputError(
                    f"{path}: episode {episode} has frames 0 to {chosen.length - 1}; got {frame}"
                )
            joints = tuple(float(value) for value in chosen.motion().states[frame])
            return [Capture(role, chosen.frame(role, frame), joints) for role in roles]
    if len(roles) != 1:
        raise InputError(f"--reference {reference}: a picture shows one camera's view; say which with --role")
    image = cv2.imread(reference, cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(
            f"--reference {reference}: expected a readable picture, or dataset:PATH:EPISODE:FRAME"
        )
    return [Capture(roles[0], np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))]


def _parse_dataset(reference: str) -> tuple[Path, int, int]:
    parts = reference.removeprefix("dataset:").rsplit(":", 2)
    if len(parts) != 3 or not parts[0] or not (parts[1].isdecimal() and parts[2].isdecimal()):
        raise InputError(
            f"--reference {reference}: expected dataset:PATH:EPISODE:FRAME, as dataset:data/cups:0:0"
        )
    return Path(parts[0]), int(parts[1]), int(parts[2])


def _store(
    site: Site,
    file: Path,
    taken: list[Capture],
    lenses: Mapping[CameraRole, IntrinsicsInfo],
    source: str,
    regions: Mapping[str, tuple[int, int, int, int]],
    *,
    json: bool,
) -> None:
    """Keep the pictures, write the calibration, say what was stored."""
    from gigaedge.calibration import CaptureInfo, amend, load_calibration
    from gigaedge.calibration_entries import capture_info, entry_of, with_camera, with_capture
    from gigaedge_calibration.references import Reference, check_reference, store_reference, with_reference

    before = load_calibration(file) if file.exists() else None
    views = [(capture, _view(site, before, capture.role, source, regions)) for capture in taken]
    for capture, view in views:  # all of them, before any is kept
        check_reference(Reference(capture.role, capture.image, view))
    stored: list[tuple[Reference, CaptureInfo]] = []
    for capture, view in views:
        folder = captures_folder(file, "views", capture.role)
        reference = store_reference(folder, capture, view)
        stored.append((reference, capture_info(file, folder, "views", capture.role)))
    configs = {config.role: config for config in site.cameras}

    def change(calibration: Calibration) -> Calibration:
        for reference, kept in stored:
            entry = entry_of(calibration, configs[reference.role])
            entry = with_reference(entry, reference, lenses.get(reference.role))
            calibration = with_capture(with_camera(calibration, entry), kept)
        return calibration

    amend(file, change)
    data = {
        reference.role: {
            "folder": kept.folder,
            "features": len(reference.features.points),
            "joints": reference.info.joints,
            "gripper": reference.info.gripper,
        }
        for reference, kept in stored
    }
    if json:
        print_json({"file": str(file), "references": data})
        return
    for role, known in data.items():
        typer.echo(f"{role}: reference with {known['features']} features in {known['folder']}")
    typer.echo(f"wrote {file}")


def _view(
    site: Site,
    before: Calibration | None,
    role: CameraRole,
    source: str,
    regions: Mapping[str, tuple[int, int, int, int]],
) -> ViewInfo:
    """All of a view but the picture."""
    from gigaedge.bundle import read_manifest
    from gigaedge.calibration import ViewInfo
    from gigaedge_calibration.references import picture_name

    camera = before.camera(role) if before is not None else None
    known = camera.view if camera is not None else None
    view = ViewInfo(
        image=picture_name(role),
        sha256="0" * 64,
        source=source,
        gripper=regions.get("gripper", known.gripper if known else None),
        region=regions.get("region", known.region if known else None),
    )
    if isinstance(site.bundle, str) or not site.bundle.is_dir():
        return view
    policy = read_manifest(site.bundle).view
    return view.model_copy(update={"composite": (policy.width, policy.height), "layout": policy.layout})
