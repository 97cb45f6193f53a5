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
from gigaedge.robot import ARM_DIM, CAMERA_ROLES, JOINTS, CameraRole, Side
from gigaedge.sampling import Solver
from gigaedge.validation import first_problem

Positive = Annotated[float, Field(gt=0)]
Joints = Annotated[tuple[float, ...], Field(min_length=JOINTS, max_length=JOINTS)]
ArmPose = Annotated[tuple[float, ...], Field(min_length=ARM_DIM, max_length=ARM_DIM)]
"""Six joints (rad) and the gripper opening (m)."""


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

    @model_validator(mode="after")
    def _source_is_named(self) -> CameraConfig:
        if self.driver == "realsense" and (self.serial is None) == (self.file is None):
            raise ValueError("driver realsense needs either `serial` (live) or `file` (recording)")
        if self.driver == "video" and self.file is None:
            raise ValueError("driver video needs `file`: a video or a folder of images")
        return self


class CanConfig(_Strict):
    """Where an arm's CAN bus is: a python-can interface name and its channel."""

    interface: str = "socketcan"
    channel: str = "can0"


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

    @model_validator(mode="after")
    def _absent_has_pose(self) -> ArmConfig:
        if (self.driver == "absent") != (self.pose is not None):
            raise ValueError("`pose` belongs to driver absent, and driver absent needs it")
        return self


class LimitsConfig(_Strict):
    """What an arm may be told. Position defaults are piper_sdk's (piper_param_manager.py)."""

    position_min: Joints = (-2.6179, 0.0, -2.967, -1.745, -1.22, -2.09439)
    position_max: Joints = (2.6179, 3.14, 0.0, 1.745, 1.22, 2.09439)
    velocity: Annotated[float, Field(gt=0, le=3.0)] = 1.0
    """rad/s, every joint. PiPER's own maximum is 3."""
    acceleration: Annotated[float, Field(gt=0, le=20.0)] = 10.0
    """rad/s^2, used to come to a stop."""
    approach_velocity: Annotated[float, Field(gt=0, le=1.0)] = 0.4
    """rad/s while the arm moves to the first target."""
    gripper_min: float = Field(0.0, ge=0.0)
    gripper_max: float = Field(0.07, gt=0.0, le=0.1)
    """m; 0.07 for the small gripper, 0.1 for the large one."""
    gripper_velocity: Positive = 0.2
    """m/s."""
    gripper_acceleration: Positive = 2.0
    """m/s^2, used to come to a stop."""
    gripper_effort: float = Field(1.0, ge=0.0, le=5.0)
    """N*m."""
    tracking_error: Annotated[float, Field(gt=0, le=3.0)] = 0.6
    """rad; an arm whose joint is further than this from its command is at fault (blocked, or not obeying)."""

    @model_validator(mode="after")
    def _ordered(self) -> LimitsConfig:
        for joint, (low, high) in enumerate(zip(self.position_min, self.position_max, strict=True), start=1):
            if not -3.2 <= low < high <= 3.2:
                raise ValueError(
                    f"joint {joint}: need -3.2 <= position_min < position_max <= 3.2 rad, got {low}, {high}"
                )
        if self.gripper_min >= self.gripper_max:
            raise ValueError("gripper_min must be below gripper_max")
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
    """How one chunk hands over to the next; docs/decisions/0008 has the figures. `timing.replan_after` says when."""

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


class Site(_Strict):
    """A robot cell."""

    schema_: Literal[1] = Field(1, alias="schema")
    bundle: Literal["demo"] | Path
    """A bundle folder; `demo` is a tiny random policy that `gigaedge run` makes on first use."""
    prompt: str | None = None
    """Name of a prompt in the bundle; may be left out when the bundle has one only."""
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
        serials = [camera.serial for camera in self.cameras if camera.serial]
        if len(set(serials)) != len(serials):
            raise ValueError("cameras: two cameras have the same serial")
        channels = [(arm.can.interface, arm.can.channel) for arm in self.arms if arm.driver == "piper"]
        if len(set(channels)) != len(channels):
            raise ValueError("arms: both arms are on the same CAN channel; give each its own")
        return self

    def arm(self, side: Side) -> ArmConfig:
        """The configuration of one arm."""
        return next(arm for arm in self.arms if arm.side == side)


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
    bundle = site.bundle if site.bundle == "demo" else folder / site.bundle
    return site.model_copy(update={"bundle": bundle, "cameras": cameras})
