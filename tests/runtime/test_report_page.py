"""The page of a run: a full report, the least of one, a fault, and what a browser makes of it."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gigaedge.cli.browser import find_browser
from gigaedge.robot import DIM_NAMES
from gigaedge_runtime.report import (
    CameraHealth,
    ClampCounts,
    ControlReport,
    LateTick,
    PathReport,
    PhysicsReport,
    PolicyReport,
    RecordingReport,
    RunReport,
    SeamReport,
    Spread,
    StateChange,
)
from gigaedge_runtime.report_page import render
from gigaedge_runtime.report_plots import clamps_figure, run_end, spreads_figure, story_figure
from tests.bench_reports import USUAL, durations
from tests.command_line import fails
from tests.page_reader import Page, show

NOTHING = Spread.of([])
NO_CLAMPS = ClampCounts({}, {}, {}, {}, {}, {}, 0)
NO_SEAMS = SeamReport(*[NOTHING] * 6)


def spread(usual: float, count: int = 40) -> Spread:
    """Around `usual` ms."""
    return Spread.of(durations(usual, count))


PATH = PathReport(
    stages={name: spread(usual) for name, usual in USUAL.items()},
    inference={"context": spread(61.5), "steps": spread(149.0)},
    exposure_to_can=spread(sum(USUAL.values())),
    exposure_to_last_frame=spread(sum(USUAL.values()) + 0.4),
    host=spread(2.6),
    by_arrival=2,
)
CLAMPS = ClampCounts(
    position={"left_joint_2": 5}, velocity={name: 3 * place for place, name in enumerate(DIM_NAMES)},
    acceleration={"right_gripper": 40}, jerk={}, lead={"left_joint_1": 1}, workspace={"left": 4}, clearance=6,
)  # fmt: skip
CONTROL = ControlReport(
    state="stopped",
    states=[
        StateChange(0.5, "approach", "first chunk (1)"), StateChange(2.0, "running", "arrived at chunk 2"),
        StateChange(5.0, "hold", "no <fresh> chunk"), StateChange(6.0, "running", "chunk 9"),
        StateChange(9.5, "stopped", "asked to stop"),
    ],
    fault=None, fault_code=None, period=spread(5.0, 2000), work=spread(0.3, 2000), ticks=2000, missed=3,
    late={"queued": 2, "stolen": 1},
    late_ticks=[
        LateTick(3.1, 0.031, 0.001, 0.024, 0.0, 0.001, 0.002, "queued"),
        LateTick(3.4, 0.025, 0.001, 0.020, 0.0, 0.001, 0.002, "queued"),
        LateTick(7.7, 0.042, 0.001, 0.0, 0.02, 0.001, 0.002, "stolen"),
    ],
    clamps=CLAMPS, travel_commanded=dict.fromkeys(DIM_NAMES, 0.5), travel_measured=dict.fromkeys(DIM_NAMES, 0.4),
    end_error=dict.fromkeys(DIM_NAMES, 1e-4), sends=4000, failed_sends=0, chunks=[1, 2], chunks_late=0,
    seam=SeamReport(*[spread(3.0)] * 6), held_after=None, standstill_after=None,
    enabled={"left": True, "right": True}, scheduling="SCHED_FIFO priority 10",
    stages={name: spread(0.06, 2000) for name in ("feedback", "decide", "limits", "send", "publish")},
    firmware={"left": "S-V1.8-6", "right": None}, notices=["right arm: its firmware is not known"],
)  # fmt: skip
CAMERA = CameraHealth(
    "cam_high", "realsense", "7", "3.2", "5.16", frames=300, rate=29.9, dropped=2, stamps={"global_time": 300},
    transport=spread(17.0), skew=spread(4.0), settings={"exposure": 0.01},
)  # fmt: skip
POLICY = PolicyReport(
    chunks=40, refused={"stale": 1}, guided=38, stages={name: spread(value) for name, value in USUAL.items()},
    odd_frames={"out_of_order": 3}, path=PATH, ran_on={"CPUExecutionProvider": 412},
    cameras=[CAMERA, CameraHealth("cam_left_wrist", "video")],
)  # fmt: skip
REPORT = RunReport(
    "duration", None, 10.0, False, {"supervisor": 1, "control": 2, "policy": 3}, 40, CONTROL, POLICY,
    RecordingReport("flight.mcap", 2000, 1, 40, 0, 1), {"policy": 246_000_000},
    PhysicsReport("lift-block", 7, 9.8, spread(0.3), 0.2, done_after=4.5),
)  # fmt: skip
QUIET = replace(
    CONTROL, states=[], late={}, late_ticks=[], clamps=NO_CLAMPS, seam=NO_SEAMS, stages={}, notices=[], missed=0,
    period=NOTHING, work=NOTHING, travel_commanded={}, travel_measured={}, end_error={}, firmware={}, enabled={},
)  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> str:
    return render(REPORT)


def test_everything_has_its_section(whole: str) -> None:
    page = Page(whole)
    assert page.headings == [
        "Run report", "Run", "Notices", "From seeing to moving",
        "All chunks, followed by the arms or not, up to their publication", "What happened", "Control loop", "Limits",
        "Hand-overs between chunks", "Cameras", "Joints", "Flight record",
    ]  # fmt: skip
    assert page.tags.count("svg") == 4
    for said in (
        "Ended after the time asked for; the arms hold.", "control ticks missed, of 2000",
        "CPUExecutionProvider (412 nodes)", "policy 3 (246 MB at most)", "stale x 1", "right not told",
        "In 2 chunks the picture's stamp was not believed", "no <fresh> chunk",
        "2000 ticks, 3 missed. Late ticks, by cause: queued x 2, stolen x 1.", "clearance x 6",
        "right arm: its firmware is not known", "40, 0 dropped", "exposure 0.01",
    ):  # fmt: skip
        assert said in page.text


def test_the_whole_way_is_shown_as_it_was_measured(whole: str) -> None:
    whole_way = PATH.exposure_to_can
    assert f"{1e3 * whole_way.p50:.0f} / {1e3 * whole_way.p99:.0f} ms" in Page(whole).text
    rows = re.findall(r"<tr><td>([^<]+)</td>", whole)
    begin = rows.index("transport")
    with_parts = [
        "of it context",
        "of it steps",
        "publish",
        "hand over",
        "control",
        "send",
        "exposure to CAN",
    ]
    assert rows[begin : begin + 12] == ["transport", "wait", "state", "compose", "inference", *with_parts]


def test_the_least_of_a_report() -> None:
    page = Page(render(RunReport("ProcessError", "the control process died", 0.0, False)))
    assert page.headings == ["Run report", "Run", "From seeing to moving"]
    for said in (
        "FAILED",
        "the control process died",
        "ended without a report",
        "No chunk reached the CAN bus",
    ):
        assert said in page.text


def test_a_quiet_dry_run() -> None:
    report = RunReport("signal", None, 2.0, True, {}, 0, QUIET, PolicyReport(0, {}, 0, {}))
    page = Page(render(report))
    assert page.tags.count("svg") == 0
    for said in (
        "Ended by signal; dry run; the arms were only read.", "No chunk reached the CAN bus: this was a dry run.",
        "The state was stopped throughout.", "No limit held back a target.", "No chunk handed over to another.",
        "No arm was read.", "not told",
    ):  # fmt: skip
        assert said in page.text


def test_a_fault_is_said_first() -> None:
    control = replace(
        QUIET, state="fault", fault="left arm: collision", fault_code="collision", held_after=0.123
    )
    text = Page(
        render(RunReport("ArmError", "left arm: collision; the arms hold", 2.0, False, control=control))
    ).text
    assert text.index("FAULT") < text.index("left arm: collision; the arms hold") < text.index("duration")
    assert "left arm: collision (collision)" in text
    assert "command stood still after123 ms" in text
    assert "arms stood still afternot known" in text


def test_the_story_ends_with_the_last_tick() -> None:
    assert run_end(CONTROL) == pytest.approx(2003 * CONTROL.period.p50)
    assert run_end(replace(CONTROL, ticks=0, missed=0)) == 9.5
    drawn = story_figure(CONTROL)
    bands = [
        path.get_extents() for axes in drawn.axes[:1] for c in axes.collections for path in c.get_paths()
    ]
    assert [(band.x0, band.x1) for band in bands[:2]] == [(0.5, 2.0), (2.0, 5.0)]
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert labels == ["approach", "running", "hold", "stopped", "late: queued", "late: stolen"]
    assert len(story_figure(replace(CONTROL, late_ticks=[])).axes) == 1


def test_limits_add_up_by_joint() -> None:
    axes = clamps_figure(DIM_NAMES, CLAMPS).axes[0]
    widths = np.array([patch.get_width() for patch in axes.patches]).reshape(5, len(DIM_NAMES))
    assert widths.sum(axis=0)[:2] == pytest.approx([1, 3 + 5])
    assert axes.texts[0].get_text() == "1"


def test_spreads_are_drawn_in_milliseconds() -> None:
    axes = spreads_figure({"period": Spread(3, 5e-3, 6e-3, 7e-3, 9e-3)}, "ms").axes[0]
    assert [list(line.get_xdata()) for line in axes.lines] == [[5, 9], [5, 6], [5], [7]]


def test_that_a_page_cannot_be_drawn_is_said_before_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    site = Path(__file__).parents[2] / "examples" / "bimanual.yaml"
    page = tmp_path / "run.html"
    fails("matplotlib is not installed; run `pip install 'gigaedge[plots]'`", "run", site, "--report", page)
    assert not page.exists()


@pytest.mark.skipif(
    find_browser() is None, reason="needs a Chromium: sh tools/system-packages.sh browser python3"
)
def test_a_browser_shows_it_and_a_narrow_one_needs_no_sideways_scrolling(whole: str, tmp_path: Path) -> None:
    shot = Path(os.environ.get("GIGAEDGE_ARTEFACTS", tmp_path)) / "run-report.png"
    assert show(whole, tmp_path, shot) == [1280, 390]
    assert shot.stat().st_size > 100_000
