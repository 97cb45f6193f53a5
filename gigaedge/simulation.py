"""The world that simulated cameras and arms are in, as one YAML file: what is true there, and what is wrong with it.

Everything has a default, so that a file may be short; a `World` in code may be varied with `model_copy` and
`with_camera`. Lengths in m, angles in degrees, times in s. `cell` is the frame that `arms[].base` of the site file
refers to: z up, the table at z = 0. What a site file says of base poses is a person's claim; here is the truth.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gigaedge.errors import ConfigError
from gigaedge.kinematics import DhIsOffset
from gigaedge.lens import Lens
from gigaedge.poses import from_quaternion, moved, pose
from gigaedge.robot import CAMERA_ROLES, SIDES, CameraRole, Side
from gigaedge.validation import first_problem

Array = NDArray[np.float64]
Vector = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LensConfig(_Strict):
    """A lens (`gigaedge.lens`) for one picture size; a stream of the same shape but another size gets it scaled."""

    width: int = Field(640, ge=16)
    height: int = Field(480, ge=16)
    """px."""
    fx: Positive
    fy: Positive
    """px."""
    cx: float
    cy: float
    """px; pixel (0, 0) is the centre of the top left pixel."""
    distortion: tuple[float, ...] = ()
    """k1, k2, p1, p2[, k3[, k4, k5, k6]]."""

    @model_validator(mode="after")
    def _has_an_opencv_model(self) -> LensConfig:
        if len(self.distortion) not in (0, 4, 5, 8):
            raise ValueError(f"distortion: expected 0, 4, 5 or 8 coefficients, got {len(self.distortion)}")
        return self

    def lens(self, width: int, height: int) -> Lens:
        """The lens for a stream of `width` x `height` px. Raises ConfigError: a stream of another shape."""
        if width * self.height != height * self.width:
            raise ConfigError(
                f"simulated lens of {self.width}x{self.height} px: a stream of {width}x{height} px has another shape; "
                "give the lens for that size"
            )
        scale = width / self.width
        # Of the edges, not of the pixel centres: those are half a pixel in.
        cx, cy = (self.cx + 0.5) * scale - 0.5, (self.cy + 0.5) * scale - 0.5
        return Lens(width, height, self.fx * scale, self.fy * scale, cx, cy, self.distortion)


class Placement(_Strict):
    """Where a camera or a board is in its parent frame, in one of three ways.

    `quaternion`; or `look_at`, for what looks somewhere; or `facing`, for what is looked at. Camera and board have the
    same axes: x right, y down in the picture or print, z from the viewer into the scene or paper.
    """

    position: Vector
    """Of the camera's centre, or of the middle of the board, m."""
    quaternion: tuple[float, float, float, float] | None = None
    """w, x, y, z."""
    look_at: Vector | None = None
    """A point on the z axis, m."""
    facing: Vector | None = None
    """The direction that the print faces, which is -z."""
    up: Vector = (0.0, 0.0, 1.0)
    """What is up in the picture or print, as nearly as `look_at` or `facing` allows."""
    turned: Vector = (0.0, 0.0, 0.0)
    """A turn from there by this rotation vector in its own axes, degrees: what a knock does. (0, 1, 0) turns a
    camera 1 degree to the right, (1, 0, 0) 1 degree up, (0, 0, 1) rolls it."""
    shifted: Vector = (0.0, 0.0, 0.0)
    """A shift from there in its own axes, m."""

    @model_validator(mode="after")
    def _one_way(self) -> Placement:
        given = [name for name in ("quaternion", "look_at", "facing") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give one of quaternion, look_at, facing; got {' and '.join(given) or 'none of them'}"
            )
        if self.quaternion is None:
            forward = self._forward()
            if np.linalg.norm(np.cross(forward, self.up)) < 1e-6 * np.linalg.norm(forward):
                raise ValueError(f"up {self.up} says nothing: it is the direction of view; give another `up`")
        elif np.linalg.norm(self.quaternion) < 1e-6:
            raise ValueError("quaternion: its length is 0; no turn is 1, 0, 0, 0")
        return self

    @property
    def transform(self) -> Array:
        """`T_parent_child`, shape (4, 4)."""
        place = pose(self._rotation(), np.array(self.position))
        turn = place[:3, :3] @ np.radians(self.turned)
        shift = place[:3, :3] @ np.array(self.shifted)
        return moved(place, np.concatenate([turn, shift]))

    def _rotation(self) -> Array:
        if self.quaternion is not None:
            return from_quaternion(np.array(self.quaternion))
        z = self._forward() / np.linalg.norm(self._forward())
        x = np.cross(z, np.array(self.up))
        x /= np.linalg.norm(x)
        return np.stack([x, np.cross(z, x), z], axis=1)

    def _forward(self) -> Array:
        if self.facing is not None:
            return np.asarray(-np.array(self.facing))
        return np.asarray(np.array(self.look_at or self.position) - np.array(self.position))


