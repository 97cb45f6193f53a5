"""What a latency measurement found: the document that `gigaedge bench` writes. Times in ms unless said otherwise.

A report is made by several processes that each load the bundle anew: what a process happens to get - addresses, pages,
a place in the caches - shifts all of its timings together, so chunks of one process are no independent samples.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gigaedge.documents import Part

SCHEMA: Final = "gigaedge.bench/1"

PATH_STAGES: Final = (
    *("transport", "wait", "state", "compose", "inference", "publish"),
    *("hand_over", "control", "send"),
)
"""From a camera's exposure to the first CAN frame that the picture decided, in order; their sum is the whole.

transport: exposure to this program; wait: until a chunk is begun with it; state: the measured state at that time;
compose: three pictures into one; inference: the policy's chunk, host memory to host memory; publish: into shared
memory; hand_over: until a control tick takes an action of it; control: that tick, up to the SDK; send: the SDK, up to
the frame on the bus."""


PATH_ARMS: Final = (1, 2)
"""The whole loop is measured with so many arms, one after the other."""


class Distribution(Part):
    """Repeated measurements of one thing, ms."""

    count: int = Field(ge=0)
    mean: float
    sd: float
    min: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float] | NDArray[np.floating]) -> Distribution:
        """Of at least one duration, s. Raises ValueError when there is none."""
        values = np.asarray(seconds, np.float64) * 1e3
        if not values.size:
            raise ValueError("a distribution needs at least one measurement")
        p50, p90, p99, p999 = map(float, np.percentile(values, (50, 90, 99, 99.9)))
        return cls(
            count=values.size,
            mean=float(values.mean()),
            sd=float(values.std()),
            min=float(values.min()),
            p50=p50,
            p90=p90,
            p99=p99,
            p999=p999,
            max=float(values.max()),
        )

    @property
    def jitter(self) -> float:
        """How far the slow ones are from the usual one: p99 - p50."""
        return self.p99 - self.p50


class MachineInfo(Part):
    """Where it was measured."""

    name: str
    """`gigaedge.machine.describe_machine`."""
    versions: dict[str, str]
    """Of the packages that took part, Python's included."""
    load_before: float
    """The machine's load average (1 minute) before the measurement: what else it was doing."""


class SubjectInfo(Part):
    """The bundle that was measured."""

    path: str
    manifest_sha256: str
    generation: str
    precision: str
    target: str
    layout: str
    parameters: int
    chunk: int
    """Actions."""
    view_width: int
    view_height: int
    context_tokens: int
    """State and picture; 0 in layout single, whose graph does not show them."""
    rate_hz: float | None = None
    """Actions per second; None where the report does not say."""


class SettingsInfo(Part):
    """How it was measured."""

    provider: str
    threads: int
    """Of ONNX Runtime on the CPU, as they were, never 0."""
    processes: int
    repeats: int
    """Chunks timed per process and row."""
    warmup: int
    prompt: str
    seed: int


class StepsRow(Part):
    """One step count and solver."""

    steps: int
    solver: str
    chunk: Distribution
    """From picture, state and noise in host memory to targets in host memory."""
    stages: dict[str, Distribution]
    """Layout split: `vae` and `transformer` (of the context, by its profile), `context`, `step` (each one), `steps`;
    single: `policy`."""
    samples: tuple[tuple[float, ...], ...]
    """The chunks' times, one tuple per process, in order."""
    yardstick: tuple[tuple[float, ...], ...]
    """A fixed piece of work timed before every chunk, one tuple per process: what the machine itself did meanwhile."""
    work: tuple[tuple[float, ...], ...] = ()
    """Processor time of each chunk, all threads of the process together."""
    yardstick_work: tuple[tuple[float, ...], ...] = ()
    """Processor time of each run of the yardstick."""


class ColdInfo(Part):
    """What a start costs, one value per process."""

    load: tuple[float, ...]
    """From the bundle on disk to a policy with its prompt encoded."""
    first_chunk: tuple[float, ...]


class Peaks(Part):
    """What the machine can do at best, measured with the same provider and threads."""

    read_gb_s: float
    """Reading memory far larger than any cache."""
    fp32_gflop_s: float
    """A large fp32 matrix product."""
    int8_gop_s: float | None = None
    """A large int8 matrix product; None where the provider has no such kernel."""


class OperatorInfo(Part):
    """All nodes of one operator in one stage, per run of the stage."""

    operator: str
    nodes: int
    time: float
    gflop: float
    """Of matrix products and convolutions; 0 for others."""
    weight_mb: float
    floor: float
    """What the peaks allow at best."""


