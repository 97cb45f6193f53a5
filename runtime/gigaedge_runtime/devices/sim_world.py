"""What a simulated camera sees of the synthetic cell: the scene through its true lens, then optics, light and noise.

A `Renderer` is pure: the same arguments give the same picture, to the bit. It only remembers what it drew, to be fast
where nothing moves.

Not simulated: shadows, reflections, depth of field, rolling shutter, motion blur, colour filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import ConfigError
from gigaedge.lens import Lens
from gigaedge.poses import apply, inverse
from gigaedge.robot import ROBOT_DIM, CameraRole
from gigaedge.simulation import SimulatedBoard, SimulatedCamera, World
from gigaedge_runtime.devices.sim_cast import Canvas, Panel, Rays, nearest_inverse_depth
from gigaedge_runtime.devices.sim_hand import hand_pose
from gigaedge_runtime.devices.sim_scene import BOARD, CELL, body_of, body_poses, build_faces
from gigaedge_runtime.devices.sim_texture import Image

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_STILL: Final = 1e-7
"""rad or m; a scene that moved less looks the same."""
_NOISE_ROOM: Final = 97
"""px; each picture takes its noise from another place of a larger field."""
_LIGHT: Final = np.array([-0.25, 0.15, 0.95])
"""Where the light comes from, in the cell."""
_RELIEF: Final = 0.35
"""How much darker a face that is turned away from the light is than one that is turned to it."""


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
        """Draws nothing yet.

        Args:
            world: the truth.
            role: whose view.
            width: of the stream, px.
            height: px.
            supersample: rays per pixel along each axis.
            sharpen: the same for a picture that is asked for again because nothing moved, if that is more.

        Raises ConfigError: a stream of another shape than the lens, a wrist without an arm, a board that cannot be.
        """
        self.world = world
        self.role = role
        self.camera = world.camera(role)
        self.lens = self.camera.lens.lens(width, height)
        self._mount = self.camera.mount.transform
        side = self.camera.side
        if side is not None and world.arm(side) is None:
            raise ConfigError(f"simulation: {role} has no {side} arm to be mounted on")
        self._faces = build_faces(world)
        self._bodies = np.array([face.body for face in self._faces])
        self._places = np.stack([face.place for face in self._faces])
        self._rays = Rays(self.lens, supersample)
        self._fine = self._rays if sharpen <= supersample else Rays(self.lens, sharpen)
        self._gain = self._gain_map()
        rng = np.random.default_rng([world.seed, 17, *role.encode()])
        shape = (height + _NOISE_ROOM, width + _NOISE_ROOM, 3)
        self._noise = rng.standard_normal(shape, np.float32) * np.float32(self.camera.noise)
        still = {CELL, BOARD} if world.board is not None and world.board.at == "cell" else {CELL}
        self._fixed = [i for i, face in enumerate(self._faces) if side is None and face.body in still]
        self._moving = sorted(set(range(len(self._faces))) - set(self._fixed))
        self._backdrops: dict[int, Canvas] = {}
        self._drawn: _Drawn | None = None

    @property
    def factory(self) -> Lens:
        """What the camera says of its lens itself."""
        if self.camera.factory is not None:
            return self.camera.factory.lens(self.lens.width, self.lens.height)
        return replace(self.lens, distortion=())

    def render(self, state: NDArray[Any], time: float = 0.0, number: int = 0) -> Image:
        """The picture, RGB, shape (height, width, 3), before any `flip`.

        Args:
            state: what the arms report, shape (14,) (gigaedge.robot); an arm that is not in the world is ignored.
            time: s; moves a board at hand.
            number: another number, other noise.
        """
        placed = self._place(state, time)
        still = self._drawn is not None and bool(np.abs(self._drawn.placed - placed).max() <= _STILL)
        rays = self._fine if still else self._rays
        if self._drawn is None or not still or self._drawn.supersample < rays.supersample:
            self._drawn = _Drawn(placed, rays.supersample, self._expose(self._draw(placed, rays), rays))
        clean = self._drawn.picture
        rng = np.random.default_rng([number, *self.role.encode()])
        row, column = (int(start) for start in rng.integers(0, _NOISE_ROOM, 2))
        noise = self._noise[row : row + self.lens.height, column : column + self.lens.width]
        return np.asarray(cv2.add(clean, noise, dtype=cv2.CV_8U), np.uint8)

    def camera_pose(self, state: NDArray[Any]) -> Array:
        """`T_cell_cam`, shape (4, 4), as it truly is."""
        return self._seen(state, 0.0)[1]

    def board_pose(self, state: NDArray[Any], time: float = 0.0) -> Array:
        """`T_cam_board`, shape (4, 4), as it truly is. Raises ConfigError: a world without a board."""
        _board(self.world)
        bodies, camera = self._seen(state, time)
        return np.asarray(inverse(camera) @ bodies[BOARD])

    def corners(self, state: NDArray[Any], time: float = 0.0) -> Corners:
        """Where the board's inner corners truly are. Raises ConfigError: a world without a board."""
        board = _board(self.world)
        columns, rows = np.meshgrid(np.arange(1, board.columns), np.arange(1, board.rows))
        points = np.stack([columns, rows, 0 * rows], axis=-1).reshape(-1, 3) * board.square
        seen = apply(self.board_pose(state, time), points)
        pixels = self.lens.project(seen)
        # Before the first comparison with NaN: a point behind the camera is nowhere.
        ahead = seen[:, 2] > 0
        inside = ahead & (np.nan_to_num(pixels, nan=-1.0) >= 0).all(axis=1)
        inside &= (np.nan_to_num(pixels) <= (self.lens.width - 1, self.lens.height - 1)).all(axis=1)
        depths = np.where(ahead, seen[:, 2], 1.0)
        placed = self._place(state, time)
        panels = self._panels(placed, range(len(placed)))
        nearest = nearest_inverse_depth(panels, seen[:, :2] / depths[:, np.newaxis])
        # The print itself is what is nearest, unless something is in front of it or one looks at its back.
        return Corners(pixels, inside & (np.abs(nearest * depths - 1) < 1e-6))

    def _seen(self, state: NDArray[Any], time: float) -> tuple[Array, Array]:
        """`T_cell_body` of every body, and `T_cell_cam`."""
        if state.shape != (ROBOT_DIM,):
            raise ValueError(f"state: expected shape ({ROBOT_DIM},), got {state.shape}")
        bodies = body_poses(self.world, np.asarray(state, dtype=np.float64))
        board = self.world.board
        if board is not None and board.shown_to is not None:
            shown = self.world.camera(board.shown_to)
            lens = shown.lens.lens(shown.lens.width, shown.lens.height)
            before = hand_pose(board, lens, self.world.seed, time)
            bodies[BOARD] = _holder(bodies, shown) @ shown.mount.transform @ before
        return bodies, np.asarray(_holder(bodies, self.camera) @ self._mount)

    def _place(self, state: NDArray[Any], time: float) -> Array:
        """`T_cam_face` of every face, shape (n, 4, 4)."""
        bodies, camera = self._seen(state, time)
        return np.asarray(inverse(camera) @ bodies[self._bodies] @ self._places)

    def _panels(self, placed: Array, which: Sequence[int]) -> list[Panel]:
        # The first face lies on the table and never moves: it says where the cell is.
        turn = placed[0][:3, :3] @ self._places[0][:3, :3].T
        light = turn @ (_LIGHT / np.linalg.norm(_LIGHT))
        brightness = -(placed[:, :3, 2] @ light)
        shades = 1 + _RELIEF * (brightness - brightness[0])
        return [Panel(placed[i], self._faces[i].texture, float(shades[i])) for i in which]

    def _draw(self, placed: Array, rays: Rays) -> Image:
        """What the rays meet, without optics."""
        canvas = self._backdrops.get(rays.supersample)
        if canvas is None:
            canvas = self._backdrops[rays.supersample] = Canvas(rays)
            canvas.cast(self._panels(placed, self._fixed))
        canvas = canvas.copy()
        canvas.cast(self._panels(placed, self._moving))
        return canvas.picture

    def _expose(self, drawn: Image, rays: Rays) -> Floats:
        """The picture without noise, 0 to 255 and beyond, shape (height, width, 3)."""
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


def _holder(bodies: Array, camera: SimulatedCamera) -> Array:
    """`T_cell_holder` of what a camera is mounted on."""
    return np.asarray(bodies[CELL if camera.side is None else body_of(camera.side, "link6")])


def _board(world: World) -> SimulatedBoard:
    if world.board is None:
        raise ConfigError("simulation: this world has no board")
    return world.board
