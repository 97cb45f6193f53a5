"""What a simulated camera sees: textured rectangles cast through its true lens, then optics, exposure and noise.

A `Renderer` holds what does not move and what was drawn last; the same arguments give the same picture. Rays go
through the centres of `supersample` x `supersample` parts of every pixel: 1 is fast, 3 puts edges where they are to a
hundredth of a pixel.

Not simulated: shadows, reflections, depth of field, rolling shutter, motion blur, colour filters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import ConfigError
from gigaedge.lens import Lens
from gigaedge.poses import apply, inverse
from gigaedge.robot import ROBOT_DIM, SIDES, CameraRole, Side
from gigaedge.simulation import SimulatedBoard, World
from gigaedge_runtime.devices.sim_hand import hand_pose
from gigaedge_runtime.devices.sim_scene import BOARD, CELL, Face, body_of, body_poses, build_faces
from gigaedge_runtime.devices.sim_texture import Texture

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Image = NDArray[np.uint8]

NEAR: Final = 0.02
"""m; nothing nearer to a camera is seen."""

_BACKGROUND: Final = 60
_EDGE_POINTS: Final = 5
"""Points of each edge of a rectangle that say where it can be in a distorted picture."""
_STILL: Final = 1e-7
"""rad or m; a robot that moved less looks the same."""
_NOISE_ROOM: Final = 97
"""px; each picture takes its noise from another place of a larger field."""
_LIGHT: Final = (-0.25, 0.15, 0.95)
"""Where the light comes from, in the cell."""


@dataclass(frozen=True)
class Corners:
    """The inner corners of the board in a picture, as OpenCV numbers them."""

    pixels: Array
    """Shape (n, 2), px, before any `flip`; NaN behind the camera."""
    visible: NDArray[np.bool_]
    """Shape (n,): within the picture, the print towards the camera, nothing in front."""


@dataclass(frozen=True)
class _Drawn:
    """A picture without noise, and what it was drawn from."""

    placed: Array
    supersample: int
    picture: Floats


class Renderer:
    """The cell as one camera sees it. One thread calls it."""

    def __init__(
        self,
        world: World,
        role: CameraRole,
        width: int = 640,
        height: int = 480,
        *,
        supersample: int = 1,
        sharpen: int = 1,
    ) -> None:
        """Draws nothing yet. `sharpen`: rays per pixel and axis when the same is asked for again, if that is more.

        Raises ConfigError: a stream of another shape than the lens, a board that cannot be."""
        self.world = world
        self.role = role
        self.camera = world.camera(role)
        self.lens = self.camera.lens.lens(width, height)
        self._mount = self.camera.mount.transform
        self._side = wrist_side(role)
        if self._side is not None and world.arm(self._side) is None:
            raise ConfigError(f"simulation: {role} has no {self._side} arm to be mounted on")
        self._faces = _faces(
            world.model_dump_json(include={"seed", "objects", "object_count", "arms", "board"})
        )
        self._bodies = np.array([face.body for face in self._faces])
        self._places = np.stack([face.place for face in self._faces])
        self._edges = np.stack([_outline(face) for face in self._faces])
        self._rays = _Rays(self.lens, supersample)
        self._fine = self._rays if sharpen <= supersample else _Rays(self.lens, sharpen)
        self._gain = self._gain_map()
        rng = np.random.default_rng([world.seed, 17, _number(role)])
        shape = (height + _NOISE_ROOM, width + _NOISE_ROOM, 3)
        self._noise = rng.standard_normal(shape, np.float32) * np.float32(self.camera.noise)
        self._drawn: _Drawn | None = None

    def render(self, state: NDArray[Any], time: float = 0.0, number: int = 0) -> Image:
        """The picture, RGB, shape (height, width, 3), before any `flip`.

        Args:
            state: what the arms report, shape (14,) (gigaedge.robot); an arm that is not in the world is ignored.
            time: s; moves a board at hand.
            number: another number, other noise.
        """
        placed = self._place(state, time)
        still = self._drawn is not None and np.abs(self._drawn.placed - placed).max() <= _STILL
        if self._drawn is None or not still or self._drawn.supersample < self._fine.supersample:
            rays = self._fine if still else self._rays
            self._drawn = _Drawn(placed, rays.supersample, self._expose(self._draw(placed, rays), rays))
        clean = self._drawn.picture
        if not self.camera.noise:
            return np.asarray(cv2.add(clean, 0.0, dtype=cv2.CV_8U), np.uint8)
        rng = np.random.default_rng([number, _number(self.role)])
        row, column = (int(start) for start in rng.integers(0, _NOISE_ROOM, 2))
        rows, columns = clean.shape[:2]
        noise = self._noise[row : row + rows, column : column + columns]
        return np.asarray(cv2.add(clean, noise, dtype=cv2.CV_8U), np.uint8)

    @property
    def factory(self) -> Lens:
        """What the camera says of its lens itself."""
        if self.camera.factory is not None:
            return self.camera.factory.lens(self.lens.width, self.lens.height)
        return replace(self.lens, distortion=())

    def camera_pose(self, state: NDArray[Any]) -> Array:
        """`T_cell_cam`, shape (4, 4), as it truly is."""
        bodies = body_poses(self.world, _checked(state))
        return self._holder(bodies) @ self._mount

    def board_pose(self, state: NDArray[Any], time: float = 0.0) -> Array:
        """`T_cam_board`, shape (4, 4), as it truly is. Raises ConfigError: a world without a board."""
        _board(self.world)
        bodies, camera = self._bodies_and_camera(_checked(state), time)
        return np.asarray(inverse(camera) @ bodies[BOARD])

    def corners(self, state: NDArray[Any], time: float = 0.0) -> Corners:
        """Where the board's inner corners truly are. Raises ConfigError: a world without a board."""
        board = _board(self.world)
        columns, rows = np.meshgrid(np.arange(1, board.columns), np.arange(1, board.rows))
        points = np.stack([columns, rows, 0 * rows], axis=-1).reshape(-1, 3) * board.square
        t_cam_board = self.board_pose(state, time)
        seen = apply(t_cam_board, points)
        pixels = self.lens.project(seen)
        inside = (
            np.abs(pixels - (self.lens.width / 2 - 0.5, self.lens.height / 2 - 0.5))
            <= (self.lens.width / 2 - 0.5, self.lens.height / 2 - 0.5)
        ).all(axis=1)
        depths = np.where(seen[:, 2] > 0, seen[:, 2], 1.0)
        nearest = self._nearest(seen[:, :2] / depths[:, np.newaxis], self._place(state, time))
        front = float(t_cam_board[:3, 2] @ t_cam_board[:3, 3]) > 0
        return Corners(pixels, inside & front & (nearest * depths < 1 + 1e-6))

    def _holder(self, bodies: Array) -> Array:
        return np.asarray(bodies[CELL if self._side is None else body_of(self._side, "link6")])

    def _bodies_and_camera(self, state: Array, time: float) -> tuple[Array, Array]:
        """`T_cell_body` of every body and `T_cell_cam`."""
        bodies = body_poses(self.world, state)
        camera = self._holder(bodies) @ self._mount
        board = self.world.board
        if board is not None and board.shown_to is not None:
            shown = self.world.camera(board.shown_to)
            side = wrist_side(board.shown_to)
            holder = bodies[CELL if side is None else body_of(side, "link6")]
            lens = shown.lens.lens(shown.lens.width, shown.lens.height)
            bodies[BOARD] = holder @ shown.mount.transform @ hand_pose(board, lens, self.world.seed, time)
        return bodies, camera

    def _place(self, state: NDArray[Any], time: float) -> Array:
        """`T_cam_face` of every face, shape (n, 4, 4)."""
        bodies, camera = self._bodies_and_camera(_checked(state), time)
        return np.asarray(inverse(camera) @ bodies[self._bodies] @ self._places)

    def _draw(self, placed: Array, rays: _Rays) -> Image:
        """What the rays meet, without optics: RGB, as many rows and columns as there are rays."""
        nearest = np.zeros(rays.shape, np.float32)
        picture = np.full((*rays.shape, 3), _BACKGROUND, np.uint8)
        light = self._light(placed)
        outlines = [apply(place, edges) for place, edges in zip(placed, self._edges, strict=True)]
        # The nearest first: what is behind it need not be looked up.
        for index in sorted(range(len(placed)), key=lambda face: float(outlines[face][:, 2].mean())):
            place, outline = placed[index], outlines[index]
            towards = float(place[:3, 2] @ place[:3, 3]) > 0
            region = rays.region(outline) if towards else None
            if region is None or nearest[region].min() > 1 / max(NEAR, float(outline[:, 2].min())):
                continue
            _draw_face(rays, picture, nearest, region, place, self._faces[index].texture, light[index])
        return picture

    def _nearest(self, directions: Array, placed: Array) -> Array:
        """Inverse depth of the first face on each ray, shape (n,), of directions (x/z, y/z) of shape (n, 2)."""
        rays = np.concatenate([directions, np.ones((len(directions), 1))], axis=1)
        best = np.zeros(len(rays))
        for face, place in zip(self._faces, placed, strict=True):
            if float(place[:3, 2] @ place[:3, 3]) <= 0:
                continue
            plane = np.linalg.inv(np.stack([place[:3, 0], place[:3, 1], place[:3, 3]], axis=1))
            x, y, depth = plane @ rays.T
            with np.errstate(divide="ignore", invalid="ignore"):
                x, y = x / depth, y / depth
            hit = (depth > 0) & (depth < 1 / NEAR) & (x >= 0) & (x < face.texture.width)
            hit &= (y >= 0) & (y < face.texture.height)
            best = np.where(hit, np.maximum(best, depth), best)
        return best

    def _expose(self, drawn: Image, rays: _Rays) -> Floats:
        """The picture without noise, 0 to 255 and beyond, float32 (height, width, 3)."""
        picture = drawn.astype(np.float32)
        if rays.supersample > 1:
            picture = cv2.resize(picture, (self.lens.width, self.lens.height), interpolation=cv2.INTER_AREA)
        if self.camera.blur:
            picture = cv2.GaussianBlur(picture, (0, 0), self.camera.blur)
        return np.asarray(picture * self._gain)

    def _gain_map(self) -> Floats:
        """What exposure, light and lens do to each pixel, shape (height, width, 3)."""
        light, camera, lens = self.world.light, self.camera, self.lens
        across = (np.arange(lens.width) - (lens.width - 1) / 2) / lens.width
        down = (np.arange(lens.height)[:, np.newaxis] - (lens.height - 1) / 2) / lens.height
        slope = 1 + light.gradient[0] * across + light.gradient[1] * down
        shading = 1 - camera.vignette * 2 * (across**2 + down**2)
        colours = np.array([light.red * camera.red, 1.0, light.blue * camera.blue])
        gain = light.level * camera.exposure * (slope * shading)[..., np.newaxis] * colours
        return np.asarray(gain, np.float32)

    def _light(self, placed: Array) -> list[float]:
        """How bright each face is, by its direction to the light; 1 for one that lies on the table."""
        camera = placed[0][:3, :3] @ self._places[0][:3, :3].T  # R_cam_cell: the first face is the table
        light = camera @ (np.array(_LIGHT) / np.linalg.norm(_LIGHT))
        flat = -float(light @ placed[0][:3, 2])
        return [1 + 0.35 * (-float(light @ place[:3, 2]) - flat) for place in placed]


