"""Measuring processes: their answers, their ends, and what a report makes of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigaedge.benchmark import BenchReport, GaugesInfo, Peaks, StageProfile
from gigaedge.bundle import read_manifest
from gigaedge.errors import BundleError, CheckFailedError, DeviceError, ProcessError
from gigaedge_runtime import bench, path_bench
from gigaedge_runtime.bench_job import (
    ChunksResult,
    Job,
    LimitsResult,
    Message,
    Plan,
    Sampler,
    SamplerTimes,
    SteadyResult,
    Task,
)
from gigaedge_runtime.bench_report import assemble
from gigaedge_runtime.measuring import observe
from tests.measured_reports import loop


class Silence:
    def __call__(self, what: str, total: int = 0) -> None: ...

    def advance(self, amount: int) -> None: ...


@pytest.fixture(scope="module")
def bundle(exported: Callable[..., Path]) -> Path:
    return exported("gwp05-tiny")


@pytest.fixture
def plan(bundle: Path) -> Plan:
    return Plan.read(bundle, steps=(4,), solver="euler", prompt=None)


def a_job(plan: Plan, task: Task = "chunks", **changed: Any) -> Job:
    return plan.job(task).model_copy(update={"repeats": 2, "warmup": 0, **changed})


def test_a_plan_takes_all_rows_of_the_solver_or_those_asked_for(bundle: Path) -> None:
    def samplers(*steps: int) -> list[str]:
        return list(map(str, Plan.read(bundle, steps=steps, solver="multistep", prompt=None).samplers))

    assert samplers() == ["10 steps multistep", "4 steps multistep"]
    assert samplers(4) == ["4 steps multistep"]
    with pytest.raises(BundleError, match=r"no multistep table for 7 steps \(it has 10, 4\)"):
        samplers(7)
    with pytest.raises(BundleError, match="no prompt 'wave' in the bundle; it has task"):
        Plan.read(bundle, steps=(), solver="euler", prompt="wave")


def test_every_process_sees_the_same_observation(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    one, again, other = (observe(manifest, seed) for seed in (3, 3, 4))
    for name in ("composite", "state", "noise"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert (getattr(one, name) != getattr(other, name)).any()
    assert (np.array(manifest.state.q01) <= one.state + 1e-6).all()


def test_a_process_times_chunks_stages_and_yardstick(plan: Plan) -> None:
    told: list[int] = []
    answer = bench.run_job(a_job(plan), told.append)
    assert answer.ran_on == {"CPUExecutionProvider": 0}
    assert answer.chunks is not None
    (row,) = answer.chunks.rows
    assert {stage: len(times) for stage, times in row.stages.items()} == {"context": 2, "steps": 2, "step": 8}
    assert len(row.chunk) == len(row.yardstick) == len(row.chunk_work) == len(row.yardstick_work) == 2
    for chunk, context, steps in zip(row.chunk, row.stages["context"], row.stages["steps"], strict=True):
        assert 0 < context + steps < chunk
    assert sum(row.stages["step"]) < sum(row.stages["steps"])
    assert min(row.yardstick) > 0
    assert 0 < answer.chunks.loaded <= answer.chunks.peak
    assert min(answer.chunks.load, answer.chunks.first_chunk) > 0
    assert sum(told) <= 2


def test_an_error_of_the_process_is_raised_here(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        bench.run_job(a_job(plan, bundle=tmp_path), lambda _: None)


def test_a_process_that_is_given_up_before_it_began_ends() -> None:
    done = subprocess.run(bench.PROGRAM, input="", capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_does_not_run_is_a_device_error(plan: Plan, provider: str) -> None:
    """With the wheel for the CPU: built without it. With the one for GPUs, on a machine without: does not start."""
    with pytest.raises(DeviceError, match=f"provider {provider}: "):
        bench.run_job(a_job(plan, provider=provider), lambda _: None)


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import os; os.kill(os.getpid(), 9)", r"was killed by SIGKILL; was there memory enough\?"),
        ("raise SystemExit('out of luck')", "ended with exit code 1: out of luck"),
        ("", "ended with exit code 0: no message"),
    ],
)
def test_a_process_that_dies_says_how(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, program: str, problem: str
) -> None:
    monkeypatch.setattr(bench, "PROGRAM", (sys.executable, "-c", f"input(); {program}"))
    with pytest.raises(ProcessError, match=f"the measuring process {problem}"):
        bench.run_job(a_job(plan), lambda _: None)


def test_the_loop_runs_with_one_arm_and_with_two(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy too slow for it still gets its report."""
    asked: list[dict[str, Any]] = []

    def measure_path(bundle: Path, **settings: Any) -> Any:
        asked.append(settings)
        if settings["arms"] == 2:
            raise CheckFailedError("two arms: no chunk came in time")
        return loop(1)

    monkeypatch.setattr(path_bench, "measure_path", measure_path)
    monkeypatch.setattr(bench, "run_job", lambda job, advance: Message(chunks=chunks(job), ran_on={"CPU": 0}))
    short = replace(plan, processes=2, steady=0.0, limits=False, path=0.5)
    (report,) = bench.measure([short], Silence())
    assert [each["arms"] for each in asked] == [1, 2]
    assert {(each["steps"], each["solver"], each["seconds"]) for each in asked} == {(4, "euler", 10 * 0.1)}
    assert [path.arms for path in report.path] == [1]
    assert report.notices == ("two arms: no chunk came in time", path_bench.SIMULATED)


