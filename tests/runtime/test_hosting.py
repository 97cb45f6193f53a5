"""Simulated arms of a site: where they are found, and that their limits come along."""

from __future__ import annotations

import pytest

from gigaedge.errors import ArmError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import Site
from gigaedge_runtime.devices.piper import PiperArm
from gigaedge_runtime.hosting import simulated_arms
from gigaedge_runtime.limits import Limits

pytestmark = pytest.mark.realtime

POSE = (0.2, 1.0, -0.9, 0.1, 0.4, -0.1, 0.02)
SITE = Site.model_validate(
    {
        "bundle": "demo",
        "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
        "arms": [
            {
                "side": "left",
                "driver": "sim",
                "home": POSE,
                "park": POSE,
                "base": {"y": 0.3},
                "workspace": {"min": [-0.5, -0.5, 0.0], "max": [0.6, 0.5, 0.8]},
            },
            {"side": "right", "driver": "absent", "pose": POSE},
        ],
    }
)


def test_a_simulated_arm_is_reached_as_a_piper_where_it_was_told_to_stand() -> None:
    with simulated_arms(SITE) as site:
        left, right = site.arm("left"), site.arm("right")
        assert left.driver == "piper"
        assert right == SITE.arm("right")
        arm = PiperArm("left", left.can)
        arm.connect()
        try:
            assert (*arm.read().joints, arm.read().gripper) == pytest.approx(POSE, abs=1e-4)
        finally:
            arm.close()
    with pytest.raises(ArmError, match="no simulated arm serves this channel"):
        PiperArm("left", left.can).connect()


def test_everything_else_about_the_arm_stays() -> None:
    with simulated_arms(SITE) as site:
        assert site.arm("left").park == POSE
        assert site.arm("left").base == SITE.arm("left").base
        limits = Limits.of(site)
    assert limits.workspace is not None, "a simulated arm is kept within its box"
