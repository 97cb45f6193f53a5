"""The robot cell as one YAML file: bundle, cameras, arms, limits, rates.

`load_site` returns a validated `Site`; anything wrong is a ConfigError of one line that names the key.
Lengths in m, angles in rad, times in s, unless the key says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gigaedge.errors import ConfigError
from gigaedge.profiles import PROFILES, JointLimits, Profile, ProfileName
from gigaedge.robot import ARM_DIM, CAMERA_ROLES, JOINTS, CameraRole, Side
from gigaedge.sampling import Solver
from gigaedge.validation import first_problem

Positive = Annotated[float, Field(gt=0)]
Joints = Annotated[tuple[float, ...], Field(min_length=JOINTS, max_length=JOINTS)]
ArmPose = Annotated[tuple[float, ...], Field(min_length=ARM_DIM, max_length=ARM_DIM)]
"""Six joints (rad) and the gripper opening (m)."""
Point = Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]
"""x, y, z, m."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CameraConfig(_Strict):
    """One camera: which view it is and where its pictures come from."""

    role: CameraRole
    driver: Literal["realsense", "video", "sim"]
    serial: str | None = None
    """Serial number as `gigaedge calibrate cameras` prints it (`realsense`)."""
    file: Path | None = None
    """A `.db3`/`.bag` recording to play (`realsense`), or a video or image folder to loop (`video`)."""
    width: int = Field(640, ge=16)
    height: int = Field(480, ge=16)
    fps: int = Field(30, ge=1, le=120)
    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    """Mirror or rotate the picture before it is composited; `both` is a half turn."""
    exposure: float | None = Field(None, gt=0, le=1)
    """s; auto exposure is off then, and a camera that does not keep to it is refused. Default: automatic."""
    gain: float | None = Field(None, ge=0)
    """In the camera's own unit, with `exposure`; default then: the camera's default."""
    white_balance: float | None = Field(None, ge=1000, le=20000)
    """K; auto white balance is off then. Default: automatic."""
    allow_usb2: bool = False
    """Start the camera although it runs at USB 2, which is too slow for three."""

    @property
    def device(self) -> str | None:
        """Serial number that the device reports; None for a file."""
        if self.driver == "sim":
            return self.serial or f"sim-{self.role}"
        return self.serial if self.driver == "realsense" else None

    @property
    def identity(self) -> str:
        """What a calibration knows the camera by: its serial number, or what it plays and where."""
        return self.device or f"{self.driver}-{self.role}"

    @model_validator(mode="after")
    def _source_is_named(self) -> CameraConfig:
        if self.driver == "realsense" and (self.serial is None) == (self.file is None):
            raise ValueError("driver realsense needs either `serial` (live) or `file` (recording)")
        if self.driver == "video" and self.file is None:
            raise ValueError("driver video needs `file`: a video or a folder of images")
        return self

    @model_validator(mode="after")
    def _light_can_be_set(self) -> CameraConfig:
        given = [name for name in ("exposure", "gain", "white_balance") if getattr(self, name) is not None]
        if given and self.device is None:
            raise ValueError(f"`{given[0]}` is set in a live camera; pictures from a file are as they are")
        if self.gain is not None and self.exposure is None:
            raise ValueError("`gain` needs `exposure`: the camera's auto exposure sets both")
        return self


class CanConfig(_Strict):
    """Where an arm's CAN bus is: a python-can interface name and its channel."""

    interface: str = "socketcan"
    channel: str = "can0"
    adapter: str | None = None
    """USB serial number of the CAN adapter that this arm hangs on, as `gigaedge arms status` prints it; another
    one is refused, so that two arms cannot change places (socketcan only)."""

    @model_validator(mode="after")
    def _adapter_is_on_usb(self) -> CanConfig:
        if self.adapter is not None and self.interface != "socketcan":
            raise ValueError("`adapter` belongs to interface socketcan")
        return self


class BaseConfig(_Strict):
    """Where an arm stands in the cell: `T_cell_base`, its base's z axis pointing up."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    """m, the origin of the arm's base frame in cell coordinates."""
    yaw: float = 0.0
    """rad about z, counter-clockwise seen from above; 0: the arm's x axis is the cell's."""


class BoxConfig(_Strict):
    """What elbow, wrist and fingertip of an arm stay within, in the arm's own base coordinates, m."""

    min: Point
    max: Point

    @model_validator(mode="after")
    def _ordered(self) -> BoxConfig:
        for axis, low, high in zip("xyz", self.min, self.max, strict=True):
            if low >= high:
                raise ValueError(f"{axis}: min {low} must be below max {high}")
        return self


