from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from gigaedge.poses import apply, inverse
from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge_runtime.physics import engine
from gigaedge_runtime.physics.cameras import lens, mount, wrist_of
from gigaedge_runtime.physics.scene import CameraShift, Light, Object, Scene
from gigaedge_runtime.physics.world import PICTURE, PhysicalWorld

RED = (0.9, 0.05, 0.05)
BLOCK = Object("block", "box", (0.028, 0.028, 0.056), RED, (0.33, 0.22, 0.028), yaw=0.3)
SHIFTED = tuple(
    CameraShift(role, turned=(0.02, -0.03, 0.05), shifted=(0.01, 0.0, -0.01)) for role in CAMERA_ROLES
)


@pytest.mark.parametrize("shifts", [(), SHIFTED])
@pytest.mark.parametrize(
    ("role", "where"), [("cam_high", (0.33, 0.12, 0.028)), ("cam_left_wrist", (0.36, 0.3, 0.028))]
)
def test_a_red_block_is_seen_where_the_camera_model_has_it(
    role: CameraRole, where: tuple[float, float, float], shifts: tuple[CameraShift, ...]
) -> None:
    """Its red pixels fill the outline of its projected corners."""
    scene = Scene(objects=(replace(BLOCK, position=where),), camera_shift=shifts)
    with PhysicalWorld(scene) as world:
        picture = world.picture(role).astype(int)
        corners = apply(world.pose("block"), corners_of(BLOCK))
        side = wrist_of(role)
        parent = np.eye(4) if side is None else world.flange(side)
    pixels = lens(role, *PICTURE).project(apply(inverse(parent @ mount(role, scene)), corners))
    red = (picture[..., 0] > 2 * picture[..., 1]) & (picture[..., 0] > 2 * picture[..., 2])
    rows, columns = np.nonzero(red)
    seen = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
    expected = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
    # The tip of a corner covers no pixel's centre.
    np.testing.assert_allclose(seen, expected, atol=1.6)
    np.testing.assert_allclose((seen[:2] + seen[2:]) / 2, (expected[:2] + expected[2:]) / 2, atol=0.6)
    assert red.sum() > 0.4 * np.prod(expected[2:] - expected[:2])


def corners_of(thing: Object) -> np.ndarray:
    signs = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), axis=-1).reshape(-1, 3)
    return np.asarray(signs * thing.size)


def test_pictures_depend_on_the_state_alone() -> None:
    """Not on other worlds that are drawn in between, nor on when the memory of pictures was freed."""
    scene = Scene(objects=(BLOCK,))
    first, second = PhysicalWorld(scene), PhysicalWorld(replace(scene, objects=()))
    before = [first.picture(role) for role in CAMERA_ROLES]
    assert all(picture.shape == (240, 320, 3) and picture.dtype == np.uint8 for picture in before)
    others = [second.picture(role) for role in CAMERA_ROLES]
    second.close()
    again = [first.picture(role) for role in CAMERA_ROLES]
    first.close()
    first.close()
    reopened = [first.picture(role) for role in CAMERA_ROLES]
    first.close()
    for one, two, three in zip(before, again, reopened, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    assert not np.array_equal(before[0], others[0])


def test_light_and_table_look_as_the_scene_says() -> None:
    def table(light: Light, colour: tuple[float, float, float]) -> np.ndarray:
        with PhysicalWorld(Scene(light=light, table_colour=colour)) as world:
            return np.median(world.picture("cam_high").reshape(-1, 3), axis=0)

    dark = table(Light(strength=0.2, ambient=0.2), (0.6, 0.6, 0.6))
    bright = table(Light(strength=0.6, ambient=0.4), (0.6, 0.6, 0.6))
    blue = table(Light(strength=0.6, ambient=0.4), (0.2, 0.2, 0.6))
    assert bright.mean() > 1.5 * dark.mean()
    assert blue[2] > 2 * blue[0]
    np.testing.assert_allclose(bright, bright.mean(), atol=1)


def test_a_tag_is_seen_from_its_side() -> None:
    block = replace(BLOCK, size=(0.05, 0.05, 0.05), position=(0.33, 0.0, 0.025), tagged=True)
    faces = {}
    for yaw in (np.pi, 0.0):
        with PhysicalWorld(Scene(objects=(replace(block, yaw=yaw),))) as world:
            picture = world.picture("cam_high").astype(int)
            faces[yaw] = int((picture.max(axis=-1) < 40)[90:150, 130:190].sum())
    # The camera looks from behind the arms: what faces them is seen, what faces away is not.
    assert faces[np.pi] > 5
    assert faces[0.0] == 0


def test_it_says_what_draws() -> None:
    assert engine.drawn_by().startswith("EGL, ")


def test_a_machine_that_cannot_draw_is_told_what_to_install() -> None:
    """In a process of its own: MuJoCo decides once."""
    script = (
        "from gigaedge_runtime.physics.world import PhysicalWorld\n"
        "from gigaedge_runtime.physics.scene import Scene\n"
        "from gigaedge.errors import DeviceError\n"
        "try:\n    PhysicalWorld(Scene()).picture('cam_high')\nexcept DeviceError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def said(way: str, **more: str) -> str:
        answer = subprocess.run(
            [sys.executable, "-c", script],
            env={**environment, "MUJOCO_GL": way, **more},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return answer.stdout.strip()

    # An EGL without any driver, as on a machine with libegl1 alone.
    bare = said(
        "egl", __EGL_VENDOR_LIBRARY_DIRS="/nonexistent", __EGL_VENDOR_LIBRARY_FILENAMES="/nonexistent"
    )
    assert bare.startswith("MuJoCo cannot draw with EGL (")
    assert bare.endswith("; run `apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri`")
    assert said("glfw") == (
        "MUJOCO_GL=glfw: the physical cell is drawn without a window; unset it, or set it to egl or osmesa"
    )
