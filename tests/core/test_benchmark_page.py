"""The page of latency reports: all of it, the least of it, several of them, and what a browser makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gigaedge.benchmark import BenchReport, Gauge, SoakInfo, StepsRow, Verdict
from gigaedge.benchmark_growth import PROPERTIES, Property, curves, growth_figure, labels
from gigaedge.benchmark_page import render
from gigaedge.benchmark_plots import Way, gauges_figure, number, path_figure, tail_figure
from gigaedge.benchmark_roofline import floor_of, numbered, operator_rows, roofline_figure, stage_rows
from gigaedge.cli.browser import find_browser
from gigaedge.errors import InputError
from tests.bench_reports import PEAKS, full, minimal, path, profile, spread, stage, steps_row
from tests.page_reader import Page, show

CHUNK = next(each for each in PROPERTIES if each.name == "chunk")
PRECISION = next(each for each in PROPERTIES if each.axis == "precision")


def changed(report: BenchReport, **subject: object) -> BenchReport:
    return report.model_copy(update={"subject": report.subject.model_copy(update=subject)})


@pytest.fixture(scope="module")
def whole() -> str:
    return render([full()])


@pytest.fixture(scope="module")
def several() -> str:
    """Curves over the chunk's length, and two reports of the same bundle."""
    short, long = (
        changed(minimal(rows=(steps_row(10, scale=scale),)), chunk=chunk, path=name)
        for scale, chunk, name in ((0.5, 24, "b/short"), (1.9, 96, "b/long"))
    )
    return render([short, full(), long, minimal(rows=(steps_row(10, scale=1.1),))])


def test_everything_has_its_section(whole: str) -> None:
    page = Page(whole)
    assert page.headings == [
        "How fast: synthetic", "Checks", "From seeing to moving", "What the stages are", "Is it steady?",
        "Cold and steady", "Cost of a step", "Stages", "What is the limit?", "Operators of vae", "Operators of context",
        "Operators of step", "Control loop", "A long run", "Memory", "Board", "How it was measured", "Notices",
    ]  # fmt: skip
    assert page.tags.count("svg") == 9


def test_the_verdict_comes_first_and_says_what_failed(whole: str) -> None:
    text = Page(whole).text
    said = "1 of 2 checks failed; first: baseline 10 steps euler: 1.08 times the baseline (1.05 to 1.11)"
    assert text.index("FAIL") < text.index(said) < text.index("chunk, p50")
    assert "Checks passed: 1 of 1." in Page(render([minimal(verdicts=full().verdicts[:1])])).text


def test_the_headline_is_what_was_measured(whole: str) -> None:
    text, report = Page(whole).text, full()
    chunk, way = report.rows[0].chunk, report.path[0].exposure_to_can
    for value in (
        f"{number(chunk.p50)} ms",
        f"{number(way.p50)} / {number(way.p99)} ms",
        "exposure to CAN, p50 / p99",
    ):
        assert value in text
    floor = floor_of(report, report.rows[0])
    assert floor is not None
    assert f"{100 * floor / chunk.p50:.0f} %of the roofline reached (floor {number(floor)} ms)" in text


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (30.0, "The arms do not wait for the policy: the 48 actions of a chunk last 1600 ms"),
        (120.0, "The arms may have to wait for the policy: the 48 actions of a chunk last 400 ms"),
    ],
)
def test_whether_the_arms_wait(rate: float, said: str) -> None:
    report = minimal(subject=minimal().subject.model_copy(update={"rate_hz": rate}))
    text = Page(render([report])).text
    assert said in text
    next_one = f"{number(2 * report.rows[0].chunk.p99)} ms after the same picture"
    assert f"{next_one} (twice the p99 of the chunk alone; the rest of the way was not measured)" in text


def test_where_the_whole_way_was_measured_it_counts(whole: str) -> None:
    longest = max(each.exposure_to_can.p99 for each in full().path)
    said = f"{number(2 * longest)} ms after the same picture (twice the p99 of exposure to CAN)"
    assert said in Page(whole).text


def test_the_board_says_what_it_saw_and_what_it_could_not_read(whole: str) -> None:
    text = Page(whole).text
    for said in (
        "CLOCKS WERE HELD BACK", "clock fell from 2600 to 2400 MHz at 40 s", "GPU: no nvidia-smi on PATH",
        "Energy: 7.40 J per chunk (RAPL package).", "Set on the board: governor performance.",
        "p50 of the last fifth +19.0 %", "queued x 2, stolen x 1",
        "CPUExecutionProvider 412 nodes", "Synthetic CPU, 2 cores; load average before: 0.25",
        "Cameras and arms of the path were simulated.",
    ):  # fmt: skip
        assert said in text


