"""What differs from attempt to attempt beside the task itself: light, table, camera mounts, where the arms begin, and
things that only distract. Everything is drawn from the generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from gigaedge.robot import CAMERA_ROLES, JOINTS, SIDES
from gigaedge_runtime.physics.scene import CameraShift, Light, Object, Scene, Vector, bounds

HOME: Final = (0.0, 1.0, -1.0, 0.0, 1.1, 0.0)
"""rad; the hand over the near part of the table, out of the high camera's view of what lies there."""
HOME_SPREAD: Final = (0.25, 0.15, 0.15, 0.0, 0.15, 0.15)
"""rad to either side."""
HOME_OPENING: Final = (0.05, 0.07)
"""m."""

TABLE: Final = (0.62, 0.56, 0.48)
"""Colour of the table, about which it varies."""

COLOURS: Final[tuple[Vector, ...]] = (
    (0.15, 0.30, 0.75),
    (0.15, 0.55, 0.25),
    (0.85, 0.75, 0.15),
    (0.30, 0.30, 0.32),
    (0.45, 0.20, 0.60),
)
"""Of what distracts: blue, green, yellow, grey, violet. No target is like any of them."""

_FIELD: Final = ((0.22, 0.44), (-0.36, 0.36))
"""m in x and y; where things stand."""
_APART: Final = 0.09
"""m between the middles of two things: an open hand fits beside each."""


def place_apart(
    random: np.random.Generator,
    taken: Sequence[tuple[float, float]],
    x: tuple[float, float] = _FIELD[0],
    y: tuple[float, float] = _FIELD[1],
    apart: float = _APART,
) -> tuple[float, float] | None:
    """A place in the ranges, m, that is `apart` from those taken; None: there is hardly any."""
    for _ in range(200):
        place = float(random.uniform(*x)), float(random.uniform(*y))
        if all(np.hypot(place[0] - a, place[1] - b) >= apart for a, b in taken):
            return place
    return None


def distractors(
    random: np.random.Generator, taken: Sequence[tuple[float, float]], at_most: int = 2
) -> tuple[Object, ...]:
    """Up to `at_most` small boxes and cylinders in colours of no target, apart from the places taken."""
    places = list(taken)
    things: list[Object] = []
    colours = random.permutation(len(COLOURS))
    for number in range(int(random.integers(at_most + 1))):
        place = place_apart(random, places)
        if place is None:
            break
        places.append(place)
        round_one = bool(random.random() < 0.5)
        width, height = float(random.uniform(0.024, 0.04)), float(random.uniform(0.02, 0.045))
        things.append(
            Object(
                name=f"distractor_{number}",
                shape="cylinder" if round_one else "box",
                size=(width, width, height),
                colour=COLOURS[colours[number]],
                position=(*place, height / 2),
                yaw=float(random.uniform(-np.pi, np.pi)),
                mass=0.04,
            )
        )
    return tuple(things)


def start(random: np.random.Generator) -> tuple[float, ...]:
    """Where both arms begin, rad and m, 14 values."""
    values: list[float] = []
    for _ in SIDES:
        values += [HOME[j] + random.uniform(-1, 1) * HOME_SPREAD[j] for j in range(JOINTS)]
        values.append(float(random.uniform(*HOME_OPENING)))
    low, high = bounds()
    return tuple(float(value) for value in np.clip(values, low, high))


def surrounded(random: np.random.Generator, objects: Sequence[Object]) -> Scene:
    """A scene of these objects, everything else drawn."""
    azimuth = random.uniform(-np.pi, np.pi)
    slope = random.uniform(0.2, 0.6)
    light = Light(
        direction=(float(slope * np.cos(azimuth)), float(slope * np.sin(azimuth)), -1.0),
        strength=float(random.uniform(0.45, 0.65)),
        ambient=float(random.uniform(0.32, 0.45)),
    )
    shade = random.uniform(0.85, 1.1)
    table = tuple(float(np.clip(part * shade + random.uniform(-0.04, 0.04), 0, 1)) for part in TABLE)
    shifts = tuple(
        CameraShift(role, turned=_vector(random, 0.006), shifted=_vector(random, 0.003))
        for role in CAMERA_ROLES
    )
    return Scene(
        objects=tuple(objects),
        light=light,
        table_colour=(table[0], table[1], table[2]),
        start=start(random),
        camera_shift=shifts,
    )


def _vector(random: np.random.Generator, deviation: float) -> Vector:
    x, y, z = random.normal(0, deviation, 3)
    return float(x), float(y), float(z)
