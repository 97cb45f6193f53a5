"""A latency report as a page for whoever asks: is it fast enough, is it steady, what is the limit, what changed?

Several reports make one page: what differs among them as curves first, then each one folded away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from gigaedge.benchmark import PATH_STAGES, BenchReport, Distribution, StepsRow
from gigaedge.benchmark_growth import growth_figure, labels
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
from gigaedge.errors import InputError
from gigaedge.pages import (
    banner,
    details,
    figure,
    grade,
    page,
    paragraph,
    section,
    table,
    tiles,
)

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


def render(reports: Sequence[BenchReport]) -> str:
    """The whole page. Needs matplotlib. Raises InputError: no report, or one in which no chunk was timed."""
    if not reports:
        raise InputError("a page needs at least one report")
    for report in reports:
        if not report.rows:
            raise InputError(f"the report of {report.subject.path} has no row: no chunk was timed")
    names = labels(reports)
    if len(reports) == 1:
        report = reports[0]
        top = [
            _banner(reports),
            tiles(_headline(report)),
            paragraph(_arms_wait(report)),
            *_gates(reports, names),
        ]
        return page(f"How fast: {names[0]}", [*top, *_report(report)])
    top = [_banner(reports), section("Headline", _overview(reports, names)), *_gates(reports, names)]
    growth = growth_figure(reports)
    if growth is not None:
        caption = (
            "A curve joins reports that differ in nothing else. Dots: p50, whiskers: up to p99; dashed: the least "
            "time that this machine allows, where operators were profiled."
        )
        drawn = figure(growth, caption, "Time of a chunk over what differs among the reports")
        top.append(section("Cost as work grows", drawn))
    top.append(section("How the chunks are spread", _overlay(reports, names)))
    each = [details(name, *_report(report)) for name, report in zip(names, reports, strict=True)]
    return page(f"How fast: {len(reports)} reports", [*top, section("One by one", *each)])


def _banner(reports: Sequence[BenchReport]) -> str:
    verdicts = [verdict for report in reports for verdict in report.verdicts]
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        text = f"{len(failed)} of {len(verdicts)} checks failed; first: {failed[0].name}: {failed[0].text}"
        return banner("FAIL", "fail", text)
    if verdicts:
        return banner("PASS", "pass", f"All {len(verdicts)} checks passed.")
    return banner(
        "NO LIMIT WAS SET", "none", "Times only: there was neither a budget nor a baseline to hold them to."
    )


def _headline(report: BenchReport) -> list[tuple[str, str]]:
    row = report.rows[0]
    found = [
        (f"{number(row.chunk.p50)} ms", f"chunk, p50 ({_title(row)})"),
        (f"{number(row.chunk.p99)} ms", "chunk, p99"),
    ]
    for path in report.path:
        whole = path.exposure_to_can
        found.append(
            (
                f"{number(whole.p50)} / {number(whole.p99)} ms",
                f"exposure to CAN, p50 / p99, {arms_word(path.arms)}",
            )
        )
    floor = floor_of(report, row)
    if floor is not None:
        found.append(
            (f"{100 * floor / row.chunk.p50:.0f} %", f"of the roofline reached (floor {number(floor)} ms)")
        )
    return found


def _title(row: StepsRow) -> str:
    return f"{row.steps} steps, {row.solver}"


def _latest(report: BenchReport) -> float:
    """p99 of the longest way that was measured: exposure to CAN, or else the chunk alone, ms."""
    ways = [path.exposure_to_can.p99 for path in report.path]
    return max(ways, default=report.rows[0].chunk.p99)


def _arms_wait(report: BenchReport) -> str:
    """Whether the actions of a chunk last until the next one comes."""
    if report.subject.rate_hz is None:
        return ""
    lasts = 1e3 * report.subject.chunk / report.subject.rate_hz
    next_one = 2 * _latest(report)
    way = "exposure to CAN" if report.path else "the chunk alone; the rest of the way was not measured"
    enough = "do not wait for the policy" if next_one <= lasts else "may have to wait for the policy"
    return (
        f"The arms {enough}: the {report.subject.chunk} actions of a chunk last {number(lasts)} ms from its picture, "
        f"and the next chunk is there {number(next_one)} ms after the same picture (twice the p99 of {way})."
    )


def _gates(reports: Sequence[BenchReport], names: Sequence[str]) -> list[str]:
    several = len(reports) > 1
    rows = [
        [
            *([name] if several else []),
            verdict.name,
            grade("pass", "pass") if verdict.passed else grade("FAIL", "fail"),
            verdict.text,
        ]
        for name, report in zip(names, reports, strict=True)
        for verdict in report.verdicts
    ]
    if not rows:
        return []
    header = [*(["report"] if several else []), "check", "", "what was found"]
    last = len(header) - 1
    return [section("Checks", table(header, rows, left=(last - 2, last - 1), prose=(last,)))]


def _overview(reports: Sequence[BenchReport], names: Sequence[str]) -> str:
    arms = sorted({path.arms for report in reports for path in report.path})
    header = ["report", "precision", "ran on", "sampler", "chunk, p50", "p99", "jitter"]
    header += [f"to CAN, {arms_word(count)}" for count in arms]
    header += ["floor", "reached", ""]
    rows = []
    for name, report in zip(names, reports, strict=True):
        row, paths = report.rows[0], {path.arms: path.exposure_to_can for path in report.path}
        floor = floor_of(report, row)
        judged = grade("pass", "pass") if report.passed else grade("FAIL", "fail")
        rows.append(
            [
                *(name, report.subject.precision, _provider(report), _title(row)),
                *(number(row.chunk.p50), number(row.chunk.p99), number(row.chunk.jitter)),
                *(
                    f"{number(paths[count].p50)} / {number(paths[count].p99)}" if count in paths else "-"
                    for count in arms
                ),
                "-" if floor is None else number(floor),
                "-" if floor is None else f"{100 * floor / row.chunk.p50:.0f} %",
                judged if report.verdicts else "",
            ]
        )
    return paragraph(
        "Times in ms; to CAN: from the camera's exposure, p50 / p99. The sampler is a report's first."
    ) + table(header, rows)


def _provider(report: BenchReport) -> str:
    ran = [name.removesuffix("ExecutionProvider") for name, nodes in report.ran_on.items()]
    return ", ".join(ran) or report.settings.provider


def _overlay(reports: Sequence[BenchReport], names: Sequence[str]) -> str:
    series = {
        f"{name} ({_title(report.rows[0])})": _every(report.rows[0])
        for name, report in zip(names, reports, strict=True)
    }
    return figure(
        tail_figure({name: values for name, values in series.items() if values}),
        "How many chunks take longer than a time.",
        "The tail of the chunk times of every report",
    )


def _every(row: StepsRow) -> list[float]:
    return [value for process in row.samples for value in process]


def _report(report: BenchReport) -> list[str]:
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
        "the whole, measured picture by picture: percentiles of stages do not add up to it."
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
    every = _every(row)
    if not every:
        return ""
    parts = [
        figure(chunks_figure(row), _order_caption(row), f"Time of each chunk in order, {_order_words(row)}"),
        figure(
            tail_figure({_title(each): values for each in report.rows if (values := _every(each))}),
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
    text = f"{_title(row)}; {len(row.samples)} processes, {_order_words(row)}."
    yardstick = [value for process in row.yardstick for value in process]
    every = _every(row)
    if len(yardstick) == len(every) > 2 and np.std(every) > 0 and np.std(yardstick) > 0:
        correlation = float(np.corrcoef(every, yardstick)[0, 1])
        text += (
            " The yardstick is a fixed piece of work before each chunk: where it is slow, the machine was. Its "
            f"correlation with the chunk is {correlation:.2f}."
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
        rows.append([_title(row), "chunk", *spread_cells(row.chunk)])
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
        parts.append(
            table((f"{stage.stage}: operator", *OPERATORS_HEADER[1:]), operator_rows(stage, numbers))
        )
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
