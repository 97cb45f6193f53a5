"""Episodes in the real simulated world: the expert through control and limits, attempts, films, workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.bundle import read_manifest
from gigaedge.errors import BundleError, DeviceError, InputError
from gigaedge.site import Site, load_site
from gigaedge.trials import EpisodeInfo
from gigaedge_runtime import trials
from gigaedge_runtime.lockstep_planners import EXPERT_CHUNK, ExpertPlanner, bundle_planner
from gigaedge_runtime.physics.world import PhysicalWorld
from gigaedge_runtime.policy import Policy
from gigaedge_runtime.tasks import FIRST_TRAINING_SEED, TASKS
from gigaedge_runtime.tasks.lift_block import LiftBlock
from gigaedge_runtime.trials import (
    Contender,
    Job,
    find_tasks,
    measured_latency,
    play,
    play_all,
    prompt_of,
    seeds_of,
    site_for,
)
from tests.runtime.lockstep_cell import lockstep_site

CELL = Path(__file__).parents[2] / "examples" / "cell.yaml"
EXPERT = Contender(None, None, "fade", 0.15)
GOLDEN = "gwp05-tiny"


class Hopeless(LiftBlock):
    """An expert that does nothing, and little time to see that."""

    limit = 0.5

    def expert(self, world: Any, random: np.random.Generator) -> Iterator[NDArray[np.float64]]:
        return iter(())


class Clumsy(Hopeless):
    """A block that is off the table once somebody tries."""

    def succeeded(self, world: Any) -> bool:
        body = world._model.body("block")
        world._data.qpos[world._model.jnt_qposadr[body.jntadr[0]] + 2] = -0.5
        return False


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Callable[[LiftBlock], None]:
    def put(task: LiftBlock) -> None:
        monkeypatch.setattr(trials, "TASKS", MappingProxyType({task.name: task}))

    return put


@pytest.fixture(scope="module")
def site() -> Site:
    """The example's cell, with smaller pictures."""
    cell = load_site(CELL)
    cameras = tuple(each.model_copy(update={"width": 64, "height": 48}) for each in cell.cameras)
    return cell.model_copy(update={"cameras": cameras})


def job(site: Site, seed: int = 0, **changes: Any) -> Job:
    return replace(Job(site, EXPERT, "lift-block", seed, attempts=1), **changes)


@pytest.mark.parametrize("mode", ["fade", "synchronous"])
def test_an_expert_lifts_the_block_through_control_and_limits(site: Site, mode: Any) -> None:
    """What the loop, the limits of the example and 30 Hz leave of a demonstration is enough."""
    for seed in (0, 1, 2):
        done = play(job(site, seed, contender=replace(EXPERT, mode=mode)))
        assert [attempt.outcome for attempt in done.episode.attempts] == ["success"]
        assert 1.0 < done.episode.seconds < 6.0
        assert done.clip is None


def test_attempts_go_on_until_they_are_used_up(site: Site, task: Callable[[LiftBlock], None]) -> None:
    task(Hopeless())
    done = play(job(site, attempts=3)).episode
    assert [attempt.outcome for attempt in done.attempts] == ["time"] * 3
    assert done.seconds == pytest.approx(1.5, abs=0.03)
    assert done.seed == 0


def test_a_thing_that_fell_off_the_table_ends_the_episode(
    site: Site, task: Callable[[LiftBlock], None]
) -> None:
    task(Clumsy())
    done = play(job(site, attempts=3)).episode
    assert [attempt.outcome for attempt in done.attempts] == ["dropped"]


def test_an_episode_in_another_process_is_the_same(site: Site, task: Callable[[LiftBlock], None]) -> None:
    jobs = [job(site, seed) for seed in (3, 4)]
    here = dict(play_all(jobs, workers=1))
    there = dict(play_all(jobs, workers=2))
    assert here == there
    assert [here[number].episode.seed for number in (0, 1)] == [3, 4]


def test_what_fails_in_a_worker_is_raised_here_and_ends_the_others(site: Site) -> None:
    wrong = job(site, contender=Contender(Path("/no/such/bundle"), 10, "fade", 0.1))
    with pytest.raises(BundleError, match="/no/such/bundle: no bundle here"):
        list(play_all([wrong, *[job(site, seed) for seed in range(50)]], workers=2))


def test_a_film_shows_the_episode_even_of_the_blind(site: Site) -> None:
    import av

    done = play(job(site, contender=replace(EXPERT, blind=True), film=True))
    assert done.clip is not None
    pictures = [f.to_ndarray(format="rgb24") for f in av.open(BytesIO(done.clip)).decode(video=0)]
    assert {picture.shape for picture in pictures} == {(384, 320, 3)}
    seconds = len(pictures) / 10
    assert done.episode.seconds < seconds < done.episode.seconds + 1.0, "and how the arms come to rest"
    assert pictures[0].std() > 5
    assert np.abs(pictures[-1].astype(int) - pictures[0]).mean() > 1


