"""A scene as one MJCF text: table, light, cameras, arms and objects, and how contacts are solved.

The text is a function of the scene alone: the same scene, the same text, and from it the same motion to the bit.
"""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from gigaedge.robot import SIDES
from gigaedge_runtime.physics.arm import STATIC_BIT, add_arm
from gigaedge_runtime.physics.cameras import add_cameras
from gigaedge_runtime.physics.elements import add_box, numbers
from gigaedge_runtime.physics.objects import add_object
from gigaedge_runtime.physics.scene import Scene

TIMESTEP: Final = 1 / 480
"""s; 16 steps between two actions of 30 Hz."""

LARGEST_PICTURE: Final = (640, 480)
"""px; what MuJoCo's own picture buffer has room for."""

_TABLE: Final = (-0.35, 0.95, 0.75)
"""Where the table begins and ends in x and how far it reaches to either side in y, m."""
_FLOOR: Final = -0.75


def to_mjcf(scene: Scene) -> str:
    """The model of a scene."""
    root = Element("mujoco", model="gigaedge")
    SubElement(root, "compiler", angle="radian", autolimits="true")
    # Elliptic cones with a high ratio of friction's stiffness: what is held does not creep out of the fingers.
    SubElement(
        root,
        "option",
        timestep=numbers(TIMESTEP),
        integrator="implicitfast",
        cone="elliptic",
        impratio="10",
        iterations="50",
        tolerance="1e-10",
    )
    _add_looks(root, scene)
    _add_defaults(root)
    world = SubElement(root, "worldbody")
    actuators, tendons = SubElement(root, "actuator"), SubElement(root, "tendon")
    equalities = SubElement(root, "equality")
    _add_room(world, scene)
    for side in SIDES:
        add_arm(world, actuators, tendons, equalities, side)
    for thing in scene.objects:
        add_object(world, thing)
    add_cameras(world, scene)
    indent(root)
    return tostring(root, encoding="unicode")


def _add_looks(root: Element, scene: Scene) -> None:
    visual = SubElement(root, "visual")
    width, height = LARGEST_PICTURE
    SubElement(visual, "global", offwidth=str(width), offheight=str(height))
    # On a CPU, antialiasing and shadows cost several times the rest of a picture, and finer rounds a quarter of it.
    SubElement(visual, "quality", offsamples="0", shadowsize="0", numslices="16", numstacks="8")
    SubElement(visual, "map", znear="0.02", zfar="6")
    SubElement(visual, "headlight", active="0")
    asset = SubElement(root, "asset")
    SubElement(
        asset, "texture", type="skybox", builtin="flat", rgb1="0.55 0.58 0.62", width="32", height="192"
    )
    SubElement(asset, "material", name="matt", specular="0.1", shininess="0.1")


def _add_defaults(root: Element) -> None:
    default = SubElement(root, "default")
    SubElement(default, "geom", material="matt", condim="4", friction="1 0.01 0.0005", solref="0.006 1")
    arm = SubElement(default, "default", {"class": "arm"})
    SubElement(arm, "geom", mass="0", group="2")
    pad = SubElement(default, "default", {"class": "pad"})
    SubElement(pad, "geom", mass="0", group="2", friction="1.6 0.02 0.001", priority="1")


def _add_room(world: Element, scene: Scene) -> None:
    light = scene.light
    strength, ambient = light.strength, light.ambient
    for direction, part, base in (
        (light.direction, strength, ambient),
        ((-light.direction[0], -light.direction[1], light.direction[2]), 0.35 * strength, 0.0),
    ):
        SubElement(
            world,
            "light",
            type="directional",
            dir=numbers(*direction),
            pos="0 0 2",
            diffuse=numbers(*(part,) * 3),
            ambient=numbers(*(base,) * 3),
            specular="0.1 0.1 0.1",
            castshadow="false",
        )
    begin, end, side = _TABLE
    meets = {"contype": str(STATIC_BIT), "conaffinity": "0"}
    table = SubElement(world, "body", name="table")
    add_box(table, (begin, -side, -0.04), (end, side, 0.0), scene.table_colour, meets)
    floor = SubElement(world, "body", name="floor", pos=numbers(0, 0, _FLOOR))
    SubElement(floor, "geom", meets, type="plane", size="4 4 0.1", rgba="0.35 0.36 0.38 1")
