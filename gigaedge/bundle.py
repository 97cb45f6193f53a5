"""A policy on disk: the one contract between the workstation that exports and the robot that runs.

    BUNDLE/manifest.json         everything a runtime must know; schema 1
    BUNDLE/text.onnx             prompt embedding -> text keys and values          (once per prompt)
    BUNDLE/context.onnx          picture, state, text -> context keys and values   (once per chunk)
    BUNDLE/step.onnx             one sampler step                                  (N times per chunk)
    BUNDLE/weights.safetensors   the graphs' external data, each weight once
    BUNDLE/prompts*.safetensors  prompt embeddings by name; `gigaedge prompt` puts a new file in its place

Layout `single` has one BUNDLE/policy.onnx in place of the three graphs.
`open_bundle` verifies schema, files and checksums before anything is run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gigaedge.errors import BundleError
from gigaedge.files import atomic_file, sha256
from gigaedge.robot import CAMERA_ROLES, ROBOT_DIM, CameraRole
from gigaedge.sampling import Solver
from gigaedge.validation import first_problem

GraphName = Literal["text", "context", "step", "policy"]
Layout = Literal["split", "single"]

SCHEMA: Final = 1
MANIFEST: Final = "manifest.json"
LAZY_CHECK_BYTES: Final = 1 << 30
"""A weights file above this is hashed only on request; its size is always compared."""
STEPS: Final = "steps"
"""An axis whose length is the number of sampler steps, chosen at run time (layout single)."""
LAYOUTS: Final[dict[Layout, tuple[GraphName, ...]]] = {
    "split": ("text", "context", "step"),
    "single": ("policy",),
}
"""The graphs of each layout."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Precision = Literal["fp32", "fp16", "int8", "int4"]
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "int8", "int4")
"""From exact to coarse."""
Target = Literal["cpu", "cuda", "tensorrt"]
"""What a bundle is made for; it decides what int8 means, and whether activations are fp16."""
Values = Annotated[tuple[float, ...], Field(min_length=ROBOT_DIM, max_length=ROBOT_DIM)]
"""One number per state or action dimension."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileInfo(_Part):
    """A file of the bundle."""

    file: FileName
    bytes: int = Field(ge=0)
    sha256: Sha256


class WeightsInfo(FileInfo):
    """The weights of all graphs."""

    by_type: dict[str, int]
    """Bytes per element type."""


class TensorInfo(_Part):
    """Type and shape of a graph's input or output."""

    dtype: Literal["float32", "float16", "uint8", "int64"]
    shape: tuple[int | Literal["steps"], ...]


class GraphInfo(FileInfo):
    """An ONNX graph and its signature, in order."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


class ModelInfo(_Part):
    """Which network this is."""

    generation: Literal["GWP-0", "GWP-0.5"]
    transformer: dict[str, Any]
    """Upstream `config.json`, as it was read."""
    vae: dict[str, Any]
    parameters: int
    """Number of weights in the bundle."""


class SourceFile(_Part):
    """A file the export read."""

    name: str
    sha256: Sha256


class ScheduleInfo(_Part):
    """One solver and step count: rows `first_row` ... `first_row + steps - 1` of the step graph's time table."""

    solver: Solver
    steps: int = Field(ge=1)
    first_row: int = Field(ge=0)
    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]

    @model_validator(mode="after")
    def _lengths_agree(self) -> ScheduleInfo:
        if len(self.sigmas) != self.steps + 1 or len(self.timesteps) != self.steps:
            raise ValueError("needs steps + 1 sigmas and steps timesteps")
        return self


class SamplerInfo(_Part):
    """Flow matching in fixed steps from noise to actions."""

    prediction: Literal["noise - data"] = "noise - data"
    shift: float = Field(gt=0)
    timestep_rounding: Literal["bf16", "exact"]
    noise: Literal["normal(0, 1)"] = "normal(0, 1)"
    schedules: Annotated[tuple[ScheduleInfo, ...], Field(min_length=1)]


class ViewInfo(_Part):
    """The one picture the policy sees."""

    width: int = Field(ge=2)
    height: int = Field(ge=2)
    layout: Literal["tshape", "horizontal"]
    roles: tuple[CameraRole, ...] = CAMERA_ROLES
    resampling: Literal["pillow-bilinear"] = "pillow-bilinear"
    """Antialiased when shrinking; scale to cover, then centre crop."""


