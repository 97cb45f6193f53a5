"""A report in the terminal."""

from __future__ import annotations

import pytest

from gigaedge.cli.bench_table import print_report
from tests.bench_reports import full, minimal


def test_everything_that_was_measured_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(full().model_copy(update={"ran_on": {"CPUExecutionProvider": 412}}))
    lines = capsys.readouterr().out.splitlines()
    starts = [line.split("  ")[0] for line in lines]
    assert starts[0] == "bundles/synthetic: GWP-0.5 fp32 split; ms, 5 x 20 chunks"
    for start in ("10 steps euler: chunk", "5 steps euler: chunk", "4 steps multistep: chunk", "2 arms"):
        assert start in starts
    for line in (
        "on: Synthetic CPU, 2 cores; provider cpu, 2 threads",
        "cold start: load 905 ms, first chunk 390.0 ms at worst",
        "memory: bundle 1012 MB, loaded 1420 MB, peak 1466 MB",
        "throttled: clock fell from 2600 to 2400 MHz at 40 s",
        "soak: 600 s, 2700 chunks, drift +19.0%, memory +0.4 MB",
        "passed  budget chunk: p99 251 ms is within 300 ms",
        "FAILED  baseline 10 steps euler: 1.08 times the baseline (1.05 to 1.11)",
    ):
        assert line in lines
    (limit,) = (line for line in lines if line.startswith("limit: "))
    assert limit.startswith("limit: vae reaches 69% of its roofline (arithmetic); context reaches ")
    (power,) = (line for line in lines if line.startswith("power: "))
    assert power.endswith("7.40 J per chunk (RAPL package)")


def test_what_was_not_measured_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    cold = full().cold
    print_report(minimal().model_copy(update={"cold": cold}))
    out = capsys.readouterr().out
    for word in ("limit:", "power:", "soak:", "exposure", "throttled"):
        assert word not in out
