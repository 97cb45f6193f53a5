"""One PiPER arm as MJCF: its kinematic table, AgileX's masses and inertias, and shapes of our own.

Every link's frame is its modified Denavit-Hartenberg frame (`gigaedge.kinematics`), so that a body's pose is what
the forward kinematics say. Shapes are capsules, cylinders and boxes about where the real housing is: they are seen and
collided with, and have no say in how the arm moves. The fingers slide along y of link 6, coupled as in the real
gripper; one opening drives both.

Masses, centres and inertias are those of AgileX's robot description (agilexrobotics/piper_ros,
piper_no_gripper_description.urdf, and its gripper's).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from gigaedge.kinematics import ALPHA, FINGERTIP, THETA_DEGREES, A, D
from gigaedge.profiles import PROFILES
from gigaedge.robot import JOINTS, Side
from gigaedge_runtime.physics.elements import add_box, add_capsule, add_cylinder, numbers
from gigaedge_runtime.physics.scene import STROKE

BASE_Y: Final[dict[Side, float]] = {"left": 0.3, "right": -0.3}
"""Where the bases stand on the cell's y axis, m."""

ARM_BITS: Final[dict[Side, int]] = {"left": 1, "right": 2}
OBJECT_BIT: Final = 4
STATIC_BIT: Final = 8
"""Bits of contact: an arm meets the other one, objects and the table, and not itself."""


@dataclass(frozen=True)
class Body:
    """What a link weighs."""

    mass: float
    """kg."""
    centre: tuple[float, float, float]
    """Of mass, in the link's frame, m."""
    inertia: tuple[float, float, float, float, float, float]
    """xx, yy, zz, xy, xz, yz about that centre, kg m^2."""


LINKS: Final = (
    Body(0.71, (0.0001215, 0.0001046, -0.004386), (4.8916e-4, 4.0472e-4, 4.3982e-4, -3.6e-7, -2.24e-6, -2.42e-6)),
    Body(
        1.17, (0.198666, -0.010927, 0.001421), (1.16918e-3, 6.785384e-2, 6.774489e-2, -1.80037e-3, 2.5146e-4, -4.55e-6)
    ),
    Body(0.5, (-0.020274, -0.133915, -0.000459), (1.361711e-2, 4.5024e-4, 1.380322e-2, 1.65794e-3, -4.8e-7, -4.5e-7)),
    Body(0.38, (-0.0000967, 0.000876, -0.004969), (1.8501e-4, 1.8965e-4, 1.5484e-4, 5.4e-7, 1.2e-6, -8.41e-6)),
    Body(0.383, (-0.0000411, -0.056649, -0.003721), (1.66169e-3, 1.851e-4, 1.64321e-3, 6e-8, -7e-8, 1.026e-5)),
    Body(0.007, (0.0, 0.0, -0.002), (5.73e-7, 5.73e-7, 1.067e-6, 0.0, 0.0, 0.0)),
)  # fmt: skip
GRIPPER: Final = Body(
    0.45, (-0.000184, 0.0000805, 0.032144), (9.2934e-4, 7.1447e-4, 3.9442e-4, 3.4e-7, -7.38e-6, 5e-8)
)
FINGER: Final = Body(
    0.025, (0.000651, -0.049193, 0.009723), (7.371e-5, 7.81e-6, 7.47e-5, -1.13e-6, 2.1e-7, -1.372e-5)
)

TORQUE: Final = (60.0, 60.0, 60.0, 20.0, 20.0, 20.0)
"""N m; AgileX publishes none for the joints that could be meant seriously (its description says 100 for each). Enough
to follow, too little to push an arm through the table."""
GRIP: Final = 20.0
"""N; the most with which each finger presses."""

_STIFFNESS: Final = (2400.0, 2400.0, 1200.0, 120.0, 120.0, 40.0)
"""N m / rad."""
_DAMPING: Final = (60.0, 60.0, 30.0, 3.0, 3.0, 1.0)
"""N m s / rad."""
_ARMATURE: Final = (0.1, 0.1, 0.1, 0.02, 0.02, 0.01)
"""kg m^2; of the rotors, seen through their gears: ours, none are published."""
_GRIP_STIFFNESS: Final = 2000.0
"""N / m of opening."""
_FINGER_DAMPING: Final = 130.0
"""N s / m of each finger: with its full force the gripper closes by 0.3 m a second, which is the most that the other
simulated arm does (`devices.sim_piper`)."""
_FINGER_ARMATURE: Final = 0.1
"""kg; of the gripper's motor, seen through its gears: ours."""

_WHITE: Final = (0.86, 0.87, 0.88)
_DARK: Final = (0.16, 0.17, 0.19)
_PAD: Final = (0.28, 0.29, 0.31)