class StateInfo(_Part):
    """The 14 values of the state."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    q01: Values
    q99: Values


class ActionInfo(StateInfo):
    """The 14 values of an action, and how a chunk of them is to be played."""

    delta: tuple[bool, ...]
    """Predicted as a difference to the state at observation time."""
    width: int = Field(ge=ROBOT_DIM)
    """Channels of the sampler, padding included."""
    chunk: int = Field(ge=1)
    rate_hz: float = Field(gt=0)
    replan_after: int = Field(ge=1)
    rtc_trained: bool = False


class PromptText(_Part):
    """Where an embedding came from that was made of a text."""

    text: str
    encoder: Sha256
    """SHA-256 of the `text_encoder.json` of the encoder that made it."""


class PromptsInfo(FileInfo):
    """Prompt embeddings, each float32 (length, width)."""

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    length: int = Field(ge=1)
    width: int = Field(ge=1)
    texts: dict[str, PromptText] = Field(default_factory=dict)
    """By name, for the prompts that were made of a text."""


class KeptInfo(_Part):
    """Places (`step/layer07/attn1.to_q`, wildcards as in a shell) whose precision is not the recipe's."""

    match: str
    precision: Precision
    reason: str
    """`guard`, `recipe` (a rule of the recipe file), or what was found in weights or activations."""


class CastInfo(_Part):
    """What a weight lost, or would have lost, in fp16."""

    name: str
    overflows: int
    """Values beyond 65504; the weight was kept in fp32 when there are any."""
    flushed: int
    """Values that became zero."""
    relative_l2: float


class PrecisionInfo(_Part):
    """How weights are stored and what computes."""

    recipe: Precision
    target: Target
    activations: Literal["fp32", "fp16"]
    """Of attention, caches and guarded layers; norms, softmax and the residual stream are always fp32."""
    kept: tuple[KeptInfo, ...] = ()
    casts: tuple[CastInfo, ...] = ()
    """Weights that overflow in fp16 or have values flushed to zero."""

    @property
    def coarsest(self) -> Precision:
        """The recipe's, or a coarser one that a rule asks for: what the bundle is to be judged by."""
        used = {self.recipe, *(kept.precision for kept in self.kept)}
        return max(used, key=PRECISIONS.index)


class FidelityRow(_Part):
    """How far one stage of the bundle is from its reference."""

    stage: str
    max_abs: float
    relative_l2: float
    cosine: float
    joint_degrees: float | None = None
    """Worst joint error, where the stage is a chunk of actions."""
    fingertip_millimetres: float | None = None
    """Worst distance of a fingertip, likewise."""


class FidelityInfo(_Part):
    """The comparison made when the bundle was written."""

    reference: str
    tolerance: float | None
    """Gate on the relative L2 of velocities (of every stage, at fp32); None where errors are only reported."""
    passed: bool
    stages: tuple[FidelityRow, ...]


class SpreadInfo(_Part):
    """A distribution in three numbers."""

    p50: float = Field(ge=0)
    p95: float = Field(ge=0)
    worst: float = Field(ge=0)


class LatencyInfo(_Part):
    """How long a chunk takes after warm-up, ms."""

    p50: float = Field(ge=0)
    p95: float = Field(ge=0)
    context_p50: float = Field(ge=0)
    """Picture to cache."""
    steps_p50: float = Field(ge=0)
    """All sampler steps."""


class LedgerRow(_Part):
    """What one way of sampling costs, and how far its actions are from the reference's."""

    steps: int = Field(ge=1)
    solver: Solver
    joint_degrees: SpreadInfo
    """Over all chunks, actions and the 12 joints."""
    gripper_millimetres: SpreadInfo
    """Opening; over all chunks, actions and both grippers."""
    fingertip_millimetres: SpreadInfo
    """Distance between the points that two actions lead to; over all chunks, actions and both arms."""
    latency_milliseconds: LatencyInfo


