"""Cost as work grows: several latency reports as curves over what differs among them, like compared with like.

A curve joins reports that differ in one thing alone; reports that differ in more are not joined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from gigaedge.benchmark import BenchReport, PathInfo, StepsRow
from gigaedge.benchmark_plots import arms_word, floor_line, new_figure, whisker
from gigaedge.benchmark_roofline import floor_of
from gigaedge.bundle import PRECISIONS

Value = int | str

_TICKS: Final = 8
"""So many measured values are labelled each."""
_BESIDE: Final = 0.03
"""Arms; whiskers at the same place would hide each other."""


@dataclass(frozen=True)
class Property:
    """Something in which reports may differ."""

    name: str
    """As in a label: `chunk 48`; empty where the value says it all."""
    read: Callable[[BenchReport], Value]
    axis: str = ""
    """What a curve over it is drawn against; empty where none is drawn."""


PROPERTIES: Final = (
    Property("", lambda report: report.subject.generation),
    Property("", lambda report: f"{report.subject.parameters / 1e6:.2g} M parameters"),
    Property("", lambda report: report.subject.precision, "precision"),
    Property("", lambda report: report.subject.layout),
    Property("", lambda report: report.settings.provider),
    Property("target", lambda report: report.subject.target),
    Property("threads", lambda report: report.settings.threads, "threads"),
    Property("chunk", lambda report: report.subject.chunk, "chunk length (actions)"),
    Property("picture", lambda report: _picture(report), "picture and state (tokens; layout single: pixels)"),
    Property("steps", lambda report: report.rows[0].steps),
    Property("", lambda report: report.rows[0].solver),
    Property("", lambda report: report.machine.name),
)


def _picture(report: BenchReport) -> int:
    subject = report.subject
    return subject.context_tokens or subject.view_width * subject.view_height


def labels(reports: Sequence[BenchReport]) -> list[str]:
    """A name for each: its bundle's, with what tells it from others of that name; all are different."""
    names = [Path(report.subject.path).name for report in reports]
    found = []
    for name, report in zip(names, reports, strict=True):
        twins = [other for other, theirs in zip(reports, names, strict=True) if theirs == name]
        said = [_said(each, report) for each in _differing(twins)]
        found.append(", ".join([name, *said]))
    counts = Counter(found)
    seen: Counter[str] = Counter()
    for place, name in enumerate(found):
        if counts[name] > 1:
            seen[name] += 1
            found[place] = f"{name} #{seen[name]}"
    return found


def _differing(reports: Sequence[BenchReport]) -> list[Property]:
    return [each for each in PROPERTIES if len({each.read(report) for report in reports}) > 1]


def _said(each: Property, report: BenchReport) -> str:
    return f"{each.name} {each.read(report)}".strip()


@dataclass(frozen=True)
class Curve:
    """Reports that differ in one property alone."""

    label: str
    """What they share and other curves do not."""
    reports: tuple[BenchReport, ...]


def curves(reports: Sequence[BenchReport], along: Property) -> list[Curve]:
    """The curves over `along`, each with at least two values of it."""
    differing = [each for each in _differing(reports) if each is not along]
    others = [each for each in PROPERTIES if each is not along]
    groups: dict[tuple[Value, ...], list[BenchReport]] = {}
    for report in reports:
        groups.setdefault(tuple(each.read(report) for each in others), []).append(report)
    found = []
    for group in groups.values():
        if len({along.read(report) for report in group}) > 1:
            group.sort(key=lambda report: _order(along.read(report)))
            found.append(Curve(", ".join(_said(each, group[0]) for each in differing), tuple(group)))
    return found


def _order(value: Value) -> int:
    """Precisions from fine to coarse, numbers as they are."""
    if isinstance(value, int):
        return value
    return PRECISIONS.index(value) if value in PRECISIONS else len(PRECISIONS)