_Region = tuple[slice, slice]


class _Rays:
    """The rays of a picture, computed once for a lens."""

    def __init__(self, lens: Lens, supersample: int) -> None:
        self.lens = lens
        self.supersample = supersample
        self.directions = _directions(lens, supersample)
        self.shape = self.directions.shape[:2]
        self.focal = math.sqrt(lens.fx * lens.fy) * supersample
        """Rays per unit of x/z."""
        flat = self.directions.reshape(-1, 2)
        self._low, self._high = flat.min(axis=0).astype(float), flat.max(axis=0).astype(float)
        self._reach = 1.3 * float(np.abs(flat).max()) * math.sqrt(2)

    def region(self, outline: Array) -> _Region | None:
        """Rows and columns where a rectangle with this outline, m, shape (n, 3), may be; None: it is not seen."""
        x, y, z = outline.T
        beside = (
            (x < self._low[0] * z).all() or (x > self._high[0] * z).all()
            or (y < self._low[1] * z).all() or (y > self._high[1] * z).all()
        )  # fmt: skip
        if beside or z.max() < NEAR:
            return None
        if z.min() < NEAR or np.hypot(x / z, y / z).max() > self._reach:
            # Too far out for the lens model, or beside the camera: anywhere.
            return slice(0, self.shape[0]), slice(0, self.shape[1])
        pixels = (self.lens.project(outline) + 0.5) * self.supersample
        margin = 2 + 3 * self.supersample
        left, top = (max(0, int(value)) for value in pixels.min(axis=0) - margin)
        right, bottom = (max(0, int(value)) for value in pixels.max(axis=0) + margin)
        right, bottom = min(right, self.shape[1]), min(bottom, self.shape[0])
        if left >= right or top >= bottom:
            return None
        return slice(top, bottom), slice(left, right)


