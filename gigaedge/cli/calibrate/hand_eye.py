"""`gigaedge calibrate hand-eye`: where a camera is, on a wrist or in the cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

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
    print_judgements,
)
from gigaedge.cli.common import JsonOption, needs, print_json, print_notices, progress
from gigaedge.errors import CalibrationError, ConfigError, InputError
from gigaedge.robot import CameraRole, Side

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from gigaedge.calibration import BoardInfo, Calibration, MountInfo
    from gigaedge.site import Site
    from gigaedge_calibration.captures import Capture
    from gigaedge_calibration.hand_eye import HandEye
    from gigaedge_calibration.map_solver import Model

REFUSED: Final = "refused"
"""Pictures that gave no answer are kept under this suffix; those of the mount in the file stay."""

BASES_APART_MM: Final = 20.0
BASES_APART_DEGREES: Final = 2.0
"""Farther than anyone measures wrong with a ruler."""


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.command(
        "hand-eye",
        epilog="Examples: `gigaedge calibrate hand-eye site.yaml --camera cam_left_wrist`, "
        "`gigaedge calibrate hand-eye site.yaml --camera cam_high --arm left --auto`, "
        "`gigaedge calibrate hand-eye site.yaml --camera cam_high --from kept/hand-eye-cam_high`",
    )(hand_eye_command)


def hand_eye_command(
    site: SiteArgument,
    camera: Annotated[CameraRole, typer.Option(help="The camera.", show_default=False)],
    arm: Annotated[
        Side | None,
        typer.Option(help="The arm that holds the board for cam_high; default: left.", show_default=False),
    ] = None,
    poses: Annotated[int, typer.Option(help="How many to look from.", min=5, max=60)] = 15,
    auto: Annotated[
        bool,
        typer.Option(
            "--auto/--by-hand", help="Move the arm to planned poses, or follow a person who guides it."
        ),
    ] = False,
    hold_out: Annotated[int, typer.Option(help="Poses that every trial solve does without.", min=0)] = 3,
    source: FromOption = None,
    yes: YesOption = False,
    timeout: Annotated[float, typer.Option(help="By hand: give up after so many seconds.", min=1)] = 600.0,
    seed: Annotated[int, typer.Option(help="Of the poses that are drawn for --auto.", min=0)] = 0,
    strict: StrictOption = False,
    json: JsonOption = False,
) -> None:
    """Find where a camera is: on the wrist, the board lying still; or in the cell, the board in the gripper.

    By hand: press the arm's teach button and guide it; a look is taken wherever it stands. Turn the wrist about all its
    axes, by 30 degrees and more: an answer that the poses do not determine is refused, however small its residual. A
    wrist camera sees a board that nobody touches meanwhile; cam_high one that an arm holds firmly.
    """
    with needs("robot"):
        from gigaedge_calibration.board import require_measured
        from gigaedge_calibration.captures import load_captures, save_captures
        from gigaedge_calibration.mounts import judge_mount, mount_info
        from gigaedge_calibration.verdicts import Verdict, gravest
    where, file = open_site(site)
    side = _side(where, camera, arm)
    board, model, covariance, notices = _known(where, file, camera)
    require_measured(board)
    print_notices(notices)
    if source is None:
        captures = _capture(where, camera, side, board, model, poses, auto, yes, timeout, seed)
        folder = captures_folder(file, "hand-eye", camera)
    else:
        captures = [capture for capture in load_captures(source) if capture.role == camera]
        folder = source
    refused = captures_folder(file, "hand-eye", f"{camera}-{REFUSED}")
    try:
        result = _solve(captures, board, side, model, covariance, hold_out, quiet=json)
    except CalibrationError as error:
        if source is not None:
            raise
        save_captures(refused, captures, replace=True)
        raise CalibrationError(f"{camera}: {error}; the pictures are in {refused}") from error
    mount = mount_info(result, camera, side)
    rows = judge_mount(camera, mount)
    usable = gravest(rows) is not Verdict.FAIL
    if source is None:
        folder = folder if usable else refused
        save_captures(folder, captures, replace=True)
    after = _write(where, file, camera, mount, folder) if usable else None
    if json:
        print_json(
            {
                "role": camera,
                "arm": side,
                "mount": mount.model_dump(),
                "bases": after.bases.model_dump() if after and after.bases else None,
                "calibration": str(file) if usable else None,
                "captures": str(folder),
                "judgements": judgement_data(rows),
            }
        )
    else:
        print_judgements(f"{camera}: mount", rows)
        typer.echo(_summary(camera, mount, result))
        said = " ".join(row.cause for row in rows)
        print_notices([cause for cause in mount.causes if cause not in said])
        typer.echo(f"{file}: written" if usable else f"nothing was written; the pictures are in {folder}")
    conclude(rows, strict=strict)


def _side(site: Site, camera: CameraRole, arm: Side | None) -> Side:
    from gigaedge_calibration.mounts import ARM_OF

    side = ARM_OF.get(camera, arm or "left")
    if arm not in (None, side):
        raise InputError(f"--arm {arm}: {camera} is on the {side} arm")
    if site.arm(side).driver == "absent":
        raise ConfigError(f"the {side} arm is absent in this cell; name one that is there with --arm")
    return side


def _known(
    site: Site, file: Path, role: CameraRole
) -> tuple[BoardInfo, Model, NDArray[np.float64] | None, list[str]]:
    """Board, lens and kinematics to solve with, the lens's covariance, and what is to be said of them."""
    import numpy as np

    from gigaedge.calibration import load_calibration
    from gigaedge_calibration.lens_uncertainty import lens_of
    from gigaedge_calibration.map_solver import Model
    from gigaedge_calibration.mounts import setup_of

    calibration = load_calibration(file) if file.exists() else None
    if calibration is None or calibration.board is None:
        raise CalibrationError(
            f"{file}: no board; describe yours with `gigaedge calibrate board SITE --squares 9x7 --square-mm 27`"
        )
    known = calibration.camera(role)
    info = known and (known.intrinsics or known.factory)
    if not info:
        raise CalibrationError(
            f"{file}: no lens of {role}; run `gigaedge calibrate intrinsics SITE --role {role}` first"
        )
    config = next(camera for camera in site.cameras if camera.role == role)
    if (info.width, info.height) != (config.width, config.height):
        raise CalibrationError(
            f"{role}: the lens was calibrated at {info.width}x{info.height} px and the site runs {config.width}x"
            f"{config.height}; run `gigaedge calibrate intrinsics SITE --role {role}` again"
        )
    notices = []
    if info.source != "own":
        notices.append(
            f"{role}: the lens is the {info.source} one, which nobody verified: a wrong lens costs millimetres; "
            f"`gigaedge calibrate intrinsics SITE --role {role}` measures it"
        )
    model = Model(lens_of(info), setup_of(role), site.limits.bounds.dh_is_offset)
    return calibration.board, model, np.array(info.covariance) if info.covariance else None, notices


