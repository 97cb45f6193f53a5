"""A robot cell of textured planes for the tests of views: a table, a wall, things on the table, an arm, a gripper.

Every plane is drawn through its homography, far ones first, so what a camera's move does to the picture is exact:
near things shift more than far ones. World: x right, y away from the high camera, z up, m, origin on the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from gigaedge.lens import Lens
from gigaedge.poses import apply, inverse, moved, pose

HIGH = Lens(640, 480, 612.0, 612.0, 322.0, 241.0)
WRIST = Lens(640, 480, 435.0, 435.0, 318.0, 239.0)
GRIPPER = (220, 300, 420, 480)
"""Where a wrist picture shows its own gripper: left, top, right, bottom, px."""
GRIPPER_PARTS = (((-90, 40, 180, 60), 5000), ((-85, -75, 50, 120), 5001), ((35, -75, 50, 120), 5002))
"""Palm and two fingers: left, top, width, height, px from the region's middle, and the seed of the texture."""
SUPERSAMPLE = 2


def look_at(eye, target, up=(0.0, 1.0, 0.0)):
    """T_world_cam of a camera at `eye` that looks at `target`; `up` is up in its picture."""
    forward = np.subtract(target, eye) / np.linalg.norm(np.subtract(target, eye))
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return pose(np.stack([right, np.cross(forward, right), forward], axis=1), np.array(eye, float))


POSES = {
    "cam_high": look_at((0.0, -0.55, 0.95), (0.0, 0.05, 0.0)),
    "cam_left_wrist": look_at((-0.25, -0.05, 0.32), (-0.2, 0.1, 0.0)),
    "cam_right_wrist": look_at((0.25, 0.0, 0.30), (0.22, 0.12, 0.0)),
}
LENSES = {"cam_high": HIGH, "cam_left_wrist": WRIST, "cam_right_wrist": WRIST}


