"""How light, colour and focus of a picture differ from a reference, where both show the same thing.

The live picture is laid over the reference, both in blocks; blocks that look alike but for brightness are compared,
and their median counts, so that other things, another arm pose or a shadow change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge_calibration.light import CLIPPED, DARK

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

BLOCK: Final = 16
"""Edge of a block, px."""
_ALIKE: Final = 0.8
"""Correlation of a block's brightness with the reference's."""
_TEXTURE: Final = 4.0
"""DN; a flatter block correlates with everything."""
_FEWEST: Final = 8
"""Blocks."""
_WIDE: Final = 2.0
"""px; the blur that edges are compared with themselves after."""
_LEAST: Final = 0.5
"""DN; a channel with less in a block is taken for as much, since ratios are made of it."""


@dataclass(frozen=True)
class LightScore:
    """Differences to the reference; parts of it, 0.1 is 10 % more."""

    luminance: float
    red_to_green: float
    blue_to_green: float
    focus: float
    """Blur beyond the reference's, standard deviation, px of the picture."""
    blocks: int
    """That were compared."""


def clipped(image: NDArray[np.uint8]) -> tuple[float, float]:
    """Parts of an RGB picture that are too bright (a channel is full) and too dark (all are empty)."""
    brightest = _brightest(image)
    return float(np.mean(brightest >= CLIPPED)), float(np.mean(brightest <= DARK))


def light_score(
    reference: NDArray[np.uint8],
    live: NDArray[np.uint8],
    transform: NDArray[Any],
    region: tuple[int, int, int, int] | None = None,
) -> LightScore | None:
    """Compare two RGB pictures; None: too few blocks look alike.

    `transform`, shape (2, 3), takes px of the reference to px of `live`. `region` of the reference (left, top, right,
    bottom, px) alone is looked at.
    """
    height, width = reference.shape[:2]
    left, top, right, bottom = region or (0, 0, width, height)
    right, bottom = right - (right - left) % BLOCK, bottom - (bottom - top) % BLOCK
    shifted = np.asarray(transform, dtype=np.float64).copy()
    shifted[:, 2] += shifted[:, :2] @ (left, top)
    size = (right - left, bottom - top)

    def laid(image: NDArray[Any], border: float) -> Floats:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        there = cv2.warpAffine(
            image, shifted, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=(border,) * 4
        )
        return np.asarray(there, np.float32)

    before = reference[top:bottom, left:right].astype(np.float32)
    now = laid(live, 255.0)  # what is beyond the picture counts as clipped
    a, b = (cv2.transform(image, np.full((1, 3), 1 / 3)) for image in (before, now))
    mean_a, mean_b = _blocks(a), _blocks(b)
    std_a = np.sqrt(np.maximum(_blocks(a * a) - mean_a**2, 0))
    std_b = np.sqrt(np.maximum(_blocks(b * b) - mean_b**2, 0))
    alike = (_blocks(a * b) - mean_a * mean_b) > _ALIKE * std_a * std_b
    whole = (_blocks((np.maximum(_brightest(before), _brightest(now)) >= CLIPPED).astype(np.float32))) < 0.02
    good = alike & whole & (std_a > _TEXTURE) & (mean_a > 3 * DARK) & (mean_b > 1)
    if np.count_nonzero(good) < _FEWEST:
        return None
    red, green, blue = (
        np.maximum(_blocks(now[..., c])[good], _LEAST) / np.maximum(_blocks(before[..., c])[good], _LEAST)
        for c in range(3)
    )
    blur = [
        _edge_width(*(_blocks(energy)[good] for energy in pair))
        for pair in (
            tuple(energy[top:bottom, left:right] for energy in _energies(reference)),
            tuple(laid(energy, 0.0) for energy in _energies(live)),
        )
    ]
    return LightScore(
        float(np.median(mean_b[good] / mean_a[good])) - 1,
        float(np.median(red / green)) - 1,
        float(np.median(blue / green)) - 1,
        float(np.sqrt(max(blur[1] ** 2 - blur[0] ** 2, 0.0))),
        int(np.count_nonzero(good)),
    )


def _brightest(image: NDArray[Any]) -> NDArray[Any]:
    """The greatest of the three channels; numpy takes ten times as long along so short an axis."""
    red, green, blue = cv2.split(image)
    return np.asarray(cv2.max(cv2.max(red, green), blue))


def _blocks(image: NDArray[Any]) -> Array:
    """Means over the blocks, shape (rows, columns)."""
    height, width = image.shape
    size = (width // BLOCK, height // BLOCK)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float64)


def _energies(image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Squared slopes as the picture is, and after more blur; shape (height, width) each."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    first, second = (
        cv2.Sobel(level, cv2.CV_32F, 1, 0, scale=1 / 8) ** 2
        + cv2.Sobel(level, cv2.CV_32F, 0, 1, scale=1 / 8) ** 2
        for level in (grey, cv2.GaussianBlur(grey, (0, 0), _WIDE))
    )
    return np.asarray(first, np.float32), np.asarray(second, np.float32)


def _edge_width(sharp: Array, blurred: Array) -> float:
    """Standard deviation of the blur of step edges, px, of the slopes' energies before and after more blur.

    An edge of width s has an energy that goes with 1/s, and a width of sqrt(s^2 + wide^2) after the blur.
    """
    # The flattest blocks show the noise, which would pass for sharpness.
    noise = float(np.percentile(sharp, 5)), float(np.percentile(blurred, 5))
    strong = sharp >= np.median(sharp)
    ratio = max(float((sharp[strong] - noise[0]).sum()), 1e-6) / max(
        float((blurred[strong] - noise[1]).sum()), 1e-6
    )
    return float(_WIDE / np.sqrt(max(ratio**2 - 1, 1e-3)))
