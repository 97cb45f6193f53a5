"""Percentiles, and reports through JSON."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from gigaedge.benchmark import PATH_STAGES
from gigaedge.cli.run import print_run
from gigaedge_runtime.histogram import FineHistogram, Histogram
from gigaedge_runtime.report import (
    CameraHealth,
    ClampCounts,
    ControlReport,
    LateTick,
    PathReport,
    PolicyReport,
    RunReport,
    SeamReport,
    Spread,
    StateChange,
)

SPREAD = Spread(3, 0.1, 0.2, 0.25, 0.3, p90=0.15)
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


def test_a_person_reads_how_the_cameras_did(capsys: pytest.CaptureFixture[str]) -> None:
    locked = {"exposure": 0.0083, "gain": 32.0, "white_balance": 5200.0, "enable_auto_exposure": 0.0}
    high = CameraHealth(
        "cam_high", "realsense", "123", "3.2", "5.16", frames=300, rate=29.97, dropped=2, out_of_order=1, duplicates=3,
        untrusted_stamps=4, unlocked=5, reconnects=1, stamps={"global_time": 296, "arrival": 4},
        transport=SPREAD, skew=SPREAD, skew_by_arrival=7, settings=locked,
    )  # fmt: skip
    film = CameraHealth("cam_left_wrist", "video", frames=10, stamps={"arrival": 10}, skew_by_arrival=7)
    print_run(RunReport("duration", None, 2.0, False, policy=replace(POLICY, cameras=[high, film])))
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows["cam_high"].split() == [
        "cam_high", "123", "3.2", "300", "30.0", "2", "13", "1", "100.0/200.0", "100.0/200.0",
        "8.3", "ms,", "32", "gain,", "5200", "K",
    ]  # fmt: skip
    assert rows["cam_left_wrist"].split() == [
        "cam_left_wrist",
        "video",
        "-",
        "10",
        "0.0",
        *"000",
        "-",
        "-",
        "auto",
    ]
    assert "7 observations (cam_high arrival/global_time, cam_left_wrist arrival)" in rows["skew"]


def test_a_person_reads_the_way_from_exposure_to_can(capsys: pytest.CaptureFixture[str]) -> None:
    path = PathReport(
        dict.fromkeys(PATH_STAGES, SPREAD),
        {"context": SPREAD, "steps": SPREAD},
        SPREAD,
        SPREAD,
        SPREAD,
        by_arrival=2,
    )
    policy = replace(POLICY, path=path, ran_on={"CUDAExecutionProvider": 812, "CPUExecutionProvider": 0})
    control = replace(CONTROL, stages={"feedback": SPREAD, "publish": SPREAD})
    memory = {"control": 50 << 20, "policy": 700 << 20}
    print_run(RunReport("duration", None, 2.0, False, control=control, policy=policy, memory=memory))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    begin = lines.index("From exposure to CAN, ms")
    rows = lines[begin + 2 : lines.index("Control, ms")]
    names = [re.split(r"\s{2,}", row.strip())[0] for row in rows if row]
    assert names == [
        *PATH_STAGES[:5], "context", "steps", *PATH_STAGES[5:], "exposure to CAN", "exposure to the last frame",
    ]  # fmt: skip
    assert rows[0].split() == ["transport", "3", "100.000", "150.000", "200.000", "250.000", "300.000"]
    ticks = lines[lines.index("Control, ms") + 2 :]
    assert [row.split()[0] for row in ticks[:4]] == ["period", "work", "feedback", "publish"]
    text = "\n".join(lines)
    assert "CUDAExecutionProvider (812 nodes), CPUExecutionProvider" in text
    assert "control 50 MiB, policy 700 MiB" in text
    assert re.search(r"exposure not known, counted from arrival +2 chunks", text)


def test_without_a_chunk_that_reached_an_arm_no_way_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_run(RunReport("duration", None, 2.0, True, policy=POLICY))
    shown = capsys.readouterr().out
    assert "Latency of chunks that no arm followed, ms" in shown
    assert "exposure to CAN" not in shown


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
    assert Spread.of([0.3, 0.1, 0.2]) == Spread(
        3, 0.2, pytest.approx(0.298), pytest.approx(0.2998), 0.3,
        p90=pytest.approx(0.28), mean=pytest.approx(0.2), sd=pytest.approx((0.02 / 3) ** 0.5), min=0.1,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [Histogram, FineHistogram])
def test_histograms_agree_with_exact_percentiles(kind: type[Histogram]) -> None:
    samples = np.random.default_rng(1).gamma(5.0, 1e-3, 5000)
    histogram = kind()
    for sample in samples:
        histogram.add(float(sample))
    exact, spread = Spread.of(samples), histogram.spread()
    assert spread.count == 5000
    assert spread.p50 == pytest.approx(exact.p50, abs=4e-5)
    assert spread.p90 == pytest.approx(exact.p90, abs=6e-5)
    assert spread.p99 == pytest.approx(exact.p99, abs=8e-5)
    assert spread.p999 == pytest.approx(exact.p999, abs=1e-3)
    assert (spread.min, spread.max) == (exact.min, exact.max)
    assert spread.mean == pytest.approx(exact.mean, rel=1e-9)
    assert spread.sd == pytest.approx(exact.sd, rel=1e-6)


@pytest.mark.parametrize("duration", [0.0, 1e-9, 3e-6, 0.7, 90.0, 1e4])
def test_a_fine_histogram_is_right_to_a_fifth_of_a_percent_over_eight_decades(duration: float) -> None:
    histogram = FineHistogram()
    histogram.add(duration)
    assert histogram.spread().p50 == duration, "nothing lies outside of the extremes"
    for other in (duration / 1.5, 1.5 * duration):
        histogram.add(other)
    # Before 0.1 us and after 100 s there is one bin each.
    tolerance = 0.0011 if 1e-7 < duration < 100 else 1e3
    assert histogram.spread().p50 == pytest.approx(duration, rel=tolerance, abs=1e-7)


def test_histogram_beyond_its_range_and_empty() -> None:
    histogram = Histogram()
    assert histogram.spread() == Spread(0, 0.0, 0.0, 0.0, 0.0)
    histogram.add(3.0)
    assert histogram.spread().max == 3.0
    histogram.add(0.0)
    assert histogram.spread().count == 2
