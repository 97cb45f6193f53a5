"""A flight record as one HTML page: every joint over time, with what the loop was doing."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from gigaedge.pages import figure, page, paragraph, section, table
from gigaedge.robot import DIM_NAMES, Side, arm_slice
from gigaedge_runtime.flight_packets import Level
from gigaedge_runtime.flight_reader import FlightRecord
from gigaedge_runtime.flight_story import Band, Story
from gigaedge_runtime.report_plots import BANDS, OTHER_BAND

MEASURED, TARGET, SENT = "#8a8a8a", "#1c7ed6", "#d9480f"

_SHADE: Final = 0.13

DRAWN_CHUNKS: Final = 400
"""Hand-overs that are drawn; more would be a grey wall."""


def render(flight: FlightRecord, story: Story) -> str:
    """The whole page."""
    parts = [
        section("Run", table(["", ""], _facts(flight, story))),
        section("What happened", _events(story)),
    ]
    parts += [section(f"{side.capitalize()} arm", _arm(story, side)) for side in story.sides]
    parts.append(section("The loop", _loop(flight, story)))
    return page(f"Flight record {flight.path.name}", parts)


def _facts(flight: FlightRecord, story: Story) -> list[list[str]]:
    about = flight.about
    complete = "no: the recorder ended before the run" if flight.ended_early else "yes"
    return [
        ["started", about["started"]],
        ["duration", f"{story.duration:.1f} s" + (", dry run" if flight.dry_run else "")],
        ["machine", about["machine"]],
        ["gigaedge", about["gigaedge"]],
        ["bundle", str(flight.bundle or "none")],
        ["ticks", f"{story.ticks} recorded, {story.dropped} dropped in between"],
        ["chunks taken", str(len(story.chunks))],
        ["file complete", complete],
    ]


def _events(story: Story) -> str:
    rows = [
        [f"{event.time:.3f}", event.source, Level(event.level).name.lower(), event.text]
        for event in story.events
    ]
    return table(["time (s)", "from", "", "what"], rows) if rows else paragraph("No event was recorded.")


def _arm(story: Story, side: Side) -> str:
    columns = range(len(DIM_NAMES))[arm_slice(side)]
    fig = Figure(figsize=(9.5, 13), layout="constrained")
    axes = fig.subplots(len(columns), 2, sharex=True, gridspec_kw={"width_ratios": (2, 1)})
    series = [
        (story.measured, MEASURED, "measured", 1.6),
        (story.target, TARGET, "target", 1.0),
        (story.sent, SENT, "sent", 1.0),
    ]
    drawn = [(*envelope.lines(), colour, label, width) for envelope, colour, label, width in series]
    velocity_times, velocities = story.velocity.lines()
    for row, column in enumerate(columns):
        name, scale, unit = _unit(DIM_NAMES[column])
        left, right = axes[row]
        for times, values, colour, label, width in drawn:
            left.plot(times, scale * values[:, column], color=colour, lw=width, label=label)
        right.plot(velocity_times, scale * velocities[:, column], color=SENT, lw=1.0)
        for each in (left, right):
            _shade(each, story)
        left.set_ylabel(f"{name} ({unit})", fontsize=9)
        right.set_ylabel(f"{unit}/s", fontsize=9)
    for each in axes[-1]:
        each.set_xlabel("time (s)")
    states = dict.fromkeys(band.state for band in story.bands)
    patches = [Patch(color=BANDS.get(state, OTHER_BAND), alpha=0.4, label=state) for state in states]
    lines = axes[0][0].get_lines()[: len(series)]
    fig.legend(handles=[*lines, *patches], loc="outside upper left", frameon=False, ncols=8)
    caption = (
        "Left: measured, what the chunk asked for, what was sent. Right: speed of what was sent. Shaded: the "
        "state. Thin lines: a new chunk."
    )
    return figure(fig, caption, f"Joints and gripper of the {side} arm over time: {_extremes(story, side)}")


def _extremes(story: Story, side: Side) -> str:
    values = story.measured.lines()[1][:, arm_slice(side)]
    travelled = np.degrees(np.nanmax(values, axis=0) - np.nanmin(values, axis=0))[:-1]
    return f"joint {int(travelled.argmax()) + 1} moved the most, {travelled.max():.1f} degrees"


def _unit(name: str) -> tuple[str, float, str]:
    part = name.split("_", 1)[1].replace("_", " ")
    return (part, 1e3, "mm") if part == "gripper" else (part, float(np.degrees(1.0)), "deg")


def _shade(axes: Any, story: Story) -> None:
    for band in story.bands:
        _shade_band(axes, band)
    for event in story.events:
        if event.level >= Level.ERROR:
            axes.axvline(event.time, color=BANDS["fault"], lw=1.0, ls="--")
    if len(story.chunks) <= DRAWN_CHUNKS:
        low, high = axes.get_ylim()
        axes.vlines(story.chunks, low, high, color=MEASURED, lw=0.4, alpha=0.7)
        axes.set_ylim(low, high)
    axes.set_xlim(0, story.duration or 1.0)
    axes.grid(alpha=0.3)


def _shade_band(axes: Any, band: Band) -> None:
    axes.axvspan(band.begin, band.end, color=BANDS.get(band.state, OTHER_BAND), alpha=_SHADE, lw=0)


def _loop(flight: FlightRecord, story: Story) -> str:
    times, values = story.loop.lines()
    fig = Figure(figsize=(9.5, 3.2), layout="constrained")
    axes = fig.subplots()
    axes.plot(times, 1e3 * values[:, 0], color=TARGET, lw=0.9, label="since the tick before")
    axes.plot(times, 1e3 * values[:, 1], color=SENT, lw=0.9, label="work")
    axes.axhline(1e3 / flight.site.timing.control_rate, color=MEASURED, lw=0.8, ls=":")
    _shade(axes, story)
    axes.set(xlabel="time (s)", ylabel="ms", yscale="log")
    axes.legend(frameon=False, loc="upper right", ncols=2)
    longest = 1e3 * _largest(values[:, 0])
    return figure(
        fig,
        "Period and work of every tick; enabling the arms takes longer than a tick, by design.",
        f"Period of the control loop over time, at most {longest:.1f} ms",
    )


def _largest(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0