def _capture(
    site: Site,
    role: CameraRole,
    side: Side,
    board: BoardInfo,
    model: Model,
    poses: int,
    auto: bool,
    yes: bool,
    timeout: float,
    seed: int,
) -> list[Capture]:
    """Looks from the live cell."""
    import numpy as np

    from gigaedge_calibration import acceptance
    from gigaedge_calibration.hand_eye_session import Session, collect_by_hand, collect_planned
    from gigaedge_calibration.pose_plan import Room
    from gigaedge_runtime.cell import open_cell

    front = model.setup == "fixed"
    turn, shift = (
        (acceptance.FRONT_ROTATION, acceptance.FRONT_TRANSLATION)
        if front
        else (acceptance.WRIST_ROTATION, acceptance.WRIST_TRANSLATION)
    )
    needed = (float(np.radians(turn.warn / 2)), shift.warn / 2000)
    if auto and not yes:
        held = "holds the board" if front else "has room above the board"
        ask_first(
            f"The {side} arm will move slowly to {poses} poses. It {held}, and nothing is in its way. Go on?"
        )
    config = next(camera for camera in site.cameras if camera.role == role)
    with open_cell(site, cameras=(role,), arms=None) as cell:
        session = Session(cell, role, side, model, board, poses, config.flip)
        if auto:
            room = Room.of(site, side, cell.joints(side))
            collect_planned(session, room, needed, np.random.default_rng(seed), _say)
        else:
            collect_by_hand(session, needed, timeout, _say, _hint())
    return session.captures