class StageProfile(Part):
    """One stage beside its roofline (S. Williams, A. Waterman, D. Patterson, Roofline, CACM 52(4), 2009)."""

    stage: str
    """`vae`, `context` (without the VAE), `step`, or `policy`."""
    provider_nodes: dict[str, int]
    time: float
    """Of one run; the sum of its nodes while profiling, which costs a little itself."""
    gflop: float
    weight_mb: float
    floor_compute: float
    floor_memory: float
    operators: tuple[OperatorInfo, ...]

    @property
    def floor(self) -> float:
        """No run can be quicker than this."""
        return max(self.floor_compute, self.floor_memory)

    @property
    def reached(self) -> float:
        """Fraction of the roofline."""
        return self.floor / self.time if self.time else 0.0


class Gauge(Part):
    """One sensor over the measurement."""

    name: str
    """As in `package` (RAPL), `VDD_GPU_SOC` (tegrastats), `GPU 0 power` (nvidia-smi), `cpu clock`."""
    source: Literal["rapl", "tegrastats", "nvidia-smi", "sysfs", "proc"]
    unit: Literal["W", "MHz", "C", "MB", "%"]
    mean: float
    min: float
    max: float
    series: tuple[tuple[float, float], ...] = ()
    """(s since the start, value), thinned to at most 600."""


class GaugesInfo(Part):
    """What the board told while it was measured."""

    interval_s: float
    gauges: tuple[Gauge, ...]
    absent: tuple[str, ...]
    """What could not be read on this machine, each with the reason in a few words."""
    throttled: tuple[str, ...] = ()
    """Signs that clocks were held back, in words; empty when none was seen (or could be: see `absent`)."""
    joule_per_chunk: float | None = None
    joule_source: str = ""
    """What was measured for it, as in `tegrastats VDD_IN`; what it leaves out is in docs/board.md."""
    settings: tuple[str, ...] = ()
    """What was set on the board, in words: the CPU's governor, the power mode of a Jetson."""


class SoakInfo(Part):
    """A long steady run."""

    duration_s: float
    chunks: int
    series: tuple[tuple[float, float, float], ...]
    """(s since the start, p50, p99 of the chunks since the last entry)."""
    drift: float
    """p50 of the last fifth over that of the first fifth, minus 1."""
    memory_growth_mb: float
    """Resident memory at the end over that after the first fifth."""


class PathInfo(Part):
    """The whole loop on simulated devices: real librealsense, real piper_sdk, real processes."""

    arms: int
    duration_s: float
    chunks: int
    stages: dict[str, Distribution]
    """By `PATH_STAGES`."""
    exposure_to_can: Distribution
    host: Distribution
    """Per chunk, all that is neither inference nor waiting: state, compose, publish."""
    tick_work: Distribution
    """What one control tick computes."""
    tick_period: Distribution
    deadline_misses: int
    """Control ticks that came late enough to be skipped."""
    late: dict[str, int] = Field(default_factory=dict)
    """Why ticks were late (`gigaedge_runtime.report.LateCause`)."""


class Verdict(Part):
    """One gate."""

    name: str
    """As in `budget chunk`, `baseline 10 steps euler`."""
    passed: bool
    text: str
    """One line with the figures."""


class BenchReport(Part):
    """Everything one `gigaedge bench` found for one bundle."""

    schema_: Literal["gigaedge.bench/1"] = Field(default=SCHEMA, alias="schema")
    created: str
    gigaedge: str
    machine: MachineInfo
    subject: SubjectInfo
    settings: SettingsInfo
    ran_on: dict[str, int]
    """Execution provider -> nodes it took; 0 where ONNX Runtime does not say."""
    cold: ColdInfo
    rows: tuple[StepsRow, ...]
    peaks: Peaks | None = None
    profile: tuple[StageProfile, ...] = ()
    memory_mb: dict[str, float] = Field(default_factory=dict)
    """`bundle` on disk, `loaded` and `peak` resident memory of a measuring process, `gpu` where there is one."""
    board: GaugesInfo | None = None
    soak: SoakInfo | None = None
    path: tuple[PathInfo, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate was."""
        return all(verdict.passed for verdict in self.verdicts)

    def row(self, steps: int, solver: str) -> StepsRow | None:
        """The row of a step count and solver."""
        return next((row for row in self.rows if (row.steps, row.solver) == (steps, solver)), None)


def to_json(reports: Sequence[BenchReport]) -> str:
    """One report as an object, several as a list."""
    parts = [report.model_dump(mode="json", by_alias=True) for report in reports]
    return json.dumps(parts[0] if len(parts) == 1 else parts, indent=1, allow_nan=False) + "\n"
