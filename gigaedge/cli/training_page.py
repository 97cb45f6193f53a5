"""How a training went, as one HTML page: losses, errors on held-out episodes, what it was made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gigaedge.files import write_text
from gigaedge.pages import COLOURS, figure, page, paragraph, section, table
from gigaedge_export.training.publish import ABOUT
from gigaedge_export.training.state import read_log

SMOOTH = 10
"""Records of the log whose mean is drawn as a line."""


def write_training_page(path: Path, checkpoint: Path, work: Path) -> None:
    """Write the page of a checkpoint whose log is in `work`."""
    about = json.loads((checkpoint / ABOUT).read_text(encoding="utf-8"))
    records = read_log(work)
    steps = [record for record in records if "action" in record]
    looks = [record for record in records if "held_out" in record]
    parts = [section("What was trained", table(["", ""], _facts(about)))]
    if steps:
        parts.append(section("Losses", _losses(steps)))
    parts.append(
        section(
            "Held-out episodes, open loop",
            paragraph(
                "Chunks of the averaged weights, 10 Euler steps, against what the demonstrator did. The end of an "
                "episode's first chunk tells whether the target was found in the first picture."
            ),
            _looks(looks),
            _horizon(looks),
        )
    )
    write_text(path, page(f"Training of {checkpoint.name}", parts))


def _facts(about: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, value in about.items():
        if isinstance(value, dict):
            rows += [[f"{name}: {key}", str(inner)] for key, inner in value.items()]
        else:
            rows.append([name, str(value)])
    return rows


def _losses(records: Sequence[dict[str, Any]]) -> str:
    fig = Figure(figsize=(9, 3.2), layout="constrained")
    axis = fig.add_subplot()
    numbers = np.array([record["step"] for record in records])
    names = [name for name in ("action", "video") if any(record[name] for record in records)]
    for colour, name in zip(COLOURS, names, strict=False):
        values = np.array([record[name] for record in records])
        axis.plot(numbers, values, color=colour, lw=0.5, alpha=0.5)
        width = min(SMOOTH, len(values))
        mean = np.convolve(values, np.ones(width) / width, mode="valid")
        axis.plot(numbers[width - 1 :], mean, color=colour, label=name)
    axis.set(xlabel="step", ylabel="mean squared error", yscale="log")
    axis.legend(frameon=False)
    last = ", ".join(f"{name} {records[-1][name]:.3f}" for name in names)
    return figure(
        fig, "Losses of the training batches, and their mean over ten records.", f"At the end: {last}"
    )


def _looks(records: Sequence[dict[str, Any]]) -> str:
    fig = Figure(figsize=(9, 3.2), layout="constrained")
    lengths = fig.add_subplot()
    degrees = lengths.twinx()
    numbers = [record["step"] for record in records]
    found = [record["held_out"] for record in records]
    lines = [
        *lengths.plot(
            numbers, [one["first_end_moving_mm"] for one in found], "o-", color=COLOURS[0], ms=3,
            label="moving fingertip at the end of first chunks, mm",
        ),
        *lengths.plot(
            numbers, [one["fingertips_mm"] for one in found], "o-", color=COLOURS[1], ms=3, label="fingertips, mm"
        ),
        *degrees.plot(numbers, [one["joints_deg"] for one in found], "o-", color=COLOURS[2], ms=3, label="joints, deg"),
    ]  # fmt: skip
    lengths.set(xlabel="step", ylabel="mm", ylim=(0, None))
    degrees.set(ylabel="deg", ylim=(0, None))
    lengths.legend(handles=lines, frameon=False)
    end = found[-1]
    alt = f"At the end {end['fingertips_mm']:.1f} mm at the fingertips, {end['joints_deg']:.2f} degrees per joint"
    return figure(fig, "Mean absolute errors in the course of the training.", alt)


def _horizon(records: Sequence[dict[str, Any]]) -> str:
    fig = Figure(figsize=(9, 2.6), layout="constrained")
    axis = fig.add_subplot()
    values = records[-1]["held_out"]["horizon_mm"]
    axis.plot(range(len(values)), values, color=COLOURS[0])
    axis.set(xlabel="step of the chunk", ylabel="mm", ylim=(0, None))
    alt = f"From {values[0]:.1f} mm at the first step to {values[-1]:.1f} mm at the last"
    return figure(
        fig, "Mean error of the fingertips at each step of a chunk, at the end of the training.", alt
    )
