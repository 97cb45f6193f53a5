"""Trials as a page: does each way of running the policy do the task, how sure is that, and what did it look like?"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from gigaedge.pages import COLOURS, bullets, figure, page, paragraph, section, table, tiles
from gigaedge.trials import DifferenceInfo, EpisodeInfo, IntervalInfo, RowInfo, TrialsReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER: Final = (
    *("task", "policy", "precision", "steps", "mode", "latency, ms"),
    *(
        "success",
        "95 % interval",
        "first attempt",
        "attempts",
        "time, s",
        "failures",
        "against the first row",
    ),
)
WORDS: Final = (1, 2, 4, 11)
PROSE: Final = (12,)
"""Columns of `HEADER` that are words, and whole sentences."""

_ROW: Final = 0.32
"""Inches of a figure per row."""


@dataclass(frozen=True)
class Clip:
    """What an episode looked like."""

    row: int
    """Number of its row in the report."""
    episode: EpisodeInfo
    mp4: bytes


def cells(row: RowInfo) -> list[str]:
    """One line of the table under `HEADER`. Times: median / p90, until success."""
    summary = row.summary
    mode = f"{row.mode}, blind" if row.blind else row.mode
    time = (
        "-"
        if summary.seconds_p50 is None or summary.seconds_p90 is None
        else f"{summary.seconds_p50:.1f} / {summary.seconds_p90:.1f}"
    )
    return [
        *(row.task, row.policy, row.precision or "-", str(row.steps or "-"), mode),
        "-" if row.latency is None else f"{1e3 * row.latency:.0f}",
        f"{summary.successes}/{summary.episodes} ({100 * summary.rate:.0f} %)",
        _percents(summary.interval),
        f"{summary.first_successes}/{summary.episodes}",
        "-" if summary.attempts_mean is None else f"{summary.attempts_mean:.2f}",
        time,
        ", ".join(f"{count} {outcome}" for outcome, count in summary.failures.items()) or "-",
        "-" if row.difference is None else difference_words(row.difference),
    ]


def difference_words(difference: DifferenceInfo) -> str:
    """As in `-15 % (-33 to +4): no difference shown`."""
    interval = difference.interval
    bounds = f"{100 * interval.low:+.0f} to {100 * interval.high:+.0f}"
    return f"{100 * difference.rate:+.0f} % ({bounds}): {difference.verdict}"


def how(report: TrialsReport) -> str:
    """The protocol in one paragraph."""
    if report.seed is None:
        next_one = "before the next one a person may reset what it needs. A person judged every attempt."
    else:
        next_one = (
            f"the next one goes on from where things are. Scenes {report.seed} to {report.seed + report.episodes - 1} "
            "of each task, the same for every row; the simulator's state judged them, in simulated time."
        )
    return (
        f"{report.episodes} episodes per row, at most {report.attempts} attempts each; an attempt ends by success or "
        f"with its time; {next_one} Intervals: 95 %, of rates after Wilson, of differences after Newcombe; rows are "
        "taken as independent, which is on the safe side where they try the same scenes. Attempts and time (median / "
        "p90, all attempts together): of the episodes that succeeded. Failures: how the last attempt ended."
    )


SHORT_HEADER: Final = ("task", "how", "success", "95 %", "first", "time, s", "failures", "difference")


def short_cells(row: RowInfo) -> list[str]:
    """One line of a table under `SHORT_HEADER`, for a terminal: the page's without what every row has in common."""
    line = dict(zip(HEADER, cells(row), strict=True))
    interval = row.difference.interval if row.difference is not None else None
    bounds = f"{100 * interval.low:+.0f} to {100 * interval.high:+.0f} %" if interval is not None else "-"
    return [
        *(row.task, row.name, f"{row.summary.successes}/{row.summary.episodes}"),
        *(line["95 % interval"], line["first attempt"], line["time, s"], line["failures"], bounds),
    ]


