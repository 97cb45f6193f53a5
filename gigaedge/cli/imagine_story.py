"""Expected frames beside what then happened: how alike they are, and the two side by side as a video."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.cli.imagine_input import Recorded
from gigaedge.files import atomic_file
from gigaedge.similarity import Similarity
from gigaedge.video_writer import VideoWriter
from gigaedge_runtime.imagine import Imagined

CAPTION: Final = 24
"""px; height of the line above the pictures."""
HEADER: Final = ["after", "expected: PSNR, dB", "SSIM", "if nothing changed: PSNR, dB", "SSIM"]


@dataclass(frozen=True)
class Comparison:
    """One expected frame and what was seen in its place."""

    seconds: float
    """After the observation."""
    expected: Similarity
    """Between what was expected and what was seen."""
    unchanged: Similarity
    """Between the observation's picture and what was seen: the score of expecting no change."""


@dataclass(frozen=True)
class Story:
    """What was expected, and what happened."""

    imagined: Imagined
    recorded: Recorded
    kept: Similarity
    """Between the observation's picture and what the VAE makes of it: no expected frame can be much better."""
    comparisons: tuple[Comparison, ...]
    """Of the frames for which there is a record."""

    @classmethod
    def of(cls, imagined: Imagined, recorded: Recorded) -> Story:
        """Compare what can be compared."""
        first, *future = imagined.frames
        rows = [
            Comparison(at, Similarity.of(frame, actual), Similarity.of(recorded.composite, actual))
            for at, frame, actual in zip(imagined.seconds[1:], future, recorded.after, strict=True)
            if actual is not None
        ]
        return cls(imagined, recorded, Similarity.of(first, recorded.composite), tuple(rows))

    def rows(self) -> list[list[str]]:
        """The comparisons as text, under HEADER."""
        return [
            [
                f"{row.seconds:g} s",
                *(text for found in (row.expected, row.unchanged) for text in _texts(found)),
            ]
            for row in self.comparisons
        ]


def _texts(found: Similarity) -> tuple[str, str]:
    return "equal" if found.psnr is None else f"{found.psnr:.1f}", f"{found.ssim:.3f}"


def write_mp4(path: Path, story: Story) -> None:
    """The expected frames and, to their right, the recorded ones, each shown until the next is due; H.264."""
    imagined, recorded = story.imagined, story.recorded
    judged = {row.seconds: row.expected for row in story.comparisons}
    pages = []
    for at, frame, actual in zip(
        imagined.seconds, imagined.frames, (recorded.composite, *recorded.after), strict=True
    ):
        panels = [_captioned(frame, f"expected, +{at:g} s" if at else "observed, as the VAE keeps it")]
        if judged:
            if actual is None:
                panels.append(_captioned(np.full_like(frame, 64), f"not recorded, +{at:g} s"))
            else:
                score = " dB, SSIM ".join(_texts(judged[at])) if at else ""
                panels.append(_captioned(actual, f"happened, +{at:g} s: {score}" if at else "observed"))
        pages.append(np.concatenate(panels, axis=1))
    _encode(path, pages, Fraction(1 / imagined.seconds[1]).limit_denominator(1000))


def _captioned(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    line = np.zeros((CAPTION, picture.shape[1], 3), np.uint8)
    cv2.putText(line, text, (4, CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate((line, picture))


def _encode(path: Path, pictures: list[NDArray[np.uint8]], fps: Fraction) -> None:
    """RGB pictures of one size, whole or not at all."""
    height, width, _ = pictures[0].shape
    more = ((0, height % 2), (0, width % 2), (0, 0))
    with atomic_file(path) as temporary:
        with VideoWriter(temporary, fps, width + width % 2, height + height % 2) as film:
            for picture in pictures:
                film.write(np.pad(picture, more, mode="edge"))
        temporary.chmod(0o644)
