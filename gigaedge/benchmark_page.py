"""A latency report as a page for whoever asks: is it fast enough, is it steady, what is the limit, what changed?

Several reports make one page: what differs among them as curves first, then each one folded away.
"""

from __future__ import annotations

from collections.abc import Sequence

from gigaedge.benchmark import BenchReport
from gigaedge.benchmark_growth import growth_figure, labels
from gigaedge.benchmark_plots import arms_word, number, tail_figure
from gigaedge.benchmark_roofline import floor_of
from gigaedge.benchmark_sections import every_chunk, report_sections, sampler_words
from gigaedge.errors import InputError
from gigaedge.pages import banner, details, figure, grade, page, paragraph, section, table, tiles


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
            paragraph(_subject(report)),
            tiles(_headline(report)),
            paragraph(_arms_wait(report)),
            *_gates(reports, names),
        ]
        return page(f"How fast: {names[0]}", [*top, *report_sections(report)])
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
    each = [details(name, *report_sections(report)) for name, report in zip(names, reports, strict=True)]
    return page(f"How fast: {len(reports)} reports", [*top, section("One by one", *each)])


def _banner(reports: Sequence[BenchReport]) -> str:
    verdicts = [verdict for report in reports for verdict in report.verdicts]
    failed = [verdict for verdict in verdicts if not verdict.passed]
    if failed:
        text = f"{len(failed)} of {len(verdicts)} checks failed; first: {failed[0].name}: {failed[0].text}"
        return banner("FAIL", "fail", text)
    if verdicts:
        return banner("PASS", "pass", f"Checks passed: {len(verdicts)} of {len(verdicts)}.")
    return banner(
        "NO LIMIT WAS SET", "none", "Times only: there was neither a budget nor a baseline to hold them to."
    )


def _subject(report: BenchReport) -> str:
    threads = report.settings.threads
    return (
        f"{report.subject.generation}, {report.subject.precision}, on {_provider(report)} with {threads} "
        f"thread{'s' if threads != 1 else ''}; {report.machine.name}; {report.created}"
    )


def _headline(report: BenchReport) -> list[tuple[str, str]]:
    row = report.rows[0]
    found = [
        (f"{number(row.chunk.p50)} ms", f"chunk, p50 ({sampler_words(row)})"),
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
                *(name, report.subject.precision, _provider(report), sampler_words(row)),
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
        f"{name} ({sampler_words(report.rows[0])})": every_chunk(report.rows[0])
        for name, report in zip(names, reports, strict=True)
    }
    return figure(
        tail_figure({name: values for name, values in series.items() if values}),
        "How many chunks take longer than a time.",
        "The tail of the chunk times of every report",
    )
