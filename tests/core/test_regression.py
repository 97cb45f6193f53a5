"""The test against a baseline: quantiles against tables, rates of wrong and right alarms against what is promised."""

from __future__ import annotations

import re

import numpy as np
import pytest

from gigaedge.regression import Comparison, Measured, Timed, compare, student_cdf, student_quantile
from tests.measured_reports import groups


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [
        (0.99, 1, 31.820516),
        (0.99, 2, 6.964557),
        (0.99, 8, 2.896459),
        (0.9, 4, 1.533206),
        (0.975, 30, 2.042272),
        (0.995, 120, 2.617421),
        (0.01, 8, -2.896459),
    ],
)
def test_quantiles_are_those_of_the_tables(probability: float, freedom: float, expected: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(expected, abs=1e-6)


def test_one_degree_of_freedom_is_a_cauchy_distribution() -> None:
    for value in (-3.0, -0.1, 0.0, 0.7, 40.0):
        assert student_cdf(value, 1) == pytest.approx(0.5 + np.arctan(value) / np.pi, abs=1e-12)


def timed(seed: int, chunk: float = 20.0, yardstick: float = 30.0, spread: float = 0.02) -> Timed:
    return Timed(groups(chunk, seed=seed, spread=spread), groups(yardstick, seed=seed + 5000, spread=spread))


def measured(
    seed: int, *, bundle: float = 1.0, machine: float = 1.0, harder: float = 1.0, spread: float = 0.02
) -> Measured:
    """How slow a bundle and a machine are; `harder`: what the machine does to the chunk and not to the yardstick."""
    clock = timed(seed, 20 * bundle * machine * harder, 30 * machine, spread)
    return Measured(clock, timed(seed + 20_000, 20 * bundle, 50, spread / 2))


def study(runs: int, **now: float) -> list[Comparison]:
    return [compare(measured(run, **now), measured(run + 10_000), 0.05) for run in range(runs)]


def test_noise_is_no_regression_and_a_fifth_is() -> None:
    assert not any(each.slower or each.faster for each in study(60))
    assert all(each.slower for each in study(25, bundle=1.2))


def test_a_difference_as_large_as_the_tolerance_is_called_one_no_oftener_than_alpha() -> None:
    assert np.mean([each.slower for each in study(100, bundle=1.05)]) <= 0.02


def test_a_machine_that_became_slower_is_not_the_bundles_fault() -> None:
    found = study(25, machine=1.5)
    assert not any(each.slower for each in found)
    assert np.median([each.clock.raw for each in found]) == pytest.approx(1.5, rel=0.02)
    assert np.median([each.clock.estimate for each in found]) == pytest.approx(1.0, rel=0.03)


def test_a_machine_that_slows_the_bundle_more_than_the_yardstick_is_in_doubt() -> None:
    """A load that differs as much could do that; at the same load a fifth is called."""
    assert not any(each.slower for each in study(25, machine=1.8, harder=1.2))


def test_a_machine_that_became_quicker_makes_no_regression_by_itself() -> None:
    """Only the yardstick gained: in units of it the chunks became slower."""
    assert not any(each.slower for each in study(25, machine=0.7, harder=1 / 0.7))


@pytest.mark.parametrize("follows", [0.0, 0.3, 1.0])
def test_a_machine_that_slows_some_processes_is_taken_out_as_far_as_chunks_follow_it(follows: float) -> None:
    """As beside a neighbour that comes and goes: in some processes the yardstick takes 1.7 times as long."""

    def restless(seed: int, bundle: float) -> Measured:
        still = timed(seed, 20 * bundle)
        slow = 1.7 ** np.random.default_rng(seed).integers(0, 2, len(still.chunk))
        chunk = tuple(tuple(t * s**follows for t in ts) for ts, s in zip(still.chunk, slow, strict=True))
        yardstick = tuple(tuple(t * s for t in ts) for ts, s in zip(still.yardstick, slow, strict=True))
        return Measured(Timed(chunk, yardstick))

    pairs = [(restless(run, 1.0), restless(run + 500, 1.0), restless(run, 1.25)) for run in range(40)]
    assert not any(compare(now, before, 0.05).slower for now, before, _ in pairs)
    assert np.mean([compare(slower, before, 0.05).slower for _, before, slower in pairs]) > 0.8


def test_processor_time_finds_what_the_clock_is_too_restless_for() -> None:
    def restless(seed: int, bundle: float) -> Measured:
        return Measured(timed(seed, 20 * bundle, spread=0.15), timed(seed + 20_000, 20 * bundle, 50, 0.015))

    found = [compare(restless(run, 1.2), restless(run + 500, 1.0), 0.05) for run in range(20)]
    assert sum(each.slower for each in found) >= 17
    alone = [
        compare(Measured(restless(run, 1.2).clock), Measured(restless(run + 500, 1.0).clock), 0.05)
        for run in range(20)
    ]
    assert sum(each.slower for each in alone) <= 3


def test_an_improvement_is_called_one() -> None:
    assert all(each.faster and not each.slower for each in study(30, bundle=0.8))


def test_what_would_have_been_seen_is_seen_about_as_often_as_promised() -> None:
    visible = float(np.median([each.visible for each in study(25)]))
    assert 1.06 < visible < 1.2
    assert 0.8 < np.mean([each.slower for each in study(50, bundle=visible)]) <= 1


def test_chunks_of_one_process_are_no_independent_samples() -> None:
    """Processes that differ by 10 % hide a difference of 8 %, however many chunks they time."""
    slower = 0
    for run in range(30):
        now = groups(21.6, seed=run, repeats=200, spread=0.1)
        before = groups(20.0, seed=run + 100, repeats=200, spread=0.1)
        still = ((1.0,) * 200,) * 5
        slower += compare(Measured(Timed(now, still)), Measured(Timed(before, still)), 0.0).slower
    assert slower <= 3


def test_times_without_any_spread_are_compared_exactly() -> None:
    def flat(time: float) -> Measured:
        return Measured(Timed(((time,) * 3,) * 3, ((1.0,) * 3,) * 3))

    found = compare(flat(1.2), flat(1.0), 0.05)
    assert found.slower
    assert found.clock.low == pytest.approx(1.2)
    assert not compare(flat(1.05), flat(1.0), 0.05).slower


def test_the_verdict_names_ratio_interval_and_power() -> None:
    text = str(compare(measured(1, bundle=1.2), measured(2), 0.05))
    number = r"\d\.\d{3}"
    interval = rf"{number} \({number} to {number}\)"
    assert re.fullmatch(
        rf"slower: {interval} times the baseline by the clock, {interval} by processor time; "
        r"tolerance 5%, a slowdown of \d+% would have been seen",
        text,
    )
    assert str(compare(measured(1), measured(2), 0.05)).startswith("no difference that counts: ")
    assert str(compare(measured(1, bundle=0.7), measured(2), 0.05)).startswith("faster: ")


@pytest.mark.parametrize(
    ("chunk", "yardstick", "problem"),
    [
        (((1.0,),) * 2, ((1.0,),) * 2, "at least 3 processes, got 2"),
        (((1.0, 2.0),) * 3, ((1.0,),) * 3, "a time of the yardstick for every chunk"),
        (((),) * 3, ((),) * 3, "a chunk in every process"),
        (((0.0,),) * 3, ((1.0,),) * 3, "above zero"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    chunk: tuple[tuple[float, ...], ...], yardstick: tuple[tuple[float, ...], ...], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Timed(chunk, yardstick)
