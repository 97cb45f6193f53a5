"""The figures of a run's report: what the arms were doing when, which ticks came late, what the limits held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, get_args

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gigaedge.benchmark_plots import GREY, Way, new_figure, path_figure, plain_log
from gigaedge.pages import COLOURS
from gigaedge_runtime.report import ClampCounts, ControlReport, LateCause, PathReport, Spread

BANDS: Final = {
    "approach": "#e0a800",
    "running": "#2f9e44",
    "hold": "#8a6fd1",
    "parking": "#d6336c",
    "parked": "#5c940d",
    "stopped": "#1098ad",
    "fault": "#e03131",
}
"""Colour of a state of the control loop."""
OTHER_BAND: Final = "#868e96"
"""Of any other state."""

CAUSES: Final[tuple[LateCause, ...]] = get_args(LateCause)


def way_figure(path: PathReport) -> Figure:
    """From exposure to CAN, each stage where the usual one before ended; ms."""
    stages = {name: (1e3 * spread.p50, 1e3 * spread.p99) for name, spread in path.stages.items()}
    whole = path.exposure_to_can
    return path_figure([Way("", stages, (1e3 * whole.p50, 1e3 * whole.p99))])


def run_end(control: ControlReport) -> float:
    """About when control's last tick was, s since its first."""
    changes = [change.time for change in control.states]
    ticks = (control.ticks + control.missed) * control.period.p50
    return max([ticks, *changes, *(tick.time for tick in control.late_ticks), 1e-3])


def story_figure(control: ControlReport) -> Figure:
    """The states over time; below, every late tick that was kept, in the colour of its cause."""
    late = control.late_ticks
    fig = new_figure(3.6 if late else 1.5)
    panels = fig.subplots(
        1 + bool(late), 1, sharex=True, squeeze=False, height_ratios=(1, 3)[: 1 + bool(late)]
    )[:, 0]
    end = run_end(control)
    changes = [*((change.time, change.state) for change in control.states), (end, "")]
    for (begin, state), (until, _) in pairwise(changes):
        panels[0].broken_barh([(begin, until - begin)], (0, 1), color=BANDS.get(state, OTHER_BAND), lw=0)
    panels[0].set_yticks([])
    panels[0].set_ylabel("state", rotation=0, ha="right", va="center")
    panels[0].set_xlim(0, end)
    states = dict.fromkeys(change.state for change in control.states)
    handles: list[Any] = [Patch(color=BANDS.get(state, OTHER_BAND), label=state) for state in states]
    if late:
        handles += _late(panels[1], control)
    panels[-1].set_xlabel("time since control's first tick (s)")
    fig.legend(handles=handles, loc="outside upper left", frameon=False, ncols=7, fontsize=9)
    return fig


def _late(axes: Any, control: ControlReport) -> list[Any]:
    handles = []
    for cause in CAUSES:
        ticks = [tick for tick in control.late_ticks if tick.cause == cause]
        if ticks:
            colour = COLOURS[CAUSES.index(cause) % len(COLOURS)]
            times, periods = [tick.time for tick in ticks], [1e3 * tick.period for tick in ticks]
            axes.vlines(times, 0, periods, color=colour, lw=1.2)
            marker = ("o", "s")[CAUSES.index(cause) // len(COLOURS)]
            handles += axes.plot(times, periods, marker, color=colour, ms=5, label=f"late: {cause}")
    axes.set_ylabel("period (ms)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.4)
    return handles


def spreads_figure(spreads: Mapping[str, Spread], unit: str) -> Figure:
    """Spreads in s, drawn in ms: from p50 to the largest, thick up to p99; a mark at p99.9."""
    fig = new_figure(0.8 + 0.36 * len(spreads))
    axes = fig.subplots()
    for row, (name, spread) in enumerate(spreads.items()):
        colour = COLOURS[0 if name == "period" else 1 if name == "work" else 2]
        p50, p99, p999, most = (1e3 * value for value in (spread.p50, spread.p99, spread.p999, spread.max))
        axes.plot([p50, most], [row, row], color=colour, lw=1.2)
        axes.plot([p50, p99], [row, row], color=colour, lw=6, alpha=0.5, solid_capstyle="butt")
        axes.plot([p50], [row], "o", color=colour, ms=7)
        axes.plot([p999], [row], "|", color=colour, ms=12, mew=2)
    axes.set_yticks(range(len(spreads)), list(spreads))
    axes.set_ylim(len(spreads) - 0.5, -0.5)
    axes.margins(x=0.05)
    plain_log(axes, "x")
    axes.grid(axis="x", alpha=0.4)
    axes.set_xlabel(unit)
    return fig


def clamps_figure(names: Sequence[str], clamps: ClampCounts) -> Figure:
    """How often each limit held back each joint or gripper."""
    limits = {
        "position": clamps.position,
        "velocity": clamps.velocity,
        "acceleration": clamps.acceleration,
        "jerk": clamps.jerk,
        "lead": clamps.lead,
    }
    fig = new_figure(0.9 + 0.26 * len(names))
    axes = fig.subplots()
    begin = np.zeros(len(names))
    for index, (limit, counts) in enumerate(limits.items()):
        values = np.array([counts.get(name, 0) for name in names], np.float64)
        axes.barh(range(len(names)), values, left=begin, height=0.65, color=COLOURS[index], label=limit)
        begin += values
    for row, total in enumerate(begin):
        if total:
            axes.annotate(
                f"{total:.0f}", (total, row), xytext=(4, 0), textcoords="offset points", va="center"
            )
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.1 * begin.max())
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.4)
    axes.axvline(0, color=GREY, lw=0.8)
    axes.set_xlabel("ticks in which the limit held back the target")
    fig.legend(loc="outside upper left", frameon=False, ncols=5, fontsize=9)
    return fig
