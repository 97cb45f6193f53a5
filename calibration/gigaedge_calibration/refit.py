"""A lens said with fewer coefficients: fitted to the same rays, and how far the pixels are apart then.

Leaving a coefficient out is not the same: with k3 dropped, the corners of a webcam's picture move by pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.lens import Lens

_GRID: Final = (33, 25)
_ROUNDS: Final = 10
_PARAMETERS: Final = 8
"""fx, fy, cx, cy, k1, k2, p1, p2."""


@dataclass(frozen=True)
class Refit:
    """A lens with k1 k2 p1 p2 alone."""

    lens: Lens
    worst: float
    """Greatest distance between the pixels of one ray in both, over the whole picture, px."""


def four_coefficients(lens: Lens) -> Refit:
    """The lens with four coefficients that is nearest to `lens` over its picture, by least squares of pixels."""
    u, v = np.meshgrid(np.linspace(0, lens.width - 1, _GRID[0]), np.linspace(0, lens.height - 1, _GRID[1]))
    pixels = np.stack([u.ravel(), v.ravel()], axis=-1)
    rays = lens.rays(pixels)
    terms = (*lens.distortion, 0.0, 0.0, 0.0, 0.0)[:4]
    values = np.array([lens.fx, lens.fy, lens.cx, lens.cy, *terms])
    for _ in range(_ROUNDS):
        error, slope = _error(values, lens, rays, pixels)
        # Columns scaled alike: the focal lengths are a thousand times what a coefficient is.
        scale = np.linalg.norm(slope, axis=0)
        change = np.linalg.lstsq(slope / scale, -error, rcond=None)[0] / scale
        values = values + change
    error, _ = _error(values, lens, rays, pixels)
    return Refit(_lens(values, lens), float(np.max(np.linalg.norm(error.reshape(-1, 2), axis=-1))))


def _lens(values: NDArray[np.float64], like: Lens) -> Lens:
    fx, fy, cx, cy, *terms = values.tolist()
    return Lens(like.width, like.height, fx, fy, cx, cy, tuple(terms))


def _error(
    values: NDArray[np.float64], like: Lens, rays: NDArray[np.float64], pixels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels reached minus pixels wanted, shape (2 n,), and their derivative by the parameters, (2 n, 8)."""
    error = (_lens(values, like).project(rays) - pixels).ravel()
    slope = np.empty((error.size, _PARAMETERS))
    for index in range(_PARAMETERS):
        step = np.zeros(_PARAMETERS)
        step[index] = 1e-6 * max(1.0, abs(values[index]))
        above, below = (_lens(values + sign * step, like).project(rays) for sign in (1, -1))
        slope[:, index] = (above - below).ravel() / (2 * step[index])
    return error, slope