def wrist_side(role: CameraRole) -> Side | None:
    """Whose wrist a camera is on; None: it is fixed in the cell."""
    return next((side for side in SIDES if role == f"cam_{side}_wrist"), None)


@lru_cache(maxsize=4)
def _faces(world: str) -> tuple[Face, ...]:
    """Drawn once for all cameras of a world; `world` as JSON, without what belongs to cameras and light."""
    return tuple(build_faces(World.model_validate_json(world)))


@lru_cache(maxsize=8)
def _directions(lens: Lens, supersample: int) -> Floats:
    """x/z and y/z of every ray, float32 (rows, columns, 2)."""
    # The bend of a lens changes by less than 1e-3 px over two pixels' square: in between, straight lines do.
    columns = np.arange(-1, lens.width + 1, dtype=np.float64)
    rows = np.arange(-1, lens.height + 1, dtype=np.float64)
    grid = lens.rays(np.stack(np.meshgrid(columns, rows), axis=-1))[..., :2]
    for axis, size in ((0, lens.height), (1, lens.width)):
        at = (np.arange(size * supersample) + 0.5) / supersample - 0.5 + 1
        left = np.floor(at).astype(int)
        weight = (at - left).reshape(-1, *(1,) * (2 - axis))
        grid = np.take(grid, left, axis) * (1 - weight) + np.take(grid, left + 1, axis) * weight
    return np.ascontiguousarray(grid, dtype=np.float32)


