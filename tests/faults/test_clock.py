"""A wall clock that is set while frames are on their way makes none of them old."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gigaedge.clock import monotonic
from gigaedge.site import CanConfig
from gigaedge_runtime.devices.piper_link import PiperLink
from tests.faults.cell import LoggedArm
from tests.faults.wires import WallClock

pytestmark = pytest.mark.realtime

HOUR = 3600.0
PLAUSIBLE = 1.0
"""s; a machine that stalls makes feedback old, but not by this much."""


def test_feedback_does_not_look_an_hour_old(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    clock.install()
    arm = LoggedArm(f"{tmp_path.name}-clock")
    link = PiperLink(CanConfig(interface="gigaedge-sim", channel=arm.channel), monotonic)
    ages = []
    try:
        with arm:
            link.open()
            deadline = monotonic() + 5.0
            while link.joints is None and monotonic() < deadline:
                time.sleep(0.005)
            assert link.joints is not None
            for step in range(100):
                clock.step(HOUR * (step % 2))
                until = monotonic() + 0.0077
                while monotonic() < until:
                    ages.append(monotonic() - link.joints.stamp)
                    time.sleep(0.001)
            link.close()
    finally:
        link.close()
        clock.remove()
    assert max(ages) < PLAUSIBLE
