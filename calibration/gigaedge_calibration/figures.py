"""Figures of a lens calibration, for a page: where the board was seen, how it was tilted, how sure each pixel is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from gigaedge.calibration import IntrinsicsInfo
from gigaedge_calibration.coverage import CELLS, TILT_EDGES, coverage
from gigaedge_calibration.lens_uncertainty import Crop, grid, lens_of, projection_sigmas

_BLUE = "#3b82c4"
_ORANGE = "#d9822b"


def coverage_figure(
    corners: Sequence[NDArray[Any]], tilts: Sequence[float], size: tuple[int, int], crop: Crop | None = None
) -> Figure:
    """Corners of all views, px, (n, 2) each, over the picture of `size`, and the views' `tilts`, rad."""
    seen = coverage(corners, tilts, size)
    width, height = size
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    picture, bars = figure.subplots(1, 2, width_ratios=(2, 1))
    _frame(picture, size, crop)
    columns, rows = CELLS
    for row, column in zip(*np.nonzero(seen.cells == 0), strict=True):
        corner = (column * width / columns - 0.5, row * height / rows - 0.5)
        picture.add_patch(Rectangle(corner, width / columns, height / rows, color=_ORANGE, alpha=0.35, lw=0))
    for view in corners:
        picture.plot(view[:, 0], view[:, 1], ".", color=_BLUE, markersize=2)
    picture.set_title(f"corners of {len(corners)} views; {100 * seen.part:.0f} % of the cells")
    names = [f"{low:.0f}-{high:.0f}" for low, high in pairwise(TILT_EDGES)]
    bars.bar(names, seen.histogram, color=_BLUE)
    bars.set_xlabel("tilt, degrees")
    bars.set_ylabel("views")
    bars.yaxis.get_major_locator().set_params(integer=True)
    return figure


def sigma_figure(info: IntrinsicsInfo, crop: Crop | None = None) -> Figure | None:
    """Standard deviation of a projected point, px, over the picture; None: the lens has no covariance.

    `crop`, what the policy sees, is framed.
    """
    if info.covariance is None:
        return None
    size = (info.width, info.height)
    across, down = 64, 48
    points = grid((0.0, 0.0, info.width - 1.0, info.height - 1.0), across, down)
    sigmas = projection_sigmas(lens_of(info), np.array(info.covariance), points).reshape(down, across)
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    picture = figure.subplots()
    _frame(picture, size, crop)
    extent = (-0.5, info.width - 0.5, info.height - 0.5, -0.5)
    drawn = picture.imshow(sigmas, extent=extent, cmap="viridis", vmin=0.0, interpolation="bilinear")
    lines = picture.contour(sigmas, extent=extent, origin="upper", colors="white", linewidths=0.7)
    picture.clabel(lines, fmt="%.2g", fontsize=7)
    figure.colorbar(drawn, label="sigma, px")
    picture.set_title("how far a pixel may be off")
    return figure


def _frame(picture: Axes, size: tuple[int, int], crop: Crop | None) -> None:
    picture.set_xlim(-0.5, size[0] - 0.5)
    picture.set_ylim(size[1] - 0.5, -0.5)
    picture.set_aspect("equal")
    if crop is not None:
        left, top, right, bottom = crop
        picture.add_patch(
            Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=_ORANGE, lw=1.5)
        )
