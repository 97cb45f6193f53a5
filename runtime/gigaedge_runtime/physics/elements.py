"""Shapes as MJCF elements. Lengths in m, colours as red, green and blue from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement

Vector = tuple[float, float, float]


def numbers(*values: float) -> str:
    """Values as an attribute, to the last bit."""
    return " ".join(repr(float(value)) for value in values)


def add_box(
    body: Element, low: Vector, high: Vector, colour: Vector, attributes: Mapping[str, str] | None = None
) -> None:
    """A box along the body's axes from one corner to the opposite one."""
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    half = [(b - a) / 2 for a, b in zip(low, high, strict=True)]
    _add(body, "box", colour, attributes, pos=numbers(*middle), size=numbers(*half))


def add_cylinder(
    body: Element,
    radius: float,
    begin: Vector,
    end: Vector,
    colour: Vector,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """A cylinder between the middles of its ends."""
    _add(body, "cylinder", colour, attributes, fromto=numbers(*begin, *end), size=numbers(radius))


def add_capsule(
    body: Element,
    radius: float,
    begin: Vector,
    end: Vector,
    colour: Vector,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """A tube with round ends, each round one of two points."""
    _add(body, "capsule", colour, attributes, fromto=numbers(*begin, *end), size=numbers(radius))


def add_turned_box(
    body: Element,
    middle: Vector,
    half: Vector,
    quaternion: tuple[float, float, float, float],
    colour: Vector,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """A box round its middle, turned by a quaternion w, x, y, z; `half` its extents, m."""
    _add(
        body,
        "box",
        colour,
        attributes,
        pos=numbers(*middle),
        size=numbers(*half),
        quat=numbers(*quaternion),
    )


def _add(
    body: Element, shape: str, colour: Vector, attributes: Mapping[str, str] | None, **place: str
) -> None:
    SubElement(body, "geom", {**(attributes or {}), "type": shape, "rgba": numbers(*colour, 1.0), **place})
