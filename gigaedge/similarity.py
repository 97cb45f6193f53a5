"""How alike two pictures are: PSNR, and the structural similarity of Wang, Bovik, Sheikh and Simoncelli.

"Image quality assessment: from error visibility to structural similarity", IEEE Transactions on Image Processing 13(4),
2004, with the authors' constants: a circular Gaussian window of 11 x 11 px and 1.5 px, K1 0.01, K2 0.03, and only
windows that lie inside the picture. It is of the luma (ITU-R BT.601), at the size that the pictures have; the authors'
program also halves large ones first, which the paper leaves open. PSNR is over all values of R, G and B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

PEAK: Final = 255.0
"""The largest value of a u8 picture."""
LUMA: Final = np.array((0.299, 0.587, 0.114))
"""Weights of R, G and B."""
RADIUS: Final = 5
"""px; the window has this many on every side of its centre."""
SIGMA: Final = 1.5
"""px; standard deviation of the window."""
K1, K2 = 0.01, 0.03
"""Shares of PEAK that keep the quotients finite where there is no light or no contrast."""


@dataclass(frozen=True)
class Similarity:
    """Two pictures compared."""

    psnr: float | None
    """Peak signal-to-noise ratio, dB; None where no value differs."""
    ssim: float
    """Mean structural similarity; 1 for equal pictures, below 0 where one is like the other's negative."""

    @classmethod
    def of(cls, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Similarity:
        """Compare two RGB u8 pictures (height, width, 3) of one size, 11 x 11 px or more. Raises ValueError."""
        if one.shape != other.shape or one.ndim != 3 or one.shape[2] != 3 or min(one.shape[:2]) <= 2 * RADIUS:
            raise ValueError(
                f"expected two RGB pictures of one size, at least {2 * RADIUS + 1} px wide and high; "
                f"got {one.shape} and {other.shape}"
            )
        return cls(psnr(one, other), ssim(one @ LUMA, other @ LUMA))


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float | None:
    """Peak signal-to-noise ratio of two u8 arrays of one shape, dB; None where they are equal."""
    error = float(np.square(one.astype(np.float64) - other).mean())
    return 10 * float(np.log10(PEAK**2 / error)) if error else None


def ssim(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Mean structural similarity of two pictures (height, width)."""
    floor, contrast_floor = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    mean_a, mean_b = _blurred(one), _blurred(other)
    variance_a = _blurred(one * one) - mean_a**2
    variance_b = _blurred(other * other) - mean_b**2
    covariance = _blurred(one * other) - mean_a * mean_b
    light = (2 * mean_a * mean_b + floor) / (mean_a**2 + mean_b**2 + floor)
    structure = (2 * covariance + contrast_floor) / (variance_a + variance_b + contrast_floor)
    return float((light * structure).mean())


def _blurred(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian-weighted means of all windows inside a picture, (height - 10, width - 10)."""
    taps = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    taps /= taps.sum()
    # The window is the product of two rows of weights, so that rows and columns are weighted one after the other.
    for axis in (0, 1):
        length = picture.shape[axis] - 2 * RADIUS
        parts = (np.take(picture, range(i, i + length), axis) * tap for i, tap in enumerate(taps))
        picture = np.sum(list(parts), axis=0)
    return picture
