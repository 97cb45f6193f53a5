"""Latency reports for tests of pages: every number comes from a formula or a fixed seed, none was measured."""

from __future__ import annotations

import numpy as np

from gigaedge.benchmark import (
    PATH_STAGES,
    BenchReport,
    ColdInfo,
    Distribution,
    Gauge,
    GaugesInfo,
    MachineInfo,
    OperatorInfo,
    PathInfo,
    Peaks,
    SettingsInfo,
    SoakInfo,
    StageProfile,
    StepsRow,
    SubjectInfo,
    Verdict,
)

PROCESSES, REPEATS = 5, 20
USUAL = dict(zip(PATH_STAGES, (17.0, 9.0, 0.12, 2.4, 212.0, 0.09, 2.6, 0.31, 0.22), strict=True))
"""ms."""


def durations(usual: float, count: int, seed: int = 0) -> list[float]:
    """Around `usual` ms, skewed to the slow side; s."""
    rng = np.random.default_rng(seed)
    return list(
        1e-3 * usual * (1 + 0.02 * rng.standard_normal(count) ** 2 + 0.05 * rng.exponential(size=count) ** 2)
    )


def spread(usual: float, count: int = 200, seed: int = 0) -> Distribution:
    return Distribution.of(durations(usual, count, seed))


def steps_row(steps: int, solver: str = "euler", scale: float = 1.0) -> StepsRow:
    usual = scale * (62.0 + 15.0 * steps)
    samples = tuple(
        tuple(1e3 * value * (1 + 0.02 * process) for value in durations(usual, REPEATS, 10 * steps + process))
        for process in range(PROCESSES)
    )
    noise = np.random.default_rng(steps).exponential(0.1, (PROCESSES, REPEATS))
    yardstick = tuple(
        tuple(6.0 + 0.004 * (value - usual) + float(more) for value, more in zip(process, extra, strict=True))
        for process, extra in zip(samples, noise, strict=True)
    )
    return StepsRow(
        steps=steps,
        solver=solver,
        chunk=Distribution.of([1e-3 * value for process in samples for value in process]),
        stages={
            "vae": spread(21.0 * scale), "transformer": spread(40.0 * scale), "context": spread(61.5 * scale),
            "step": spread(14.9 * scale, 200 * steps), "steps": spread(14.9 * scale * steps),
        },
        samples=samples,
        yardstick=yardstick,
        work=tuple(tuple(1.9 * usual + 0.2 * (value - usual) for value in process) for process in samples),
    )  # fmt: skip


def path(arms: int, scale: float = 1.0) -> PathInfo:
    stages = {
        name: spread(usual * (scale if name == "inference" else 1.0), 40, place)
        for place, (name, usual) in enumerate(USUAL.items())
    }
    return PathInfo(
        arms=arms,
        duration_s=10.0,
        chunks=40,
        stages=stages,
        exposure_to_can=spread(sum(USUAL.values()) + (scale - 1) * USUAL["inference"], 40),
        host=spread(2.6, 40),
        tick_work=spread(0.18 * (1 + 0.6 * (arms - 1)), 2000),
        tick_period=spread(5.0, 2000),
        deadline_misses=3,
        late={"queued": 2, "stolen": 1},
    )


def stage(name: str, gflop: float, weight_mb: float, time: float) -> StageProfile:
    """Of a stage whose time is mostly one large product."""
    peaks = PEAKS
    operators = tuple(
        OperatorInfo(
            operator=operator,
            nodes=nodes,
            time=share * time,
            gflop=flops * gflop,
            weight_mb=weights * weight_mb,
            floor=max(1e3 * flops * gflop / peaks.fp32_gflop_s, weights * weight_mb / peaks.read_gb_s),
        )
        for operator, nodes, share, flops, weights in (
            ("Gemm", 84, 0.7, 0.8, 0.9),
            ("FusedMatMul", 24, 0.16, 0.15, 0.1),
            ("MultiHeadAttention", 24, 0.1, 0.05, 0.0),
            ("LayerNormalization", 36, 0.037, 0.0, 0.0),
            ("Cast", 6, 0.002, 0.0, 0.0),
            ("Slice", 4, 0.001, 0.0, 0.0),
        )
    )
    return StageProfile(
        stage=name,
        provider_nodes={"CPUExecutionProvider": 178},
        time=time,
        gflop=gflop,
        weight_mb=weight_mb,
        floor_compute=1e3 * gflop / peaks.fp32_gflop_s,
        floor_memory=weight_mb / peaks.read_gb_s,
        operators=operators,
    )


