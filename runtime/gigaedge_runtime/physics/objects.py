"""The things on the table as MJCF bodies; hollow ones are put together from thin boxes."""

from __future__ import annotations

import math
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from gigaedge_runtime.physics.arm import OBJECT_BIT, STATIC_BIT
from gigaedge_runtime.physics.elements import Vector, add_box, add_cylinder, add_turned_box, numbers
from gigaedge_runtime.physics.scene import Object

WALL: Final = 0.003
"""Thickness of walls and bottoms, m."""
FOOT: Final = 0.75
"""Diameter of a cup's foot, as a part of its rim's."""
STAVES: Final = 12
"""Flat parts of a cup's wall."""

_TAG: Final = 0.0006
"""How far a tag stands out from its box, m."""


def add_object(world: Element, thing: Object) -> None:
    """Write one object into a model: a body of its name, and a free joint of its name if it moves."""
    body = SubElement(
        world,
        "body",
        name=thing.name,
        pos=numbers(*thing.position),
        quat=numbers(math.cos(thing.yaw / 2), 0, 0, math.sin(thing.yaw / 2)),
    )
    if thing.moves:
        SubElement(body, "freejoint", name=thing.name)
    x, y, z = (extent / 2 for extent in thing.size)
    meets = _contact(thing)
    if thing.shape in ("box", "marker"):
        add_box(body, (-x, -y, -z), (x, y, z), thing.colour, {**meets, "mass": numbers(thing.mass)})
        if thing.tagged:
            _add_tag(body, thing)
    elif thing.shape == "cylinder":
        add_cylinder(body, x, (0, 0, -z), (0, 0, z), thing.colour, {**meets, "mass": numbers(thing.mass)})
    elif thing.shape == "cup":
        _add_cup(body, thing, meets)
    else:
        _add_walls(body, thing, meets)


def _contact(thing: Object) -> dict[str, str]:
    if thing.shape == "marker":
        return {"contype": "0", "conaffinity": "0"}
    if thing.moves:
        return {"contype": str(OBJECT_BIT), "conaffinity": str(OBJECT_BIT | STATIC_BIT)}
    # Arms and moving objects ask for the contact with what is fixed.
    return {"contype": str(STATIC_BIT), "conaffinity": "0"}


def _add_walls(body: Element, thing: Object, meets: dict[str, str]) -> None:
    """An open box of four walls and a bottom."""
    x, y, z = (extent / 2 for extent in thing.size)
    parts: list[tuple[Vector, Vector]] = [
        ((-x, -y, -z), (x, y, -z + WALL)),
        ((-x, -y, -z + WALL), (-x + WALL, y, z)),
        ((x - WALL, -y, -z + WALL), (x, y, z)),
        ((-x + WALL, -y, -z + WALL), (x - WALL, -y + WALL, z)),
        ((-x + WALL, y - WALL, -z + WALL), (x - WALL, y, z)),
    ]
    volumes = [math.prod(b - a for a, b in zip(low, high, strict=True)) for low, high in parts]
    for (low, high), volume in zip(parts, volumes, strict=True):
        share = {**meets, "mass": numbers(thing.mass * volume / sum(volumes))}
        add_box(body, low, high, thing.colour, share)


def _add_cup(body: Element, thing: Object, meets: dict[str, str]) -> None:
    """Staves round a disc, leaning outwards."""
    rim, z = thing.size[0] / 2, thing.size[2] / 2
    foot = rim * FOOT
    lean = math.atan2(rim - foot, thing.size[2])
    # The outer faces of the staves touch the circle: across its corners a cup is wider by 1 part in 30.
    middle = (rim + foot) / 2 - WALL / 2
    width = (rim + foot) / 2 * math.tan(math.pi / STAVES)
    length = thing.size[2] / 2 / math.cos(lean) - WALL / 2 * math.tan(lean)
    wall = {**meets, "mass": numbers(0.8 * thing.mass / STAVES)}
    for stave in range(STAVES):
        angle = 2 * math.pi * stave / STAVES
        centre = (middle * math.cos(angle), middle * math.sin(angle), 0.0)
        # RotZ(angle) RotY(lean): the stave's x axis points outwards, its z axis up the wall.
        cos, sin, a, b = math.cos(angle / 2), math.sin(angle / 2), math.cos(lean / 2), math.sin(lean / 2)
        turn = (cos * a, -sin * b, cos * b, sin * a)
        add_turned_box(body, centre, (WALL / 2, width, length), turn, thing.colour, wall)
    bottom = {**meets, "mass": numbers(0.2 * thing.mass)}
    add_cylinder(body, foot, (0, 0, -z), (0, 0, -z + WALL), thing.colour, bottom)


def _add_tag(body: Element, thing: Object) -> None:
    """White paper with a black ring and dot on the +x side; nothing collides with it."""
    x, side = thing.size[0] / 2, min(thing.size[1:]) / 2
    paper = {"contype": "0", "conaffinity": "0", "mass": "0"}
    for level, (part, grey) in enumerate(((0.9, 0.95), (0.65, 0.05), (0.4, 0.95), (0.2, 0.05)), 1):
        half = part * side
        add_box(body, (x, -half, -half), (x + level * _TAG / 4, half, half), (grey,) * 3, paper)
