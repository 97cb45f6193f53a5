"""What a latency page says of one report, section by section; what was not measured is named at the end."""

from __future__ import annotations

from typing import Final

import numpy as np

from gigaedge.benchmark import PATH_STAGES, BenchReport, Distribution, StepsRow
from gigaedge.benchmark_machine import machine_sections
from gigaedge.benchmark_plots import (
    Way,
    arms_word,
    chunks_figure,
    cold_figure,
    loop_figure,
    number,
    path_figure,
    steps_figure,
    tail_figure,
)
from gigaedge.benchmark_roofline import (
    OPERATORS_HEADER,
    STAGES_HEADER,
    floor_of,
    numbered,
    operator_rows,
    roofline_figure,
    stage_rows,
)
from gigaedge.pages import details, figure, paragraph, section, table

SPREAD_HEADER: Final = ("count", "mean", "sd", "min", "p50", "p90", "p99", "p99.9", "max", "jitter")

STAGE_MEANINGS: Final = {
    "transport": "the picture reaches this program",
    "wait": "until a chunk is begun with it",
    "state": "the measured state at that time",
    "compose": "three pictures become one",
    "inference": "the policy, from host memory to host memory",
    "publish": "the chunk is put into shared memory",
    "hand_over": "until a control tick takes an action of it",
    "control": "that tick, up to the SDK: which action, interpolation, limits",
    "send": "the SDK, up to the frame on the bus",
}
"""By `gigaedge.benchmark.PATH_STAGES`."""


def report_sections(report: BenchReport) -> list[str]:
    """Every section of one report."""
    parts = [
        _way(report),
        _steady(report),
        _start(report),
        _steps(report),
        _stages(report),
        _limit(report),
        _loop(report),
        *machine_sections(report),
    ]
    return [part for part in parts if part]


def _way(report: BenchReport) -> str:
    if not report.path:
        return ""
    caption = (
        "Each stage begins where the usual one before it ended; the thin line reaches to its own p99. The last bar is "
        "the whole, chunk by chunk: percentiles of stages do not add up to it."
    )
    worst = max(report.path, key=lambda path: path.exposure_to_can.p99)
    alt = (
        f"Stages from exposure to CAN, {arms_word(worst.arms)}: p50 {number(worst.exposure_to_can.p50)} ms, "
        f"p99 {number(worst.exposure_to_can.p99)} ms"
    )
    parts = [figure(path_figure([Way.of(path) for path in report.path]), caption, alt)]
    for path in report.path:
        rows = [
            [name.replace("_", " "), *spread_cells(path.stages[name])]
            for name in PATH_STAGES
            if name in path.stages
        ]
        rows.append(["exposure to CAN", *spread_cells(path.exposure_to_can)])
        rows.append(["host", *spread_cells(path.host)])
        ran = f"{path.chunks} chunks in {number(path.duration_s)} s, simulated devices"
        said = f"{arms_word(path.arms).capitalize()}: {ran}."
        parts += [paragraph(said), table(["stage, ms", *SPREAD_HEADER], rows)]
    meanings = [[name.replace("_", " "), text] for name, text in STAGE_MEANINGS.items()]
    meanings += [["exposure to CAN", "all of them"], ["host", "state, compose and publish of a chunk"]]
    parts.append(details("What the stages are", table(["stage", ""], meanings, left=(1,))))
    return section("From seeing to moving", *parts)


def spread_cells(spread: Distribution) -> list[str]:
    """A distribution under `SPREAD_HEADER`, ms."""
    values = (spread.mean, spread.sd, spread.min, spread.p50, spread.p90, spread.p99, spread.p999, spread.max)
    return [str(spread.count), *map(number, values), number(spread.jitter)]


def _steady(report: BenchReport) -> str:
    row = report.rows[0]
    every = every_chunk(row)
    if not every:
        return ""
    parts = [
        figure(chunks_figure(row), _order_caption(row), f"Time of each chunk in order, {_order_words(row)}"),
        figure(
            tail_figure(
                {sampler_words(each): values for each in report.rows if (values := every_chunk(each))}
            ),
            f"How many chunks take longer than a time; {len(every)} chunks per row"
            + (", so that the last step is the slowest single one." if len(every) < 1000 else "."),
            f"The tail of the chunk times: p99 {number(row.chunk.p99)} ms, largest {number(row.chunk.max)} ms",
        ),
    ]
    return section("Is it steady?", *parts)


def _order_words(row: StepsRow) -> str:
    medians = [float(np.median(values)) for values in row.samples if values]
    spread = max(medians) / min(medians) - 1 if min(medians) > 0 else 0.0
    return f"p50 of the slowest process {100 * spread:.1f} % above that of the quickest"


