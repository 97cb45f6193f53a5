from __future__ import annotations

from dataclasses import replace

import pytest

from gigaedge.profiles import PROFILES, FirmwareLimits, JointLimits, compare_with_firmware

PIPER = PROFILES["piper"]
OURS = JointLimits(PIPER.position_min, PIPER.position_max, (1.0,) * 6, (5.0,) * 6)
AGREES = FirmwareLimits(
    # As CAN frames carry them: tenths of a degree.
    position_min=(-2.617994, 0.0, -2.96706, -1.745329, -1.22173, -2.094395),
    position_max=(2.617994, 3.141593, 0.0, 1.745329, 1.22173, 2.094395),
    velocity=(3.0,) * 6,
    acceleration=(5.0,) * 6,
)


def changed(key: str, joint: int, value: float) -> FirmwareLimits:
    values = list(getattr(AGREES, key))
    values[joint] = value
    return replace(AGREES, **{key: tuple(values)})


def test_firmware_that_agrees_or_allows_more_is_no_problem() -> None:
    assert compare_with_firmware(OURS, AGREES) == []
    assert compare_with_firmware(OURS, changed("position_max", 3, 1.832)) == []
    assert compare_with_firmware(OURS, changed("position_min", 2, -2.9655)) == [], "rounding"


@pytest.mark.parametrize(
    ("key", "joint", "value", "text"),
    [
        (
            "position_min",
            0,
            -2.0,
            "joint 1: the firmware stops at -2 rad, limits.position_min says -2.6179; raise",
        ),
        (
            "position_max",
            5,
            1.5,
            "joint 6: the firmware stops at 1.5 rad, limits.position_max says 2.09439; lower",
        ),
        ("velocity", 1, 0.5, "joint 2: the firmware goes at most 0.5 rad/s, limits.velocity says 1; lower"),
        (
            "acceleration",
            4,
            2.0,
            "joint 5: the firmware accelerates at most 2 rad/s^2, limits.acceleration says 5; lower",
        ),
    ],
)
def test_firmware_that_allows_less_is_named(key: str, joint: int, value: float, text: str) -> None:
    (problem,) = compare_with_firmware(OURS, changed(key, joint, value))
    assert problem.startswith(text)
    assert problem.endswith("or widen the firmware's limit with AgileX's tool")


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("position_max", -2.6, "a range from -150.0 to -149.0 degrees"),
        ("position_max", 6.3, "a range from -150.0 to 361.0 degrees"),
        ("position_min", -6.3, "a range from -361.0 to 150.0 degrees"),
        ("position_min", float("nan"), "a range from nan to 150.0 degrees"),
        ("velocity", 0.0, "a maximum velocity of 0 rad/s"),
        ("velocity", 65.5, "a maximum velocity of 65.5 rad/s"),
        ("acceleration", 655.34, r"a maximum acceleration of 655.34 rad/s^2"),
        ("acceleration", 0.0, r"a maximum acceleration of 0 rad/s^2"),
    ],
)
def test_what_no_arm_can_have_is_damage(key: str, value: float, text: str) -> None:
    (problem,) = compare_with_firmware(OURS, changed(key, 0, value))
    assert problem == (
        f"joint 1: the firmware reports {text}, which no arm can have; its memory is damaged: "
        "restore the factory limits with AgileX's tool, then switch the arm off and on"
    )


def test_every_joint_is_compared() -> None:
    damaged = replace(AGREES, position_min=(-0.001745,) * 6, position_max=(-0.001745,) * 6)
    problems = compare_with_firmware(OURS, damaged)
    assert [problem[:7] for problem in problems] == [f"joint {joint}" for joint in range(1, 7)]
    assert "a range from -0.1 to -0.1 degrees" in problems[0]


def test_profiles_differ_in_the_zero_of_their_joints() -> None:
    assert {name: profile.dh_is_offset for name, profile in PROFILES.items()} == {
        "piper": 1,
        "piper-before-1.6-3": 0,
    }
