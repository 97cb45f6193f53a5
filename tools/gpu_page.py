"""A GPU report as one HTML page: times as bars over their floor, every row, every command."""

from __future__ import annotations

from matplotlib.figure import Figure

from gigaedge.pages import figure, page, paragraph, section, table
from gpu_rows import HEADER, PUBLISHED, Report, Row

CONTEXT, STEPS, WHOLE = "#3b82c4", "#e07b39", "#8a6fd1"
"""Of middle brightness."""
BAR_INCHES = 0.32


def render(report: Report) -> str:
    """The whole page."""
    timed = [row for row in report.rows if row.chunk_ms]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    copied = f"{report.copy_bytes_per_s / 1e9:.0f} GB/s" if report.copy_bytes_per_s else "not measured"
    how = (
        "Random weights. Times are p50/p95/p99 of a chunk after warm-up, from the host's memory and back to it. The "
        "floor is the time in which the device's memory delivers the weights of a chunk at the measured rate of a "
        "copy. GPU memory is the growth of what nvidia-smi calls used; host memory is the process's peak. The "
        "relative L2 is that of the velocity against our PyTorch modules in fp32, on few layers."
    )
    parts = [
        section(
            "What was measured",
            paragraph(f"{report.machine}; {versions}; a copy in its memory moves {copied}."),
            paragraph(how),
            table(HEADER, [row.cells() for row in report.rows]),
        )
    ]
    if timed:
        parts.append(section("Where the time goes", _bars(timed)))
    figures = [[each.what, each.machine, f"{each.ms:g}", each.source] for each in PUBLISHED]
    note = "As their authors give them, on other machines and with boundaries of their own."
    parts.append(
        section("What others publish", paragraph(note), table(["what", "machine", "ms", "source"], figures))
    )
    commands = [[row.name, " && ".join(row.commands)] for row in _first_of_each(report.rows)]
    parts.append(section("Commands", table(["row", "from nothing"], commands)))
    return page("GPU report", parts)


def _first_of_each(rows: tuple[Row, ...]) -> list[Row]:
    """Step counts of one measurement share a name."""
    return list({row.name: row for row in rows}.values())


def _bars(rows: list[Row]) -> str:
    fig = Figure(figsize=(9.5, 1.3 + BAR_INCHES * len(rows)), layout="constrained")
    axes = fig.subplots()
    for index, row in enumerate(rows):
        if row.chunk_ms and row.context_ms and row.steps_ms:
            axes.barh(index, row.context_ms.p50, color=CONTEXT)
            axes.barh(index, row.steps_ms.p50, left=row.context_ms.p50, color=STEPS)
        elif row.chunk_ms:
            axes.barh(index, row.chunk_ms.p50, color=WHOLE)
        if row.floor_ms:
            axes.plot([row.floor_ms] * 2, [index - 0.4, index + 0.4], color="#000000")
    axes.set_yticks(range(len(rows)), [f"{row.name}, {row.steps} steps" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("time of a chunk, p50 (ms)")
    axes.grid(axis="x", alpha=0.4)
    return figure(
        fig,
        "Context (blue), steps (orange), both in one graph (violet); the stroke is the floor.",
        "Time of a chunk, a bar per row",
    )