@dataclass(frozen=True)
class Scene:
    """What changes between two pictures of a cell; the defaults are the day of the reference."""

    role: str = "cam_high"
    move: tuple[float, ...] = (0.0,) * 6
    """Of the camera in its own axes: rotation vector, degrees (x: down, y: right, z: clockwise); shift, m."""
    objects: int = 0
    """Seed of the things that lie about."""
    things: int = 5
    arm: float = 0.0
    """Where the arm is, m to the right."""
    gripper: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the gripper in the picture beyond `move`: right, down, px; clockwise, degrees."""
    background: int | None = None
    """Of another table and wall altogether."""
    light: float = 1.0
    white_balance: tuple[float, float] = (1.0, 1.0)
    """Of red and blue."""
    gradient: float = 0.0
    """Light from one side: brightness changes by this part from left to right."""
    noise: float = 2.0
    """DN."""
    blur: float = 0.6
    """px."""
    seed: int = 0
    """Of the noise."""


def render(scene: Scene):
    """RGB uint8, (480, 640, 3)."""
    lens, home = LENSES[scene.role], POSES[scene.role]
    local = np.array([*np.radians(scene.move[:3]), *scene.move[3:]])
    t_world_cam = home @ moved(np.eye(4), local)
    matrix = np.diag([SUPERSAMPLE, SUPERSAMPLE, 1.0]) @ lens.matrix
    matrix[:2, 2] += (SUPERSAMPLE - 1) / 2
    size = (lens.width * SUPERSAMPLE, lens.height * SUPERSAMPLE)
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    for texture, corners in planes(scene):
        draw(picture, texture, apply(inverse(t_world_cam), corners), matrix)
    if scene.role != "cam_high":
        fingers(picture, scene, matrix)
    small = cv2.resize(picture, (lens.width, lens.height), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), scene.blur)
    small *= scene.light * np.linspace(1 - scene.gradient / 2, 1 + scene.gradient / 2, lens.width)[:, None]
    small *= np.array([scene.white_balance[0], 1.0, scene.white_balance[1]], np.float32)
    small += np.random.default_rng(scene.seed).normal(0, scene.noise, small.shape)
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def planes(scene: Scene):
    """Textures and their four corners in the world, (4, 3), m, in the order in which they are drawn."""
    room = 1000 if scene.background is None else 2000 + 10 * scene.background
    yield texture(room, 1400, 1000), quad((-1.0, -0.4, 0.0), (2.0, 0, 0), (0, 1.4, 0))
    yield texture(room + 1, 1400, 500), quad((-1.0, 1.0, 0.0), (2.0, 0, 0), (0, 0, 0.8))
    # Shelves of the cell itself stand out from table and wall.
    for index, (x, y) in enumerate(((-0.45, 0.55), (0.1, 0.62), (0.4, 0.5))):
        yield texture(room + 2 + index, 160, 240), quad((x, y, 0.0), (0.16, 0.02, 0), (0, 0, 0.25))
    rng = np.random.default_rng(scene.objects)
    for index in range(scene.things):
        x, y = rng.uniform(-0.5, 0.4), rng.uniform(-0.1, 0.4)
        edge = rng.uniform(0.04, 0.1)
        yield (
            texture(3000 + 10 * scene.objects + index, 80, 80),
            quad((x, y, 0.01), (edge, 0.02, 0), (-0.02, edge, 0.03)),
        )
    if scene.role == "cam_high":
        for side in (-0.3, 0.3):
            x = side + scene.arm
            yield (
                texture(4000, 60, 300),
                quad((x, -0.3, 0.15), (0.07, 0, 0), (0.1 * np.sign(side), 0.35, 0.1)),
            )


def quad(origin, along, up):
    o, a, b = np.array(origin), np.array(along), np.array(up)
    return np.stack([o, o + a, o + a + b, o + b])


@lru_cache(maxsize=200)
def texture(seed: int, width: int, height: int, largest: float = 0.1):
    """Printed matter: patches of all sizes up to this part of its width or height."""
    rng = np.random.default_rng(seed)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = rng.integers(90, 170, 3)
    count = max(20, width * height // 2500)
    for size in sorted(
        np.exp(rng.uniform(np.log(3), np.log(largest * min(width, height)), count)), reverse=True
    ):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = tuple(int(c) for c in rng.integers(30, 200, 3))
        half = (int(size), int(size * rng.uniform(0.3, 1)))
        if rng.uniform() < 0.5:
            cv2.ellipse(image, ((x, y), (2 * half[0], 2 * half[1]), rng.uniform(0, 180)), colour, -1)
        else:
            box = cv2.boxPoints(((x, y), (2 * half[0], 2 * half[1]), rng.uniform(0, 90)))
            cv2.fillPoly(image, [np.rint(box).astype(np.int32)], colour)
    return image


def draw(picture, image, corners, matrix):
    """Paint one plane whose corners, (4, 3), are in camera coordinates; the picture must not show its horizon."""
    height, width = image.shape[:2]
    along, up = (corners[1] - corners[0]) / width, (corners[3] - corners[0]) / height
    # Texture pixel (u, v) is at corner + (u + 1/2) along + (height - v - 1/2) up.
    first = corners[0] + along / 2 + (height - 0.5) * up
    homography = matrix @ np.column_stack([along, -up, first])
    size = (picture.shape[1], picture.shape[0])
    cv2.warpPerspective(image, homography, size, picture, cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)


def fingers(picture, scene, matrix):
    """The gripper: rigid with the arm, so it moves in the picture only when the camera moves on the arm."""
    x, y, angle = scene.gripper
    turn = np.radians(angle)
    left, top, right, bottom = GRIPPER
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    turned_by = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    for (x0, y0, width, height), seed in GRIPPER_PARTS:
        box = np.array([[x0, y0 + height], [x0 + width, y0 + height], [x0 + width, y0], [x0, y0]], float)
        pixels = ((box - 0.5) @ turned_by + centre + (x, y) + 0.5) * SUPERSAMPLE - 0.5
        image = texture(seed, width, height, 0.25)
        source = np.array([[0, height], [width, height], [width, 0], [0, 0]], np.float32) - 0.5
        homography = cv2.getPerspectiveTransform(source, pixels.astype(np.float32))
        size = (picture.shape[1], picture.shape[0])
        cv2.warpPerspective(
            image, homography, size, picture, cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
        )


def other_day(seed: int, **changes) -> Scene:
    """Another day in the same cell: other things, light, colour, arm; the camera as it was."""
    rng = np.random.default_rng(seed)
    scene = Scene(
        objects=seed + 1,
        arm=rng.uniform(-0.1, 0.1),
        light=rng.uniform(0.75, 1.25),
        white_balance=tuple(rng.uniform(0.93, 1.07, 2)),
        gradient=rng.uniform(-0.3, 0.3),
        seed=seed + 100,
    )
    return replace(scene, **changes)
