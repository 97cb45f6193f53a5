"""What a policy expected to see, and what happened, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gigaedge.cli.imagine_story import HEADER, Story
from gigaedge.files import write_text
from gigaedge.pages import figure, page, paragraph, section, table

_COLUMN: Final = 2.1
"""Inches per picture."""


def write_imagine_page(path: Path, title: str, facts: dict[str, str], story: Story) -> None:
    """Write the page; `facts` says what was run on what."""
    parts = [
        section("What was run", table(["", ""], [list(fact) for fact in facts.items()])),
        section("Frame by frame", _frames(story)),
    ]
    if story.comparisons:
        note = (
            "Right: the scores of the observation's own picture, as one who expects no change would have them. "
            f"The VAE alone, without any future, keeps the observation to an SSIM of {story.kept.ssim:.3f}."
        )
        parts.insert(1, section("How alike", table(HEADER, story.rows()), paragraph(note)))
    write_text(path, page(title, parts))


def _frames(story: Story) -> str:
    imagined, recorded = story.imagined, story.recorded
    actual = (recorded.composite, *recorded.after)
    rows: list[tuple[str, list[NDArray[np.uint8] | None]]] = [("expected", list(imagined.frames))]
    if story.comparisons:
        rows.append(("happened", list(actual)))
        rows.append(("difference", [_difference(a, b) for a, b in zip(imagined.frames, actual, strict=True)]))
    high, wide = imagined.frames.shape[1:3]
    size = (_COLUMN * len(actual), (_COLUMN * high / wide + 0.3) * len(rows))
    fig = Figure(figsize=size, layout="constrained")
    axes = fig.subplots(len(rows), len(actual), squeeze=False)
    for line, (name, pictures) in zip(axes, rows, strict=True):
        for axis, at, picture in zip(line, imagined.seconds, pictures, strict=True):
            axis.set_axis_off()
            axis.set_title(f"{name}, +{at:g} s" if at else f"{name}, now", fontsize=9)
            if picture is not None:
                axis.imshow(picture, interpolation="none")
    caption = "Left: the observation as the VAE keeps it. Differences are absolute, per colour."
    return figure(fig, caption, f"{len(actual)} pictures per row: {', '.join(name for name, _ in rows)}")


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    if other is None:
        return None
    return np.maximum(one, other) - np.minimum(one, other)