PEAKS = Peaks(read_gb_s=21.0, fp32_gflop_s=180.0, int8_gop_s=610.0)


def profile(scale: float = 1.0) -> tuple[StageProfile, ...]:
    parts = (("vae", 2.6, 9.0, 21.0), ("context", 3.9, 160.0, 40.0), ("step", 1.1, 160.0, 14.9))
    return tuple(stage(name, scale * gflop, weights, scale * time) for name, gflop, weights, time in parts)


def board() -> GaugesInfo:
    times = np.arange(0.0, 60.0, 0.5)
    shapes = {
        "package": ("rapl", "W", 31 + 6 * np.sin(times / 5)),
        "core": ("rapl", "W", 24 + 5 * np.sin(times / 5)),
        "cpu clock": ("sysfs", "MHz", 2600 - 200 * (times > 40)),
        "x86_pkg_temp": ("sysfs", "C", 48 + 25 * (1 - np.exp(-times / 15))),
        "resident memory": ("proc", "MB", 1450 + 0.5 * times),
    }
    gauges = tuple(
        Gauge.model_validate(
            {
                "name": name, "source": source, "unit": unit, "mean": float(values.mean()),
                "min": float(values.min()), "max": float(values.max()),
                "series": [(float(t), float(v)) for t, v in zip(times, values, strict=True)],
            }
        )
        for name, (source, unit, values) in shapes.items()
    )  # fmt: skip
    return GaugesInfo(
        interval_s=0.5,
        gauges=gauges,
        absent=("GPU: no nvidia-smi on PATH", "board rails: no tegrastats on PATH"),
        throttled=("clock fell from 2600 to 2400 MHz at 40 s",),
        joule_per_chunk=7.4,
        joule_source="RAPL package",
        settings=("governor performance",),
    )


def minimal(**changes: object) -> BenchReport:
    """Nothing that may be absent is there."""
    row = steps_row(10)
    fields: dict[str, object] = {
        "created": "2026-01-02T03:04:05Z",
        "gigaedge": "0.0",
        "machine": MachineInfo(name="Synthetic CPU, 2 cores", versions={"numpy": "0.0"}, load_before=0.25),
        "subject": SubjectInfo(
            path="bundles/synthetic", manifest_sha256="0" * 64, generation="GWP-0.5", precision="fp32", target="cpu",
            layout="split", parameters=250_000_000, chunk=48, view_width=320, view_height=384, context_tokens=121,
        ),
        "settings": SettingsInfo(
            provider="cpu", threads=2, processes=PROCESSES, repeats=REPEATS, warmup=3, prompt="task", seed=1
        ),
        "ran_on": {"CPUExecutionProvider": 412},
        "cold": ColdInfo(load=(), first_chunk=()),
        "rows": (row,),
    }  # fmt: skip
    return BenchReport.model_validate({**fields, **changes})


def full(scale: float = 1.0, **subject: object) -> BenchReport:
    """Everything is there; `scale` multiplies the chunk's times, `subject` replaces fields of the subject."""
    base = minimal().subject.model_copy(update={"rate_hz": 30.0, **subject})
    series = tuple(
        (float(t), 212.0 * scale * (1 + 0.0004 * t), 240.0 * scale * (1 + 0.0006 * t))
        for t in range(0, 600, 10)
    )
    return minimal(
        subject=base,
        rows=(steps_row(10, scale=scale), steps_row(5, scale=scale), steps_row(4, "multistep", scale)),
        cold=ColdInfo(
            load=(820.0, 790.0, 905.0, 812.0, 799.0), first_chunk=(341.0, 322.0, 390.0, 335.0, 330.0)
        ),
        peaks=PEAKS,
        profile=profile(scale),
        memory_mb={"bundle": 1012.0, "loaded": 1420.0, "peak": 1466.0},
        board=board(),
        soak=SoakInfo(duration_s=600.0, chunks=2700, series=series, drift=0.19, memory_growth_mb=0.4),
        path=(path(1, scale), path(2, scale)),
        verdicts=(
            Verdict(name="budget chunk", passed=True, text="p99 251 ms is within 300 ms"),
            Verdict(
                name="baseline 10 steps euler", passed=False, text="1.08 times the baseline (1.05 to 1.11)"
            ),
        ),
        notices=("Cameras and arms of the path were simulated.",),
    )
