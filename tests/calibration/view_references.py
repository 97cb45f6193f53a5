"""References of the scene in `view_scene`, and what a day's three pictures show."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from gigaedge.calibration import ViewInfo
from gigaedge_calibration.aiming import scene_distance
from gigaedge_calibration.quick_check import check_views
from gigaedge_calibration.references import Reference
from tests.calibration.view_scene import GRIPPER, LENSES, POSES, Scene, render

STATE = np.zeros(14)
STATE[[6, 13]] = 0.03
SERIALS = {role: f"serial-{role}" for role in POSES}


@lru_cache
def reference(role: str, gripper: bool = True) -> Reference:
    """As if captured on the first day; kept with its features for all tests of a module."""
    region = GRIPPER if gripper and role != "cam_high" else None
    info = ViewInfo(
        image="a.png", sha256="0" * 64, source="captured", joints=tuple(STATE.tolist()), gripper=region
    )
    distance = scene_distance(POSES[role]) if role == "cam_high" else None
    return Reference(role, render(Scene(role=role)), info, LENSES[role], distance, SERIALS[role])


def references() -> dict[str, Reference]:
    return {role: reference(role) for role in POSES}


def pictures(scene: Scene | None = None, **changes):
    """Of all three cameras on one day; `changes` of the scene by role."""
    base = scene or Scene(objects=1, arm=0.03, seed=1, light=1.03)
    return {role: render(replace(base, role=role, **changes.get(role, {}))) for role in POSES}


def check(images, state=STATE, serials=SERIALS):
    return check_views(references(), images, state, serials)


def bad(result):
    """(camera, check) of every row that does not pass."""
    return {(row.subject, row.check) for row in result.judgements if row.verdict}