def render(report: TrialsReport, clips: Sequence[Clip] = ()) -> str:
    """The whole page. Needs matplotlib. Clips are shown under their rows, in the order given."""
    parts = []
    if report.rows:
        first = report.rows[0]
        parts.append(tiles(_headline(first)))
    if report.interrupted:
        parts.append(paragraph("Broken off: rows may have fewer episodes than asked for, or be missing."))
    parts.append(paragraph(how(report)))
    if report.rows:
        found = [cells(row) for row in report.rows]
        parts.append(
            section("Success", table(HEADER, found, left=WORDS, prose=PROSE), _intervals(report.rows))
        )
    if clips:
        parts.append(section("What it looked like", _clips(report.rows, clips)))
    if report.notices:
        parts.append(section("Notices", bullets(report.notices)))
    facts = [
        ["command", report.command],
        ["site", report.site],
        ["machine", report.machine],
        ["gigaedge", report.gigaedge],
        ["created", report.created],
    ]
    parts.append(section("How it was made", table(["", ""], facts, prose=(1,))))
    return page("Trials", parts)


def _headline(row: RowInfo) -> list[tuple[str, str]]:
    summary = row.summary
    found = [
        (f"{100 * summary.rate:.0f} %", f"success of {row.task}: {row.name}"),
        (_percents(summary.interval), f"95 % interval, {summary.episodes} episodes"),
    ]
    if summary.seconds_p50 is not None:
        found.append((f"{summary.seconds_p50:.1f} s", "to success, median"))
    return found


def _percents(interval: IntervalInfo) -> str:
    return f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %"


def _intervals(rows: Sequence[RowInfo]) -> str:
    best = max(rows, key=lambda row: row.summary.rate)
    return figure(
        _interval_figure(rows),
        "Success rates with their 95 % intervals; hollow: at the first attempt. Dotted: the first row of the task.",
        f"Success rates of {len(rows)} rows with intervals; the highest is {100 * best.summary.rate:.0f} %",
    )


def _interval_figure(rows: Sequence[RowInfo]) -> Figure:
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row.task for row in rows))
    fig = Figure(figsize=(9.5, 1.2 + _ROW * len(rows)), layout="constrained")
    axes = fig.subplots()
    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        first.setdefault(row.task, place)
        summary, colour = row.summary, COLOURS[tasks.index(row.task) % len(COLOURS)]
        for share, interval, height, fill, width in (
            (summary.rate, summary.interval, 0.0, colour, 2.0),
            (summary.first_successes / summary.episodes, summary.first_interval, 0.25, "none", 0.8),
        ):
            y = place + height
            axes.plot([100 * interval.low, 100 * interval.high], [y, y], color=colour, linewidth=width)
            axes.plot(
                100 * share, y, "o", color=colour, markerfacecolor=fill, markersize=7 if not height else 4
            )
    for task, place in first.items():
        members = [index for index, row in enumerate(rows) if row.task == task]
        rate, colour = 100 * rows[place].summary.rate, COLOURS[tasks.index(task) % len(COLOURS)]
        axes.plot([rate, rate], [members[0] - 0.4, members[-1] + 0.5], color=colour, linestyle=":")
    axes.set_yticks(range(len(rows)), [f"{row.task}: {row.name}" for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("success (%)")
    axes.grid(axis="x", alpha=0.4)
    return fig


def _clips(rows: Sequence[RowInfo], clips: Sequence[Clip]) -> str:
    shown = []
    for place, row in enumerate(rows):
        own = [clip for clip in clips if clip.row == place]
        if own:
            films = "".join(map(_video, own))
            name = escape(f"{row.task}: {row.name}")
            shown.append(
                f'<h3>{name}</h3>\n<div style="display: flex; flex-wrap: wrap; gap: 1rem">{films}</div>'
            )
    return "\n".join(shown)


def _video(clip: Clip) -> str:
    episode = clip.episode
    tries = len(episode.attempts)
    told = f"scene {episode.seed}: {episode.outcome} after {episode.seconds:.1f} s"
    caption = escape(told + (f", {tries} attempts" if tries > 1 else ""))
    source = f"data:video/mp4;base64,{b64encode(clip.mp4).decode('ascii')}"
    return (
        '<div style="max-width: 240px"><video controls="" loop="" muted="" playsinline="" preload="metadata" '
        f'width="240" aria-label="{caption}" src="{source}"></video><br>{caption}</div>'
    )
