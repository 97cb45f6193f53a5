"""The fuzz of the limit layer: a few thousand sequences of it, and that its checker sees what it is for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fuzz_limits
from fuzz_limits import attempt, check, check_workspace, main
from gigaedge_runtime.limits import Limiter, Limits
from gigaedge_runtime.workspace import Workspace

PERIOD = 0.005
ONE = np.ones(14)
LIMITS = Limits(-ONE, ONE, 2 * ONE, 5 * ONE, 200 * ONE, ONE, ONE)


def test_two_thousand_sequences_exceed_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sequences", "2000", "--seed", "7"]) == 0
    report = capsys.readouterr().out
    assert "seed 7: 2000 sequences" in report
    assert " 0 failures" in report
    assert "worst jerk / limit: 1.0000" in report, "it went as far as the limit, too"


def test_an_episode_follows_from_its_seed() -> None:
    first, second = attempt((3, 5, 20)), attempt((3, 5, 20))
    assert first == second
    assert first[1].ticks > 0


@pytest.mark.parametrize(
    ("order", "name"), [(1, "velocity / limit"), (2, "acceleration / limit"), (3, "jerk / limit")]
)
@pytest.mark.parametrize("share", [0.999, 1.001])
def test_the_checker_sees_each_rate(order: int, name: str, share: float) -> None:
    limit = {1: 2.0, 2: 5.0, 3: 200.0}[order]
    rates = np.zeros((40, 14))
    rates[:, 3] = share * limit
    way = rates[:20]
    for _ in range(order):
        way = np.cumsum(way, axis=0) * PERIOD
    found = check(np.concatenate((np.zeros((1, 14)), way)), LIMITS, PERIOD)
    assert found[name] == pytest.approx(share, rel=1e-6)


def test_the_checker_sees_a_command_out_of_range() -> None:
    way = np.linspace(0.9, 1.1, 50)[:, np.newaxis] * ONE
    assert check(way, LIMITS, PERIOD)["position"] > 1e-3
    assert check(way[::-1], LIMITS, PERIOD)["position"] == 0.0, "coming in is allowed"


def test_the_checker_sees_a_wall_passed_and_arms_too_near() -> None:
    home = np.array([0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03] * 2)
    out = np.repeat(home[np.newaxis], 50, axis=0)
    out[:, 0] -= np.linspace(0, 1.5, 50)
    out[:, 7] += np.linspace(0, 1.5, 50)
    wall = Workspace(np.full((2, 3), [-1, -0.1, -1.0]), np.full((2, 3), 1.0))
    assert check_workspace(out, wall)["box, m"] > 1e-3
    base = np.array([[0, 0.2, 0, 0.0], [0, -0.2, 0, 0.0]])
    near = replace(wall, low=np.full((2, 3), -9.0), clearance=0.1, base=base)
    found = check_workspace(out, near)
    assert found["box, m"] < 0
    assert found["clearance, m"] > 1e-3
    assert check_workspace(out[::-1], near)["clearance, m"] <= 1e-12


def test_a_limiter_that_exceeds_is_reported_with_what_reproduces_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Careless(Limiter):
        def decelerate(self):  # type: ignore[no-untyped-def]
            self._motion = self._motion + 0.01
            return self._motion[0]

    monkeypatch.setattr(fuzz_limits, "Limiter", Careless)
    assert main(["--sequences", "100", "--seed", "4"]) == 1
    report = capsys.readouterr().out
    assert "FAILED jerk / limit: " in report
    assert "python tools/fuzz_limits.py --seed 4 --episode 0" in report


def test_an_exception_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(fuzz_limits, "random_limits", broken)
    assert attempt((1, 2, 3))[1].failures == ["ZeroDivisionError: planted"]
