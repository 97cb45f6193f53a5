"""`gigaedge calibrate validate | diff | export | import`: a calibration as a file."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gigaedge.cli.calibrate.results import RoleOption, SiteArgument, open_site
from gigaedge.cli.common import ForceOption, JsonOption, needs, print_json, print_notices, print_table
from gigaedge.errors import CalibrationError, CameraError, CheckFailedError, ConfigError, InputError
from gigaedge.robot import CameraRole

if TYPE_CHECKING:
    from gigaedge.calibration import Calibration, IntrinsicsInfo
    from gigaedge.site import CameraConfig, Site
    from gigaedge_calibration.difference import Change

SiteOrFile = Annotated[
    Path, typer.Argument(help="A site file (.yaml), or a calibration (.json).", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command("validate", epilog="Example: `gigaedge calibrate validate cell.yaml --captures`")(
        validate_command
    )
    app.command(
        "diff", epilog="Example: `gigaedge calibrate diff cell.calibration.0a1b2c3d4e5f.json cell.yaml`"
    )(diff_command)
    app.command(
        "export",
        epilog="Example: `gigaedge calibrate export cell.yaml --format ros --role cam_high --out cam_high.yaml`",
    )(export_command)
    app.command(
        "import",
        epilog="Example: `gigaedge calibrate import cell.yaml camchain.yaml --format kalibr --role cam_high`",
    )(import_command)


def calibration_file(path: Path) -> Path:
    """The calibration of a site file, or `path` itself when it is one. Raises CalibrationError: the site has none."""
    if path.suffix == ".json":
        return path
    _, file = open_site(path)
    if not file.is_file():
        raise CalibrationError(f"{path}: has no calibration yet ({file}); make one with `gigaedge calibrate`")
    return file


def validate_command(
    site: SiteOrFile,
    captures: Annotated[
        bool, typer.Option("--captures", help="Compare every kept picture with its checksum, too.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check a calibration: every number possible, every file before it still there and unaltered.

    Exit code 1 when the chain of files, or a capture, is broken; 2 when the file itself is.
    """
    from gigaedge.calibration import load_calibration
    from gigaedge.calibration_chain import follow, verify_captures

    file = calibration_file(site)
    calibration = load_calibration(file)
    chain = follow(file)
    kept = verify_captures(file, calibration) if captures else []
    problems = [chain.broken] if chain.broken else []
    problems += [f"{each.info.purpose} {each.info.subject}: {each.problem}" for each in kept if each.problem]
    if json:
        print_json(
            {
                "file": str(file),
                "chain": [
                    {"file": link.file.name, "sha256": link.sha256, "created": link.created.isoformat()}
                    for link in chain.links
                ],
                "captures": [{**each.info.model_dump(), "problem": each.problem} for each in kept],
                "problems": problems,
            }
        )
    else:
        rows = [[link.file.name, link.created.isoformat(sep=" "), link.sha256[:12]] for link in chain.links]
        print_table(f"{file}: valid", ["version", "made", "sha256"], rows)
        if kept:
            rows = [[k.info.purpose, k.info.subject, k.info.folder, k.problem or "ok"] for k in kept]
            print_table("Captures", ["purpose", "of", "folder", ""], rows)
    if problems:
        raise CheckFailedError("; ".join(problems))


def diff_command(
    before: SiteOrFile,
    after: SiteOrFile,
    json: JsonOption = False,
) -> None:
    """Say what changed from one calibration to another, in degrees, mm, px, and in standard deviations.

    Exit code 0 when all measurements agree within their uncertainties, 1 when something differs.
    """
    from gigaedge.calibration import load_calibration

    with needs("robot"):
        from gigaedge_calibration.difference import compare

    changes = compare(*(load_calibration(calibration_file(path)) for path in (before, after)))
    differs = [change for change in changes if change.differs]
    if json:
        print_json({"same": not differs, "changes": [asdict(change) for change in changes]})
    elif changes:
        print_table("Changes", ["of", "what", "change", "sigma", ""], [_row(change) for change in changes])
    else:
        typer.echo("the same")
    if differs:
        raise typer.Exit(1)


def _row(change: Change) -> list[str]:
    if change.amount is None:
        said = f"{change.before} -> {change.after}"
    else:
        said = f"{change.amount:.3g} {change.unit}"
    sigmas = "" if change.sigmas is None else f"{change.sigmas:.1f}"
    return [change.subject, change.what, said, sigmas, "differs" if change.differs else "within chance"]


