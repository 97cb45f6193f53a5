"""Percentiles, and reports through JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from gigaedge_runtime.report import (
    CameraHealth,
    ClampCounts,
    ControlReport,
    Histogram,
    LateTick,
    PolicyReport,
    RunReport,
    SeamReport,
    Spread,
    StateChange,
)

SPREAD = Spread(3, 0.1, 0.2, 0.25, 0.3)
CLAMPS = ClampCounts(
    position={"left_joint_1": 2, "left_joint_2": 5}, velocity={"left_joint_1": 3}, acceleration={}, jerk={},
    lead={"left_joint_1": 1}, workspace={"left": 4}, clearance=6,
)  # fmt: skip
CONTROL = ControlReport(
    state="stopped", states=[StateChange(0.5, "approach", "first chunk (1)")], fault=None, fault_code=None,
    period=SPREAD, work=SPREAD, ticks=9, missed=1,
    late={"queued": 2}, late_ticks=[LateTick(0.1, 0.03, 0.001, 0.024, 0.0, 0.001, 0.002, "queued")],
    clamps=CLAMPS, travel_commanded={"left_joint_1": 0.5},
    travel_measured={"left_joint_1": 0.4}, end_error={}, sends=18, failed_sends=0, chunks=[1, 2],
    chunks_late=0, seam=SeamReport(*[SPREAD] * 6), held_after=None, standstill_after=None,
    enabled={"left": True}, scheduling="normal",
)  # fmt: skip
CAMERA = CameraHealth("cam_high", "realsense", "7", "3.2", transport=SPREAD, settings={"exposure": 0.01})
POLICY = PolicyReport(
    chunks=2, refused={"stale": 1}, guided=1, stages={"wait": SPREAD}, odd_frames={"out_of_order": 3},
    cameras=[CAMERA],
)  # fmt: skip


def test_reports_survive_json(tmp_path: Path) -> None:
    assert ControlReport.parse(json.loads(json.dumps(asdict(CONTROL)))) == CONTROL
    assert PolicyReport.parse(json.loads(json.dumps(asdict(POLICY)))) == POLICY
    report = RunReport("duration", None, 2.0, False, {"control": 7}, 2, CONTROL, POLICY)
    report.write(tmp_path / "new" / "report.json")
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == asdict(report)


def test_clamps_are_summed_by_limit() -> None:
    totals = {
        "position": 7,
        "velocity": 3,
        "acceleration": 0,
        "jerk": 0,
        "lead": 1,
        "workspace": 4,
        "clearance": 6,
    }
    assert CLAMPS.totals() == totals


def test_spread() -> None:
    assert Spread.of([]) == Spread(0, 0.0, 0.0, 0.0, 0.0)
    assert Spread.of([0.3, 0.1, 0.2]) == Spread(3, 0.2, pytest.approx(0.298), pytest.approx(0.2998), 0.3)


def test_histogram_agrees_with_exact_percentiles() -> None:
    samples = np.random.default_rng(1).gamma(5.0, 1e-3, 5000)
    histogram = Histogram()
    for sample in samples:
        histogram.add(float(sample))
    exact, spread = Spread.of(samples), histogram.spread()
    assert spread.count == 5000
    assert spread.p50 == pytest.approx(exact.p50, abs=2e-5)
    assert spread.p99 == pytest.approx(exact.p99, abs=5e-5)
    assert spread.p999 == pytest.approx(exact.p999, abs=1e-3)
    assert spread.max == exact.max


def test_histogram_beyond_its_range_and_empty() -> None:
    histogram = Histogram()
    assert histogram.spread() == Spread(0, 0.0, 0.0, 0.0, 0.0)
    histogram.add(3.0)
    assert histogram.spread().max == 3.0
    histogram.add(0.0)
    assert histogram.spread().count == 2