def test_what_was_not_measured_is_left_out_and_named() -> None:
    page = Page(render([minimal()]))
    assert page.headings == [
        "How fast: synthetic", "Is it steady?", "Stages", "How it was measured", "Not in this report"
    ]  # fmt: skip
    for said in (
        "NO LIMIT WAS SET",
        "exposure to CAN and the control loop: the loop on simulated devices was not run",
        "roofline and operators: the bundle was not profiled",
        "cost of a step: only one step count was timed",
        "power, clocks and temperatures: the board was not watched",
        "drift over a long run: no soak was made",
        "memory: it was not measured",
        "cold start: it was not measured",
    ):
        assert said in page.text
    assert "The arms" not in page.text


def test_a_profile_without_peaks_and_a_soak_without_a_series() -> None:
    empty = SoakInfo(duration_s=1.0, chunks=1, series=(), drift=0.0, memory_growth_mb=0.0)
    text = Page(render([minimal(profile=profile(), soak=empty)])).text
    assert "The machine's peaks were not measured, so no roofline is drawn." in text
    assert "drift over a long run: no soak was made" in text


def test_no_chunks_no_page() -> None:
    with pytest.raises(InputError, match="a page needs at least one report"):
        render([])
    with pytest.raises(InputError, match="the report of bundles/synthetic has no row: no chunk was timed"):
        render([minimal(rows=())])


def test_texts_of_a_report_are_escaped() -> None:
    report = minimal(notices=("<script>",), verdicts=(Verdict(name="a<b", passed=True, text="&"),))
    html = render([changed(report, path="bundles/<b>")])
    assert "<script>" not in html
    assert "a<b" in Page(html).text


def test_several_reports_are_compared_and_folded_away(several: str) -> None:
    page = Page(several)
    assert [heading for heading in page.headings if "How fast" in heading] == ["How fast: 4 reports"]
    assert {"Headline", "Cost as work grows", "How the chunks are spread", "One by one"} <= set(page.headings)
    names = ["short", "synthetic #1", "long", "synthetic #2"]
    assert [heading for heading in page.headings if heading in names] == names
    assert page.tags.count("details") == 4 + 1 + 3
    assert "1 of 2 checks failed" in page.text


def test_reports_are_told_apart_by_what_differs() -> None:
    assert labels([full(), full(precision="int8"), full(path="b/other")]) == [
        "synthetic, fp32", "synthetic, int8", "other"
    ]  # fmt: skip
    assert labels([full(), full()]) == ["synthetic #1", "synthetic #2"]


def test_a_curve_joins_reports_that_differ_in_one_thing_alone() -> None:
    fine = [full(chunk=length) for length in (96, 24, 48)]
    coarse = [full(precision="int8", chunk=length) for length in (48, 24)]
    alone = full(chunk=12, generation="GWP-0")
    lengths = curves([*fine, *coarse, alone], CHUNK)
    assert [[report.subject.chunk for report in curve.reports] for curve in lengths] == [
        [24, 48, 96],
        [24, 48],
    ]
    assert [curve.label for curve in lengths] == ["GWP-0.5, fp32", "GWP-0.5, int8"]
    kinds = curves([*fine, *coarse, alone], PRECISION)
    assert [[report.subject.precision for report in curve.reports] for curve in kinds] == [
        ["fp32", "int8"]
    ] * 2
    assert not curves([fine[0], alone], CHUNK)


def test_pictures_are_compared_by_tokens_or_in_layout_single_by_pixels() -> None:
    picture: Property = next(each for each in PROPERTIES if each.name == "picture")
    assert picture.read(full()) == 121
    assert picture.read(full(context_tokens=0)) == 320 * 384


def test_nothing_to_draw_where_nothing_differs() -> None:
    assert growth_figure([minimal(), minimal()]) is None
    drawn = growth_figure([minimal(), minimal(path=(path(1), path(2)))])
    assert drawn is not None
    assert [axes.get_ylabel() for axes in drawn.axes] == [
        "exposure to CAN (ms)",
        "work of a control tick (ms)",
    ]


def test_the_way_begins_each_stage_where_the_one_before_ended() -> None:
    stages = {"transport": (10.0, 30.0), "inference": (100.0, 90.0), "send": (1.0, 2.0)}
    axes = path_figure([Way("one arm", stages, (112.0, 140.0))]).axes[0]
    bars = [(patch.get_x(), patch.get_width()) for patch in axes.patches]
    assert bars == [(0.0, 10.0), (10.0, 100.0), (110.0, 1.0), (0.0, 112.0)]
    assert axes.get_xlim() == pytest.approx((0.0, 1.03 * 140.0))
    ends = [line.get_xdata()[-1] for line in axes.lines[::2]]
    assert ends == [30.0, 110.0, 112.0, 140.0]  # a p99 is never drawn before its p50
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "transport", "inference", "send", "exposure to CAN"
    ]  # fmt: skip


