"""Ray casting of textured rectangles through a lens: what is nearest to each ray, and its colour.

Rays go through the centres of `supersample` x `supersample` parts of every pixel: 1 is fast, 3 puts edges where they
are to a few thousandths of a pixel on average.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.lens import Lens
from gigaedge.poses import apply
from gigaedge_runtime.devices.sim_texture import Image, Texture

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Region = tuple[slice, slice]

NEAR: Final = 0.02
"""m; nothing nearer to a camera is seen."""

_BACKGROUND: Final = 60
_EDGE_POINTS: Final = 5
"""Points of each edge of a rectangle that say where it can be in a distorted picture."""


@dataclass(frozen=True)
class Panel:
    """A textured rectangle before a camera."""

    place: Array
    """`T_cam_panel`, shape (4, 4): x right, y down from its top left corner, z away from who looks at its face."""
    texture: Texture
    shade: float = 1.0
    """Factor on its brightness."""

    @property
    def faces_camera(self) -> bool:
        """Its back is never seen."""
        return float(self.place[:3, 2] @ self.place[:3, 3]) > 0

    @property
    def outline(self) -> Array:
        """Points along its edges in camera coordinates, m, shape (n, 3)."""
        return apply(self.place, _UNIT_OUTLINE * (self.texture.width, self.texture.height, 0.0))

    @property
    def from_directions(self) -> Array:
        """Takes (x/z, y/z, 1) of a ray to (x, y, 1) / depth of the point of the plane that it meets, shape (3, 3)."""
        axes = (self.place[:3, 0], self.place[:3, 1], self.place[:3, 3])
        return np.asarray(np.linalg.inv(np.stack(axes, axis=1)))


class Rays:
    """The rays of a picture, computed once for a lens."""

    def __init__(self, lens: Lens, supersample: int) -> None:
        """`supersample`: rays per pixel along each axis."""
        self.lens = lens
        self.supersample = supersample
        self.directions = _directions(lens, supersample)
        """x/z and y/z, shape (rows, columns, 2)."""
        self.shape = self.directions.shape[:2]
        self.focal = math.sqrt(lens.fx * lens.fy) * supersample
        """Rays per unit of x/z."""
        flat = self.directions.reshape(-1, 2)
        self._low, self._high = flat.min(axis=0).astype(float), flat.max(axis=0).astype(float)
        self._reach = 1.3 * float(np.abs(flat).max()) * math.sqrt(2)

    def region(self, outline: Array) -> Region | None:
        """Rows and columns where a rectangle with this outline, m, shape (n, 3), may be; None: it is not seen."""
        x, y, z = outline.T
        beside = (
            (x < self._low[0] * z).all() or (x > self._high[0] * z).all()
            or (y < self._low[1] * z).all() or (y > self._high[1] * z).all()
        )  # fmt: skip
        if beside or z.max() < NEAR:
            return None
        if z.min() < NEAR or np.hypot(x / z, y / z).max() > self._reach:
            # Too far out for the lens model, or reaching beside the camera: anywhere.
            return slice(0, self.shape[0]), slice(0, self.shape[1])
        pixels = (self.lens.project(outline) + 0.5) * self.supersample
        margin = 2 + 3 * self.supersample
        left, top = (max(0, int(value)) for value in pixels.min(axis=0) - margin)
        right, bottom = (max(0, int(value)) for value in pixels.max(axis=0) + margin)
        right, bottom = min(right, self.shape[1]), min(bottom, self.shape[0])
        return None if left >= right or top >= bottom else (slice(top, bottom), slice(left, right))


class Canvas:
    """A picture on which panels are cast in any order; the nearest one is seen."""

    def __init__(self, rays: Rays) -> None:
        """An empty room."""
        self._rays = rays
        self.picture: Image = np.full((*rays.shape, 3), _BACKGROUND, np.uint8)
        """RGB, as many rows and columns as there are rays."""
        self._nearest: Floats = np.zeros(rays.shape, np.float32)
        """Inverse depth of what is seen, per m."""

    def copy(self) -> Canvas:
        """The same picture, to go on with."""
        copied = Canvas.__new__(Canvas)
        copied._rays, copied.picture, copied._nearest = self._rays, self.picture.copy(), self._nearest.copy()
        return copied

    def cast(self, panels: Iterable[Panel]) -> None:
        """Draw panels over what is there."""
        outlined = [(panel, panel.outline) for panel in panels if panel.faces_camera]
        # The nearest first: what is behind it need not be looked up.
        for panel, outline in sorted(outlined, key=lambda pair: float(pair[1][:, 2].mean())):
            region = self._rays.region(outline)
            if region is None:
                continue
            if self._nearest[region].min() <= 1 / max(NEAR, float(outline[:, 2].min())):
                self._cast(panel, region)

    def _cast(self, panel: Panel, region: Region) -> None:
        plane, texture = panel.from_directions, panel.texture
        met = cv2.transform(self._rays.directions[region], plane.astype(np.float32))
        inverse_depth = np.ascontiguousarray(met[..., 2])
        nearest = self._nearest[region]
        ahead = (inverse_depth > nearest) & (inverse_depth < 1 / NEAR)
        if not ahead.any():
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            x = met[..., 0] / inverse_depth
            y = met[..., 1] / inverse_depth
        hit = ahead & (x >= 0) & (x < texture.width) & (y >= 0) & (y < texture.height)
        part = _bounds(hit)
        if part is None:
            return
        hit, inverse_depth = hit[part], inverse_depth[part]
        # How many texels of the first level a ray stands for, along an edge: the area of its foot on the plane goes
        # with the cube of the depth.
        density = math.sqrt(abs(float(np.linalg.det(plane)))) / (self._rays.focal * texture.texel)
        colours = _sample(texture, x[part], y[part], inverse_depth, hit, density)
        if abs(panel.shade - 1) > 1e-3:
            colours = cv2.convertScaleAbs(colours, alpha=panel.shade)
        cv2.copyTo(colours, hit.view(np.uint8), self.picture[region][part])
        np.copyto(nearest[part], inverse_depth, where=hit)


def nearest_inverse_depth(panels: Iterable[Panel], directions: Array) -> Array:
    """Inverse depth, per m, of the first panel on each ray, shape (n,), of directions (x/z, y/z), shape (n, 2)."""
    rays = np.concatenate([directions, np.ones((len(directions), 1))], axis=1)
    best = np.zeros(len(rays))
    for panel in panels:
        if not panel.faces_camera:
            continue
        x, y, inverse_depth = panel.from_directions @ rays.T
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = x / inverse_depth, y / inverse_depth
        hit = (inverse_depth > 0) & (inverse_depth < 1 / NEAR)
        hit &= (x >= 0) & (x < panel.texture.width) & (y >= 0) & (y < panel.texture.height)
        best = np.where(hit, np.maximum(best, inverse_depth), best)
    return best


@lru_cache(maxsize=8)
def _directions(lens: Lens, supersample: int) -> Floats:
    """x/z and y/z of every ray, shape (rows, columns, 2)."""
    # Between the centres of neighbouring pixels the bend of a lens is straight to about 1e-4 px.
    columns = np.arange(-1, lens.width + 1, dtype=np.float64)
    rows = np.arange(-1, lens.height + 1, dtype=np.float64)
    grid = lens.rays(np.stack(np.meshgrid(columns, rows), axis=-1))[..., :2]
    for axis, size in ((0, lens.height), (1, lens.width)):
        at = (np.arange(size * supersample) + 0.5) / supersample - 0.5 + 1
        left = np.floor(at).astype(int)
        weight = (at - left).reshape(-1, *(1,) * (2 - axis))
        grid = np.take(grid, left, axis) * (1 - weight) + np.take(grid, left + 1, axis) * weight
    return np.ascontiguousarray(grid, dtype=np.float32)


def _sample(
    texture: Texture, x: Floats, y: Floats, inverse_depth: Floats, hit: NDArray[np.bool_], density: float
) -> Image:
    """Colours at plane coordinates, each from the level whose texels are about as large as what its ray stands for."""
    depths = inverse_depth[hit]
    texels = density / np.array([depths.max(), depths.min()]) ** 1.5
    top = len(texture.levels) - 1
    first, last = (min(top, max(0, math.floor(math.log2(max(1.0, float(value)))))) for value in texels)
    colours: Any = None
    for level in range(first, last + 1):
        source = texture.levels[level]
        columns = x * (source.shape[1] / texture.width) - 0.5
        rows = y * (source.shape[0] / texture.height) - 0.5
        drawn = cv2.remap(
            source,
            columns.astype(np.float32, copy=False),
            rows.astype(np.float32, copy=False),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if colours is None:
            colours = drawn
        else:
            farther = inverse_depth <= (density / 2**level) ** (2 / 3)
            cv2.copyTo(drawn, farther.view(np.uint8), colours)
    return np.asarray(colours, np.uint8)


def _bounds(hit: NDArray[np.bool_]) -> Region | None:
    """The smallest rows and columns with everything that is hit; None: nothing is."""
    rows = np.flatnonzero(hit.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(hit[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _unit_outline() -> Array:
    steps = np.arange(_EDGE_POINTS) / _EDGE_POINTS
    ends = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=np.float64)
    ways = np.roll(ends, -1, axis=0) - ends
    return np.asarray((ends[:, np.newaxis] + steps[:, np.newaxis] * ways[:, np.newaxis]).reshape(-1, 3))


_UNIT_OUTLINE: Final = _unit_outline()
