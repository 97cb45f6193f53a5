"""Joins what checks views with what has them: pictures and arm state from a live cell, or from kept captures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gigaedge.cli.common import needs
from gigaedge.errors import CalibrationError
from gigaedge.robot import CameraRole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gigaedge.site import Site
    from gigaedge_calibration.quick_check import ViewsCheck
    from gigaedge_calibration.references import Reference

SETTLE: Final = 0.5
"""s from the first pictures until they are looked at: exposure has settled."""


@dataclass(frozen=True)
class Sight:
    """What a cell showed, and what is to be said of it."""

    references: dict[CameraRole, Reference]
    pictures: dict[CameraRole, NDArray[np.uint8]]
    check: ViewsCheck


def references_of(file: Path) -> dict[CameraRole, Reference]:
    """The reference pictures of a calibration. Raises CalibrationError: there is none."""
    with needs("robot"):
        from gigaedge.calibration import load_calibration
        from gigaedge_calibration.references import load_references

    references = load_references(file, load_calibration(file))
    if not references:
        raise CalibrationError(
            f"{file}: has no reference pictures; take them with `gigaedge calibrate views SITE --capture`"
        )
    return references


@contextmanager
def watching(site: Site, references: Mapping[CameraRole, Reference]) -> Iterator[Callable[[], Sight]]:
    """Open the cameras that have references, and the arms if a wrist camera is among them; call the result to look.

    Raises CameraError or ArmError: a device is absent, silent or refuses.
    """
    with needs("robot"):
        from gigaedge_calibration.quick_check import check_views
        from gigaedge_runtime.cell import open_cell

    roles = tuple(references)
    wrists = any(role != "cam_high" for role in roles)
    serials = {config.role: config.identity for config in site.cameras}
    with open_cell(site, cameras=roles, arms=None if wrists else ()) as cell:
        time.sleep(SETTLE)

        def look() -> Sight:
            pictures = {role: frame.image for role, frame in cell.next_pictures().items()}
            state = cell.state() if wrists else None
            return Sight(dict(references), pictures, check_views(references, pictures, state, serials))

        yield look


def look_back(references: Mapping[CameraRole, Reference], folder: Path) -> Sight:
    """The same, of captures that were kept. Raises CalibrationError."""
    import numpy as np

    with needs("robot"):
        from gigaedge_calibration.captures import load_captures
        from gigaedge_calibration.quick_check import check_views
        from gigaedge_calibration.references import average

    captures = load_captures(folder)
    means = {role: average([c for c in captures if c.role == role]) for role in {c.role for c in captures}}
    if not set(means) & set(references):
        raise CalibrationError(f"{folder}: has no picture of {', '.join(references)}; name another folder")
    joints = next((mean.joints for mean in means.values() if mean.joints is not None), None)
    pictures = {role: mean.image for role, mean in means.items()}
    state = None if joints is None else np.array(joints)
    return Sight(dict(references), pictures, check_views(references, pictures, state, {}))


def sight_data(sight: Sight) -> dict[str, Any]:
    """For `--json`."""
    from gigaedge.cli.calibrate.results import judgement_data

    views = {}
    for comparison in sight.check.comparisons:
        found = comparison.match
        views[comparison.role] = {
            "shift": None if found is None else [float(value) for value in found.shift],
            "roll": None if found is None else math.degrees(found.roll),
            "scale": None if found is None else found.scale,
            "inliers": None if found is None else found.inliers,
            "gripper": None if comparison.gripper is None else comparison.gripper.shift.tolist(),
            "hint": comparison.hint,
        }
    return {
        "verdict": sight.check.verdict.name.lower(),
        "judgements": judgement_data(sight.check.judgements),
        "notes": list(sight.check.notes),
        "views": views,
    }