class ArmConfig(_Strict):
    """One arm. `piper`: a real one; `sim`: a simulated one on our CAN plugin; `absent`: held at `pose`.

    The policy always sees two arms, so a one-armed cell says what the missing arm's state is.
    """

    side: Side
    driver: Literal["piper", "sim", "absent"]
    can: CanConfig = CanConfig()
    home: ArmPose | None = None
    """Where a simulated arm starts; (6 joints rad, gripper m)."""
    pose: ArmPose | None = None
    """Constant state of an absent arm."""
    park: ArmPose | None = None
    """Where `gigaedge arms park` and `gigaedge run --park` leave the arm, slowly: a pose that needs no room and
    that the arm may safely sink from when its power goes. There is no default: only a person can know it."""
    base: BaseConfig | None = None
    """Where the arm stands; `limits.clearance` needs it of both arms."""
    workspace: BoxConfig | None = None
    """Default: the whole reach of the arm."""

    @model_validator(mode="after")
    def _absent_has_pose(self) -> ArmConfig:
        if (self.driver == "absent") != (self.pose is not None):
            raise ValueError("`pose` belongs to driver absent, and driver absent needs it")
        if self.driver == "absent" and self.workspace is not None:
            raise ValueError("`workspace` belongs to an arm that exists, not to driver absent")
        return self


class LimitsConfig(_Strict):
    """What an arm may be told: within its profile, and narrower where the cell wants it."""

    profile: ProfileName = "piper"
    """The kind of arm and firmware whose bounds hold; `piper-before-1.6-3`: firmware older than S-V1.6-3."""
    position_min: Joints = PROFILES["piper"].position_min
    position_max: Joints = PROFILES["piper"].position_max
    velocity: Positive = 1.0
    """rad/s, every joint."""
    acceleration: Annotated[float, Field(ge=1.0)] = 5.0
    """rad/s^2, every joint; the default is all that the firmware allows."""
    jerk: Annotated[float, Field(ge=10.0)] = 200.0
    """rad/s^3, every joint: how fast the acceleration may change."""
    approach_velocity: Annotated[float, Field(gt=0, le=1.0)] = 0.4
    """rad/s while the arm moves to the first target."""
    gripper_min: float = Field(0.0, ge=0.0)
    gripper_max: Positive = 0.07
    """m; 0.07 for the small gripper, 0.1 for the large one."""
    gripper_velocity: Annotated[float, Field(gt=0, le=1.0)] = 0.2
    """m/s."""
    gripper_acceleration: Annotated[float, Field(ge=0.2)] = 2.0
    """m/s^2."""
    gripper_jerk: Annotated[float, Field(ge=2.0)] = 80.0
    """m/s^3."""
    gripper_effort: float = Field(1.0, ge=0.0)
    """N*m."""
    tracking_error: Annotated[float, Field(gt=0, le=3.0)] = 0.6
    """rad; an arm whose joint is further than this from its command is at fault (blocked, or not obeying)."""
    lead: Positive | None = None
    """rad; no joint's target is further than this from where it was measured, so that nothing winds up against an
    obstacle. Above `tracking_error`, or that fault could never be seen; default: 0.1 above it."""
    clearance: Positive | None = None
    """m between the two arms: elbow to wrist to fingertip of one, against the other's. These are centre lines: the
    arms' own thickness comes on top. Default: not watched."""

    @property
    def bounds(self) -> Profile:
        """The profile, with its numbers."""
        return PROFILES[self.profile]

    @property
    def joints(self) -> JointLimits:
        """The bounds of an arm's joints, to be compared with its firmware's."""
        joints = len(self.position_min)
        return JointLimits(
            self.position_min, self.position_max, (self.velocity,) * joints, (self.acceleration,) * joints
        )

    @property
    def measured_lead(self) -> float:
        """`lead`, or its default, rad."""
        return self.tracking_error + 0.1 if self.lead is None else self.lead

    @model_validator(mode="after")
    def _ordered(self) -> LimitsConfig:
        for joint, (low, high) in enumerate(zip(self.position_min, self.position_max, strict=True), start=1):
            if low >= high:
                raise ValueError(f"joint {joint}: position_min {low} must be below position_max {high}")
        if self.gripper_min >= self.gripper_max:
            raise ValueError("gripper_min must be below gripper_max")
        if self.measured_lead <= self.tracking_error:
            raise ValueError(
                f"lead {self.lead} must be above tracking_error {self.tracking_error}: a command held nearer to the "
                "measured pose would hide a blocked arm"
            )
        return self

    @model_validator(mode="after")
    def _within_the_profile(self) -> LimitsConfig:
        profile = self.bounds
        suffix = f"of profile {profile.name}; a site may narrow it, not widen it"
        for joint in range(JOINTS):
            low, lowest = self.position_min[joint], profile.position_min[joint]
            high, highest = self.position_max[joint], profile.position_max[joint]
            if low < lowest:
                raise ValueError(f"joint {joint + 1}: position_min {low} is below the {lowest} rad {suffix}")
            if high > highest:
                raise ValueError(
                    f"joint {joint + 1}: position_max {high} is above the {highest} rad {suffix}"
                )
        for key, bound, unit in (
            ("velocity", profile.velocity, "rad/s"),
            ("acceleration", profile.acceleration, "rad/s^2"),
            ("jerk", profile.jerk, "rad/s^3"),
            ("gripper_max", profile.gripper_stroke, "m"),
            ("gripper_effort", profile.gripper_effort, "N*m"),
        ):
            if getattr(self, key) > bound:
                raise ValueError(f"{key} {getattr(self, key)} is above the {bound} {unit} {suffix}")
        return self


