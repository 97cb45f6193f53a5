"""The two halves of a chunk's way put together: sums, order, and what is not counted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaedge.benchmark import PATH_STAGES
from gigaedge_runtime.latency_path import Birth, Handover, PathLog, Reaching, stage_durations
from gigaedge_runtime.mailbox import Board
from gigaedge_runtime.report import PathReport

BIRTH = Birth(
    7, exposed=10.0, arrived=10.02, begun=10.03, stated=10.032, composed=10.037, inferred=10.237, published=10.238,
    inference={"context": 0.15, "steps": 0.05},
)  # fmt: skip
HANDOVER = Handover(7, tick=10.241, called=10.2414, sent=10.2415, last_sent=10.2419, powered=3.0)
DURATIONS = (0.02, 0.01, 0.002, 0.005, 0.2, 0.001, 0.003, 0.0004, 0.0001)


@pytest.fixture
def boards() -> Iterator[tuple[Board, Board]]:
    """Control's and the policy's."""
    fd = Board.create()
    yield Board(fd), Board(fd)
    os.close(fd)


def test_each_stage_is_between_two_moments() -> None:
    found = stage_durations(BIRTH, HANDOVER)
    assert tuple(found) == PATH_STAGES
    assert list(found.values()) == pytest.approx(DURATIONS, abs=1e-9)


@given(st.lists(st.floats(0.0, 5.0), min_size=10, max_size=10))
def test_no_stage_is_negative_and_their_sum_is_the_whole_in_whatever_order_moments_come(
    moments: list[float],
) -> None:
    birth = Birth(1, *moments[:7], inference={})
    handover = Handover(1, *moments[7:], last_sent=9.0, powered=0.0)
    found = stage_durations(birth, handover)
    assert min(found.values()) >= 0.0
    assert sum(found.values()) == pytest.approx(max(moments) - moments[0], abs=1e-9)


def test_a_chunk_published_while_the_tick_ran_was_not_waited_for() -> None:
    found = stage_durations(BIRTH, replace(HANDOVER, tick=10.2379))
    assert found["hand_over"] == 0.0
    assert found["control"] == pytest.approx(10.2414 - 10.238)


def test_the_report_adds_up() -> None:
    log = PathLog()
    for number in range(1, 51):
        later = 0.001 * number
        log.born(replace(BIRTH, chunk=number, by_arrival=number <= 3))
        log.reached(
            replace(
                HANDOVER, chunk=number,
                tick=HANDOVER.tick + later, called=HANDOVER.called + later, sent=HANDOVER.sent + later,
                last_sent=HANDOVER.last_sent + later,
            )
        )  # fmt: skip
    report = log.report()
    assert report is not None
    assert tuple(report.stages) == PATH_STAGES
    assert {spread.count for spread in report.stages.values()} == {50}
    assert sum(s.mean for s in report.stages.values()) == pytest.approx(
        report.exposure_to_can.mean, rel=1e-12
    )
    assert report.exposure_to_can.min == pytest.approx(0.2425)
    assert report.exposure_to_can.max == pytest.approx(0.2915)
    assert report.stages["hand_over"].p50 == pytest.approx(0.028, rel=0.002)
    assert report.stages["hand_over"].p90 == pytest.approx(0.048, rel=0.002)
    assert report.stages["send"].sd == pytest.approx(0.0, abs=1e-9)
    assert report.exposure_to_last_frame.mean - report.exposure_to_can.mean == pytest.approx(0.0004)
    assert report.host.p50 == pytest.approx(0.008, rel=0.002), "state, compose and publish"
    assert {name: spread.p50 for name, spread in report.inference.items()} == pytest.approx(
        {"context": 0.15, "steps": 0.05}, rel=0.002
    )
    assert report.by_arrival == 3
    assert PathReport.parse(json.loads(json.dumps(asdict(report)))) == report


def test_without_a_chunk_that_reached_the_arms_there_is_no_report() -> None:
    log = PathLog()
    log.born(BIRTH)
    log.reached(None)
    assert log.report() is None


def test_what_reached_the_arms_is_matched_by_number() -> None:
    log = PathLog()
    log.reached(HANDOVER)
    log.born(BIRTH)
    log.born(replace(BIRTH, chunk=8))
    log.reached(replace(HANDOVER, chunk=8))
    log.reached(HANDOVER)
    report = log.report()
    assert report is not None
    assert report.exposure_to_can.count == 1, "7 was overtaken by 8 before it was taken"


def test_chunks_that_never_reach_the_arms_take_no_memory() -> None:
    log = PathLog()
    for number in range(1000):
        log.born(replace(BIRTH, chunk=number))
    assert len(log._pending) == 4


def test_a_chunk_that_was_there_before_the_arms_had_power_is_not_counted() -> None:
    log = PathLog()
    log.born(BIRTH)
    log.reached(replace(HANDOVER, powered=BIRTH.published + 1e-4))
    assert log.report() is None


def test_the_way_crosses_the_processes_once_per_chunk(boards: tuple[Board, Board]) -> None:
    control, policy = boards
    assert policy.handover.newest() is None
    reaching = Reaching(control.handover)
    reaching.powered = 3.0
    reaching.followed(7)
    reaching.sent(10.241, 10.2414, [10.2416, 10.2415], 10.2419)
    assert policy.handover.newest() == HANDOVER
    assert policy.handover.newest() is None, "fetched before"


def test_a_frame_that_no_bus_took_does_not_count(boards: tuple[Board, Board]) -> None:
    control, policy = boards
    reaching = Reaching(control.handover)
    reaching.followed(7)
    reaching.sent(10.241, 10.2414, [10.2, 0.0], 10.2419)
    assert policy.handover.newest() is None
    assert reaching.pending == 7
    reaching.sent(10.246, 10.2464, [10.2, 10.2465], 10.2469)
    found = policy.handover.newest()
    assert found is not None
    assert (found.tick, found.sent) == (10.246, 10.2465), "the next tick's does"
    assert reaching.pending == 0


def test_a_chunk_that_is_left_before_a_frame_went_is_forgotten(boards: tuple[Board, Board]) -> None:
    control, _ = boards
    reaching = Reaching(control.handover)
    reaching.followed(7)
    reaching.left()
    assert reaching.pending == 0


def test_moments_are_named_in_their_order() -> None:
    moments = (*BIRTH.moments(), HANDOVER.tick, HANDOVER.called, HANDOVER.sent, HANDOVER.last_sent)
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert len(moments) == len(PATH_STAGES) + 2
