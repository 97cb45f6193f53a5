"""Measuring bundles: fresh processes, one at a time, the bundles in turn."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import IO, Final

from gigaedge.benchmark import PATH_ARMS, BenchReport, PathInfo
from gigaedge.errors import CheckFailedError, ProcessError
from gigaedge.progress import Progress
from gigaedge_runtime.bench_job import ChunksResult, Job, LimitsResult, Message, Plan, SteadyResult
from gigaedge_runtime.bench_report import assemble
from gigaedge_runtime.children import ONE_THREAD, error_of, python_module

PROGRAM: Final = python_module("gigaedge_runtime.bench_process")
LOOP_CHUNKS: Final = 10
"""The whole loop goes on for as many chunks at least."""


@dataclass
class _Found:
    """What the processes of one plan have found so far."""

    plan: Plan
    chunks: list[ChunksResult] = field(default_factory=list)
    ran_on: dict[str, int] = field(default_factory=dict)
    steady: SteadyResult | None = None
    limits: LimitsResult | None = None
    path: list[PathInfo] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def measure(plans: Sequence[Plan], progress: Progress) -> list[BenchReport]:
    """Measure every plan; the reports are without verdicts.

    The processes of several plans take turns, so that a machine that becomes slower does so for all of them. Raises
    what a measuring process failed with, and ProcessError when one was killed.
    """
    load_before = os.getloadavg()[0]
    found = [_Found(plan) for plan in plans]
    for number in range(max(plan.processes for plan in plans)):
        for each in found:
            if number < each.plan.processes:
                _time_chunks(each, number, progress)
    for each in found:
        _look_around(each, progress)
    return [
        assemble(
            each.plan, each.chunks, each.ran_on, each.steady, each.limits, each.path, load_before=load_before
        ).model_copy(update={"notices": tuple(each.notices)})
        for each in found
    ]


def _time_chunks(found: _Found, number: int, progress: Progress) -> None:
    """A cold start, and chunks beside the yardstick."""
    plan = found.plan
    total = (plan.warmup + plan.repeats) * len(plan.samplers)
    progress(f"{plan.bundle.name}: chunks, process {number + 1} of {plan.processes}", total)
    answer = run_job(plan.job("chunks"), progress.advance)
    if answer.chunks is not None:
        found.chunks.append(answer.chunks)
        found.ran_on = answer.ran_on


def _look_around(found: _Found, progress: Progress) -> None:
    """What is measured once: the board in a steady run, the machine's limits, the whole loop."""
    plan, name = found.plan, found.plan.bundle.name
    if plan.steady:
        progress(f"{name}: {'soak' if plan.soak else 'steady run'}", int(plan.steady))
        found.steady = run_job(plan.job("steady"), progress.advance).steady
    if plan.limits:
        progress(f"{name}: peaks of the machine, profile of the graphs")
        found.limits = run_job(plan.job("limits"), progress.advance).limits
    if plan.path:
        _run_loops(found, progress)


def _run_loops(found: _Found, progress: Progress) -> None:
    """The whole loop with one arm and with two; a policy that is too slow for one is worth a report, too."""
    from gigaedge_runtime.path_bench import SIMULATED, measure_path  # with the devices' libraries

    plan, first = found.plan, found.plan.samplers[0]
    usual = median(found.chunks[0].rows[0].chunk)
    for arms in PATH_ARMS:
        progress(f"{plan.bundle.name}: the whole loop, {arms} simulated {'arm' if arms == 1 else 'arms'}")
        try:
            path = measure_path(
                plan.bundle,
                arms=arms,
                seconds=max(plan.path, LOOP_CHUNKS * usual),
                provider=plan.provider,
                threads=plan.threads,
                steps=first.steps,
                solver=first.solver,
            )
        except CheckFailedError as error:
            found.notices.append(str(error))
        else:
            found.path.append(path)
    if found.path:
        found.notices.append(SIMULATED)


def run_job(job: Job, advance: Callable[[int], None]) -> Message:
    """Do a job in a process of its own; returns its result.

    Raises its error as it was raised there, and ProcessError when it was killed or crashed. The process never
    outlives this call.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        process = subprocess.Popen(
            PROGRAM,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env={**dict.fromkeys(ONE_THREAD, "1"), **os.environ},
            # Ctrl-C in the terminal is for the command, which then ends this process.
            start_new_session=True,
        )
        try:
            last = _converse(process, job, advance)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if last.failure is not None:
            raise error_of(last.failure.kind, last.failure.message)
        if code or not (last.chunks or last.steady or last.limits):
            raise ProcessError(f"{job.bundle}: the measuring process {_how(code, complaints)}")
    return last


def _converse(process: subprocess.Popen[str], job: Job, advance: Callable[[int], None]) -> Message:
    last = Message()
    if process.stdin is None or process.stdout is None:
        raise ProcessError("the measuring process has no pipes")
    with process.stdin as orders, process.stdout as answers:
        orders.write(job.model_dump_json() + "\n")
        orders.flush()
        for line in answers:
            last = Message.model_validate_json(line)
            advance(last.advanced)
    return last


def _how(code: int, complaints: IO[str]) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}; was there memory enough?"
    complaints.seek(0)
    lines = complaints.read().strip().splitlines() or ["no message"]
    return f"ended with exit code {code}: {lines[-1]}"