def _order_caption(row: StepsRow) -> str:
    text = f"{sampler_words(row)}; {len(row.samples)} processes, {_order_words(row)}."
    yardstick = [value for process in row.yardstick for value in process]
    every = every_chunk(row)
    if len(yardstick) == len(every) > 2 and np.std(every) > 0 and np.std(yardstick) > 0:
        correlation = float(np.corrcoef(every, yardstick)[0, 1])
        text += (
            " The yardstick is a fixed piece of work before each chunk: where it is slow, the machine was. Its "
            f"correlation with the chunk is {correlation:.2f}."
        )
    if any(row.work):
        text += (
            " Processor time is that of all threads: a chunk that took longer without more of it had to wait."
        )
    return text


def _start(report: BenchReport) -> str:
    cold, row = report.cold, report.rows[0]
    if not cold.load or not cold.first_chunk:
        return ""
    first, steady = float(np.median(cold.first_chunk)), row.chunk.p50
    ratio = f", {first / steady:.2f} times a steady one" if steady > 0 else ""
    caption = (
        f"Loading, prompt included, takes {number(float(np.median(cold.load)))} ms (median), the first chunk "
        f"{number(first)} ms{ratio}."
    )
    return section(
        "Cold and steady", figure(cold_figure(cold, row), caption, "Load, first and steady chunks")
    )


def _steps(report: BenchReport) -> str:
    if len(report.rows) < 2:
        return ""
    floors = {
        (row.steps, row.solver): floor for row in report.rows if (floor := floor_of(report, row)) is not None
    }
    caption = "Dots: p50, whiskers: up to p99." + (
        " Dashed: the least this machine allows." if floors else ""
    )
    return section(
        "Cost of a step", figure(steps_figure(report.rows, floors), caption, "Time of a chunk over its steps")
    )


def _stages(report: BenchReport) -> str:
    rows = []
    for row in report.rows:
        rows.append([sampler_words(row), "chunk", *spread_cells(row.chunk)])
        rows += [["", name, *spread_cells(spread)] for name, spread in row.stages.items()]
    return section("Stages", table(["sampler", "stage, ms", *SPREAD_HEADER], rows, left=(1,)))


def _limit(report: BenchReport) -> str:
    if not report.profile:
        return ""
    peaks, numbers = report.peaks, numbered(report.profile)
    parts = []
    drawn = None if peaks is None else roofline_figure(report.profile, peaks)
    if drawn is not None:
        caption = (
            "Diamonds: stages; numbered circles: their big operators, as in the tables below. On the slope, reading "
            "weights is the limit; under the flat part, arithmetic is. Roofs are what this machine reached in a large "
            "product and a large read with the same provider and threads."
        )
        parts.append(figure(drawn, caption, "Roofline of the stages and their big operators"))
    elif peaks is None:
        parts.append(paragraph("The machine's peaks were not measured, so no roofline is drawn."))
    parts.append(table(STAGES_HEADER, stage_rows(report.profile), left=(6, 8)))
    for stage in report.profile:
        rows = operator_rows(stage, numbers)
        parts.append(details(f"Operators of {stage.stage}", table(OPERATORS_HEADER, rows)))
    return section("What is the limit?", *parts)


def _loop(report: BenchReport) -> str:
    if not report.path:
        return ""
    caption = "Thin: least to largest; thick: p50 to p99; dot: p50; mark: p99.9."
    alt = "; ".join(
        f"{arms_word(path.arms)}: p99 of work {number(path.tick_work.p99)} ms, period {number(path.tick_period.p99)} ms"
        for path in report.path
    )
    rows = []
    for path in report.path:
        late = ", ".join(f"{cause} x {count}" for cause, count in path.late.items()) or "none"
        for name, spread in (("period", path.tick_period), ("work", path.tick_work)):
            first = name == "period"
            counts = [str(path.deadline_misses) if first else "", late if first else ""]
            rows.append([f"{name}, {arms_word(path.arms)}", *spread_cells(spread), *counts])
    header = ["tick, ms", *SPREAD_HEADER, "missed", "late because"]
    return section(
        "Control loop",
        figure(loop_figure(report.path), caption, f"Control ticks: {alt}"),
        table(header, rows, left=(len(header) - 1,)),
    )


def sampler_words(row: StepsRow) -> str:
    """As in `10 steps, euler`."""
    return f"{row.steps} steps, {row.solver}"


def every_chunk(row: StepsRow) -> list[float]:
    """Of all processes, in order, ms."""
    return [value for process in row.samples for value in process]
