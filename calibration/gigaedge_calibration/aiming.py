"""How to turn or push a camera back to where it was, in degrees and millimetres, from what has moved in its picture.

A camera that was only turned moves everything as one rotation of the rays says, near or far (Kabsch's algorithm with
weights); what is left over is parallax: the camera was moved, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.lens import Lens
from gigaedge.poses import rotation_vector
from gigaedge.tiles import Tile
from gigaedge_calibration.matching import Match

Array = NDArray[np.float64]

_PARALLAX: Final = 0.2
"""Composite px (robust standard deviation) around a rotation; a camera that only turned: 0.1."""
_WORTH: Final = 0.05
"""Degrees, and parts of a millimetre: less is not worth an arrow."""


@dataclass(frozen=True)
class Aim:
    """What the camera did since the reference; directions are those of its picture."""

    right: float
    down: float
    clockwise: float
    """It turned by so much, rad; clockwise seen from behind it."""
    left_over: float
    """Robust standard deviation of the matches around this rotation, composite px."""
    moved_right: float | None
    moved_down: float | None
    moved_ahead: float | None
    """If it was pushed and not turned, m; None where the distance to the scene is not known."""

    @property
    def parallax(self) -> bool:
        """It was moved, not only turned."""
        return self.left_over > _PARALLAX


def aim(match: Match, tile: Tile, lens: Lens, distance: float | None = None) -> Aim:
    """What moved the camera, from the matches of two pictures through the same `lens`.

    `distance` to what it looks at, m, from a calibration, where one says.
    """
    before, after = (lens.rays(tile.picture(points)) for points in (match.source, match.target))
    turn, left_over = _rotation(before, after)
    focal = lens.fx * tile.scale[0]
    # The rays turned by `turn`, so the camera turned by its inverse.
    down_axis, right_axis, roll = -rotation_vector(turn)
    shift = match.shift * (tile.scale[0] / np.array(tile.scale))
    moved: tuple[float | None, ...] = (None, None, None)
    if distance is not None:
        moved = (
            float(-shift[0] / focal * distance),
            float(-shift[1] / focal * distance),
            float((match.scale - 1) * distance),
        )
    return Aim(float(right_axis), float(-down_axis), float(roll), left_over * focal, *moved)


def _rotation(before: Array, after: Array) -> tuple[Array, float]:
    """Rotation, shape (3, 3), that takes rays to rays, shape (n, 3), and what it leaves over, rad."""
    a, b = (rays / np.linalg.norm(rays, axis=1, keepdims=True) for rays in (before, after))
    weights = np.ones(len(a))
    turn, left_over = np.eye(3), np.inf
    for _ in range(10):
        u, _, vt = np.linalg.svd((b * weights[:, np.newaxis]).T @ a)
        turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        residual = np.linalg.norm(b - a @ turn.T, axis=1)
        left_over = float(np.median(residual)) / 1.1774  # of one axis: the length is Rayleigh distributed
        weights = 1 / (1 + (residual / max(3 * left_over, 1e-5)) ** 2)
    return turn, left_over


def arrows(seen: Aim, *, mirror: bool = False) -> str:
    """What a person should do, such as `turn it left 0.8 degrees, raise it 6 mm`; empty: nothing worth it.

    `mirror`: the pictures are shown mirrored, so left and right of the picture are not those of the camera.
    """
    sign = -1.0 if mirror else 1.0
    if seen.parallax and seen.moved_right is not None:
        steps = [
            _step(sign * seen.moved_right * 1e3, "move it left", "move it right", "mm"),
            _step((seen.moved_down or 0.0) * 1e3, "raise it", "lower it", "mm"),
            _step((seen.moved_ahead or 0.0) * 1e3, "move it back", "move it forward", "mm"),
        ]
    else:
        steps = [
            _step(sign * float(np.degrees(seen.right)), "turn it left", "turn it right", "degrees"),
            _step(float(np.degrees(seen.down)), "tilt it up", "tilt it down", "degrees"),
        ]
    clockwise = sign * float(np.degrees(seen.clockwise))
    steps.append(_step(clockwise, "roll it counter-clockwise", "roll it clockwise", "degrees"))
    return ", ".join(step for step in steps if step)


def _step(value: float, when_positive: str, when_negative: str, unit: str) -> str:
    digits = 1 if unit == "degrees" else 0
    if round(abs(value), digits) == 0 or abs(value) < _WORTH:
        return ""
    return f"{when_positive if value > 0 else when_negative} {abs(value):.{digits}f} {unit}"


def flipped(lens: Lens, *, horizontally: bool, vertically: bool) -> Lens:
    """The lens of a picture that was mirrored left to right, upside down, or both."""
    terms = list(lens.distortion)
    if terms and vertically:
        terms[2] = -terms[2]
    if terms and horizontally:
        terms[3] = -terms[3]
    return replace(
        lens,
        cx=lens.width - 1 - lens.cx if horizontally else lens.cx,
        cy=lens.height - 1 - lens.cy if vertically else lens.cy,
        distortion=tuple(terms),
    )


def scene_distance(t_base_cam: NDArray[Any]) -> float | None:
    """Along the optical axis to the plane that the arm's base stands on, m; None: it looks elsewhere."""
    ahead = t_base_cam[2, 2]
    height = t_base_cam[2, 3]
    if ahead >= -0.1 or height <= 0:
        return None
    return float(-height / ahead)
