"""The calibration of a cell as one JSON file, `gigaedge.calibration/1`: what was measured, how well, and from what.

`load_calibration` reads and checks it; `amend` changes it: whole or not at all, the file before kept beside it and
named by its checksum, so that the files form a chain (`gigaedge.calibration_chain` follows it). What cannot be true is
refused (`gigaedge.plausible`). SI units: m, rad, s; px where a name says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationError, model_validator

from gigaedge import plausible, poses
from gigaedge.documents import FileName, Part, Sha256, write_document
from gigaedge.errors import CalibrationError
from gigaedge.files import atomic_file, locked, sha256
from gigaedge.machine import installed_versions
from gigaedge.robot import ROBOT_DIM, CameraRole, Side
from gigaedge.validation import first_problem

CONVENTIONS = (
    "m, rad, s, px. T_parent_child takes child coordinates to parent coordinates. Quaternions are w, x, y, z. Camera "
    "coordinates: x right, y down, z forward; pixel (0, 0) is the centre of the top left pixel. Covariances of a "
    "transform are of (rotation vector, translation): the child's axes turned where they are, then its origin "
    "shifted, both in parent coordinates."
)
"""Written into every file."""

PACKAGES: Final = ("gigaedge", "numpy", "opencv-python", "piper-sdk", "pyrealsense2")
"""Whose versions are written into every file."""

Vector3 = Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]
Vector6 = Annotated[tuple[float, ...], Field(min_length=6, max_length=6)]
Matrix6 = Annotated[tuple[Vector6, ...], Field(min_length=6, max_length=6)]
Quaternion = Annotated[
    tuple[float, ...], Field(min_length=4, max_length=4), AfterValidator(plausible.unit_quaternion)
]
"""w, x, y, z; of length 1."""
NotNegative = Annotated[float, Field(ge=0)]
State = Annotated[tuple[float, ...], Field(min_length=ROBOT_DIM, max_length=ROBOT_DIM)]
"""Of both arms (gigaedge.robot)."""

Frame = Literal[
    "cell", "board", "left_base", "right_base", "left_link6", "right_link6",
    "cam_high", "cam_left_wrist", "cam_right_wrist",
]  # fmt: skip
"""`cell` is what `arms[].base` of the site file refers to; link6 is the last frame of `gigaedge.kinematics`."""


DISTORTION_TERMS: Final = {"pinhole": 0, "radial_tangential": 5, "rational": 8}
"""Coefficients of each lens model."""


class TransformInfo(Part):
    """`T_parent_child`, with what is not known of it."""

    parent: Frame
    child: Frame
    quaternion: Quaternion
    translation: Annotated[Vector3, AfterValidator(plausible.metres)]
    """m."""
    covariance: Matrix6 | None = None
    """Of (rotation vector, rad; translation, m), see the file's `conventions`."""

    @model_validator(mode="after")
    def _possible(self) -> TransformInfo:
        if self.parent == self.child:
            raise ValueError(f"parent and child are both {self.parent}; a transform is between two frames")
        plausible.covariance(self.covariance)
        return self

    @property
    def matrix(self) -> NDArray[np.float64]:
        """`T_parent_child`, shape (4, 4)."""
        return poses.pose(poses.from_quaternion(np.array(self.quaternion)), np.array(self.translation))


class BoardInfo(Part):
    """A ChArUco board as it was measured, not as it was meant to be printed."""

    columns: int = Field(ge=3)
    rows: int = Field(ge=3)
    """Squares; an odd number of rows reads the same in every OpenCV."""
    square: Annotated[float, Field(gt=0.001, lt=0.5)]
    """Edge of a square, m: the measured length divided by the squares that it spans."""
    marker: Annotated[float, Field(gt=0.001, lt=0.5)]
    """Edge of a marker, m, in the same print."""
    dictionary: str = "DICT_5X5_100"
    """OpenCV's name."""
    measured: float | None = Field(None, gt=0)
    """What a person read off a ruler over all `columns` squares, m; None: nobody measured, so scale is unproven."""
    legacy: bool = False
    """Printed in the pattern of OpenCV before 4.6."""

    @model_validator(mode="after")
    def _drawable(self) -> BoardInfo:
        if self.marker >= self.square:
            raise ValueError(f"marker {self.marker:g} m does not fit into a square of {self.square:g} m")
        span = self.columns * self.square
        if self.measured is not None and abs(self.measured / span - 1) > 0.001:
            raise ValueError(
                f"measured {self.measured:g} m over {self.columns} squares is not their {span:.6g} m; "
                "square is measured / columns, in m"
            )
        return self