def growth_figure(reports: Sequence[BenchReport]) -> Figure | None:
    """A panel per property over which there is a curve, one for steps, two for arms; None where there is none."""
    found = [(each, lines) for each in PROPERTIES if each.axis and (lines := curves(reports, each))]
    draw: list[Callable[[Any], None]] = [partial(_curves, along=each, found=lines) for each, lines in found]
    if stepped := _stepped(reports):
        draw.append(partial(_steps, stepped=stepped))
    if both := _both_arms(reports):
        draw.append(
            partial(_arms, both=both, unit="exposure to CAN (ms)", read=lambda path: path.exposure_to_can)
        )
        draw.append(
            partial(_arms, both=both, unit="work of a control tick (ms)", read=lambda path: path.tick_work)
        )
    if not draw:
        return None
    lines_of_two = (len(draw) + 1) // 2
    fig = new_figure(0.3 + 3.5 * lines_of_two)
    panels = fig.subplots(lines_of_two, 2, squeeze=False).ravel()
    for axes, panel in zip(panels, draw, strict=False):
        panel(axes)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.4)
        axes.legend(frameon=False, fontsize=8)
    for axes in panels[len(draw) :]:
        axes.set_axis_off()
    return fig


def _curves(axes: Any, along: Property, found: Sequence[Curve]) -> None:
    values = sorted({along.read(report) for curve in found for report in curve.reports}, key=_order)
    named = any(isinstance(value, str) for value in values)
    for index, curve in enumerate(found):
        places: list[float] = []
        floors: list[tuple[float, float]] = []
        for report in curve.reports:
            value = along.read(report)
            places.append(values.index(value) if named else float(value))
            floor = floor_of(report, report.rows[0])
            if floor is not None:
                floors.append((places[-1], floor))
        spreads = [(report.rows[0].chunk.p50, report.rows[0].chunk.p99) for report in curve.reports]
        whisker(axes, places, spreads, index, curve.label or "measured")
        if floors:
            floor_line(axes, floors, index)
    if named:
        axes.set_xticks(range(len(values)), list(map(str, values)))
        axes.margins(x=0.2)
    elif len(values) <= _TICKS:
        axes.set_xticks(values)
    axes.set_xlabel(along.axis)
    axes.set_ylabel("chunk (ms)")


def _stepped(reports: Sequence[BenchReport]) -> dict[str, list[StepsRow]]:
    """Rows of one report and solver with several step counts, by what they are called."""
    found: dict[str, list[StepsRow]] = {}
    for name, report in zip(labels(reports), reports, strict=True):
        for solver in dict.fromkeys(row.solver for row in report.rows):
            rows = [row for row in report.rows if row.solver == solver]
            if len(rows) > 1:
                found[f"{name}, {solver}"] = sorted(rows, key=lambda row: row.steps)
    return found


def _steps(axes: Any, stepped: Mapping[str, Sequence[StepsRow]]) -> None:
    for index, (name, rows) in enumerate(stepped.items()):
        spreads = [(row.chunk.p50, row.chunk.p99) for row in rows]
        whisker(axes, [row.steps for row in rows], spreads, index, name)
    axes.set_xticks(sorted({row.steps for rows in stepped.values() for row in rows}))
    axes.set_xlabel("sampler steps")
    axes.set_ylabel("chunk (ms)")


def _both_arms(reports: Sequence[BenchReport]) -> list[tuple[str, tuple[PathInfo, ...]]]:
    """Of reports with one arm and two: name and paths."""
    found = [(name, report.path) for name, report in zip(labels(reports), reports, strict=True)]
    return [(name, paths) for name, paths in found if len({path.arms for path in paths}) > 1]


def _arms(
    axes: Any, both: Sequence[tuple[str, tuple[PathInfo, ...]]], unit: str, read: Callable[[PathInfo], Any]
) -> None:
    for index, (name, paths) in enumerate(both):
        ordered = sorted(paths, key=lambda path: path.arms)
        spreads = [(read(path).p50, read(path).p99) for path in ordered]
        beside = _BESIDE * (index - (len(both) - 1) / 2)
        whisker(axes, [path.arms + beside for path in ordered], spreads, index, name)
    counts = sorted({path.arms for _, paths in both for path in paths})
    axes.set_xticks(counts, [arms_word(arms) for arms in counts])
    axes.margins(x=0.2)
    axes.set_ylabel(unit)