class LedgerInfo(_Part):
    """The bundle beside a reference on the same observations and noise: error in a person's units, and latency."""

    reference: str
    observations: int = Field(ge=1)
    chunks: int = Field(ge=1)
    """Compared per row: observations times noises."""
    machine: str
    """Where the latency was measured: processor, provider, ONNX Runtime."""
    gate_degrees: float | None = None
    """Largest p95 of `joint_degrees` that was asked for."""
    gate_millimetres: float | None = None
    """Largest p95 of `fingertip_millimetres` that was asked for."""
    rows: Annotated[tuple[LedgerRow, ...], Field(min_length=1)]


class Manifest(_Part):
    """manifest.json."""

    schema_: Literal[1] = Field(SCHEMA, alias="schema")
    gigaedge: str
    """Version that wrote the bundle."""
    created: str
    """ISO 8601, UTC."""
    layout: Layout = "split"
    opset: int
    model: ModelInfo
    source: tuple[SourceFile, ...]
    graphs: dict[GraphName, GraphInfo]
    weights: WeightsInfo
    sampler: SamplerInfo
    view: ViewInfo
    state: StateInfo
    action: ActionInfo
    prompts: PromptsInfo
    precision: PrecisionInfo
    fidelity: FidelityInfo | None = None
    ledger: LedgerInfo | None = None

    @model_validator(mode="after")
    def _graphs_are_complete(self) -> Manifest:
        needed = LAYOUTS[self.layout]
        if set(self.graphs) != set(needed):
            raise ValueError(f"graphs: layout {self.layout} needs {', '.join(needed)}")
        return self

    def schedule(self, steps: int | None, solver: Solver = "euler") -> ScheduleInfo:
        """The schedule of a solver and step count; None is the bundle's first step count."""
        schedules = [schedule for schedule in self.sampler.schedules if schedule.solver == solver]
        for schedule in schedules:
            if steps in (None, schedule.steps):
                return schedule
        if not schedules:
            have = ", ".join(dict.fromkeys(schedule.solver for schedule in self.sampler.schedules))
            raise BundleError(f"the bundle has no solver {solver!r}; it has {have}")
        have = ", ".join(str(schedule.steps) for schedule in schedules)
        raise BundleError(
            f"the bundle has no {solver} table for {steps} steps (it has {have}); export it with --steps {steps}"
        )

    def files(self) -> list[FileInfo]:
        """Every file but the manifest."""
        return [*self.graphs.values(), self.weights, self.prompts]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: the folder and its checked manifest."""

    path: Path
    manifest: Manifest

    def file(self, info: FileInfo) -> Path:
        """Where a file of the manifest lies."""
        return self.path / info.file


def describe_file(path: Path) -> dict[str, Any]:
    """The FileInfo fields of a file."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json into `folder`, whole or not at all."""
    text = manifest.model_dump_json(indent=1, by_alias=True)
    with atomic_file(folder / MANIFEST) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def open_bundle(path: Path, *, check_weights: bool | None = None) -> Bundle:
    """Open a bundle and verify it.

    Sizes and checksums of every file are compared; those of a weights file above 1 GiB only when `check_weights`
    is True. Raises BundleError: no bundle, an unknown schema, a missing, altered or truncated file.
    """
    manifest = read_manifest(path)
    for info in manifest.files():
        file = path / info.file
        if not file.is_file():
            raise BundleError(f"{path}: {info.file} is missing; copy the bundle again")
        if file.stat().st_size != info.bytes:
            raise BundleError(
                f"{path}: {info.file} has {file.stat().st_size} bytes, the manifest says {info.bytes}; copy it again"
            )
        lazily = info is manifest.weights and info.bytes > LAZY_CHECK_BYTES
        if (check_weights or not lazily) and sha256(file) != info.sha256:
            raise BundleError(
                f"{path}: {info.file} was altered (its SHA-256 is not the manifest's); export or copy it again"
            )
    return Bundle(path, manifest)


def read_manifest(path: Path) -> Manifest:
    """The manifest of a bundle, its files unchecked. Raises BundleError: no bundle, an unknown schema."""
    file = path / MANIFEST
    if not file.is_file():
        raise BundleError(f"{path}: no bundle here ({MANIFEST} is missing); `gigaedge export` writes one")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{file}: not valid JSON ({error}); export or copy the bundle again") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BundleError(
            f"{file}: schema {schema!r} is not known to this version (it reads {SCHEMA}); "
            "use the gigaedge version that wrote the bundle, or export again"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise BundleError(f"{file}: {first_problem(error, Manifest)}") from error
