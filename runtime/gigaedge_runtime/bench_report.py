"""From what the measuring processes answered to the report: durations in ms, stages, drift."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Final

import numpy as np

import gigaedge
from gigaedge.benchmark import (
    BenchReport,
    ColdInfo,
    Distribution,
    MachineInfo,
    PathInfo,
    SettingsInfo,
    SoakInfo,
    StageProfile,
    StepsRow,
    SubjectInfo,
)
from gigaedge.bundle import MANIFEST, Manifest
from gigaedge.files import sha256
from gigaedge.machine import describe_machine, installed_versions
from gigaedge_runtime.bench_job import ChunksResult, LimitsResult, Plan, SamplerTimes, SteadyResult

PACKAGES: Final = ("gigaedge", "numpy", "onnxruntime", "onnxruntime-gpu", "piper-sdk", "pyrealsense2")
WINDOWS: Final = 120
"""Entries of a soak's series, at most."""
MEGABYTE: Final = 1e6


def assemble(
    plan: Plan,
    chunks: Sequence[ChunksResult],
    ran_on: dict[str, int],
    steady: SteadyResult | None,
    limits: LimitsResult | None,
    path: Sequence[PathInfo],
    *,
    load_before: float,
) -> BenchReport:
    """The report of one plan, without verdicts."""
    profile = limits.profile if limits else ()
    return BenchReport(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        gigaedge=gigaedge.__version__,
        machine=MachineInfo(
            name=describe_machine(), versions=installed_versions(PACKAGES), load_before=load_before
        ),
        subject=_subject(plan),
        settings=SettingsInfo(
            provider=plan.provider,
            threads=plan.workers,
            processes=plan.processes,
            repeats=plan.repeats,
            warmup=plan.warmup,
            prompt=plan.prompt,
            seed=plan.seed,
        ),
        ran_on=ran_on,
        cold=ColdInfo(
            load=tuple(_ms(each.load) for each in chunks),
            first_chunk=tuple(_ms(each.first_chunk) for each in chunks),
        ),
        rows=tuple(
            _row([each.rows[index] for each in chunks], profile) for index in range(len(plan.samplers))
        ),
        peaks=limits.peaks if limits else None,
        profile=profile,
        memory_mb=_memory(plan.manifest, chunks),
        board=steady.board if steady else None,
        soak=_soak(steady) if steady and plan.soak else None,
        path=tuple(path),
    )


def _ms(seconds: float) -> float:
    return seconds * 1e3


def _subject(plan: Plan) -> SubjectInfo:
    manifest = plan.manifest
    return SubjectInfo(
        path=str(plan.bundle),
        manifest_sha256=sha256(plan.bundle / MANIFEST),
        generation=manifest.model.generation,
        precision=manifest.precision.recipe,
        target=manifest.precision.target,
        layout=manifest.layout,
        parameters=manifest.model.parameters,
        chunk=manifest.action.chunk,
        rate_hz=manifest.action.rate_hz,
        view_width=manifest.view.width,
        view_height=manifest.view.height,
        context_tokens=_context_tokens(manifest),
    )


def _context_tokens(manifest: Manifest) -> int:
    """From the shape of the first layer's keys, (heads, tokens, head size)."""
    if manifest.layout != "split":
        return 0
    outputs = manifest.graphs["context"].outputs
    keys = next(tensor for name, tensor in outputs.items() if name.endswith(".key"))
    return int(keys.shape[-2])


def _row(processes: Sequence[SamplerTimes], profile: Sequence[StageProfile]) -> StepsRow:
    sampler = processes[0].sampler
    stages = {
        stage: np.concatenate([each.stages[stage] for each in processes]) for stage in processes[0].stages
    }
    share = _vae_share(profile)
    if "context" in stages and share is not None:
        stages = {"vae": stages["context"] * share, "transformer": stages["context"] * (1 - share), **stages}
    return StepsRow(
        steps=sampler.steps,
        solver=sampler.solver,
        chunk=Distribution.of(np.concatenate([each.chunk for each in processes])),
        stages={stage: Distribution.of(times) for stage, times in stages.items()},
        samples=tuple(tuple(map(_ms, each.chunk)) for each in processes),
        yardstick=tuple(tuple(map(_ms, each.yardstick)) for each in processes),
        work=tuple(tuple(map(_ms, each.chunk_work)) for each in processes),
        yardstick_work=tuple(tuple(map(_ms, each.yardstick_work)) for each in processes),
    )


def _vae_share(profile: Sequence[StageProfile]) -> float | None:
    """The VAE's part of the context graph's time; None where it was not profiled."""
    times = {stage.stage: stage.time for stage in profile}
    if not {"vae", "context"} <= set(times):
        return None
    return times["vae"] / ((times["vae"] + times["context"]) or 1.0)


def _memory(manifest: Manifest, chunks: Sequence[ChunksResult]) -> dict[str, float]:
    found = {
        "bundle": sum(info.bytes for info in manifest.files()) / MEGABYTE,
        "loaded": max(each.loaded for each in chunks) / MEGABYTE,
        "peak": max(each.peak for each in chunks) / MEGABYTE,
    }
    taken = [each.gpu for each in chunks if each.gpu is not None]
    return {**found, "gpu": max(taken) / MEGABYTE} if taken else found


def _soak(steady: SteadyResult) -> SoakInfo:
    ends, times = np.array(steady.times).T
    duration = float(ends[-1])
    windows = np.array_split(np.arange(len(times)), min(WINDOWS, len(times)))
    series = [
        (float(ends[window[-1]]), *map(float, np.percentile(times[window], (50, 99)) * 1e3))
        for window in windows
    ]
    first, last = times[ends <= duration / 5], times[ends > duration * 4 / 5]
    settled = next((size for at, size in steady.memory if at >= duration / 5), steady.memory[-1][1])
    return SoakInfo(
        duration_s=duration,
        chunks=len(times),
        series=tuple((at, p50, p99) for at, p50, p99 in series),
        drift=float(np.median(last) / np.median(first)) - 1 if first.size else 0.0,
        memory_growth_mb=(steady.memory[-1][1] - settled) / MEGABYTE,
    )
