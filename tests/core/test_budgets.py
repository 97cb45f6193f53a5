"""Latency budgets: what can have one, and how it is judged."""

from __future__ import annotations

import pytest

from gigaedge.benchmark import Verdict
from gigaedge.budgets import STAGES, Budget, judge, parse_budget, require_measured
from gigaedge.errors import InputError
from tests.measured_reports import loop, report


def test_a_number_alone_is_of_a_chunk() -> None:
    assert parse_budget("300") == Budget("chunk", 300.0)
    assert parse_budget("exposure_to_can=412.5") == Budget("exposure_to_can", 412.5)


@pytest.mark.parametrize("text", ["", "chunk=", "chunk", "0", "-1", "inf", "nan", "3,5"])
def test_a_budget_is_a_number_of_milliseconds(text: str) -> None:
    with pytest.raises(InputError, match=r"expected milliseconds above zero, as in 300 or context=80"):
        parse_budget(text)


def test_an_unknown_stage_names_those_there_are() -> None:
    with pytest.raises(
        InputError, match=r"no stage 'vea'; there are chunk, context, .*, load, .*, tick_work"
    ):
        parse_budget("vea=3")


@pytest.mark.parametrize(
    ("stage", "layout", "profile", "path", "problem"),
    [
        ("context", "single", True, True, "layout single has no such stage; its chunk has policy"),
        ("policy", "split", True, True, "layout split has no such stage; its chunk has context, step, steps"),
        ("vae", "single", True, True, "layout single has no such stage"),
        ("vae", "split", False, True, "known by the profile only; drop --no-profile"),
        ("send", "split", True, False, "measured in the whole loop only; drop --no-path"),
    ],
)
def test_what_will_not_be_measured_is_refused(
    stage: str, layout: str, profile: bool, path: bool, problem: str
) -> None:
    with pytest.raises(InputError, match=f"--budget-ms {stage}=5: .*{problem}"):
        require_measured([Budget(stage, 5.0)], layout=layout, profile=profile, path=path)


def test_everything_else_is_accepted() -> None:
    stages = [Budget(stage, 1.0) for stage in STAGES if stage != "policy"]
    require_measured(stages, layout="split", profile=True, path=True)
    require_measured([Budget("policy", 1.0)], layout="single", profile=False, path=False)


def test_p99_is_judged_at_the_boundary() -> None:
    measured = report()
    p99 = measured.rows[0].chunk.p99
    (exact,) = judge(measured, [Budget("chunk", p99)])
    (beyond,) = judge(measured, [Budget("chunk", p99 * 0.999)])
    assert (exact.passed, beyond.passed) == (True, False)
    assert exact.name == "budget chunk"
    assert exact.text.endswith(f"ms (p99 of 100, 10 steps euler), within its budget of {p99:g} ms")
    assert ", beyond its budget of " in beyond.text


def test_a_start_is_judged_by_its_worst() -> None:
    load, first = judge(report(), [Budget("load", 85.0), Budget("first_chunk", 26.0)])
    assert load == Verdict(
        name="budget load",
        passed=False,
        text="load takes 90 ms (worst of 2 processes), beyond its budget of 85 ms",
    )
    assert first.passed


def test_the_loop_is_judged_with_one_arm_and_with_two() -> None:
    measured = report(path=(loop(1, 90.0), loop(2, 140.0)))
    one, two = judge(measured, [Budget("exposure_to_can", 100.0)])
    assert (one.name, one.passed) == ("budget exposure_to_can, 1 arm", True)
    assert (two.name, two.passed) == ("budget exposure_to_can, 2 arms", False)
    assert all(verdict.passed for verdict in judge(measured, [Budget("send", 2.5), Budget("host", 2.5)]))


@pytest.mark.parametrize("measured", [(), (1,)])
def test_a_loop_that_no_chunk_came_in_time_for_does_not_pass(measured: tuple[int, ...]) -> None:
    verdicts = judge(report(path=tuple(loop(arms, 90.0) for arms in measured)), [Budget("host", 6.0)])
    missing = verdicts[len(measured) :]
    assert [verdict.name for verdict in missing] == [
        f"budget host, {arms}" for arms in ("1 arm", "2 arms")[len(measured) :]
    ]
    assert not any(verdict.passed for verdict in missing)
    assert {verdict.text for verdict in missing} == {
        "it was not measured: no chunk came in time for the loop"
    }
    assert all(verdict.passed for verdict in verdicts[: len(measured)])
