"""Reports made up for tests: log-normal chunks of processes that differ, beside a yardstick."""

from __future__ import annotations

from typing import Any

import numpy as np

from gigaedge.benchmark import (
    PATH_STAGES,
    BenchReport,
    ColdInfo,
    Distribution,
    MachineInfo,
    PathInfo,
    SettingsInfo,
    StepsRow,
    SubjectInfo,
)

Groups = tuple[tuple[float, ...], ...]


def groups(
    median: float, *, seed: int, processes: int = 5, repeats: int = 20, spread: float = 0.02
) -> Groups:
    """Times, ms: as much spread between processes as within one."""
    random = np.random.default_rng(seed)
    luck = random.normal(0, spread, (processes, 1))
    times = median * np.exp(luck + random.normal(0, spread, (processes, repeats)))
    return tuple(tuple(map(float, row)) for row in times)


def row(median: float = 20.0, *, seed: int = 1, steps: int = 10, slowness: float = 1.0) -> StepsRow:
    """`slowness` is the machine's, and so the yardstick's as well."""
    samples = groups(median * slowness, seed=seed)
    chunk = Distribution.of(np.ravel(samples) / 1e3)
    stages = {"context": Distribution.of([0.008]), "steps": Distribution.of([0.012])}
    return StepsRow(
        steps=steps,
        solver="euler",
        chunk=chunk,
        stages=stages,
        samples=samples,
        yardstick=groups(30.0 * slowness, seed=seed + 1000),
        work=groups(median, seed=seed + 2000),
        yardstick_work=groups(45.0, seed=seed + 3000),
    )


def loop(arms: int, exposure_ms: float = 90.0) -> PathInfo:
    """A measured loop."""
    one = Distribution.of([0.002])
    return PathInfo(
        arms=arms,
        duration_s=4.0,
        chunks=10,
        stages=dict.fromkeys(PATH_STAGES, one),
        exposure_to_can=Distribution.of([exposure_ms / 1e3]),
        host=one,
        tick_work=one,
        tick_period=one,
        deadline_misses=0,
    )


def report(*rows: StepsRow, **changed: Any) -> BenchReport:
    """A report of a GWP-0.5 bundle in fp32; parts are replaced by name."""
    subject = SubjectInfo(
        path="bundles/fp32",
        manifest_sha256="ab" * 32,
        generation="GWP-0.5",
        precision="fp32",
        target="cpu",
        layout="split",
        parameters=1000,
        chunk=48,
        view_width=320,
        view_height=384,
        context_tokens=121,
    )
    settings = SettingsInfo(
        provider="cpu", threads=1, processes=5, repeats=20, warmup=3, prompt="task", seed=0
    )
    whole = BenchReport(
        created="2026-11-01T10:00:00+00:00",
        gigaedge="0.1.0",
        machine=MachineInfo(name="A board, 4 cores", versions={"onnxruntime": "1.31.1"}, load_before=0.1),
        subject=subject,
        settings=settings,
        ran_on={"CPUExecutionProvider": 0},
        cold=ColdInfo(load=(80.0, 90.0), first_chunk=(21.0, 25.0)),
        rows=rows or (row(),),
        memory_mb={"bundle": 3.0, "loaded": 24.0, "peak": 40.0},
    )
    return whole.model_copy(update=changed)
