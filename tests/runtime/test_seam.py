"""The jump between two chunks, measured on curves whose jump is known."""

from __future__ import annotations

import numpy as np
import pytest

from gigaedge.robot import ROBOT_DIM
from gigaedge_runtime.report import SeamReport
from gigaedge_runtime.seam import Seams, jumps
from gigaedge_runtime.trajectory import Trajectory

RATE = 30.0


def line(column: int, offset: float, speed: float, start: float = 0.0) -> Trajectory:
    actions = np.zeros((48, ROBOT_DIM))
    actions[:, column] = offset + speed * np.arange(48) / RATE
    return Trajectory(actions, start, RATE)


def parabola(column: int, pull: float) -> Trajectory:
    actions = np.zeros((48, ROBOT_DIM))
    actions[:, column] = pull / 2 * (np.arange(48) / RATE) ** 2
    return Trajectory(actions, 0.0, RATE)


def test_jumps_are_those_of_the_worst_joint() -> None:
    position, velocity, acceleration = jumps(0.5, line(3, 0.0, 0.4), line(3, 0.1, 0.1))
    assert position == pytest.approx(0.05)
    assert velocity == pytest.approx(0.3)
    assert acceleration == pytest.approx(0.0, abs=1e-9)
    _, _, acceleration = jumps(0.51, line(3, 0.0, 0.0), parabola(3, 2.0))
    assert acceleration == pytest.approx(2.0, rel=0.2)
    assert jumps(0.5, line(6, 0.0, 0.0), line(6, 0.05, 0.0))[0] == 0.0, "a gripper is no joint"


def test_the_report_counts_hand_overs_between_two_chunks_that_are_due() -> None:
    seams = Seams(("left",))
    seams.add(0.5, None, line(0, 0.0, 0.0), 0.0)
    seams.add(1.7, line(0, 0.0, 0.0), line(0, 0.3, 0.0, start=1.0), 0.0)  # the old one has ended
    seams.add(0.9, line(0, 0.0, 0.0), line(0, 0.3, 0.0, start=1.0), 0.0)  # the new one has not begun
    assert seams.report().position.count == 0
    seams.add(0.8, line(0, 0.0, 0.0), line(0, 0.3, 0.0, start=0.5), 0.0)
    seams.add(0.9, line(0, 0.0, 0.0), line(0, 0.1, 0.0, start=0.5), 0.35)
    seams.add(0.8, line(8, 0.0, 0.0), line(8, 9.0, 0.0, start=0.5), 0.35)  # a joint of the absent arm
    report = seams.report()
    assert report.position.count == report.velocity.count == report.delay.count == 3
    assert report.position.max == pytest.approx(0.3)
    assert report.position.p50 == pytest.approx(0.1, abs=2e-4)
    assert report.delay.max == pytest.approx(0.4)
    assert report.planned_delay.count == report.late.count == 2
    assert report.planned_delay.max == pytest.approx(0.35)
    assert report.late.max == pytest.approx(0.05), "0.4 s where 0.35 s were expected"


def test_it_survives_json() -> None:
    from dataclasses import asdict

    seams = Seams(("left", "right"))
    seams.add(0.8, line(0, 0.0, 0.0), line(0, 0.3, 0.2, start=0.5), 0.1)
    report = seams.report()
    assert SeamReport.parse(asdict(report)) == report