class StreamInfo(Part):
    """The picture that a calibration is of."""

    width: int = Field(ge=16)
    height: int = Field(ge=16)
    fps: int = Field(ge=1)
    flip: Literal["none", "horizontal", "vertical", "both"] = "none"


class IntrinsicsInfo(Part):
    """A lens, with what is not known of it. Of the picture as the camera delivers it, before any `flip`."""

    source: Literal["own", "factory", "imported"]
    model: Literal["pinhole", "radial_tangential", "rational"]
    """No distortion; k1 k2 p1 p2 k3; k1 k2 p1 p2 k3 k4 k5 k6."""
    width: int
    height: int
    fx: Annotated[float, Field(gt=0)]
    fy: Annotated[float, Field(gt=0)]
    cx: float
    cy: float
    """px."""
    distortion: tuple[float, ...] = ()
    covariance: tuple[tuple[float, ...], ...] | None = None
    """Of (fx, fy, cx, cy, *distortion)."""
    rms: float | None = Field(None, ge=0)
    """Reprojection error over the views it was computed from, px."""
    held_out_rms: float | None = Field(None, ge=0)
    """Over views that were kept out, px."""
    projection_sigma: float | None = Field(None, ge=0)
    """Worst standard deviation of a projected point within the policy's crop, px."""
    views: int | None = Field(None, ge=1)
    coverage: float | None = Field(None, ge=0, le=1)
    """Part of the picture's cells that a corner was seen in."""
    greatest_tilt: float | None = Field(None, ge=0)
    """Of the board towards the camera over all views, rad."""

    @model_validator(mode="after")
    def _fits(self) -> IntrinsicsInfo:
        terms = DISTORTION_TERMS[self.model]
        if len(self.distortion) != terms:
            raise ValueError(
                f"distortion: model {self.model} has {terms} coefficients, got {len(self.distortion)}"
            )
        plausible.lens(self.width, self.height, self.fx, self.fy, self.cx, self.cy)
        plausible.covariance(self.covariance, 4 + terms)
        return self


class MountInfo(Part):
    """Where a camera is: on a wrist (parent link6) or fixed (parent an arm's base), from hand-eye calibration."""

    transform: TransformInfo
    board: TransformInfo
    """Where the board was: parent an arm's base for a wrist camera, link6 for a fixed one."""
    dh_is_offset: Literal[0, 1] = 1
    zero_offsets: Annotated[Vector6, AfterValidator(plausible.zero_offsets)]
    """Added to the joint angles that the arm reports, rad; 0 for joints 1 and 6, which it cannot tell."""
    zero_sigmas: Vector6
    """rad."""
    sigma_px: NotNegative
    """Noise of a corner that the poses show, px."""
    sigma_joint: NotNegative
    """Noise of a joint angle that the poses show, rad."""
    poses: int = Field(ge=3)
    rejected: tuple[int, ...] = ()
    """Poses, from 0, that contradict the others."""
    held_out_ratio: float | None = Field(None, ge=0)
    """Error on held-out poses over the predicted one."""
    second_opinion: float | None = Field(None, ge=0)
    """Distance to the closed form, in standard deviations."""
    causes: tuple[str, ...] = ()
    """What may be wrong, in words, where something is."""


class LightInfo(Part):
    """What a camera's exposure and white balance were set to, and what a good picture looked like."""

    exposure: float | None = Field(None, gt=0)
    """s."""
    gain: float | None = Field(None, ge=0)
    white_balance: float | None = Field(None, gt=0)
    """K."""
    luminance: float = Field(ge=0, le=255)
    """Mean of the reference picture."""
    red_to_green: float = Field(gt=0)
    blue_to_green: float = Field(gt=0)