def export_command(
    site: SiteOrFile,
    out: Annotated[Path, typer.Option(help="File to write.", show_default=False)],
    form: Annotated[
        Literal["ros", "opencv", "kalibr", "urdf", "mrcal"],
        typer.Option("--format", help="camera_info, FileStorage, camchain, joints of mounts, cameramodel."),
    ],
    role: Annotated[
        CameraRole | None, typer.Option(help="Which camera; urdf: default all.", show_default=False)
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write a camera for another tool. The calibration stays the truth: no other file holds its uncertainty.

    Kalibr's lens has four coefficients: one with five is fitted anew, and refused when a point moves by over 0.5 px.
    """
    from gigaedge.calibration import load_calibration
    from gigaedge.files import require_free, write_text

    with needs("robot"):
        from gigaedge_calibration.transfer import export

    calibration = load_calibration(calibration_file(site))
    require_free(out, replace=force)
    exported = export(calibration, form, role)
    write_text(out, exported.text)
    print_notices(list(exported.notes))
    typer.echo(f"{out}: {role or 'all mounts'} as {form}")


def import_command(
    site: SiteArgument,
    role: RoleOption,
    form: Annotated[
        Literal["ros", "opencv", "kalibr", "realsense"],
        typer.Option(
            "--format", help="camera_info, FileStorage YAML, camchain; realsense: the camera's own."
        ),
    ],
    file: Annotated[
        Path | None, typer.Argument(help="The file; none for realsense.", show_default=False)
    ] = None,
    entry: Annotated[
        str | None, typer.Option(help="Name of the camera in a camchain of several.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a lens that was measured here.")] = False,
) -> None:
    """Take a lens from another tool's file, or the factory's from the camera itself, into the site's calibration.

    Such a file does not say how uncertain its numbers are: what is judged by that stays "not measured".
    """
    from gigaedge.calibration import amend

    loaded, target = open_site(site)
    config = next(camera for camera in loaded.cameras if camera.role == role)
    if (form == "realsense") != (file is None):
        raise InputError(
            "realsense reads the connected camera: leave the file out"
            if file is not None
            else f"--format {form} needs the file to import"
        )
    if file is None:
        lens = _factory(loaded, config)
    else:
        with needs("robot"):
            from gigaedge_calibration.transfer import read_lens
        lens = read_lens(file, form, (config.width, config.height), entry)  # type: ignore[arg-type]
    amend(target, lambda before: _with_lens(before, config, lens, force))
    typer.echo(
        f"{target}: {role} has the {lens.source} lens: {lens.model}, fx {lens.fx:.2f} px, fy {lens.fy:.2f} px, of "
        f"{lens.width}x{lens.height}"
    )
    if lens.source == "imported":
        print_notices(["no uncertainty came with it; `gigaedge calibrate intrinsics` measures one"])


def _factory(site: Site, config: CameraConfig) -> IntrinsicsInfo:
    """What the camera says of its own lens; a simulated one is brought up for that."""
    if config.device is None:
        raise ConfigError(f"{config.role}: plays a file; --format realsense needs a camera")
    with needs("robot"):
        from gigaedge.librealsense import factory_lens
        from gigaedge_calibration.lens_uncertainty import factory_info
        from gigaedge_runtime.cell import open_cell
    simulated: AbstractContextManager[object] = nullcontext()
    if config.driver == "sim":
        simulated = open_cell(site, cameras=(config.role,), arms=())
    with simulated:
        lens = factory_lens(config.device, config.width, config.height)
    if lens is None:
        raise CameraError(
            f"{config.role}: camera {config.device} has no colour stream of {config.width}x{config.height}"
        )
    return factory_info(lens)


def _with_lens(before: Calibration, config: CameraConfig, lens: IntrinsicsInfo, force: bool) -> Calibration:
    from gigaedge.calibration_entries import entry_of, with_camera

    camera = entry_of(before, config)
    if lens.source == "factory":
        changed = camera.model_copy(update={"factory": lens})
    elif camera.intrinsics is not None and camera.intrinsics.source == "own" and not force:
        raise InputError(
            f"{config.role} has a lens that was measured here, with its uncertainty; pass --force to replace it"
        )
    else:
        changed = camera.model_copy(update={"intrinsics": lens})
    return with_camera(before, changed)
