"""Whether calibrated numbers can be true: what a unit mistaken for another, or a file edited by hand, would break.

Every check raises ValueError with what came and what was expected; pydantic makes it one line that names the key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from gigaedge.robot import CameraRole

LARGEST_TRANSLATION: Final = 5.0
"""m between two frames of a cell; an arm reaches 0.8 m."""
LARGEST_BRACKET: Final = 0.5
"""m from a wrist to the camera on it."""
LARGEST_ZERO_OFFSET: Final = 0.35
"""rad (20 degrees): a joint that is further off was assembled wrongly, and degrees given as rad are far above."""
LARGEST_LATENCY: Final = 1.0
"""s."""

_LENGTH: Final = 1e-6
"""A quaternion that was written with seven digits is still of length 1."""
_SYMMETRY: Final = 1e-6
"""Of a covariance's entries over the standard deviations of their row and column."""


def unit_quaternion(values: tuple[float, ...]) -> tuple[float, ...]:
    """w, x, y, z."""
    length = float(np.linalg.norm(values))
    if abs(length - 1.0) > _LENGTH:
        raise ValueError(f"a rotation's quaternion has length 1; this one has {length:.7g}")
    return values


def metres(values: tuple[float, ...]) -> tuple[float, ...]:
    """A translation, m."""
    length = float(np.linalg.norm(values))
    if length > LARGEST_TRANSLATION:
        raise ValueError(
            f"{length:.4g} m is longer than a cell ({LARGEST_TRANSLATION:g} m); were millimetres written as metres?"
        )
    return values


def zero_offsets(values: tuple[float, ...]) -> tuple[float, ...]:
    """Of joints, rad."""
    greatest = max(map(abs, values))
    if greatest > LARGEST_ZERO_OFFSET:
        raise ValueError(
            f"{greatest:.4g} rad is more than any joint's zero is off ({LARGEST_ZERO_OFFSET:g}); "
            "were degrees written as rad?"
        )
    return values


def latency(value: float) -> float:
    """s."""
    if abs(value) > LARGEST_LATENCY:
        raise ValueError(
            f"{value:.4g} s is no camera's latency (at most {LARGEST_LATENCY:g}); were milliseconds written as s?"
        )
    return value


def covariance(rows: Sequence[Sequence[float]] | None, size: int | None = None) -> None:
    """Square, of `size` where that is given, symmetric and positive semi-definite; None is fine."""
    if rows is None:
        return
    wanted = len(rows) if size is None else size
    if len(rows) != wanted or any(len(row) != wanted for row in rows):
        shapes = " x ".join(map(str, (len(rows), *sorted({len(row) for row in rows}))))
        raise ValueError(f"covariance: expected {wanted} x {wanted} numbers, got {shapes}")
    matrix = np.array(rows, dtype=np.float64)
    variances = np.diagonal(matrix)
    if np.any(variances < 0):
        raise ValueError(f"covariance: variance {int(np.argmin(variances)) + 1} is negative")
    # Compared as correlations: the variances of focal lengths and of k3 lie orders of magnitude apart.
    sigmas = np.sqrt(variances)
    scale = np.where(sigmas > 0, sigmas, 1.0)
    correlation = matrix / np.outer(scale, scale)
    if np.max(np.abs(correlation - correlation.T)) > _SYMMETRY:
        raise ValueError("covariance: not symmetric")
    if np.min(np.linalg.eigvalsh((correlation + correlation.T) / 2)) < -_SYMMETRY:
        raise ValueError("covariance: not positive semi-definite: no errors are spread like this")


def lens(width: int, height: int, fx: float, fy: float, cx: float, cy: float) -> None:
    """A camera matrix that fits a picture of `width` x `height`, px."""
    for name, value, size in (("cx", cx, width), ("cy", cy, height)):
        if not 0.25 * size <= value <= 0.75 * size:
            raise ValueError(
                f"{name} {value:.6g} px is far from the middle of a picture of {width}x{height}; "
                "is this of another resolution?"
            )
    for name, value in (("fx", fx), ("fy", fy)):
        if not 0.2 * width <= value <= 20 * width:
            raise ValueError(
                f"{name} {value:.6g} px cannot be of a picture {width} px wide; were metres or millimetres given?"
            )


def bracket(translation: Sequence[float]) -> None:
    """From the last frame of an arm to the camera on its wrist, m."""
    length = float(np.linalg.norm(translation))
    if length > LARGEST_BRACKET:
        raise ValueError(
            f"mount.transform.translation: {length:.4g} m is longer than a wrist camera's bracket "
            f"({LARGEST_BRACKET:g} m); were millimetres written as metres?"
        )


def mount_frames(role: CameraRole, parent: str, child: str, board_parent: str, board_child: str) -> None:
    """Frames of a camera's mount and of the board that it was calibrated with.

    A wrist camera is on its own arm's link6 and the board stands in that arm's base; a fixed camera is in an arm's base
    and the board is on that arm's link6.
    """
    if role == "cam_high":
        parents: tuple[str, ...] = ("left_base", "right_base")
        holder = parent.replace("_base", "_link6")
    else:
        side = role.removeprefix("cam_").removesuffix("_wrist")
        parents, holder = (f"{side}_link6",), f"{side}_base"
    if parent not in parents or child != role:
        raise ValueError(
            f"mount.transform is of {child} in {parent}; expected {role} in {' or '.join(parents)}"
        )
    if (board_parent, board_child) != (holder, "board"):
        raise ValueError(f"mount.board is of {board_child} in {board_parent}; expected board in {holder}")


def once(what: str, values: Iterable[object]) -> None:
    """No value comes more than once."""
    for value, count in Counter(values).items():
        if count > 1:
            raise ValueError(f"{what} {value} is there {count} times; each is of one thing")