class SimulatedCamera(_Strict):
    """The truth about one camera."""

    role: CameraRole
    """Which camera the site file takes it for."""
    lens: LensConfig
    mount: Placement
    """In the frame that `at` names; z of link 6 is towards the fingertips."""
    at: Literal["cell", "left", "right"] | None = None
    """`left`, `right`: link 6 of that arm. Default: where a camera of this role belongs; anything else is a camera
    in the wrong place."""
    factory: LensConfig | None = None
    """What the camera says of its lens itself; default: the truth without distortion."""
    latency: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """s; how much earlier the world is than the time stamp of a picture. A calibration finds it with its sign changed:
    what is to be added to the stamp."""
    blur: NotNegative = 0.6
    """Standard deviation of the optics' blur, px."""
    noise: NotNegative = 2.0
    """Standard deviation, of 255."""
    exposure: Positive = 1.0
    """Factor on the brightness."""
    red: Positive = 1.0
    blue: Positive = 1.0
    """Factors on the colours: a wrong white balance."""
    vignette: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Part of the light that is missing in the corners."""
    usb: str = "3.2"
    """USB type as librealsense names it."""

    @property
    def side(self) -> Side | None:
        """Whose wrist it is on; None: it is fixed in the cell."""
        at = self.at or next((side for side in SIDES if self.role == f"cam_{side}_wrist"), "cell")
        return None if at == "cell" else at


class SimulatedArm(_Strict):
    """The truth about one arm."""

    side: Side
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    """Where its base is in the cell, m."""
    yaw: float = 0.0
    """Degrees about z, counter-clockwise seen from above; 0: it looks along the cell's x axis."""
    zero_errors: tuple[float, float, float, float, float, float] = (0.0,) * 6
    """Degrees, to be added to what the arm reports for each joint."""
    joint_noise: NotNegative = 0.05
    """Degrees rms, to be added too: different from pose to pose and independent from joint to joint, but always the
    same in one pose. A still arm gives a still picture."""
    dh_is_offset: DhIsOffset = 1
    """How its firmware counts joints 2 and 3 (`gigaedge.kinematics`)."""

    @property
    def base(self) -> Array:
        """`T_cell_base`, shape (4, 4)."""
        angle = np.radians(self.yaw)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        return pose(turn, np.array([self.x, self.y, self.z]))


class SimulatedBoard(_Strict):
    """A ChArUco board; `at` says which frame holds it."""

    columns: int = Field(7, ge=3)
    rows: int = Field(5, ge=3)
    square: Positive = 0.038
    """m, as it is; by default a sheet of A4 that is read from 1 m."""
    marker: Positive = 0.026
    dictionary: str = "DICT_4X4_50"
    legacy: bool = False
    """Printed in the pattern of OpenCV before 4.6."""
    at: Literal["cell", "left", "right", "hand"] = "cell"
    """`left`, `right`: link 6 of that arm. `hand`: a person shows it to the camera `shown_to`, from near and far,
    tilted, everywhere in the picture; holds still for 0.7 s, then moves on for 0.4 s."""
    place: Placement | None = None
    """In the cell or in link 6; default: flat on the table between the arms, or upright before the fingertips."""
    shown_to: CameraRole | None = None

    @model_validator(mode="after")
    def _held_by_somebody(self) -> SimulatedBoard:
        if (self.at == "hand") != (self.shown_to is not None):
            raise ValueError("`shown_to` belongs to a board at `hand`, and that needs it")
        if self.at == "hand" and self.place is not None:
            raise ValueError("`place` says nothing of a board at `hand`")
        if self.marker >= self.square:
            raise ValueError(f"marker {self.marker} must be smaller than square {self.square}")
        return self

    @property
    def transform(self) -> Array:
        """`T_parent_board`, shape (4, 4): OpenCV's board frame, its origin the outer corner of the first square."""
        place = self.place or _BOARD_PLACES["cell" if self.at == "cell" else "arm"]
        centre = np.eye(4)
        centre[:2, 3] = -self.columns * self.square / 2, -self.rows * self.square / 2
        return place.transform @ centre


class LightConfig(_Strict):
    """The light in the cell, the same for all cameras."""

    level: Positive = 1.0
    red: Positive = 1.0
    blue: Positive = 1.0
    gradient: tuple[float, float] = (0.0, 0.0)
    """How much more there is at the right than at the left edge of a picture, and at the bottom than at the top, as a
    part of what is in its middle."""


class PhysicalCell(_Strict):
    """The physical cell instead of the synthetic one: arms and objects move as MuJoCo has them.

    Everything in it, cameras and light too, comes from the task's scene (`gigaedge_runtime.tasks`).
    """

    schema_: Literal[1] = Field(1, alias="schema")
    kind: Literal["physics"]
    task: str = "lift-block"
    seed: int = Field(0, ge=0)
    """Of the scene: another number, other places, colours and light."""


