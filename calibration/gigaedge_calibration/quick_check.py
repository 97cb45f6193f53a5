"""The check without motion: every camera is the one that was calibrated, sees what it saw, in the same light.

About half a second of work for three cameras; `gigaedge run` makes it before anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge_calibration.references import Reference
from gigaedge_calibration.verdicts import Judgement, Verdict, gravest
from gigaedge_calibration.views import Comparison, compare


@dataclass(frozen=True)
class ViewsCheck:
    """All cameras' views against their references."""

    judgements: tuple[Judgement, ...]
    notes: tuple[str, ...]
    """What was not compared, and why."""
    comparisons: tuple[Comparison, ...]

    @property
    def verdict(self) -> Verdict:
        """The gravest."""
        return gravest(self.judgements)

    def problem(self) -> str:
        """What failed, in one line; empty when nothing did."""
        failed = [row for row in self.judgements if row.verdict is Verdict.FAIL]
        if not failed:
            return ""
        first = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"{sentence(first)}{more}"


def sentence(row: Judgement) -> str:
    """A judgement that is not good, in one line."""
    number = ""
    if row.value is not None and row.limit is not None:
        limit = row.limit.fail if row.verdict is Verdict.FAIL else row.limit.warn
        number = f" {row.value:.3g} {row.limit.unit}, at most {limit:g}"
    mend = f"; {row.mend}" if row.mend else ""
    return f"{row.subject}: {row.check}{number}: {row.cause}{mend}"


def check_views(
    references: Mapping[CameraRole, Reference],
    pictures: Mapping[CameraRole, NDArray[np.uint8]],
    state: NDArray[np.float64] | None,
    serials: Mapping[CameraRole, str],
) -> ViewsCheck:
    """Judge live RGB pictures, shape (height, width, 3); of roles without a picture or a reference nothing is judged.

    `state`: of the robot now, 14 values, or None: not known. `serials`: of the cameras that the pictures are from;
    a role that is not in it is not compared with the calibration's.
    """
    rows: list[Judgement] = []
    notes: list[str] = []
    comparisons = []
    for role in CAMERA_ROLES:
        reference, image = references.get(role), pictures.get(role)
        if reference is None or image is None:
            if image is not None:
                notes.append(
                    f"{role}: no reference; `gigaedge calibrate views SITE --capture --role {role}` takes one"
                )
            continue
        if role in serials and reference.serial:
            rows.append(_camera(reference, serials[role]))
        others = tuple(other for key, other in references.items() if key != role)
        comparison = compare(reference, image, state, others)
        rows += comparison.judgements
        notes += comparison.notes
        comparisons.append(comparison)
    return ViewsCheck(tuple(rows), tuple(notes), tuple(comparisons))


def _camera(reference: Reference, serial: str) -> Judgement:
    if serial == reference.serial:
        return Judgement("camera", reference.role, Verdict.PASS)
    return Judgement(
        "camera",
        reference.role,
        Verdict.FAIL,
        cause=f"this is camera {serial}, the reference is of camera {reference.serial}",
        mend="exchange them back, or calibrate this one",
    )
