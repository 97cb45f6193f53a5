"""The figures of a latency report: where the time goes, how steady it is, and what the machine did meanwhile.

Every function takes parts of a `gigaedge.benchmark.BenchReport` and returns a matplotlib figure; times in ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from gigaedge.benchmark import PATH_STAGES, ColdInfo, Gauge, PathInfo, SoakInfo, StepsRow
from gigaedge.pages import COLOURS

GREY: Final = "#8a8a8a"
WIDTH: Final = 9.5
"""Inches; a page shows them at full size."""
_DOTS: Final = 400
"""Up to so many measurements are drawn as dots, more as a line."""
_LEAST_RANGE: Final = 0.05
"""What a sensor's axis spans at least, of its value: what hardly changes is to look like it."""
_WIDE: Final = 4.0
"""Largest over usual value from which an axis is logarithmic."""


def arms_word(arms: int) -> str:
    """`one arm`, `two arms`."""
    return {1: "one arm", 2: "two arms"}.get(arms, f"{arms} arms")


def number(value: float) -> str:
    """Three significant figures, without an exponent."""
    size = abs(value)
    if size >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def new_figure(height: float) -> Figure:
    """An empty figure of the page's width, `height` inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def plain_log(axes: Any, which: str) -> None:
    """Make the axis `x` or `y` logarithmic, with ticks at 1, 2 and 5 in plain numbers."""
    axes.set_xscale("log") if which == "x" else axes.set_yscale("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low < 1e3 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axis.set_minor_formatter(NullFormatter())


@dataclass(frozen=True)
class Way:
    """The way from exposure to CAN once, for `path_figure`."""

    title: str
    stages: Mapping[str, tuple[float, float]]
    """p50 and p99 by `PATH_STAGES`."""
    whole: tuple[float, float]
    """p50 and p99."""

    @classmethod
    def of(cls, path: PathInfo) -> Way:
        """Of a measured path."""
        spreads = {name: (spread.p50, spread.p99) for name, spread in path.stages.items()}
        return cls(arms_word(path.arms), spreads, (path.exposure_to_can.p50, path.exposure_to_can.p99))


def path_figure(ways: Sequence[Way]) -> Figure:
    """One panel per way: every stage begins where the usual one before ended; thin: up to its p99."""
    rows = max(len(way.stages) for way in ways) + 1
    fig = new_figure(0.6 + (0.5 + 0.27 * rows) * len(ways))
    panels = fig.subplots(len(ways), 1, sharex=True, squeeze=False)[:, 0]
    for way, axes in zip(ways, panels, strict=True):
        names = [name for name in PATH_STAGES if name in way.stages]
        begin = 0.0
        for row, name in enumerate(names):
            p50, p99 = way.stages[name]
            colour = COLOURS[0] if name == "inference" else COLOURS[1]
            _bar(axes, row, begin, p50, p99, colour)
            begin += p50
        _bar(axes, len(names), 0.0, *way.whole, COLOURS[2])
        axes.set_yticks(
            range(len(names) + 1), [*(name.replace("_", " ") for name in names), "exposure to CAN"]
        )
        texts = [*(way.stages[name] for name in names), way.whole]
        for row, (p50, p99) in enumerate(texts):
            label = f"{number(p50)} / {number(p99)}"
            axes.text(1.01, row, label, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
        axes.text(1.01, -1.0, "p50 / p99", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
        axes.set_ylim(len(names) + 0.6, -0.6)
        axes.grid(axis="x", alpha=0.4)
        axes.set_axisbelow(True)
        axes.set_title(way.title, loc="left", fontsize=10)
    ends = [line.get_xdata()[-1] for axes in panels for line in axes.lines]
    panels[-1].set_xlim(0, 1.03 * max(ends))
    panels[-1].set_xlabel("time since the camera's exposure (ms)")
    return fig


def _bar(axes: Any, row: int, begin: float, p50: float, p99: float, colour: str) -> None:
    axes.barh(row, p50, left=begin, height=0.62, color=colour)
    axes.plot([begin + p50, begin + max(p50, p99)], [row, row], color=colour, lw=1.6)
    axes.plot([begin + max(p50, p99)], [row], "|", color=colour, markersize=9)


def chunks_figure(row: StepsRow) -> Figure:
    """Every chunk in the order it was made, process after process; below, its processor time and the yardstick."""
    below = {"processor (ms)": row.work, "yardstick (ms)": row.yardstick}
    below = {name: processes for name, processes in below.items() if any(processes)}
    fig = new_figure(3.0 + 1.5 * len(below))
    panels = fig.subplots(
        1 + len(below), 1, sharex=True, squeeze=False, height_ratios=(2, *[1] * len(below))
    )[:, 0]
    _in_order(panels[0], row.samples)
    for value, name, style in ((row.chunk.p50, "p50", "-"), (row.chunk.p99, "p99", "--")):
        panels[0].axhline(value, color=GREY, lw=1.0, ls=style, label=name)
    panels[0].set_ylabel("chunk (ms)")
    panels[0].legend(frameon=False, loc="upper right", ncols=2, fontsize=9)
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low, high + 0.15 * (high - low))
    for axes, (name, processes) in zip(panels[1:], below.items(), strict=True):
        _in_order(axes, processes)
        axes.set_ylabel(name)
    begins = np.cumsum([0, *map(len, row.samples)])
    names = [str(index + 1) for index in range(len(row.samples))]
    panels[-1].set_xticks((begins[:-1] + begins[1:] - 1) / 2, names)
    panels[-1].set_xlabel("process, its chunks in order")
    return fig


def _in_order(axes: Any, processes: Sequence[Sequence[float]]) -> None:
    few = sum(map(len, processes)) <= _DOTS
    begin = 0
    for index, values in enumerate(processes):
        places = np.arange(begin, begin + len(values))
        style = {"marker": "o", "ms": 3, "lw": 0.6} if few else {"lw": 0.7}
        axes.plot(places, values, color=COLOURS[index % 2], **style)
        begin += len(values)
        if index + 1 < len(processes):
            axes.axvline(begin - 0.5, color=GREY, lw=0.6, ls=":")
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", alpha=0.4)


def tail_figure(series: Mapping[str, Sequence[float]]) -> Figure:
    """The fraction of chunks that took longer than a time, logarithmic, so that the tail can be read."""
    fig = new_figure(3.8)
    axes = fig.subplots()
    least = 1.0
    for index, (name, values) in enumerate(series.items()):
        times = np.sort(np.asarray(values, np.float64))
        left = (times.size - np.arange(times.size)) / times.size
        style = ("-", "--", ":")[index // len(COLOURS) % 3]
        axes.step(times, left, where="pre", color=COLOURS[index % len(COLOURS)], ls=style, label=name)
        least = min(least, 1.0 / times.size)
    ticks = {1.0: "all", 0.5: "p50: 50 %", 0.1: "p90: 10 %", 0.01: "p99: 1 %", 0.001: "p99.9: 0.1 %"}
    shown = {place: text for place, text in ticks.items() if place >= 0.7 * least}
    axes.set_yscale("log")
    axes.set_yticks(list(shown), list(shown.values()))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0.7 * least, 1.3)
    every = np.concatenate([np.asarray(values) for values in series.values()])
    if every.max() > _WIDE * every.min() > 0:
        plain_log(axes, "x")
    axes.grid(alpha=0.4)
    axes.set_xlabel("chunk (ms)")
    axes.set_ylabel("chunks that take longer")
    if len(series) > 1:
        fig.legend(loc="outside upper left", frameon=False, ncols=3, fontsize=9)
    return fig


def cold_figure(cold: ColdInfo, row: StepsRow) -> Figure:
    """What a start costs beside a steady chunk, one dot per process."""
    rows = {
        "load": cold.load,
        "first chunk": cold.first_chunk,
        "steady chunk (p50)": tuple(float(np.median(values)) for values in row.samples if values),
    }
    fig = new_figure(1.9)
    axes = fig.subplots()
    for place, values in enumerate(rows.values()):
        axes.plot(values, [place] * len(values), "o", color=COLOURS[place], ms=6, alpha=0.7)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.margins(x=0.1)
    plain_log(axes, "x")
    axes.grid(axis="x", alpha=0.4)
    axes.set_xlabel("time (ms), one dot per process")
    return fig


def steps_figure(rows: Sequence[StepsRow], floors: Mapping[tuple[int, str], float]) -> Figure:
    """A chunk's time over its sampler steps: p50 with a whisker to p99, a line per solver; dashed: the floor."""
    fig = new_figure(3.4)
    axes = fig.subplots()
    for index, solver in enumerate(dict.fromkeys(row.solver for row in rows)):
        mine = sorted((row for row in rows if row.solver == solver), key=lambda row: row.steps)
        steps = [row.steps for row in mine]
        whisker(axes, steps, [(row.chunk.p50, row.chunk.p99) for row in mine], index, solver)
        least = [(row.steps, floors[row.steps, solver]) for row in mine if (row.steps, solver) in floors]
        if least:
            floor_line(axes, least, index, f"floor, {solver}")
    axes.set_xticks(sorted({row.steps for row in rows}))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.4)
    axes.set_xlabel("sampler steps")
    axes.set_ylabel("chunk (ms)")
    axes.legend(frameon=False, fontsize=9)
    return fig


