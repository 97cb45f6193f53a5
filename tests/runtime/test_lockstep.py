"""Lockstep on a fake world: what happens when, and that nothing but the seed decides it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.robot import DELTA_MASK, CameraRole
from gigaedge_runtime.lockstep import Attempt, Conduct, attempt
from gigaedge_runtime.lockstep_devices import GREY, LockstepCell
from gigaedge_runtime.policy_process import Planner
from gigaedge_runtime.rtc import Guidance
from tests.runtime.lockstep_cell import START, FakeChunk, FakeWorld, Ramp, lockstep_site, open_descriptors

JOINTS = np.array(DELTA_MASK)
FADE = {"handover": "crossfade"}
TICK = 0.005


class Bench:
    """A fake world, a ramp as its policy, and what came of trying."""

    def __init__(self, *, latency: float = 0.15, synchronous: bool = False, blind: bool = False) -> None:
        self.world = FakeWorld()
        self.site = lockstep_site(execution=FADE)
        self.cell = LockstepCell(self.world, self.site, blind=blind)
        self.policy = Ramp(lambda: self.cell.now)
        self.conduct = Conduct(self.site, latency, synchronous)

    def run(self, limit: float = 1.0, success_at: float = np.inf) -> Attempt:
        return attempt(
            self.cell,
            self.conduct,
            self.policy.planner(),
            succeeded=lambda: self.cell.now >= success_at,
            limit=limit,
        )

    def first_motion(self) -> float:
        """When a command first differed from the start pose, s."""
        moved = [np.abs(command - START)[JOINTS].max() > 1e-9 for command in self.world.commands]
        return (moved.index(True) + 1) * TICK


def test_a_chunk_reaches_the_arms_one_latency_after_its_pictures() -> None:
    """The first tick after the inference takes it, and what it sends is commanded to the world with the next one."""
    for latency in (0.05, 0.15, 0.1501):
        bench = Bench(latency=latency)
        bench.run(limit=0.5)
        begun, picture, state = bench.policy.seen[0]
        assert (begun, picture) == (0.0, 20)
        np.testing.assert_allclose(state, START, atol=1e-6)
        ticks = 31 if latency == 0.1501 else round(latency / TICK)
        assert bench.first_motion() == pytest.approx((ticks + 2) * TICK)


def test_pictures_and_state_are_of_the_exposure_and_actions_go_on_while_the_policy_thinks() -> None:
    bench = Bench()
    assert bench.run(limit=2.5).ending == "time"
    looks = bench.policy.seen
    # Relieved after 30 actions: one latency before that the next picture is due, at the first exposure from then on.
    assert [time for time, _, _ in looks] == pytest.approx([0.0, 0.87, 1.735], abs=1e-9)
    for time, picture, _ in looks[1:]:
        assert abs(picture - 20 - 50 * time) <= 0.7, "the world is at most one step behind the clock"
    # While the second chunk was made, the first one was followed.
    during = np.array(bench.world.commands[round(0.87 / TICK) : round(1.0 / TICK)])[:, JOINTS]
    np.testing.assert_allclose(np.diff(during, axis=0) / TICK, 0.2, atol=1e-3)


def test_the_same_attempt_gives_the_same_commands_bit_for_bit_and_leaves_nothing_open() -> None:
    benches = [Bench(), Bench(), Bench(latency=0.1)]
    before = open_descriptors()
    results = [bench.run(limit=1.5) for bench in benches]
    first, second, other = (np.array(bench.world.commands) for bench in benches)
    assert results[0] == results[1]
    assert first.tobytes() == second.tobytes()
    assert first.shape != other.shape or first.tobytes() != other.tobytes()
    assert open_descriptors() == before


def test_a_synchronous_policy_looks_at_arms_that_stand_and_leaves_out_no_action() -> None:
    bench = Bench(synchronous=True)
    bench.policy.speed = 0.4
    bench.run(limit=3.0)
    commands = np.array(bench.world.commands)[:, 0]
    looks = [time for time, _, _ in bench.policy.seen]
    assert len(looks) == 3
    for time in looks[1:]:
        tick = round(time / TICK)
        thinking = commands[tick - 1 : tick + 30]
        np.testing.assert_array_equal(thinking, thinking[0], err_msg="the command stands still")
    for before, after in pairwise(bench.policy.seen):
        # 30 actions were played, from the first on, then the arm slowed down.
        gone = after[2][0] - before[2][0]
        assert 0.4 <= gone <= 0.4 + 0.06
        assert after[0] - before[0] == pytest.approx(0.15 + 1.0, abs=0.25)


def test_an_attempt_ends_by_success_at_an_exposure_and_the_arms_come_to_rest() -> None:
    bench = Bench()
    ended = bench.run(limit=5.0, success_at=1.001)
    assert (ended.ending, ended.fault) == ("success", None)
    assert ended.seconds == pytest.approx(1.035)
    assert ended.chunks == 2
    np.testing.assert_array_equal(bench.world.commands[-1], bench.world.commands[-20])


def test_an_attempt_that_ends_while_the_policy_thinks_is_not_thought_to_its_end() -> None:
    bench = Bench(latency=1.0)
    assert bench.run(limit=0.3) == Attempt("time", pytest.approx(0.3), 1, None)


def test_a_fault_ends_an_attempt_and_says_why() -> None:
    bench = Bench()
    bench.site = lockstep_site(execution=FADE, limits={"tracking_error": 0.1})
    bench.conduct = replace(bench.conduct, site=bench.site)
    bench.world.blocked = True
    ended = bench.run(limit=5.0)
    assert ended.ending == "fault"
    assert ended.fault is not None
    assert "rad from its command, more than tracking_error 0.1 rad" in ended.fault


def test_the_next_attempt_goes_on_from_where_things_are() -> None:
    bench = Bench()
    first = bench.run(limit=1.0)
    place, now = bench.world.state.copy(), bench.cell.now
    second = bench.run(limit=1.0)
    assert first.seconds == second.seconds == pytest.approx(1.0)
    assert np.abs(place - START)[JOINTS].min() > 0.1
    looks = [look for look in bench.policy.seen if look[0] >= now]
    np.testing.assert_allclose(looks[0][2], place, atol=1e-3)
    assert looks[0][0] - now < 0.04, "it looks at the next exposure"
    steps = np.abs(np.diff(np.array(bench.world.commands), axis=0))[:, JOINTS]
    assert steps.max() <= bench.site.limits.velocity * TICK * 1.001, "nothing jumps between the attempts"


def test_the_blind_see_grey() -> None:
    bench = Bench(blind=True)
    bench.run(limit=1.0)
    assert {picture for _, picture, _ in bench.policy.seen} == {GREY}


def test_pictures_are_turned_as_the_site_says() -> None:
    """A camera that hangs upside down in the site file delivers what it would on the robot."""
    site = lockstep_site()
    cameras = tuple(camera.model_copy(update={"flip": "both"}) for camera in site.cameras)
    turned, straight = (
        LockstepCell(Shaded(), each) for each in (site.model_copy(update={"cameras": cameras}), site)
    )
    for role, camera in straight.cameras.cameras.items():
        seen, expected = turned.cameras.cameras[role].latest(), camera.latest()
        assert seen is not None
        assert expected is not None
        np.testing.assert_array_equal(seen.image, expected.image[::-1, ::-1])
        assert seen.image[0, 0, 0] != seen.image[-1, -1, 0]


class Shaded(FakeWorld):
    """Brighter towards the lower right corner."""

    def picture(self, role: CameraRole) -> NDArray[np.uint8]:
        shade = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
        return np.repeat(shade[:, :, np.newaxis], 3, axis=2)


def test_a_policy_that_can_continue_its_chunk_is_told_when_it_takes_over() -> None:
    bench = Bench()
    bench.site = lockstep_site(execution={"handover": "rtc"})
    bench.conduct = replace(bench.conduct, site=bench.site)
    told: list[Guidance] = []

    def guided(composite: np.ndarray, state: np.ndarray, guidance: Guidance) -> FakeChunk:
        told.append(guidance)
        return FakeChunk(guidance.previous.copy())

    planner = Planner((32, 40), "tshape", bench.policy.plan, guided)
    ended = attempt(bench.cell, bench.conduct, planner, succeeded=lambda: False, limit=2.0)
    assert (len(bench.policy.seen), len(told), ended.chunks) == (1, 2, 3)
    assert told[0].delay == pytest.approx(0.15 + TICK), "and a tick for control to take it"
    assert told[0].weight[:6].tolist() == [1.0] * 6
    np.testing.assert_allclose(told[0].previous[1, 0] - told[0].previous[0, 0], 0.2 / 30, atol=1e-4)
