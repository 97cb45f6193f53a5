"""Slow moves to a pose: straight, gentle, planned once, and never the cause of an exception."""

from __future__ import annotations

import numpy as np
import pytest
from ruckig import Ruckig

from gigaedge_runtime.journey import Journey

PERIOD = 0.005
V, A, J = np.array([0.4, 0.2, 0.1]), np.full(3, 5.0), np.full(3, 200.0)
GOAL = np.array([1.0, -0.3, 0.02])


def test_it_goes_straight_and_comes_to_rest_at_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = []
    calculate = Ruckig.calculate
    monkeypatch.setattr(
        "gigaedge_runtime.journey.Ruckig",
        lambda joints: type(
            "Counted",
            (),
            {"calculate": lambda self, *rest: plans.append(1) or calculate(Ruckig(joints), *rest)},
        )(),
    )
    journey = Journey(V, A, J, PERIOD)
    motion, way = np.zeros((3, 3)), []
    for _ in range(600):
        step = journey.step(motion, GOAL)
        assert step is not None
        motion = step
        way.append(motion)
    path = np.array(way)
    assert len(plans) == 1
    np.testing.assert_allclose(path[-1], [GOAL, [0, 0, 0], [0, 0, 0]], atol=1e-9)
    np.testing.assert_allclose(path[:, 0] / GOAL, path[:, 0, :1] * np.ones(3), atol=1e-6)
    assert (np.abs(path[:, 1]).max(axis=0) <= V + 1e-9).all()
    assert np.abs(path[:, 1]).max(axis=0)[0] == pytest.approx(0.4)
    assert (np.abs(np.diff(path[:, 2], axis=0)).max(axis=0) <= J * PERIOD + 1e-9).all()
    assert (np.abs(path[:, 2]).max(axis=0) <= A + 1e-9).all()


def test_it_plans_anew_for_another_target_and_from_another_place() -> None:
    journey = Journey(V, A, J, PERIOD)
    first = journey.step(np.zeros((3, 3)), GOAL)
    assert first is not None
    back = journey.step(first, -GOAL)
    assert back is not None
    assert back[2, 0] < first[2, 0]
    moved = np.zeros((3, 3))
    moved[0] = 0.5
    there = journey.step(moved, -GOAL)
    assert there is not None
    assert there[0, 0] == pytest.approx(0.5, abs=1e-5)
    kept = journey.step(there, -GOAL)
    assert kept is not None
    assert kept[2, 0] < there[2, 0] < 0


def test_where_there_is_no_plan_there_is_no_step() -> None:
    journey = Journey(V, A, J, PERIOD)
    assert journey.step(np.zeros((3, 3)), np.full(3, np.nan)) is None
    step = journey.step(np.zeros((3, 3)), GOAL)
    assert step is not None
    assert step[0, 0] > 0, "and the next target is planned for as if nothing had been"


def test_a_result_other_than_a_plan_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, joints: int) -> None: ...

        def calculate(self, *_: object) -> int:
            return -100

    monkeypatch.setattr("gigaedge_runtime.journey.Ruckig", Failing)
    assert Journey(V, A, J, PERIOD).step(np.zeros((3, 3)), GOAL) is None
