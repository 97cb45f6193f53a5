"""The document of trials: what its sums say, and that it can be read again."""

from __future__ import annotations

import pytest

from gigaedge.trials import DifferenceInfo, IntervalInfo, SummaryInfo, TrialsReport, compared
from tests.trials_reports import episode, report, row


def test_a_summary_counts_attempts_times_and_causes() -> None:
    episodes = [
        episode(0, "success", seconds=2.0),
        episode(1, "time", "success", seconds=3.0),
        episode(2, "success", seconds=4.0),
        episode(3, "time", "fault"),
        episode(4, "time", "time"),
        episode(5, "dropped"),
    ]
    summary = SummaryInfo.of(episodes)
    assert (summary.episodes, summary.successes, summary.first_successes) == (6, 3, 2)
    assert summary.rate == 0.5
    assert (summary.interval.low, summary.interval.high) == pytest.approx((0.1876, 0.8124), abs=1e-4)
    assert summary.attempts_mean == pytest.approx(4 / 3)
    assert (summary.seconds_p50, summary.seconds_p90) == pytest.approx((4.0, 5.6))
    assert summary.failures == {"fault": 1, "time": 1, "dropped": 1}


def test_without_a_success_there_are_no_times() -> None:
    summary = SummaryInfo.of([episode(0, "time")])
    assert (summary.attempts_mean, summary.seconds_p50, summary.seconds_p90) == (None, None, None)
    with pytest.raises(ValueError, match="got 0 of 0"):
        SummaryInfo.of([])


def test_rows_are_compared_with_the_first_of_their_task() -> None:
    lost, won = [episode(k, "time") for k in range(20)], [episode(k, "success") for k in range(20)]
    rows = compared([row(won), row(lost, blind=True), row(lost, task="scan"), row(won, task="scan", steps=4)])
    assert rows[0].difference is rows[2].difference is None
    worse, better = rows[1].difference, rows[3].difference
    assert worse is not None
    assert better is not None
    assert (worse.rate, worse.verdict) == (-1.0, "worse")
    assert (better.rate, better.verdict) == (1.0, "better")
    assert [each.name for each in rows[:2]] == ["fp32, 10 steps, rtc", "fp32, 10 steps, rtc, blind"]


def test_a_difference_within_its_interval_is_none() -> None:
    bounds = IntervalInfo(low=-0.3, high=0.0)
    assert DifferenceInfo(rate=-0.1, interval=bounds).verdict == "no difference shown"


def test_a_report_is_read_as_it_was_written() -> None:
    written = report()
    text = written.model_dump_json(by_alias=True)
    assert '"schema":"gigaedge.trials/1"' in text
    assert TrialsReport.model_validate_json(text) == written