def test_processes_of_several_bundles_take_turns(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def run_job(job: Job, advance: Callable[[int], None]) -> Message:
        order.append(job.prompt)
        return Message(chunks=chunks(job))

    monkeypatch.setattr(bench, "run_job", run_job)
    plans = [
        replace(plan, prompt=name, processes=count, steady=0.0, limits=False)
        for name, count in (("one", 3), ("other", 2))
    ]
    bench.measure(plans, Silence())
    assert order == ["one", "other", "one", "other", "one"]


def chunks(job: Job, slowness: float = 1.0) -> ChunksResult:
    """An answer with two chunks of 0.1 s."""
    times = (0.1 * slowness,) * 2
    rows = tuple(
        SamplerTimes(
            sampler=sampler,
            chunk=times,
            yardstick=(0.03, 0.04),
            chunk_work=times,
            yardstick_work=times,
            stages={"context": (0.04, 0.04), "step": (0.01,) * 8},
        )
        for sampler in job.samplers
    )
    return ChunksResult(load=0.5, first_chunk=0.2, rows=rows, loaded=20_000_000, peak=30_000_000, gpu=None)


def report_of(
    plan: Plan, steady: SteadyResult | None = None, limits: LimitsResult | None = None
) -> BenchReport:
    answers = [chunks(plan.job("chunks"), slowness) for slowness in (1.0, 1.5)]
    return assemble(plan, answers, {"CPUExecutionProvider": 0}, steady, limits, (), load_before=0.3)


def test_a_report_has_milliseconds_and_keeps_processes_apart(plan: Plan) -> None:
    report = report_of(replace(plan, processes=2, repeats=2))
    row = report.row(4, "euler")
    assert row is not None
    assert row.samples == ((100.0, 100.0), (pytest.approx(150.0),) * 2)
    assert row.chunk.count == 4
    assert row.chunk.mean == pytest.approx(125.0)
    assert row.stages["step"].p50 == pytest.approx(10.0)
    assert row.yardstick == ((30.0, 40.0),) * 2
    assert report.cold.load == (500.0, 500.0)
    assert (report.subject.context_tokens, report.subject.rate_hz) == (121, 30.0)
    assert report.memory_mb["loaded"] == 20.0
    assert report.memory_mb["bundle"] == pytest.approx(
        sum(file.stat().st_size for file in plan.bundle.iterdir() if file.name != "manifest.json") / 1e6
    )
    assert report.soak is None
    assert set(row.stages) == {"context", "step"}


def stage(name: str, time: float) -> StageProfile:
    return StageProfile(
        stage=name,
        provider_nodes={},
        time=time,
        gflop=0.0,
        weight_mb=0.0,
        floor_compute=0.0,
        floor_memory=0.0,
        operators=(),
    )


def test_the_profile_divides_the_context(plan: Plan) -> None:
    peaks = Peaks(read_gb_s=1.0, fp32_gflop_s=1.0)
    limits = LimitsResult(peaks=peaks, profile=(stage("vae", 6.0), stage("context", 2.0)))
    stages = report_of(plan, limits=limits).rows[0].stages
    assert list(stages) == ["vae", "transformer", "context", "step"]
    assert stages["vae"].p50 == pytest.approx(30.0)
    assert stages["transformer"].p50 == pytest.approx(10.0)


def test_a_soak_tells_drift_and_growth(plan: Plan) -> None:
    """1000 chunks of 10 ms, of 11 ms in the last fifth; 5 MB of growth while warming up, 2 MB afterwards."""
    times = tuple((0.01 * (n + 1), 0.011 if n >= 800 else 0.010) for n in range(1000))
    memory = ((0.01, 100_000_000), (2.5, 105_000_000), (9.9, 107_000_000))
    steady = SteadyResult(times=times, memory=memory, board=GaugesInfo(interval_s=1.0, gauges=(), absent=()))
    soak = report_of(replace(plan, soak=True), steady).soak
    assert soak is not None
    assert (soak.chunks, soak.duration_s) == (1000, pytest.approx(10.0))
    assert soak.drift == pytest.approx(0.1)
    assert soak.memory_growth_mb == pytest.approx(2.0)
    assert len(soak.series) == 120
    assert soak.series[0][1:] == (pytest.approx(10.0), pytest.approx(10.0))
    assert soak.series[-1] == (pytest.approx(10.0), pytest.approx(11.0), pytest.approx(11.0))
    assert report_of(plan, steady).soak is None
    assert report_of(plan, steady).board == steady.board


def test_a_sampler_is_called_as_a_person_does() -> None:
    assert str(Sampler(steps=1)) == "1 step euler"
    assert str(Sampler(steps=10, solver="multistep")) == "10 steps multistep"
