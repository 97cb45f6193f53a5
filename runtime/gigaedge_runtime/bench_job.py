"""What a measuring process is asked for, and what it answers: one JSON document a line, over its pipes.

Durations are in seconds here; the report has milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from gigaedge.benchmark import GaugesInfo, Peaks, StageProfile
from gigaedge.bundle import Manifest, read_manifest
from gigaedge.documents import Part
from gigaedge.errors import BundleError
from gigaedge.sampling import Solver
from gigaedge_runtime.providers import Provider
from gigaedge_runtime.sessions import Device

Task = Literal["chunks", "steady", "limits"]
"""chunks: cold start, then chunks timed in turn with the yardstick; steady: chunks without a pause; limits: what the
machine can do at best, and where a chunk's time goes."""


class Sampler(Part):
    """One row of the report."""

    steps: int = Field(ge=1)
    solver: Solver = "euler"

    def __str__(self) -> str:
        """As a person calls it."""
        return f"{self.steps} {'step' if self.steps == 1 else 'steps'} {self.solver}"


class Job(Part):
    """What one process measures."""

    task: Task
    bundle: Path
    provider: Provider
    threads: int = Field(ge=0)
    """0: as many as `gigaedge run` takes."""
    prompt: str
    samplers: tuple[Sampler, ...] = Field(min_length=1)
    repeats: int = Field(ge=1)
    """Chunks timed per sampler (task chunks)."""
    warmup: int = Field(ge=0)
    seconds: float = Field(ge=0)
    """How long the chunks go on (task steady)."""
    seed: int = Field(ge=0)


@dataclass(frozen=True)
class Plan:
    """How a bundle is to be measured."""

    bundle: Path
    manifest: Manifest
    samplers: tuple[Sampler, ...]
    prompt: str
    provider: Provider = "cpu"
    threads: int = 0
    """0: as many as `gigaedge run` takes."""
    processes: int = 5
    repeats: int = 20
    warmup: int = 3
    seed: int = 0
    steady: float = 3.0
    """s of chunks without a pause, beside the board's sensors; 0: none."""
    soak: bool = False
    """Whether the steady run is a measurement of its own."""
    limits: bool = True
    """Measure the machine's peaks and profile the graphs."""
    path: float = 0.0
    """s of the whole loop on simulated devices, with one arm and with two; 0: not at all."""

    @classmethod
    def read(cls, bundle: Path, *, steps: Sequence[int], solver: Solver, prompt: str | None) -> Plan:
        """A plan for the step counts given, or for all that the bundle has for `solver` where none is.

        Raises BundleError: no bundle, or one that lacks a step count, the solver or the prompt.
        """
        manifest = read_manifest(bundle)
        first = manifest.schedule(None, solver)
        own = [schedule for schedule in manifest.sampler.schedules if schedule.solver == first.solver]
        schedules = [manifest.schedule(count, solver) for count in steps] or own
        name = prompt or manifest.prompts.names[0]
        if name not in manifest.prompts.names:
            have = ", ".join(manifest.prompts.names)
            raise BundleError(f"{bundle}: no prompt {name!r} in the bundle; it has {have}")
        return cls(bundle, manifest, tuple(Sampler(steps=s.steps, solver=s.solver) for s in schedules), name)

    @property
    def workers(self) -> int:
        """Threads that ONNX Runtime computes with on the CPU."""
        return Device(threads=self.threads).workers

    def job(self, task: Task) -> Job:
        """What a process is asked for."""
        return Job(
            task=task,
            bundle=self.bundle.resolve(),
            provider=self.provider,
            threads=self.threads,
            prompt=self.prompt,
            samplers=self.samplers,
            repeats=self.repeats,
            warmup=self.warmup,
            seconds=self.steady,
            seed=self.seed,
        )


class SamplerTimes(Part):
    """The chunks of one sampler, in order."""

    sampler: Sampler
    chunk: tuple[float, ...]
    yardstick: tuple[float, ...]
    chunk_work: tuple[float, ...]
    """Processor time of all threads."""
    yardstick_work: tuple[float, ...]
    stages: dict[str, tuple[float, ...]]


class ChunksResult(Part):
    """Of task chunks."""

    load: float
    first_chunk: float
    rows: tuple[SamplerTimes, ...]
    loaded: int
    """Growth of resident memory by the policy, bytes."""
    peak: int
    gpu: int | None
    """Growth of the GPU's memory, bytes."""


class SteadyResult(Part):
    """Of task steady, with the first sampler."""

    times: tuple[tuple[float, float], ...]
    """(end of a chunk since the start, duration)."""
    memory: tuple[tuple[float, int], ...]
    """(since the start, resident bytes)."""
    board: GaugesInfo


class LimitsResult(Part):
    """Of task limits, with the first sampler."""

    peaks: Peaks
    profile: tuple[StageProfile, ...]


class Failure(Part):
    """An error of `gigaedge.errors`, to be raised again."""

    kind: str
    message: str


class Message(Part):
    """One line of an answer; the last one is a result or a failure."""

    advanced: int = 0
    """Chunks (task steady: whole seconds) since the last message."""
    ran_on: dict[str, int] = Field(default_factory=dict)
    """With a result: execution provider -> nodes, 0 where ONNX Runtime does not say."""
    chunks: ChunksResult | None = None
    steady: SteadyResult | None = None
    limits: LimitsResult | None = None
    failure: Failure | None = None
