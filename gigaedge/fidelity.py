"""How far one array is from another, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import Precision
from gigaedge.findings import FidelityInfo, FidelityRow
from gigaedge.ledger import Errors

TOLERANCE = 1e-4
"""Relative L2 that two fp32 computations of the same thing must stay within."""
GATES: Final[dict[Precision, float | None]] = {"fp32": TOLERANCE, "fp16": 1e-2, "int8": 3e-2, "int4": None}
"""Relative L2 of the network's velocity that a precision must stay within; int4 is only reported."""


@dataclass(frozen=True)
class Check:
    """One stage, compared."""

    row: FidelityRow
    passed: bool


def compare(stage: str, found: NDArray[Any], expected: NDArray[Any], tolerance: float = TOLERANCE) -> Check:
    """Compare two arrays of the same shape; passes when the relative L2 is within `tolerance`.

    A value that is not finite never passes.
    """
    if found.shape != expected.shape:
        raise ValueError(f"{stage}: shapes {found.shape} and {expected.shape} differ")
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    if not np.isfinite(a).all():
        return Check(FidelityRow(stage=stage, max_abs=_HUGE, relative_l2=_HUGE, cosine=-1.0), passed=False)
    scale = float(np.linalg.norm(b)) or 1.0
    norms = float(np.linalg.norm(a)) * scale
    row = FidelityRow(
        stage=stage,
        max_abs=float(np.abs(a - b).max(initial=0.0)),
        relative_l2=float(np.linalg.norm(a - b)) / scale,
        cosine=float(a @ b) / norms if norms else 1.0,
    )
    return Check(row, passed=row.relative_l2 <= tolerance)


def compare_actions(
    stage: str, found: NDArray[Any], expected: NDArray[Any], tolerance: float = TOLERANCE
) -> Check:
    """Compare chunks of absolute targets (chunk, 14), rad and m; the row also says what it comes to on the arms."""
    check = compare(stage, found, expected, tolerance)
    if not np.isfinite(found).all():
        return check
    errors = Errors.between(found, expected)
    on_the_arms = {
        "joint_degrees": float(errors.joints.max()),
        "fingertip_millimetres": float(errors.fingertips.max()),
    }
    return Check(check.row.model_copy(update=on_the_arms), check.passed)


_HUGE = float(np.finfo(np.float64).max)


def compare_picture(stage: str, found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> Check:
    """Two u8 pictures: every pixel within 1 of 255 and 99.9 % of them equal."""
    check = compare(stage, found, expected)
    equal = float((found == expected).mean())
    return Check(check.row, passed=check.row.max_abs <= 1 and equal >= 0.999)


def worst(stage: str, checks: Iterable[Check]) -> Check:
    """The check with the largest relative L2, under a name of its own."""
    check = max(checks, key=lambda c: c.row.relative_l2)
    return Check(check.row.model_copy(update={"stage": f"{stage} (worst: {check.row.stage})"}), check.passed)


def summary(reference: str, checks: Sequence[Check], gate: float | None) -> FidelityInfo:
    """The checks as a manifest records them."""
    return FidelityInfo(
        reference=reference,
        tolerance=gate,
        passed=all(check.passed for check in checks),
        stages=tuple(check.row for check in checks),
    )