class ViewInfo(Part):
    """The picture that a camera's view is compared with."""

    image: FileName
    """PNG in the folder of captures, RGB as the camera delivers it after `flip`."""
    sha256: Sha256
    source: str
    """`captured`, or the dataset, episode and frame that it was taken from."""
    joints: State | None = None
    """State of the robot then; None where it is not known."""
    composite: tuple[int, int] = (320, 384)
    """Width and height of the composite whose pixels are the score, px."""
    layout: Literal["tshape", "horizontal"] = "tshape"
    gripper: tuple[int, int, int, int] | None = None
    """Region of a wrist picture that shows its own gripper: left, top, right, bottom, px."""
    region: tuple[int, int, int, int] | None = None
    """Region with what never moves, which alone is looked for again; None: the whole picture."""

    @model_validator(mode="after")
    def _region(self) -> ViewInfo:
        if self.gripper is not None:
            left, top, right, bottom = self.gripper
            if not (0 <= left < right and 0 <= top < bottom):
                raise ValueError(
                    f"gripper: expected left, top, right, bottom with left < right and top < bottom, got "
                    f"{self.gripper}"
                )
        return self


class LatencyInfo(Part):
    """How much earlier the world was than a frame's stamp says, against joint feedback of the same clock."""

    seconds: Annotated[float, AfterValidator(plausible.latency)]
    """Add to the time stamp to get the time of the joints that the picture shows: negative for a late camera."""
    sigma: NotNegative
    """s."""
    against: Side
    """The arm whose feedback it was measured against."""


class CameraCalibration(Part):
    """All that is known of one camera."""

    role: CameraRole
    serial: str
    name: str = "unknown"
    firmware: str = "unknown"
    usb: str = "unknown"
    proof: Literal["motion", "serial"] = "serial"
    """Whether the mount was proven by moving the arm, or the serial number alone says so."""
    stream: StreamInfo
    light: LightInfo | None = None
    factory: IntrinsicsInfo | None = None
    intrinsics: IntrinsicsInfo | None = None
    mount: MountInfo | None = None
    view: ViewInfo | None = None
    latency: LatencyInfo | None = None

    @model_validator(mode="after")
    def _consistent(self) -> CameraCalibration:
        size = (self.stream.width, self.stream.height)
        for key, lens in (("intrinsics", self.intrinsics), ("factory", self.factory)):
            if lens is not None and (lens.width, lens.height) != size:
                raise ValueError(
                    f"{key} of {self.role} are of {lens.width}x{lens.height} px and its stream is of "
                    f"{size[0]}x{size[1]}: calibrate that stream"
                )
        if self.mount is not None:
            camera, board = self.mount.transform, self.mount.board
            plausible.mount_frames(self.role, camera.parent, camera.child, board.parent, board.child)
            if self.role != "cam_high":
                plausible.bracket(camera.translation)
        return self


class Look(Part):
    """A board as it was seen once: of the witness, who says later whether anything moved."""

    role: CameraRole
    joints: State
    ids: tuple[int, ...]
    """Corners of the board."""
    corners: tuple[tuple[float, float], ...]
    """px, one per id."""

    @model_validator(mode="after")
    def _paired(self) -> Look:
        if len(self.ids) != len(self.corners):
            raise ValueError(
                f"{len(self.ids)} ids and {len(self.corners)} corners; expected one id per corner"
            )
        plausible.once("corner id", self.ids)
        return self


class WitnessInfo(Part):
    """Stored looks at a board that is fixed in the cell, taken when all was well."""

    side: Side
    """The arm that goes to the poses."""
    looks: Annotated[tuple[Look, ...], Field(min_length=1)]
    front: tuple[Look, ...] = ()
    """The board in the view of cam_high, once; empty: J1 cannot be told from the board."""
    sigma_px: NotNegative
    sigma_joint: NotNegative


Purpose = Literal["intrinsics", "hand-eye", "views", "witness", "time"]