class TimingConfig(_Strict):
    """Rates and ages. Everything older than its age is refused, never used silently."""

    control_rate: Annotated[float, Field(ge=50, le=500)] = 200.0
    """Hz; how often an arm is commanded."""
    max_image_age: Positive = 0.2
    max_skew: Positive = 0.05
    """Between the three pictures of one observation."""
    max_feedback_age: Positive = 0.05
    """Joint feedback of an arm; older is a fault."""
    replan_after: int = Field(30, ge=1)
    """Actions of a chunk that are played before the next chunk should take over."""
    resume_tolerance: Positive = 0.35
    """rad; a held arm resumes only on a chunk whose due action is this near to the measured pose."""
    approach_tolerance: Positive = 0.05
    """rad; the approach has arrived when every joint's command is this near to the due action."""
    policy_timeout: Positive = 30.0
    """A policy process that computes one chunk for longer hangs: the run ends, the arms hold (no dry run)."""
    startup_timeout: Positive = 30.0
    approach_timeout: Positive = 20.0


class InferenceConfig(_Strict):
    """How the policy is run."""

    steps: int | None = Field(None, ge=1)
    """Sampler steps; default: the bundle's first."""
    solver: Solver = "euler"
    """`euler` is upstream's; `multistep` is of second order and wants few steps."""
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    threads: int = Field(0, ge=0)
    """CPU threads of ONNX Runtime; 0 leaves one core to control and cameras."""
    seed: int = 0
    """Seed of the sampler's noise."""


Handover = Literal["rtc", "crossfade", "ensemble", "none"]

_USED_BY: dict[str, tuple[Handover, ...]] = {
    "crossfade": ("rtc", "crossfade", "ensemble"),
    "guidance": ("rtc",),
    "ensemble_decay": ("ensemble",),
}
"""Which ways of handing over take a setting."""


class ExecutionConfig(_Strict):
    """How one chunk hands over to the next; docs/decisions/0009 has the figures. `timing.replan_after` says when."""

    handover: Handover = "rtc"
    """`rtc`: the sampler continues the chunk before (real-time chunking), and what is left of the step is faded out.
    `crossfade`: the step between two chunks is faded out. `ensemble`: the average of all chunks that have an action
    for the instant. `none`: the new chunk at once; the limits alone soften the step."""
    crossfade: float = Field(0.15, ge=0.0, le=1.0)
    """s of a fade; 0: at once. In an ensemble, how long a chunk takes to come and to go."""
    guidance: float = Field(100.0, gt=0.0, le=1000.0)
    """Bound of the strength with which a sampler step is drawn to the chunk before (`rtc`). The strength is
    1 / noise level, at most 41 in upstream's schedules: 100 is no bound, and less lets the chunk depart sooner."""
    ensemble_decay: float = Field(0.1, ge=0.0, le=10.0)
    """m of the weights exp(-m * i), i = 0 for the oldest chunk: the larger, the more the older ones count."""

    @model_validator(mode="after")
    def _settings_are_used(self) -> ExecutionConfig:
        # By value: a site that was written out in full and read again sets everything.
        for name, users in _USED_BY.items():
            if self.handover not in users and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"`{name}` says nothing with handover {self.handover}; remove it, or choose handover "
                    f"{' or '.join(users)}"
                )
        return self

    @property
    def fade(self) -> float:
        """How long a fade takes, s."""
        return 0.0 if self.handover == "none" else self.crossfade

    @property
    def decay(self) -> float | None:
        """Of an ensemble; None where only the newest chunk counts."""
        return self.ensemble_decay if self.handover == "ensemble" else None