class World(_Strict):
    """Everything that is true in the synthetic cell."""

    schema_: Literal[1] = Field(1, alias="schema")
    seed: int = Field(0, ge=0)
    """Of textures and noise."""
    objects: int = Field(0, ge=0)
    """Seed of what stands on the table; another number, other objects."""
    object_count: int = Field(7, ge=0, le=50)
    light: LightConfig = LightConfig()
    cameras: tuple[SimulatedCamera, ...] = ()
    """Default for a role that is missing: `default_camera`."""
    arms: tuple[SimulatedArm, ...] = (SimulatedArm(side="left", y=0.3), SimulatedArm(side="right", y=-0.3))
    board: SimulatedBoard | None = None

    @model_validator(mode="after")
    def _each_once(self) -> World:
        for what, names in (
            ("cameras", [str(camera.role) for camera in self.cameras]),
            ("arms", [str(arm.side) for arm in self.arms]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: expected each once, got {', '.join(names)}")
        if self.board is not None and self.board.at in SIDES and self.arm(self.board.at) is None:
            raise ValueError(f"board: there is no {self.board.at} arm to hold it")
        return self

    def camera(self, role: CameraRole) -> SimulatedCamera:
        """The truth about one camera."""
        return next((camera for camera in self.cameras if camera.role == role), None) or default_camera(role)

    def arm(self, side: Side) -> SimulatedArm | None:
        """The truth about one arm; None: it is not there."""
        return next((arm for arm in self.arms if arm.side == side), None)

    def with_camera(self, role: CameraRole, **changes: object) -> World:
        """The same world with another truth about one camera: `changes` are fields of SimulatedCamera."""
        others = tuple(camera for camera in self.cameras if camera.role != role)
        return self.model_copy(update={"cameras": (*others, self.camera(role).model_copy(update=changes))})

    def with_arm(self, side: Side, **changes: object) -> World:
        """The same world with another truth about one arm: `changes` are fields of SimulatedArm."""
        arms = tuple(arm.model_copy(update=changes) if arm.side == side else arm for arm in self.arms)
        return self.model_copy(update={"arms": arms})


def default_camera(role: CameraRole) -> SimulatedCamera:
    """A D435's field of view 1 m above the table, looking at it and both arms; a D405's on a bracket at the wrist."""
    if role == "cam_high":
        return SimulatedCamera(role=role, lens=_HIGH_LENS, mount=_HIGH_MOUNT)
    return SimulatedCamera(role=role, lens=_WRIST_LENS, mount=_WRIST_MOUNT)


def load_simulation(path: Path) -> World:
    """Read and check a synthetic world.

    Raises ConfigError: no such file, no YAML, an unknown key (with the nearest valid one), a wrong value, or a file
    of a physical cell.
    """
    loaded = load_cell(path)
    if isinstance(loaded, PhysicalCell):
        raise ConfigError(
            f"{path}: a physical cell (kind: physics) has no world to be asked for its truth; use a synthetic one, "
            "as examples/synthetic.yaml does"
        )
    return loaded


def load_cell(path: Path) -> World | PhysicalCell:
    """Read and check what a site's `simulation` names: a file of `kind: physics`, or a synthetic world.

    Raises ConfigError: no such file, no YAML, an unknown key (with the nearest valid one), a wrong value.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such simulation; see examples/synthetic-world.yaml for one to start from"
        )
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping with the keys seed, cameras, arms, board, ...")
    model: type[World] | type[PhysicalCell] = PhysicalCell if "kind" in data else World
    if model is World:
        _complete(data)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error, model)}") from error


def _complete(data: dict[str, Any]) -> None:
    """Give what is not said of a camera the default of its role."""
    for camera in data.get("cameras") or ():
        if isinstance(camera, dict) and camera.get("role") in CAMERA_ROLES:
            known = default_camera(camera["role"])
            camera.setdefault("lens", known.lens.model_dump())
            camera.setdefault("mount", known.mount.model_dump(exclude_none=True))


_HIGH_LENS: Final = LensConfig(
    fx=612.0, fy=612.0, cx=321.7, cy=238.4, distortion=(0.12, -0.25, 0.0006, -0.0004, 0.10)
)
_HIGH_MOUNT: Final = Placement(position=(-0.05, 0.0, 0.95), look_at=(0.36, 0.0, 0.0))
_WRIST_LENS: Final = LensConfig(
    fx=435.0, fy=434.6, cx=318.2, cy=241.1, distortion=(-0.055, 0.062, 0.0003, 0.0005, -0.021)
)
_WRIST_MOUNT: Final = Placement(position=(-0.075, 0.0, -0.01), look_at=(0.0, 0.0, 0.19), up=(-1.0, 0.0, 0.0))
_BOARD_PLACES: Final = {
    "cell": Placement(position=(0.48, 0.0, 0.002), facing=(0.0, 0.0, 1.0), up=(1.0, 0.0, 0.0)),
    "arm": Placement(position=(-0.03, 0.0, 0.17), facing=(-1.0, 0.0, 0.0), up=(0.0, 0.0, 1.0)),
}