def _draw_face(
    rays: _Rays,
    picture: Image,
    nearest: Floats,
    region: _Region,
    place: Array,
    texture: Texture,
    shade: float,
) -> None:
    """Cast the rays of a region at one face; what is nearer than all before is drawn."""
    # A ray d meets the plane at (x, y) where d ~ P (x, y, 1), at the inverse depth of the third coordinate.
    plane = np.linalg.inv(np.stack([place[:3, 0], place[:3, 1], place[:3, 3]], axis=1))
    determinant = abs(float(np.linalg.det(plane)))
    met = cv2.transform(rays.directions[region], plane.astype(np.float32))
    inverse_depth = np.ascontiguousarray(met[..., 2])
    before = nearest[region]
    ahead = (inverse_depth > before) & (inverse_depth < 1 / NEAR)
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
    # How many texels of the first level a ray stands for, along an edge: its area on the plane goes with the
    # cube of the depth.
    density = math.sqrt(determinant) / (rays.focal * texture.texel)
    colours = _sample(texture, x[part], y[part], inverse_depth, hit, density)
    if abs(shade - 1) > 1e-3:
        colours = cv2.convertScaleAbs(colours, alpha=shade)
    cv2.copyTo(colours, hit.view(np.uint8), picture[region][part])
    np.copyto(before[part], inverse_depth, where=hit)


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
        columns, rows = (
            x * (source.shape[1] / texture.width) - 0.5,
            y * (source.shape[0] / texture.height) - 0.5,
        )
        drawn = cv2.remap(
            source, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        if colours is None:
            colours = drawn
        else:
            farther = inverse_depth <= (density / 2**level) ** (2 / 3)
            cv2.copyTo(drawn, farther.view(np.uint8), colours)
    return np.asarray(colours, np.uint8)


def _bounds(hit: NDArray[np.bool_]) -> _Region | None:
    """The smallest rows and columns with everything that is hit; None: nothing is."""
    rows = np.flatnonzero(hit.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(hit[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _outline(face: Face) -> Array:
    """Points along the edges of a face, in its coordinates, shape (n, 3)."""
    steps = np.arange(_EDGE_POINTS) / _EDGE_POINTS
    ends = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
    ways = np.roll(ends, -1, axis=0) - ends
    points = (ends[:, np.newaxis] + steps[:, np.newaxis] * ways[:, np.newaxis]).reshape(-1, 2)
    size = (face.texture.width, face.texture.height)
    return np.concatenate([points * size, np.zeros((len(points), 1))], axis=1)


def _board(world: World) -> SimulatedBoard:
    if world.board is None:
        raise ConfigError("simulation: this world has no board")
    return world.board


def _checked(state: NDArray[Any]) -> Array:
    if state.shape != (ROBOT_DIM,):
        raise ValueError(f"state: expected shape ({ROBOT_DIM},), got {state.shape}")
    return np.asarray(state, dtype=np.float64)


def _number(role: CameraRole) -> int:
    return sum(map(ord, role))