NamedBundle = Literal["demo", "trained"]


class Site(_Strict):
    """A robot cell."""

    schema_: Literal[1] = Field(1, alias="schema")
    bundle: NamedBundle | Path
    """A bundle folder; or one that `gigaedge run` makes on first use: `demo` is a tiny random policy, `trained` the
    shipped one, which lifts the block of the physical cell."""
    prompt: str | None = None
    """Name of a prompt in the bundle; may be left out when the bundle has one only."""
    calibration: Path | None = None
    """What `gigaedge calibrate` writes and `gigaedge run` checks; default: `<name of this file>.calibration.json`
    beside this file, if it is there."""
    simulation: Path | None = None
    """The world that `driver: sim` cameras and arms are in; default: a table with a block that goes round."""
    cameras: tuple[CameraConfig, ...]
    arms: tuple[ArmConfig, ...]
    limits: LimitsConfig = LimitsConfig()
    timing: TimingConfig = TimingConfig()
    execution: ExecutionConfig = ExecutionConfig()
    inference: InferenceConfig = InferenceConfig()

    @model_validator(mode="after")
    def _cell_is_complete(self) -> Site:
        roles = sorted(camera.role for camera in self.cameras)
        if roles != sorted(CAMERA_ROLES):
            raise ValueError(
                f"cameras: need one each of {', '.join(CAMERA_ROLES)}; got {', '.join(roles) or 'none'}"
            )
        if sorted(arm.side for arm in self.arms) != ["left", "right"]:
            raise ValueError(
                "arms: need one `left` and one `right` (a missing arm is `driver: absent` with a `pose`)"
            )
        if all(arm.driver == "absent" for arm in self.arms):
            raise ValueError("arms: at least one arm must not be absent")
        roles_of: dict[str, str] = {}
        for camera in self.cameras:
            if (
                camera.serial is not None
                and (other := roles_of.setdefault(camera.serial, camera.role)) != camera.role
            ):
                raise ValueError(
                    f"cameras: {other} and {camera.role} have the same serial {camera.serial}; "
                    "give each its own (`gigaedge calibrate cameras`)"
                )
        channels = [(arm.can.interface, arm.can.channel) for arm in self.arms if arm.driver == "piper"]
        if len(set(channels)) != len(channels):
            raise ValueError("arms: both arms are on the same CAN channel; give each its own")
        return self

    @model_validator(mode="after")
    def _clearance_is_measurable(self) -> Site:
        for arm in self.arms:
            if self.limits.clearance is not None and (arm.driver == "absent" or arm.base is None):
                why = "that arm is absent" if arm.driver == "absent" else "that arm has no `base`"
                raise ValueError(f"limits.clearance needs the place of both arms; {arm.side}: {why}")
        return self

    def arm(self, side: Side) -> ArmConfig:
        """The configuration of one arm."""
        return next(arm for arm in self.arms if arm.side == side)

    def require_park(self) -> None:
        """Raise ConfigError, naming the key, when an arm that exists has no park pose."""
        for index, arm in enumerate(self.arms):
            if arm.driver != "absent" and arm.park is None:
                raise ConfigError(
                    f"arms[{index}].park: the {arm.side} arm has no park pose; give six joint angles (rad) and "
                    "the gripper opening (m), as `gigaedge arms status` shows them where the arm is safe"
                )


def load_site(path: Path) -> Site:
    """Read and check a site file; relative paths in it are relative to its folder.

    Raises ConfigError: no such file, no YAML, an unknown key (with the nearest valid one), a wrong value.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such site file; see examples/sim.yaml for one to start from")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping with the keys bundle, cameras, arms, ...")
    try:
        site = Site.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error, Site)}") from error
    folder = path.parent
    cameras = tuple(
        camera.model_copy(update={"file": folder / camera.file}) if camera.file else camera
        for camera in site.cameras
    )
    bundle = site.bundle if isinstance(site.bundle, str) else folder / site.bundle
    calibration = folder / site.calibration if site.calibration else None
    if calibration is None and (beside := default_calibration(path)).is_file():
        calibration = beside
    simulation = folder / site.simulation if site.simulation else None
    return site.model_copy(
        update={"bundle": bundle, "cameras": cameras, "calibration": calibration, "simulation": simulation}
    )


def default_calibration(path: Path) -> Path:
    """Where the calibration of the site file `path` is unless it says otherwise."""
    return path.with_suffix(".calibration.json")