def test_ways_share_an_axis_that_holds_the_longest() -> None:
    short = Way("one arm", {"send": (1.0, 2.0)}, (1.0, 2.0))
    long = Way("two arms", {"send": (5.0, 20.0)}, (5.0, 20.0))
    assert [axes.get_xlim()[1] for axes in path_figure([short, long]).axes] == pytest.approx([20.6, 20.6])


def test_a_sensor_that_hardly_changes_looks_like_it() -> None:
    series = ((0.0, 100.0), (1.0, 100.1))
    still = Gauge(name="m", source="proc", unit="MB", mean=100.0, min=100.0, max=100.1, series=series)
    low, high = gauges_figure([still]).axes[0].get_ylim()
    assert high - low > 10 * (100.1 - 100.0)


def test_the_tail_can_be_read_as_far_as_there_are_chunks() -> None:
    few, many = (tail_figure({"a": list(np.linspace(1, 2, count))}).axes[0] for count in (100, 2000))
    assert [label.get_text() for label in few.get_yticklabels()] == [
        "all",
        "p50: 50 %",
        "p90: 10 %",
        "p99: 1 %",
    ]
    assert many.get_yticklabels()[-1].get_text() == "p99.9: 0.1 %"
    line = few.lines[0]
    assert line.get_ydata()[0] == 1.0
    assert line.get_ydata()[-1] == pytest.approx(0.01)


def test_the_floor_counts_every_step_once_more() -> None:
    report = minimal(rows=(steps_row(10), steps_row(4)), profile=profile())
    vae, context, step = (each.floor for each in report.profile)
    assert floor_of(report, report.rows[0]) == pytest.approx(vae + context + 10 * step)
    assert floor_of(report, report.rows[1]) == pytest.approx(vae + context + 4 * step)
    assert floor_of(minimal(), minimal().rows[0]) is None
    single = minimal(rows=(steps_row(10), steps_row(4)), profile=(stage("policy", 15.0, 320.0, 200.0),))
    assert floor_of(single, single.rows[0]) == single.profile[0].floor
    assert floor_of(single, single.rows[1]) is None


def test_the_roofline_has_the_big_operators_that_read_weights() -> None:
    numbers = numbered(profile())
    assert numbers[("vae", "Gemm")] == 1
    assert {operator for _, operator in numbers} == {"Gemm", "FusedMatMul"}
    drawn = roofline_figure(profile(), PEAKS)
    assert drawn is not None
    points = {
        tuple(map(float, line.get_xydata()[0])) for line in drawn.axes[0].lines if len(line.get_xydata()) == 1
    }
    assert len(points) == 3 + 6
    step = profile()[2]
    assert (1e3 * step.gflop / step.weight_mb, 1e3 * step.gflop / step.time) in points
    assert roofline_figure((stage("step", 0.0, 0.0, 1.0),), PEAKS) is None


def test_what_bounds_a_stage_and_its_operators() -> None:
    step = profile()[2]
    assert [row[0] + ": " + row[6] for row in stage_rows(profile())] == [
        "vae: arithmetic", "context: arithmetic", "step: memory"
    ]  # fmt: skip
    rows = operator_rows(step, numbered(profile()))
    assert [row[0] for row in rows] == [
        "Gemm",
        "FusedMatMul",
        "MultiHeadAttention",
        "LayerNormalization",
        "2 others",
    ]
    assert rows[0][1:5] == ["5", "84", "10.4", "70.0 %"]
    assert rows[-1][2:] == ["10", "0.045", "0.3 %", *["-"] * 5]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.01234, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1234")]
)
def test_numbers_have_three_figures(value: float, text: str) -> None:
    assert number(value) == text


def test_one_chunk_is_enough() -> None:
    row = StepsRow(
        steps=1, solver="euler", chunk=spread(5.0, 1), stages={}, samples=((5.0,),), yardstick=((1.0,),)
    )  # fmt: skip
    assert "p50 of the slowest process 0.0 % above" in Page(render([minimal(rows=(row,))])).text


@pytest.mark.skipif(
    find_browser() is None, reason="needs a Chromium: sh tools/system-packages.sh browser python3"
)
@pytest.mark.parametrize("which", ["whole", "several"])
def test_a_browser_shows_it_and_a_narrow_one_needs_no_sideways_scrolling(
    tmp_path: Path, which: str, request: pytest.FixtureRequest
) -> None:
    html = request.getfixturevalue(which)
    shot = Path(os.environ.get("GIGAEDGE_ARTEFACTS", tmp_path)) / f"bench-report-{which}.png"
    assert show(html, tmp_path, shot) == [1280, 390]
    assert shot.stat().st_size > 100_000