def _say(text: str) -> None:
    typer.echo(f"look {text}", err=True)


def _hint() -> Callable[[str], None]:
    """Say what to do now, once per change."""
    last = ""

    def hint(text: str) -> None:
        nonlocal last
        if text != last:
            typer.echo(text, err=True)
        last = text

    return hint


def _solve(
    captures: Sequence[Capture],
    board: BoardInfo,
    side: Side,
    model: Model,
    covariance: NDArray[np.float64] | None,
    hold_out: int,
    *,
    quiet: bool,
) -> HandEye:
    from gigaedge_calibration.hand_eye import solve_hand_eye
    from gigaedge_calibration.hand_eye_session import look_of

    looks = []
    with progress(len(captures) + 1, quiet) as begin:
        for number, capture in enumerate(captures):
            begin(f"pose {number}")
            height, width, _ = capture.image.shape
            if (width, height) != (model.lens.width, model.lens.height):
                raise CalibrationError(
                    f"pose {number} has {width}x{height} px, and the lens {model.lens.width}x{model.lens.height}; "
                    "capture the size that the site runs"
                )
            look = look_of(capture, board, side)
            if look is None:
                raise CalibrationError(
                    f"pose {number} shows too little of the board that the calibration file describes; capture again"
                )
            looks.append(look)
        begin("mount")
        return solve_hand_eye(model, looks, lens_covariance=covariance, hold_out=hold_out)


def _write(site: Site, file: Path, role: CameraRole, mount: MountInfo, folder: Path) -> Calibration:
    from gigaedge.calibration import amend
    from gigaedge.calibration_entries import capture_info, with_capture
    from gigaedge_calibration.mounts import bases_of

    capture = capture_info(file, folder, "hand-eye", role)

    def change(calibration: Calibration) -> Calibration:
        cameras = tuple(
            camera.model_copy(update={"mount": mount}) if camera.role == role else camera
            for camera in calibration.cameras
        )
        update: dict[str, Any] = {"cameras": cameras}
        found = {camera.role: camera.mount for camera in cameras if camera.mount is not None}
        if role != "cam_high" and {"cam_left_wrist", "cam_right_wrist"} <= found.keys():
            update["bases"] = bases_of(found["cam_left_wrist"], found["cam_right_wrist"])
        return with_capture(calibration.model_copy(update=update), capture)

    after = amend(file, change)
    if role != "cam_high" and after.bases is not None:
        _check_bases(site, after)
    return after


def _check_bases(site: Site, calibration: Calibration) -> None:
    """Say what the arms' places in the site file and the board that both wrists saw say of each other."""
    import numpy as np

    from gigaedge import poses
    from gigaedge_calibration.mounts import transform_of

    left, right = site.arm("left").base, site.arm("right").base
    if calibration.bases is None or left is None or right is None:
        return
    placed = [
        poses.from_six(np.array([0, 0, base.yaw, base.x, base.y, base.z], dtype=np.float64))
        for base in (left, right)
    ]
    away = poses.difference(transform_of(calibration.bases), poses.inverse(placed[0]) @ placed[1])
    turn, shift = float(np.degrees(np.linalg.norm(away[:3]))), 1e3 * float(np.linalg.norm(away[3:]))
    print_notices(
        [
            f"the right arm's base, seen from the left one by the board that both wrist cameras saw, is {shift:.0f} mm "
            f"and {turn:.1f} degrees from where the site file has it (`arms[].base`)"
            + (
                "; did the board move between the two calibrations?"
                if shift > BASES_APART_MM or turn > BASES_APART_DEGREES
                else ""
            )
        ]
    )


def _summary(role: CameraRole, mount: MountInfo, result: HandEye) -> str:
    import numpy as np

    turn, shift = result.sigma
    x, y, z = (1e3 * value for value in mount.transform.translation)
    return (
        f"{role} in {mount.transform.parent}: {x:.1f}, {y:.1f}, {z:.1f} mm +- {2e3 * shift:.2f}; turned +- "
        f"{2 * np.degrees(turn):.3f} degrees (2 sigma); {mount.poses} poses, corners {mount.sigma_px:.2f} px, joints "
        f"{np.degrees(mount.sigma_joint):.3f} degrees"
    )