def test_a_bundle_tries_with_noise_of_the_episode(
    site: Site,
    exported: Callable[..., Path],
    task: Callable[[LiftBlock], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two plays of an episode send the same bits, whatever was played before; another seed sends others."""
    task(Hopeless())
    sent: list[list[bytes]] = []
    command = PhysicalWorld.command

    def record(self: PhysicalWorld, targets: NDArray[Any]) -> None:
        sent[-1].append(targets.tobytes())
        command(self, targets)

    monkeypatch.setattr(PhysicalWorld, "command", record)
    contender = Contender(exported(GOLDEN), 4, "rtc", 0.05)
    results: list[EpisodeInfo] = []
    for seed in (7, 8, 7):
        sent.append([])
        results.append(play(job(site, seed, contender=contender)).episode)
    assert results[0] == results[2]
    assert sent[0] == sent[2]
    assert sent[0] != sent[1]
    assert len(set(sent[0])) > 50, "the arms moved"


def test_a_policy_draws_its_noise_from_the_generator(exported: Callable[..., Path]) -> None:
    policy = Policy.load(exported(GOLDEN), steps=4)
    view = policy.manifest.view
    picture, state = np.full((view.height, view.width, 3), 90, np.uint8), np.zeros(14, np.float32)
    planners = [bundle_planner(policy, np.random.default_rng(seed), guided=True) for seed in (1, 1, 2)]
    chunks = [planner.plan(picture, state).actions for planner in planners]
    np.testing.assert_array_equal(chunks[0], chunks[1])
    assert np.abs(chunks[0] - chunks[2]).max() > 1e-4
    assert planners[0].guided is not None
    assert bundle_planner(policy, np.random.default_rng(1), guided=False).guided is None


def test_an_expert_tells_its_demonstration_from_the_time_it_is_asked() -> None:
    task, now = TASKS["lift-block"], [5.0]
    with PhysicalWorld(task.scene(1), (64, 48)) as world:
        expert = ExpertPlanner(task, world, np.random.default_rng(0), lambda: now[0])
        paced = ExpertPlanner(task, world, np.random.default_rng(0), lambda: now[0], stride=10)
        picture, state = np.zeros((40, 32, 3), np.uint8), world.state.astype(np.float32)
        first, other = (planner.plan(picture, state).actions for planner in (expert, paced))
        np.testing.assert_allclose(first[0], world.state, atol=1e-6)
        np.testing.assert_array_equal(first, other)
        assert first.shape == (EXPERT_CHUNK, 14)
        now[0] += 0.5
        np.testing.assert_allclose(expert.plan(picture, state).actions[:30], first[15:45], atol=1e-6)
        np.testing.assert_allclose(paced.plan(picture, state).actions[:30], first[10:40], atol=1e-6)
        now[0] += 100.0
        last = expert.plan(picture, state).actions
        assert np.ptp(last, axis=0).max() == 0.0, "it has ended: the last target stands"
        assert world.time == 0.0, "what it demonstrated happened in a twin"


def test_a_twin_goes_the_same_way_until_it_is_told_otherwise() -> None:
    with PhysicalWorld(TASKS["lift-block"].scene(2), (64, 48)) as world:
        world.command(world.state + 0.1 * np.r_[np.ones(6), 0, np.ones(6), 0])
        world.advance(0.1)
        with world.twin() as twin:
            assert twin.time == world.time
            for each in (world, twin):
                each.advance(0.2)
            np.testing.assert_array_equal(twin.state, world.state)
            before = world.state
            twin.command(np.array(world.scene.start))
            twin.advance(0.2)
            np.testing.assert_array_equal(world.state, before)
            assert np.abs(twin.state - before).max() > 0.01


def test_latency_is_measured_in_whole_milliseconds(exported: Callable[..., Path]) -> None:
    seconds = measured_latency(lockstep_site(inference={"threads": 1}), exported(GOLDEN), 4)
    assert 0 < seconds < 5
    assert seconds == round(seconds, 3)


def test_modes_are_ways_of_handing_over() -> None:
    given = lockstep_site(execution={"handover": "rtc", "crossfade": 0.3, "guidance": 20.0})
    for mode, handover, guidance in (
        ("rtc", "rtc", 20.0),
        ("fade", "crossfade", 100.0),
        ("synchronous", "crossfade", 100.0),
    ):
        execution = site_for(given, mode).execution  # type: ignore[arg-type]
        assert (execution.handover, execution.crossfade, execution.guidance) == (handover, 0.3, guidance)
    other = lockstep_site(execution={"handover": "none"})
    assert site_for(other, "rtc").execution.guidance == 100.0


def test_tasks_are_found_by_name() -> None:
    assert [task.name for task in find_tasks("all")] == list(TASKS)
    assert [task.name for task in find_tasks("lift-block")] == ["lift-block"]
    with pytest.raises(InputError, match=r"--tasks 'lift': no such task; there are lift-block, "):
        find_tasks("lift-block,lift")


def test_scenes_that_were_trained_on_are_refused() -> None:
    assert list(seeds_of(5, 2)) == [5, 6]
    assert seeds_of(FIRST_TRAINING_SEED - 20, 20).stop == FIRST_TRAINING_SEED
    with pytest.raises(InputError, match=r"--seed 99981 with 20 episodes: .* choose a seed of at most 99980"):
        seeds_of(FIRST_TRAINING_SEED - 19, 20)


def test_a_prompt_is_that_of_the_task_or_else_the_sites(exported: Callable[..., Path]) -> None:
    bundle = exported(GOLDEN)
    manifest = read_manifest(bundle)
    assert manifest.prompts.names == ("task",)
    assert prompt_of(manifest, "task", "other", bundle) == "task"
    assert prompt_of(manifest, "scan", "task", bundle) == "task"
    assert prompt_of(manifest, "scan", None, bundle) == "task"
    with pytest.raises(
        BundleError, match=r"has no prompt for scan \(it has task\); add one with `gigaedge prompt"
    ):
        prompt_of(manifest, "scan", "other", bundle)


def test_a_machine_without_pictures_says_what_is_missing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise DeviceError("MuJoCo cannot draw; run `apt-get install libegl1`")

    monkeypatch.setattr(PhysicalWorld, "picture", missing)
    with pytest.raises(DeviceError, match="cannot draw"):
        play(job(site))
