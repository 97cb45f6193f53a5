"""The open-loop evaluation as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from gigaedge.files import write_text
from gigaedge.openloop import ERROR_HEADER, SCALE, Report, Rollout
from gigaedge.pages import figure, page, paragraph, section, table
from gigaedge.robot import ARM_DIM, DIM_NAMES, DIM_UNITS, SIDES

DRAWN_EPISODES: Final = 6
"""More would make the page slow to open; the worst ones are drawn."""

RECORDED, PREDICTED, SECOND = "#8a8a8a", "#d9480f", "#1c7ed6"


def write_openloop_page(
    path: Path, title: str, facts: dict[str, Any], report: Report, rollouts: Sequence[Rollout]
) -> None:
    """Write the page; `facts` says what was run on what."""
    worst = _worst_episodes(report)
    drawn = worst[:DRAWN_EPISODES]
    left_out = (
        f" The {len(drawn)} worst of {len(worst)} episodes are drawn." if len(drawn) < len(worst) else ""
    )
    episodes = [_episode(number, [r for r in rollouts if r.episode == number]) for number in drawn]
    html = page(
        title,
        [
            section("What was run", table(["", ""], [[name, str(value)] for name, value in facts.items()])),
            section(
                "Error",
                paragraph("Predicted minus recorded targets; fingertips by forward kinematics of each arm."),
                table(ERROR_HEADER, report.rows()),
            ),
            section("Over the horizon", _horizon(report)),
            section("As upstream reports it", *_upstream(report)),
            section(
                "Predicted over recorded",
                paragraph(f"Each chunk begins at a recorded state, so it may jump there.{left_out}"),
                *episodes,
            ),
            section("Every chunk", _chunks(report)),
        ],
    )
    write_text(path, html)


def _worst_episodes(report: Report) -> list[int]:
    """Numbers of the episodes, the largest mean joint error first."""
    sums: dict[int, list[float]] = {}
    for chunk in report.chunks:
        sums.setdefault(chunk.episode, []).append(chunk.joints.mean_abs)
    return sorted(sums, key=lambda episode: -float(np.mean(sums[episode])))


def _horizon(report: Report) -> str:
    fig = Figure(figsize=(9, 3.2), layout="constrained")
    degrees = fig.add_subplot()
    lengths = degrees.twinx()
    steps = np.arange(len(report.horizon.joints_deg))
    lines = [
        *degrees.plot(steps, report.horizon.joints_deg, color=PREDICTED, label="joints, deg"),
        *lengths.plot(steps, report.horizon.fingertips_mm, color=SECOND, label="fingertips, mm"),
        *lengths.plot(steps, report.horizon.grippers_mm, color=SECOND, ls="--", label="grippers, mm"),
    ]
    degrees.set(xlabel="step of the chunk", ylabel="deg", ylim=(0, None))
    lengths.set(ylabel="mm", ylim=(0, None))
    degrees.legend(handles=lines, frameon=False, loc="upper left")
    first, last = report.horizon.joints_deg[0], report.horizon.joints_deg[-1]
    alt = f"Mean joint error {first:.2f} degrees at the first step, {last:.2f} at the last"
    return figure(fig, "Mean absolute error of each step, over all chunks that have it.", alt)


def _episode(number: int, rollouts: Sequence[Rollout]) -> str:
    fig = Figure(figsize=(11, 13), layout="constrained")
    axes = fig.subplots(ARM_DIM, len(SIDES), sharex=True)
    for dim, name in enumerate(DIM_NAMES):
        axis = axes[dim % ARM_DIM][dim // ARM_DIM]
        for place, rollout in enumerate(rollouts):
            color = (PREDICTED, SECOND)[place % 2]
            count = len(rollout.recorded)
            frames = np.arange(rollout.start, rollout.start + count)
            axis.plot(frames, rollout.recorded[:, dim] * SCALE[dim], color=RECORDED, lw=2)
            axis.plot(frames, rollout.predicted[:count, dim] * SCALE[dim], color=color, lw=0.9)
        axis.set_ylabel(f"{name}\n{'deg' if DIM_UNITS[dim] == 'rad' else 'mm'}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("frame")
    caption = f"Episode {number}: recorded targets in grey, predicted chunks in orange and blue by turns."
    return figure(fig, caption, f"Episode {number}, one panel per joint and gripper")


def _upstream(report: Report) -> list[str]:
    found = report.upstream
    if found is None:
        return [paragraph("No episode is longer than a chunk: upstream's evaluation would have no chunk.")]
    rows = [
        ["whole chunk", f"{found.chunk_mse:.6f}", f"{found.chunk_mae:.6f}"],
        ["played part", f"{found.overall_mse:.6f}", f"{found.overall_mae:.6f}"],
    ]
    note = f"{found.chunks} chunks, all 14 values alike: rad and m are mixed."
    return [paragraph(note), table(["", "MSE", "MAE"], rows)]


def _chunks(report: Report) -> str:
    rows = [
        [
            f"{chunk.episode} / {chunk.start}",
            str(chunk.frames),
            *(
                f"{value:.3f}"
                for e in (chunk.joints, chunk.grippers, chunk.fingertips)
                for value in (e.mean_abs, e.worst)
            ),
        ]
        for chunk in report.chunks
    ]
    groups = [
        f"{name}, {what}"
        for name in ("joints deg", "grippers mm", "fingertips mm")
        for what in ("mean", "worst")
    ]
    return table(["episode / frame", "frames", *groups], rows)
