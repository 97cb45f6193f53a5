"""A policy on disk: the one contract between the workstation that exports and the robot that runs.

    BUNDLE/manifest.json         everything a runtime must know; schema 1
    BUNDLE/text.onnx             prompt embedding -> text keys and values          (once per prompt)
    BUNDLE/context.onnx          picture, state, text -> context keys and values   (once per chunk)
    BUNDLE/step.onnx             one sampler step                                  (N times per chunk)
    BUNDLE/weights.safetensors   the graphs' external data, each weight once
    BUNDLE/prompts*.safetensors  prompt embeddings by name; `gigaedge prompt` puts a new file in its place

Layout `single` has one BUNDLE/policy.onnx in place of the three graphs. A bundle that can also say what it expects to
see (`export --video`) has BUNDLE/video.onnx and BUNDLE/decoder.onnx beside them, which no chunk of actions needs.
`open_bundle` verifies schema, files and checksums before anything is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from gigaedge.documents import FileInfo, Part, Sha256, SourceFile, read_document, verify_files, write_document
from gigaedge.errors import BundleError, InputError
from gigaedge.files import locked
from gigaedge.findings import FidelityInfo, LedgerInfo
from gigaedge.robot import CAMERA_ROLES, ROBOT_DIM, CameraRole
from gigaedge.sampling import Solver

GraphName = Literal["text", "context", "step", "policy", "video", "decoder"]
Layout = Literal["split", "single"]

SCHEMA: Final = 1
MANIFEST: Final = "manifest.json"
STEPS: Final = "steps"
"""An axis whose length is the number of sampler steps, chosen at run time (layout single)."""
LAYOUTS: Final[dict[Layout, tuple[GraphName, ...]]] = {
    "split": ("text", "context", "step"),
    "single": ("policy",),
}
"""The graphs of each layout."""
VIDEO_GRAPHS: Final[tuple[GraphName, ...]] = ("video", "decoder")
"""Those of the video branch: one step of the future latents, and latents to frames."""

Precision = Literal["fp32", "fp16", "int8", "int4"]
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "int8", "int4")
"""From exact to coarse."""
Target = Literal["cpu", "cuda", "tensorrt"]
"""What a bundle is made for; it decides what int8 means, and whether activations are fp16."""
Values = Annotated[tuple[float, ...], Field(min_length=ROBOT_DIM, max_length=ROBOT_DIM)]
"""One number per state or action dimension."""


class WeightsInfo(FileInfo):
    """The weights of all graphs."""

    by_type: dict[str, int]
    """Bytes per element type."""


class TensorInfo(Part):
    """Type and shape of a graph's input or output."""

    dtype: Literal["float32", "float16", "uint8", "int64"]
    shape: tuple[int | Literal["steps"], ...]


class GraphInfo(FileInfo):
    """An ONNX graph and its signature, in order."""

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


class ModelInfo(Part):
    """Which network this is."""

    generation: Literal["GWP-0", "GWP-0.5"]
    transformer: dict[str, Any]
    """Upstream `config.json`, as it was read."""
    vae: dict[str, Any]
    parameters: int
    """Number of weights that chunks are made with; those of the video branch alone are not counted."""


class ScheduleInfo(Part):
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


class SamplerInfo(Part):
    """Flow matching in fixed steps from noise to actions."""

    prediction: Literal["noise - data"] = "noise - data"
    shift: float = Field(gt=0)
    timestep_rounding: Literal["bf16", "exact"]
    noise: Literal["normal(0, 1)"] = "normal(0, 1)"
    schedules: Annotated[tuple[ScheduleInfo, ...], Field(min_length=1)]


