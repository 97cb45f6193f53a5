from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest

from gigaedge.robot import ROBOT_DIM
from gigaedge_runtime.physics.model import to_mjcf
from gigaedge_runtime.physics.scene import READY, CameraShift, Object, Scene, bounds

BLOCK = Object("block", "box", (0.028, 0.028, 0.056), (0.85, 0.1, 0.08), (0.3, 0.2, 0.028))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "left_block"}, "object 'left_block': expected a name of a-z"),
        ({"name": "table"}, "none of world, table, floor"),
        ({"name": "Block 1"}, "object 'Block 1'"),
        ({"size": (0.02, 0.0, 0.02)}, "object block: size and mass must be above 0"),
        ({"mass": 0.0}, "object block: size and mass must be above 0"),
        ({"shape": "cup", "size": (0.05, 0.06, 0.07)}, "object block: a cup is round, got"),
        ({"shape": "bin", "tagged": True}, "only a box can be tagged, not a bin"),
    ],
)
def test_an_object_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BLOCK, **changes)


def test_a_scene_names_everything_once() -> None:
    with pytest.raises(ValueError, match="objects: expected each name once, got block, block"):
        Scene(objects=(BLOCK, BLOCK))
    with pytest.raises(ValueError, match="camera_shift: expected each name once"):
        Scene(camera_shift=(CameraShift("cam_high"), CameraShift("cam_high")))


def test_arms_start_within_their_range() -> None:
    with pytest.raises(ValueError, match=r"start: expected 14 values .*, of which left_joint_2 beyond it"):
        Scene(start=(0.0, -0.1, *READY[2:], *READY))
    with pytest.raises(ValueError, match=r"start: expected 14 values within the arm's range, got 7$"):
        Scene(start=READY)
    low, high = bounds()
    assert low.shape == high.shape == (ROBOT_DIM,)
    assert high[6] == high[13] == 0.07


def test_every_shape_has_its_size_and_mass() -> None:
    """Hollow ones, too: what MuJoCo makes of their parts reaches as far as the size says, and no further."""
    round_, square = (0.05, 0.05, 0.07), (0.12, 0.1, 0.05)
    shapes = {"box": square, "cylinder": round_, "cup": round_, "tray": square, "bin": square}
    for shape, size in shapes.items():
        thing = Object("thing", shape, size, (1, 0, 0), (0.3, 0, 0.1), mass=0.08)  # type: ignore[arg-type]
        model = mujoco.MjModel.from_xml_string(to_mjcf(Scene(objects=(thing,))))
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        body = model.body("thing").id
        assert model.body_mass[body] == pytest.approx(0.08)
        corners = np.concatenate([corners_of(model, data, geom) for geom in geoms_of(model, body)])
        extent = corners.max(axis=0) - corners.min(axis=0)
        # A cup of twelve staves is a little wider across its corners.
        np.testing.assert_allclose(extent, size, rtol=0.04 if shape == "cup" else 1e-9)
        np.testing.assert_allclose((corners.max(axis=0) + corners.min(axis=0)) / 2, (0.3, 0, 0.1), atol=1e-3)


def geoms_of(model: mujoco.MjModel, body: int) -> list[int]:
    return [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == body]


def corners_of(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> np.ndarray:
    """Of the box round a shape, in the cell, m, shape (8, 3)."""
    middle, half = model.geom_aabb[geom][:3], model.geom_aabb[geom][3:]
    signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), axis=-1).reshape(-1, 3)
    points = middle + signs * half
    return np.asarray(data.geom_xpos[geom] + points @ data.geom_xmat[geom].reshape(3, 3).T)


def test_only_what_is_free_can_move() -> None:
    things = (
        BLOCK,
        replace(BLOCK, name="screwed", fixed=True, position=(0.4, 0.2, 0.028)),
        Object("patch", "marker", (0.1, 0.1, 0.001), (0, 1, 0), (0.5, 0.2, 0.0005)),
    )
    assert [thing.moves for thing in things] == [True, False, False]
    model = mujoco.MjModel.from_xml_string(to_mjcf(Scene(objects=things)))
    free = [model.joint(j).name for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
    assert free == ["block"]