def add_arm(world: Element, actuators: Element, tendons: Element, equalities: Element, side: Side) -> None:
    """Write one arm into the sections of a model: bodies `left_base`, `left_link1` to `left_link6`,
    `left_gripper`, `left_finger_a` (towards -y of link 6) and `left_finger_b`, or `right_...`.

    Its seven actuators take joint angles, rad, and the opening, m.
    """
    bit = ARM_BITS[side]
    # Two arms that touch are one contact: the left one asks for it.
    affinity = OBJECT_BIT | STATIC_BIT | (ARM_BITS["right"] if side == "left" else 0)
    shape = {"contype": str(bit), "conaffinity": str(affinity), "class": "arm"}
    # A base stands in the table: it must meet neither that nor its own arm.
    still = {**shape, "conaffinity": str(affinity & ~STATIC_BIT)}
    parent = SubElement(world, "body", name=f"{side}_base", pos=numbers(0, BASE_Y[side], 0))
    add_cylinder(parent, 0.05, (0, 0, 0), (0, 0, 0.055), _DARK, still)
    add_cylinder(parent, 0.042, (0, 0, 0.055), (0, 0, 0.085), _WHITE, still)
    profile = PROFILES["piper"]
    for joint in range(JOINTS):
        parent = SubElement(parent, "body", _link_frame(joint), name=f"{side}_link{joint + 1}", gravcomp="1")
        _inertial(parent, LINKS[joint])
        SubElement(
            parent,
            "joint",
            name=f"{side}_joint{joint + 1}",
            axis="0 0 1",
            range=numbers(profile.position_min[joint], profile.position_max[joint]),
            armature=numbers(_ARMATURE[joint]),
        )
        _link_shapes(parent, shape, joint)
        SubElement(
            actuators,
            "position",
            name=f"{side}_joint{joint + 1}",
            joint=f"{side}_joint{joint + 1}",
            kp=numbers(_STIFFNESS[joint]),
            kv=numbers(_DAMPING[joint]),
            forcerange=numbers(-TORQUE[joint], TORQUE[joint]),
            ctrlrange=numbers(profile.position_min[joint], profile.position_max[joint]),
        )
    _add_gripper(parent, shape, actuators, tendons, equalities, side)


def _add_gripper(
    link6: Element,
    shape: dict[str, str],
    actuators: Element,
    tendons: Element,
    equalities: Element,
    side: Side,
) -> None:
    gripper = SubElement(link6, "body", name=f"{side}_gripper", gravcomp="1")
    _inertial(gripper, GRIPPER)
    add_box(gripper, (-0.025, -0.04, 0.004), (0.025, 0.04, 0.048), _WHITE, shape)
    add_box(gripper, (-0.014, -0.06, 0.048), (0.014, 0.06, 0.06), _DARK, shape)
    tendon = SubElement(tendons, "fixed", name=f"{side}_opening")
    # The finger frames of AgileX's description: z is the way a finger opens, -y runs back from its tip.
    for name, quaternion in (("a", _turn_x(math.pi / 2)), ("b", (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)))):
        finger = SubElement(
            gripper,
            "body",
            name=f"{side}_finger_{name}",
            pos=numbers(0, 0, FINGERTIP),
            quat=numbers(*quaternion),
            gravcomp="1",
        )
        _inertial(finger, FINGER)
        SubElement(
            finger,
            "joint",
            name=f"{side}_finger_{name}",
            type="slide",
            axis="0 0 1",
            range=numbers(0, STROKE / 2),
            armature=numbers(_FINGER_ARMATURE),
            damping=numbers(_FINGER_DAMPING),
        )
        add_box(finger, (-0.011, -0.06, 0.0), (0.011, 0.0, 0.008), _PAD, {**shape, "class": "pad"})
        add_box(finger, (-0.009, -0.074, 0.002), (0.009, -0.045, 0.016), _DARK, shape)
        SubElement(tendon, "joint", joint=f"{side}_finger_{name}", coef="1")
    SubElement(
        equalities,
        "joint",
        joint1=f"{side}_finger_a",
        joint2=f"{side}_finger_b",
        polycoef="0 1 0 0 0",
        solref="0.005 1",
    )
    SubElement(
        actuators,
        "position",
        name=f"{side}_gripper",
        tendon=f"{side}_opening",
        kp=numbers(_GRIP_STIFFNESS),
        forcerange=numbers(-GRIP, GRIP),
        ctrlrange=numbers(0, STROKE),
    )


def _link_frame(joint: int) -> dict[str, str]:
    """Where link `joint + 1` is at angle 0, in the link before it."""
    twist, turn = ALPHA[joint], math.radians(THETA_DEGREES[1][joint])
    place = (A[joint], -math.sin(twist) * D[joint], math.cos(twist) * D[joint])
    half, other = twist / 2, turn / 2
    # RotX(twist) RotZ(turn).
    quaternion = (
        math.cos(half) * math.cos(other),
        math.sin(half) * math.cos(other),
        -math.sin(half) * math.sin(other),
        math.cos(half) * math.sin(other),
    )
    return {"pos": numbers(*place), "quat": numbers(*quaternion)}


def _link_shapes(body: Element, shape: dict[str, str], joint: int) -> None:
    """What a link looks like: motors as cylinders along its joint's axis, tubes as capsules between them."""
    if joint == 0:
        add_cylinder(body, 0.042, (0, 0, -0.038), (0, 0, 0), _WHITE, shape)
        add_cylinder(body, 0.042, (0, -0.048, 0), (0, 0.048, 0), _WHITE, shape)
    elif joint == 1:
        add_capsule(body, 0.032, (0, 0, 0), (A[2], 0, 0), _WHITE, shape)
        add_cylinder(body, 0.038, (A[2], 0, -0.042), (A[2], 0, 0.042), _DARK, shape)
    elif joint == 2:
        add_capsule(body, 0.028, (0, 0, 0), (A[3], -0.19, 0), _WHITE, shape)
    elif joint == 3:
        add_cylinder(body, 0.028, (0, 0, -0.06), (0, 0, 0), _DARK, shape)
        add_cylinder(body, 0.028, (0, -0.032, 0), (0, 0.032, 0), _WHITE, shape)
    elif joint == 4:
        add_capsule(body, 0.025, (0, 0, 0), (0, -0.06, 0), _WHITE, shape)
    else:
        add_cylinder(body, 0.026, (0, 0, -0.012), (0, 0, 0.004), _DARK, shape)


def _turn_x(angle: float) -> tuple[float, float, float, float]:
    return (math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0)


def _inertial(body: Element, given: Body) -> None:
    SubElement(
        body,
        "inertial",
        pos=numbers(*given.centre),
        mass=numbers(given.mass),
        fullinertia=numbers(*given.inertia),
    )
