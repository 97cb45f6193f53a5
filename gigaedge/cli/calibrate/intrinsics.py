"""`gigaedge calibrate intrinsics`: a camera's lens from views of a board."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gigaedge.cli.calibrate.results import (
    FromOption,
    RoleOption,
    SiteArgument,
    StrictOption,
    captures_folder,
    conclude,
    judgement_data,
    open_site,
    print_judgements,
)
from gigaedge.cli.common import JsonOption, needs, print_json, progress
from gigaedge.errors import CalibrationError, CameraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from gigaedge.calibration import BoardInfo, Calibration
    from gigaedge.lens import Lens
    from gigaedge.robot import CameraRole
    from gigaedge.site import CameraConfig, Site
    from gigaedge_calibration.captures import Capture
    from gigaedge_calibration.collecting import Collector
    from gigaedge_calibration.cv_compat import Detection
    from gigaedge_calibration.intrinsics import IntrinsicsResult

REFUSED: Final = "refused"
"""Pictures that gave no lens are kept under this subject's suffix; those of the lens in the file stay."""


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(
        "intrinsics",
        epilog="Examples: `gigaedge calibrate intrinsics site.yaml --role cam_high --views 20`, "
        "`gigaedge calibrate intrinsics site.yaml --role cam_high --from kept/intrinsics-cam_high`",
    )(intrinsics_command)


