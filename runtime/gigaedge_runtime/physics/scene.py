"""What stands in the physical cell, and how it looks: plain values, the whole truth about one attempt at a task.

Lengths in m, angles in rad, masses in kg, colours as red, green and blue from 0 to 1. Positions are in the cell frame:
x ahead of the arms, y to their left, z up, the table's top at z = 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from gigaedge.profiles import PROFILES
from gigaedge.robot import ARM_DIM, DIM_NAMES, JOINTS, ROBOT_DIM, CameraRole

Vector = tuple[float, float, float]
Shape = Literal["box", "cylinder", "cup", "tray", "bin", "marker"]

STROKE: Final = 0.07
"""m; the widest opening of the modelled gripper, PiPER's standard one."""
READY: Final = (0.0, 1.2, -1.0, 0.0, 0.95, 0.0, 0.06)
"""Where an arm waits by default: over its side of the table, the open gripper pointing down; rad, m."""
TAKEN: Final = ("world", "table", "floor")
"""Names that the cell itself uses, beside those that begin with `left_` and `right_`."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Object:
    """One thing on the table. Its frame is in the middle of its bounding box, z up when it stands."""

    name: str
    """Lower-case letters, digits and underscores."""
    shape: Shape
    """`box`; `cylinder`; `cup`: round, open above, its foot narrower than its rim; `tray`, `bin`: four walls and a
    bottom, open above; `marker`: a flat patch of colour that nothing collides with."""
    size: Vector
    """Outer extents along its own axes, m. Of round shapes x and y are the diameter, of a cup at its rim."""
    colour: Vector
    position: Vector
    """Of its middle, m: what stands on the table is at z = size[2] / 2."""
    yaw: float = 0.0
    """rad about z, counter-clockwise seen from above."""
    mass: float = 0.05
    """kg."""
    fixed: bool = False
    """Screwed to the table. A marker always is."""
    tagged: bool = False
    """A box with a black and white tag on its +x side."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in TAKEN or self.name.startswith(("left_", "right_")):
            raise ValueError(
                f"object {self.name!r}: expected a name of a-z, 0-9 and _ that is none of {', '.join(TAKEN)} "
                "and does not begin with left_ or right_"
            )
        if min(self.size) <= 0 or self.mass <= 0:
            raise ValueError(
                f"object {self.name}: size and mass must be above 0, got {self.size} and {self.mass}"
            )
        if self.shape in ("cylinder", "cup") and self.size[0] != self.size[1]:
            raise ValueError(f"object {self.name}: a {self.shape} is round, got {self.size[:2]} across")
        if self.tagged and self.shape != "box":
            raise ValueError(f"object {self.name}: only a box can be tagged, not a {self.shape}")

    @property
    def moves(self) -> bool:
        """Whether it is free to be pushed and lifted."""
        return not self.fixed and self.shape != "marker"


@dataclass(frozen=True)
class Light:
    """One distant lamp, a weaker one across from it, and what the walls give back. Nothing casts a shadow."""

    direction: Vector = (0.35, -0.25, -1.0)
    """Which way the light travels; any length."""
    strength: float = 0.55
    ambient: float = 0.4
    """1: what faces the light has its full colour by this part alone."""


@dataclass(frozen=True)
class CameraShift:
    """How a camera's mount differs from where it should be."""

    role: CameraRole
    turned: Vector = (0.0, 0.0, 0.0)
    """A rotation vector in the camera's own axes (x right, y down, z into the scene), rad."""
    shifted: Vector = (0.0, 0.0, 0.0)
    """In the camera's own axes, m."""


@dataclass(frozen=True)
class Scene:
    """Everything that an attempt begins with."""

    objects: tuple[Object, ...] = ()
    light: Light = Light()
    table_colour: Vector = (0.62, 0.56, 0.48)
    start: tuple[float, ...] = (*READY, *READY)
    """Where the arms stand, still, in the order of `gigaedge.robot`; rad, m."""
    camera_shift: tuple[CameraShift, ...] = ()

    def __post_init__(self) -> None:
        names = [thing.name for thing in self.objects]
        roles = [shift.role for shift in self.camera_shift]
        for what, given in (("objects", names), ("camera_shift", roles)):
            if len(set(given)) != len(given):
                raise ValueError(f"{what}: expected each name once, got {', '.join(given)}")
        low, high = bounds()
        start = np.asarray(self.start, dtype=np.float64)
        if start.shape != (ROBOT_DIM,) or not ((start >= low) & (start <= high)).all():
            wrong = [
                n for n, v, a, b in zip(DIM_NAMES, start.flat, low, high, strict=False) if not a <= v <= b
            ]
            raise ValueError(
                f"start: expected {ROBOT_DIM} values within the arm's range, got {start.size}"
                + (f", of which {', '.join(wrong)} beyond it" if wrong else "")
            )


def bounds() -> tuple[np.ndarray, np.ndarray]:
    """The least and greatest of the 14 values that the modelled arms reach, rad and m, shape (14,) each."""
    profile = PROFILES["piper"]
    low, high = np.zeros((2, ARM_DIM)), np.full((2, ARM_DIM), STROKE)
    low[:, :JOINTS], high[:, :JOINTS] = profile.position_min, profile.position_max
    return low.ravel(), high.ravel()
