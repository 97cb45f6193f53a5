"""The table of faults holds, and docs/faults.md is that table."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gigaedge.site import LimitsConfig
from tests.faults import judge, table
from tests.faults.case import Outcome, Reaction
from tests.faults.cases import CASES, WATCHDOG
from tests.faults.cell import Cell, LoggedArm
from tests.faults.harness import perform

pytestmark = pytest.mark.realtime

OUTCOME = Outcome(
    "bus-silent", (), "feedback", "both arms hold", 61.7, 48.4, "nothing", "left arm: old (pid 7)", 3.0
)


ONE_OF_EACH = (
    "bus-silent",
    "joint-frame-lost",
    "send-error",
    "driver-collision",
    "emergency-stop",
    "power-cycle",
    "usb-replugged",
    "firmware-limits-corrupted",
    "camera-skewed",
    "camera-unplugged",
    "policy-nan",
    "policy-stopped",
    "policy-killed",
    "control-killed",
    "disk-full",
)
"""A fault of each kind; `make faults` has all of them, which takes some four minutes more."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_fault_is_answered_as_promised(name: str) -> None:
    outcome = perform(next(case for case in CASES if case.name == name))
    assert outcome.passed, table.line(outcome)


@pytest.mark.slow
def test_the_harness_notices_a_reaction_that_is_not_the_promised_one() -> None:
    promised = next(case for case in CASES if case.name == "packets-lost")
    outcome = perform(replace(promised, reaction=Reaction.LATCHED, detector="feedback", reads="feedback is"))
    assert any("there was no reaction" in problem for problem in outcome.problems)
    assert any("exit code 130" in problem for problem in outcome.problems)
    assert any("a person reads" in problem for problem in outcome.problems)


def test_names_are_unique_and_every_latch_is_within_the_watchdog() -> None:
    assert Counter(case.name for case in CASES).most_common(1)[0][1] == 1
    for case in CASES:
        assert case.reaction is Reaction.ABANDONED or case.within <= WATCHDOG, case.name
        re.compile(case.reads)


def test_the_document_lists_exactly_the_cases() -> None:
    promised = [(c.name, c.injected, c.detector.replace("_", " "), c.reaction.value) for c in CASES]
    assert table.written() == promised, "run `make faults FAULTS_ARGS=--write`"


def test_the_table_is_put_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "faults.md"
    document.write_text(f"before\n{table._BEGIN}\nold\n{table._END}\nafter\n")
    case = next(case for case in CASES if case.name == OUTCOME.case)
    table.write([case], {OUTCOME.case: OUTCOME}, document)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old\n" not in text
    assert "| 62 (100, last feedback) | 48 ms | nothing | `left arm: old (pid N)` |" in text
    assert [row[0] for row in table.written(document)] == [case.name]


def test_names_of_one_run_are_not_written() -> None:
    line = "left arm on gigaedge-faults-_a0-left: /tmp/gigaedge-faults-x1/run.mcap (pid 12) | gone"
    assert table._escaped(line) == r"left arm on can_left: run.mcap (pid N) \| gone"


def test_a_line_names_what_went_wrong() -> None:
    assert table.line(OUTCOME).startswith("ok   bus-silent | feedback")
    failed = replace(OUTCOME, problems=("the left arm lost its power",))
    assert table.line(failed).splitlines()[-1] == "     the left arm lost its power"


class TestJudge:
    """The judge must see what it is there for."""

    @pytest.fixture
    def arm(self) -> LoggedArm:
        arm = LoggedArm("judged")
        arm.steps = [(0.005 * k, arm.joints) for k in range(200)]
        return arm

    def problems(self, arm: LoggedArm) -> list[str]:
        limits = LimitsConfig()
        return list(judge._commanded("left", arm, limits, 0.005))

    def test_quiet_arm(self, arm: LoggedArm) -> None:
        assert self.problems(arm) == []
        assert judge.stands_after(arm, 0.2) == 0.0
        assert not judge.moving(arm, 0.5)

    def test_a_command_that_jumps(self, arm: LoggedArm) -> None:
        home = arm.joints
        arm.commands = [(0.0, home), (0.005, (home[0] + 0.0052, *home[1:]))]
        assert self.problems(arm) == ["the left arm was commanded 1.04 rad/s, more than 1"]

    def test_a_command_beyond_a_limit(self, arm: LoggedArm) -> None:
        arm.commands = [(0.0, (2.62, *arm.joints[1:]))]
        assert self.problems(arm) == ["the left arm was commanded beyond its position limits"]

    def test_commands_that_jerk(self) -> None:
        limits, period = LimitsConfig(), 0.005
        times = period * np.arange(5)[:, None]
        smooth = np.tile(0.2 + 0.9 * limits.jerk * times**3 / 6, 6)
        assert list(judge._smooth("left", smooth, limits, period)) == []
        assert len(list(judge._smooth("left", 1.2 * smooth, limits, period))) == 1
        bent = np.tile(0.2 + 1.1 * limits.acceleration * times**2 / 2, 6)
        assert list(judge._smooth("left", bent, limits, period)) == [
            "the left arm was sent an acceleration of 5.5, more than 5"
        ]

    def test_an_arm_that_goes_on(self, arm: LoggedArm) -> None:
        arm.steps = [(t, (0.5 * t, *q[1:])) for t, q in arm.steps]
        assert judge.moving(arm, 0.5)
        assert judge.stands_after(arm, 0.5) > 0.48
        assert judge.stands_after(arm, 0.5, until=0.6) == pytest.approx(0.09, abs=0.011)

    def test_a_fallen_or_moving_arm(self) -> None:
        with Cell() as cell:
            for arm in cell.arms.values():
                arm.steps = [(0.005 * k, arm.joints) for k in range(200)]
            assert list(judge.violations(cell, ("left", "right"))) == []
            cell.left.power_cuts = 6
            cell.right.steps[-1] = (1.0, (0.1, *cell.right.joints[1:]))
            assert list(judge.violations(cell, ("left", "right"))) == [
                "the left arm lost its power",
                "the right arm still moves at the end",
            ]
            assert list(judge.violations(cell, ("right",))) == ["the right arm still moves at the end"]