class VideoInfo(Part):
    """How a chunk's cache goes on to the frames that the policy expects to see."""

    offsets: Annotated[tuple[int, ...], Field(min_length=1)]
    """Which action each future frame shows the outcome of: frame i is due offsets[i] / rate_hz after the observation.
    The decoder's first frame, before these, is the observation's own."""
    shift: float = Field(gt=0)
    actions: Literal["clean", "same time"]
    """What the future sees of the predicted actions: them at flow time 0, or them with as much of their noise as the
    future has left, at its flow time; as in training (docs/decisions/0012)."""
    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]

    @model_validator(mode="after")
    def _lengths_agree(self) -> VideoInfo:
        if len(self.sigmas) != len(self.timesteps) + 1:
            raise ValueError("needs one sigma more than timesteps")
        return self

    @property
    def steps(self) -> int:
        """Euler steps from noise to future latents: the rows of the video graph's time table."""
        return len(self.timesteps)


class ViewInfo(Part):
    """The one picture the policy sees."""

    width: int = Field(ge=2)
    height: int = Field(ge=2)
    layout: Literal["tshape", "horizontal"]
    roles: tuple[CameraRole, ...] = CAMERA_ROLES
    resampling: Literal["pillow-bilinear"] = "pillow-bilinear"
    """Antialiased when shrinking; scale to cover, then centre crop."""


class StateInfo(Part):
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


class PromptText(Part):
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


class KeptInfo(Part):
    """Places (`step/layer07/attn1.to_q`, wildcards as in a shell) whose precision is not the recipe's."""

    match: str
    precision: Precision
    reason: str
    """`guard`, `recipe` (a rule of the recipe file), or what was found in weights or activations."""


class CastInfo(Part):
    """What a weight lost, or would have lost, in fp16."""

    name: str
    overflows: int
    """Values beyond 65504; the weight was kept in fp32 when there are any."""
    flushed: int
    """Values that became zero."""
    relative_l2: float


class PrecisionInfo(Part):
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


class Manifest(Part):
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
    """Of the graphs that make actions; those of the video branch compute in fp32."""
    video: VideoInfo | None = None
    """None: the bundle cannot say what it expects to see."""
    fidelity: FidelityInfo | None = None
    ledger: LedgerInfo | None = None

    @model_validator(mode="after")
    def _graphs_are_complete(self) -> Manifest:
        needed = LAYOUTS[self.layout] + (VIDEO_GRAPHS if self.video else ())
        if set(self.graphs) != set(needed):
            extra = " with the video branch" if self.video else ""
            raise ValueError(f"graphs: layout {self.layout}{extra} needs {', '.join(needed)}")
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


def read_manifest(path: Path) -> Manifest:
    """The manifest of a bundle, its files unchecked. Raises BundleError: no bundle, an unknown schema."""
    absent = f"no bundle here ({MANIFEST} is missing); `gigaedge export` writes one"
    return read_document(path / MANIFEST, Manifest, schema=SCHEMA, absent=absent)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json into `folder`, whole or not at all."""
    write_document(folder / MANIFEST, manifest)


def open_bundle(path: Path, *, check_weights: bool = False) -> Bundle:
    """Open a bundle and verify it.

    Sizes and checksums of every file are compared; those of a file above 1 GiB only when `check_weights` is True.
    Raises BundleError: no bundle, an unknown schema, a missing, altered or truncated file.
    """
    manifest = read_manifest(path)
    try:
        verify_files(path / MANIFEST, manifest.files(), check_large=check_weights)
    except BundleError:
        # An edit replaces the manifest and then removes what the old one named.
        if read_manifest(path) == manifest:
            raise
        return open_bundle(path, check_weights=check_weights)
    return Bundle(path, manifest)


def update_manifest(folder: Path, change: Callable[[Manifest], Manifest]) -> None:
    """Put what `change` makes of a bundle's manifest in its place; no other edit comes between."""
    with edit_lock(folder):
        write_manifest(folder, change(read_manifest(folder)))


@contextmanager
def edit_lock(path: Path) -> Iterator[None]:
    """One edit of a bundle at a time. Raises InputError: no folder."""
    if not path.is_dir():
        raise InputError(f"{path}: not a folder; pass a bundle that `gigaedge export` wrote")
    with locked(path):
        yield