class CaptureInfo(Part):
    """A set of pictures that a part of this file was computed from, kept so that it can be solved again."""

    purpose: Purpose
    subject: str
    """The role of a camera or the side of an arm."""
    folder: str
    """Beside this file."""
    sha256: Sha256
    """Of its `looks.json`, which has those of the pictures."""


class Calibration(Part):
    """The file."""

    schema_: Literal["gigaedge.calibration/1"] = Field("gigaedge.calibration/1", alias="schema")
    conventions: str = CONVENTIONS
    created: datetime
    previous: Sha256 | None = None
    """Of the file that this one replaced."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of the `PACKAGES` that last wrote this file."""
    board: BoardInfo | None = None
    cameras: tuple[CameraCalibration, ...] = ()
    bases: TransformInfo | None = None
    """`T_left_base_right_base`, where both wrist cameras saw one board."""
    witnesses: tuple[WitnessInfo, ...] = ()
    captures: tuple[CaptureInfo, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Calibration:
        plausible.once("role", (camera.role for camera in self.cameras))
        plausible.once("serial", (camera.serial for camera in self.cameras))
        plausible.once("witness side", (witness.side for witness in self.witnesses))
        if self.bases is not None and (self.bases.parent, self.bases.child) != ("left_base", "right_base"):
            raise ValueError(
                f"bases is of {self.bases.child} in {self.bases.parent}; expected right_base in left_base"
            )
        return self

    def camera(self, role: CameraRole) -> CameraCalibration | None:
        """What is known of one camera; None: nothing."""
        return next((camera for camera in self.cameras if camera.role == role), None)


def load_calibration(file: Path) -> Calibration:
    """Read and check a calibration. Raises CalibrationError: no such file, no JSON, another schema, a wrong value."""
    if not file.is_file():
        raise CalibrationError(f"{file}: no such calibration; make one with `gigaedge calibrate`")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{file}: not valid JSON ({error}); restore an earlier one") from error
    found = data.get("schema") if isinstance(data, dict) else None
    known = Calibration.model_fields["schema_"].default
    if found != known:
        raise CalibrationError(
            f"{file}: schema {found!r} is not known to this version (it reads {known}); "
            "use the gigaedge version that wrote it"
        )
    try:
        return Calibration.model_validate(data)
    except ValidationError as error:
        raise CalibrationError(f"{file}: {first_problem(error, Calibration)}") from error


def amend(file: Path, change: Callable[[Calibration], Calibration]) -> Calibration:
    """Write what `change` makes of the calibration in `file`, or of an empty one; whole or not at all.

    The file before stays beside it, byte for byte, as `<name>.<first 12 digits of its SHA-256>.json`. One process at a
    time amends the files of a folder; `change` must therefore not write there with `amend` or `atomic_directory`.
    Raises CalibrationError as `load_calibration` does, when what `change` made is not a possible calibration, and when
    the disk takes no more.
    """
    with ExitStack() as held:
        with _writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(file.parent))
        now = datetime.now(timezone.utc).replace(microsecond=0)
        exists = file.exists()
        previous = sha256(file) if exists else None
        after = change(load_calibration(file) if exists else Calibration(created=now))
        versions = after.versions | installed_versions(PACKAGES)
        after = after.model_copy(update={"created": now, "previous": previous, "versions": versions})
        try:
            # A copy with updates is not checked by pydantic: what could not be read back must not be written.
            after = Calibration.model_validate_json(after.model_dump_json(by_alias=True))
        except ValidationError as error:
            raise CalibrationError(f"{file}: not written: {first_problem(error, Calibration)}") from error
        with _writing(file):
            if previous is not None and not (kept := kept_file(file, previous)).exists():
                with atomic_file(kept) as temporary:
                    temporary.write_bytes(file.read_bytes())
            write_document(file, after)
    return after


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Turn a disk's error into one line."""
    try:
        yield
    except OSError as error:
        raise CalibrationError(
            f"{file}: cannot be written ({error.strerror}); it is as it was; make room, or see to its folder"
        ) from error


def kept_file(file: Path, checksum: str) -> Path:
    """Where `amend` keeps the version of `file` with this SHA-256."""
    return file.with_name(f"{file.name.removesuffix('.json')}.{checksum[:12]}.json")