def intrinsics_command(
    site: SiteArgument,
    role: RoleOption,
    views: Annotated[int, typer.Option(help="How many to take.", min=6, max=100)] = 20,
    source: FromOption = None,
    timeout: Annotated[float, typer.Option(help="Give up after so many seconds.", min=1)] = 300.0,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Calibrate a camera's lens: show it the board from all sides, and hold still; pictures are taken on their own.

    What counts is how sure the answer is, not its residual: views that do not determine the lens are refused. The
    result is compared with what the camera says of itself; nothing is written into the camera.
    """
    with needs("robot"):
        from gigaedge_calibration.captures import load_captures, save_captures
        from gigaedge_calibration.intrinsics import judge_intrinsics
        from gigaedge_calibration.verdicts import Verdict, gravest
    where, file = open_site(site)
    config = next(camera for camera in where.cameras if camera.role == role)
    board = _known_board(file)
    factory = None
    if source is None:
        captures, factory = _capture(where, config, board, views, timeout)
        folder = captures_folder(file, "intrinsics", role)
    else:
        captures = [capture for capture in load_captures(source) if capture.role == role]
        folder = source
        if not captures:
            raise CalibrationError(f"{source}: no picture of {role}; name the folder of its captures")
    try:
        result = _solve(captures, board, config, quiet=json)
    except CalibrationError as error:
        if source is not None:
            raise
        kept = captures_folder(file, "intrinsics", f"{role}-{REFUSED}")
        save_captures(kept, captures, replace=True)
        raise CalibrationError(f"{role}: {error}; the pictures are in {kept}") from error
    before = _camera(file, role)
    if factory is None and before is not None and before.factory is not None:
        from gigaedge_calibration.lens_uncertainty import lens_of

        factory = lens_of(before.factory)
    rows = judge_intrinsics(result, role, factory)
    usable = gravest(rows) is not Verdict.FAIL
    if not usable:
        folder = captures_folder(file, "intrinsics", f"{role}-{REFUSED}") if source is None else folder
    if source is None:
        save_captures(folder, captures, replace=True)
    if usable:
        _write(file, config, result, factory, folder)
    if json:
        print_json(_data(role, result, factory, file if usable else None, folder, judgement_data(rows)))
    else:
        print_judgements(f"{role}: lens", rows)
        lens = result.lens
        typer.echo(
            f"{role}: f {lens.fx:.2f}, {lens.fy:.2f} px +- {2 * result.focal_sigma:.2f}; centre {lens.cx:.2f}, "
            f"{lens.cy:.2f} px; {result.model}, {len(result.views)} views"
        )
        typer.echo(f"{file}: written" if usable else f"nothing was written; the pictures are in {folder}")
    conclude(rows, strict=strict)


def _known_board(file: Path) -> BoardInfo:
    from gigaedge.calibration import load_calibration

    board = load_calibration(file).board if file.exists() else None
    if board is None:
        raise CalibrationError(
            f"{file}: no board; describe yours with `gigaedge calibrate board SITE --squares 9x7 --square-mm 27`"
        )
    return board


def _camera(file: Path, role: CameraRole) -> Any:
    from gigaedge.calibration import load_calibration

    return load_calibration(file).camera(role)


def _capture(
    site: Site, config: CameraConfig, board: BoardInfo, views: int, timeout: float
) -> tuple[list[Capture], Lens | None]:
    """Pictures from the live camera, and what it says of its own lens."""
    from gigaedge.librealsense import factory_lens
    from gigaedge_calibration.collecting import Collector, collect
    from gigaedge_runtime.cell import open_cell

    size = (config.width, config.height)
    with open_cell(site, cameras=(config.role,), arms=()) as cell:
        factory = None
        if config.driver != "video" and config.file is None:
            try:
                factory = factory_lens(config.identity, *size)
            except CameraError as error:
                # Only a comparison is lost.
                typer.echo(f"note: {error}", err=True)
        collector = Collector(board, size, views, factory)
        with _watch(views) as show:
            captures = collect(cell, config.role, collector, flip=config.flip, timeout=timeout, show=show)
    return captures, factory


def _solve(
    captures: Sequence[Capture], board: BoardInfo, config: CameraConfig, *, quiet: bool
) -> IntrinsicsResult:
    from gigaedge_calibration.cv_compat import detect
    from gigaedge_calibration.diagnosis import explain
    from gigaedge_calibration.intrinsics import LEAST_VIEWS, is_usable, solve_intrinsics
    from gigaedge_calibration.lens_uncertainty import policy_crop

    size = (config.width, config.height)
    found: list[Detection] = []
    with progress(len(captures) + 1, quiet) as begin:
        for number, capture in enumerate(captures):
            begin(f"view {number}")
            height, width, _ = capture.image.shape
            if (width, height) != size:
                raise CalibrationError(
                    f"view {number} has {width}x{height} px, and the site's {config.role} {size[0]}x{size[1]}; capture "
                    "the size that the site runs"
                )
            found.append(detect(capture.image, board))
        unread = [number for number, view in enumerate(found) if not is_usable(view, board)]
        if len(found) - len(unread) < LEAST_VIEWS and unread:
            reason = explain(captures[unread[0]].image, board, found[unread[0]])
            raise CalibrationError(
                f"{config.role}: the board is readable in {len(found) - len(unread)} of {len(found)} views, "
                f"{LEAST_VIEWS} are needed; view {unread[0]}: {reason}"
            )
        begin("lens")
        return solve_intrinsics(found, size, board, crop=policy_crop(config.role, size))


def _write(
    file: Path, config: CameraConfig, result: IntrinsicsResult, factory: Lens | None, folder: Path
) -> None:
    from gigaedge.calibration import amend
    from gigaedge.calibration_entries import capture_info, entry_of, with_camera, with_capture
    from gigaedge_calibration.lens_uncertainty import factory_info

    capture = capture_info(file, folder, "intrinsics", config.role)

    def change(calibration: Calibration) -> Calibration:
        update: dict[str, Any] = {"intrinsics": result.info()}
        if factory is not None:
            update["factory"] = factory_info(factory)
        entry = entry_of(calibration, config).model_copy(update=update)
        return with_capture(with_camera(calibration, entry), capture)

    amend(file, change)


def _data(
    role: CameraRole,
    result: IntrinsicsResult,
    factory: Lens | None,
    file: Path | None,
    folder: Path,
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    from gigaedge_calibration.lens_uncertainty import compare_lenses

    apart = compare_lenses(result.lens, factory) if factory else None
    return {
        "role": role,
        "intrinsics": result.info().model_dump(),
        "rejected": list(result.rejected),
        "unread": list(result.unread),
        "factory": None if apart is None else {"focal_percent": 100 * apart.focal, "worst_px": apart.worst},
        "calibration": str(file) if file else None,
        "captures": str(folder),
        "judgements": rows,
    }


@contextmanager
def _watch(wanted: int) -> Iterator[Callable[[Collector, str], None]]:
    """A map of what was seen that follows the collection on a terminal; elsewhere a line per view on stderr."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda collector, hint: live.update(_map(collector, hint), refresh=True)
        return
    told = 0

    def tell(collector: Collector, hint: str) -> None:
        nonlocal told
        if len(collector) > told:
            told = len(collector)
            typer.echo(f"view {told} of {wanted}: {hint}", err=True)

    yield tell


def _map(collector: Collector, hint: str) -> RenderableType:
    from rich.text import Text

    from gigaedge_calibration.coverage import TILT_EDGES

    seen = collector.coverage
    text = Text(f"view {len(collector)} of {collector.wanted}\n\n")
    for row in seen.cells:
        for corners in row:
            text.append("██ " if corners else "░░ ", style="green" if corners else "dim")
        text.append("\n")
    text.append(f"\n{100 * seen.part:.0f} % of the picture\ntilt, degrees   ")
    for low, high, count in zip(TILT_EDGES, TILT_EDGES[1:], seen.histogram, strict=False):
        text.append(f"{low:.0f}-{high:.0f}: ", style="dim")
        text.append(f"{count}   ", style="" if count else "dim")
    text.append(f"\n\n{hint}\n", style="bold")
    return text