def whisker(
    axes: Any, places: Sequence[float], spreads: Sequence[tuple[float, float]], index: int, label: str
) -> None:
    """A line through p50 with whiskers up to p99, in the colour of `index`."""
    p50 = np.array([low for low, _ in spreads])
    up = np.array([max(high - low, 0.0) for low, high in spreads])
    colour = COLOURS[index % len(COLOURS)]
    axes.errorbar(
        places, p50, (np.zeros_like(up), up), color=colour, marker="o", ms=5, capsize=3, label=label
    )


def floor_line(
    axes: Any, places: Sequence[tuple[float, float]], index: int, label: str | None = None
) -> None:
    """A dashed line through what is the least possible, in the colour of `index`."""
    style = {"ls": "--", "lw": 1.2, "marker": "_", "ms": 12, "mew": 1.6}
    axes.plot(*zip(*places, strict=True), color=COLOURS[index % len(COLOURS)], label=label, **style)


def loop_figure(paths: Sequence[PathInfo]) -> Figure:
    """The control loop's period and work: from the least to the largest, thick up to p99, dots: p50 and p99.9."""
    names = [(f"{what}, {arms_word(path.arms)}", path, what) for what in ("period", "work") for path in paths]
    fig = new_figure(0.9 + 0.38 * len(names))
    axes = fig.subplots()
    for row, (_, path, what) in enumerate(names):
        spread = path.tick_period if what == "period" else path.tick_work
        colour = COLOURS[0 if what == "period" else 1]
        axes.plot([spread.min, spread.max], [row, row], color=colour, lw=1.2)
        axes.plot([spread.p50, spread.p99], [row, row], color=colour, lw=6, alpha=0.5, solid_capstyle="butt")
        axes.plot([spread.p50], [row], "o", color=colour, ms=7)
        axes.plot([spread.p999], [row], "|", color=colour, ms=12, mew=2)
    axes.set_yticks(range(len(names)), [name for name, *_ in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.margins(x=0.05)
    plain_log(axes, "x")
    axes.grid(axis="x", alpha=0.4)
    axes.set_xlabel("time of a control tick (ms)")
    return fig


UNITS: Final = {
    "W": "power (W)",
    "MHz": "clock (MHz)",
    "C": "temperature (°C)",
    "MB": "memory (MB)",
    "%": "load (%)",
}


def gauges_figure(gauges: Sequence[Gauge]) -> Figure:
    """Every sensor over time, a panel per unit."""
    shown = [gauge for gauge in gauges if gauge.series]
    units = [unit for unit in UNITS if any(gauge.unit == unit for gauge in shown)]
    fig = new_figure(0.5 + 1.9 * len(units))
    panels = fig.subplots(len(units), 1, sharex=True, squeeze=False)[:, 0]
    for unit, axes in zip(units, panels, strict=True):
        mine = [gauge for gauge in shown if gauge.unit == unit]
        for index, gauge in enumerate(mine):
            times, values = zip(*gauge.series, strict=True)
            style = ("-", "--", ":")[index // len(COLOURS) % 3]
            axes.plot(times, values, color=COLOURS[index % len(COLOURS)], ls=style, lw=1.2, label=gauge.name)
        axes.set_ylabel(UNITS[unit])
        low, high = axes.get_ylim()
        if high - low < _LEAST_RANGE * high:
            axes.set_ylim((1 - _LEAST_RANGE) * low, (1 + _LEAST_RANGE) * high)
        axes.grid(alpha=0.4)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    panels[-1].set_xlabel("time since the start (s)")
    return fig


def soak_figure(soak: SoakInfo) -> Figure:
    """p50 and p99 of the chunks over a long run."""
    fig = new_figure(2.8)
    axes = fig.subplots()
    times, p50, p99 = np.array(soak.series).T
    minutes = times / 60 if soak.duration_s > 180 else times
    axes.plot(minutes, p50, color=COLOURS[0], label="p50")
    axes.plot(minutes, p99, color=COLOURS[1], label="p99")
    axes.grid(alpha=0.4)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time since the start (min)" if soak.duration_s > 180 else "time since the start (s)")
    axes.set_ylabel("chunk (ms)")
    fig.legend(loc="outside upper left", frameon=False, ncols=2, fontsize=9)
    return fig
