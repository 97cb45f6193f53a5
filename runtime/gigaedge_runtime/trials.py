"""Episodes of a task in lockstep: a scene, tried until it succeeds or the attempts are used up.

The paper's protocol: 20 episodes, at most 5 attempts each. As on a real robot nothing is put back between two attempts:
the arms come to rest, the policy starts anew where everything is, and the next time limit begins. An episode in which a
thing that the task is about lies off the table is over: no attempt could succeed any more.

Everything random in an episode comes from its seed, so that rows that are compared try the same scenes with the same
noise, and so that the same episode can be played again to be filmed.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np

from gigaedge.bundle import Manifest, open_bundle
from gigaedge.errors import BundleError, InputError
from gigaedge.site import ExecutionConfig, Site
from gigaedge.trials import AttemptInfo, EpisodeInfo, Mode, Outcome
from gigaedge_runtime.lockstep import Attempt, Conduct, attempt
from gigaedge_runtime.lockstep_devices import LockstepCell
from gigaedge_runtime.lockstep_planners import ExpertPlanner, bundle_planner
from gigaedge_runtime.measuring import observe
from gigaedge_runtime.physics.world import PhysicalWorld
from gigaedge_runtime.policy import Policy
from gigaedge_runtime.policy_process import Planner
from gigaedge_runtime.sessions import Device
from gigaedge_runtime.tasks import FIRST_TRAINING_SEED, TASKS, Task
from gigaedge_runtime.trials_film import Film

OFF_TABLE: Final = -0.05
"""m; a thing whose middle is lower has fallen from the table."""

_TIMED: Final = 7
"""Chunks that a latency is the median of; one more warms up."""


@dataclass(frozen=True)
class Contender:
    """Who tries, and how."""

    bundle: Path | None
    """None: the task's expert."""
    steps: int | None
    """Of the bundle's sampler; None: its first."""
    mode: Mode
    latency: float
    """s of simulated time from an observation to its chunk."""
    blind: bool = False


@dataclass(frozen=True)
class Job:
    """One episode, as a worker process gets it."""

    site: Site
    contender: Contender
    task: str
    seed: int
    attempts: int
    film: bool = False


@dataclass(frozen=True)
class Played:
    """What came of it."""

    episode: EpisodeInfo
    clip: bytes | None = None
    """An MP4, where one was asked for."""


def find_tasks(names: str) -> list[Task]:
    """Tasks by `all` or by names, as in `lift-block,scan`. Raises InputError: an unknown one."""
    if names == "all":
        return list(TASKS.values())
    chosen = []
    for name in names.split(","):
        if name.strip() not in TASKS:
            raise InputError(f"--tasks {name.strip()!r}: no such task; there are {', '.join(TASKS)}")
        chosen.append(TASKS[name.strip()])
    return chosen


def seeds_of(seed: int, episodes: int) -> range:
    """The scenes of so many episodes. Raises InputError where some of them were there to be learned from."""
    if seed + episodes > FIRST_TRAINING_SEED:
        raise InputError(
            f"--seed {seed} with {episodes} episodes: policies are trained on scenes from {FIRST_TRAINING_SEED} on; "
            f"choose a seed of at most {FIRST_TRAINING_SEED - episodes}"
        )
    return range(seed, seed + episodes)


def prompt_of(manifest: Manifest, task: str, wanted: str | None, bundle: Path) -> str:
    """Which of a bundle's prompts a task is done with: the one of its name, else the site's, else the only one.

    Raises BundleError: there is no such prompt.
    """
    names = manifest.prompts.names
    for name in (task, wanted):
        if name in names:
            return str(name)
    if len(names) == 1 and wanted is None:
        return names[0]
    raise BundleError(
        f"{bundle}: has no prompt for {task} (it has {', '.join(names)}); "
        f"add one with `gigaedge prompt add {bundle} {task} ...`, or name one in the site file's `prompt`"
    )


def measured_latency(site: Site, bundle: Path, steps: int | None) -> float:
    """The median time of a chunk on this machine as the site runs it, s, rounded to ms.

    Raises BundleError or DeviceError: the bundle cannot be run so.
    """
    inference = site.inference
    policy = Policy.load(
        bundle,
        steps=steps,
        solver=inference.solver,
        provider=inference.provider,
        threads=inference.threads,
    )
    observation = observe(policy.manifest, 0)
    policy.chunk(observation)
    times = []
    for _ in range(_TIMED):
        begin = perf_counter()
        policy.chunk(observation)
        times.append(perf_counter() - begin)
    return round(median(times), 3)


def site_for(site: Site, mode: Mode) -> Site:
    """The site with chunks handed over as a mode says."""
    given = site.execution
    if mode == "rtc":
        guidance = given.guidance if given.handover == "rtc" else ExecutionConfig().guidance
        execution = ExecutionConfig(handover="rtc", crossfade=given.crossfade, guidance=guidance)
    else:
        execution = ExecutionConfig(handover="crossfade", crossfade=given.crossfade)
    return site.model_copy(update={"execution": execution})


def play(job: Job) -> Played:
    """One episode from its beginning.

    Raises BundleError or DeviceError: what was measured to work does not in this process; or there are no pictures.
    """
    bundle = job.contender.bundle
    if bundle is None:
        return play_with(job, partial(_expert, job))
    noise = np.random.default_rng((job.seed, 0))
    return play_with(job, lambda *_: _planner(job, bundle, noise))


def play_with(job: Job, planner_of: Callable[[int, PhysicalWorld, LockstepCell], Planner]) -> Played:
    """One episode of whoever `planner_of` gives for each attempt, 0, 1, ..."""
    task, contender = TASKS[job.task], job.contender
    site = site_for(job.site, contender.mode)
    conduct = Conduct(site, contender.latency, synchronous=contender.mode == "synchronous")
    camera = site.cameras[0]
    with PhysicalWorld(task.scene(job.seed), (camera.width, camera.height)) as world:
        cell = LockstepCell(world, site, blind=contender.blind)
        film = Film(cell) if job.film else None
        ends: list[AttemptInfo] = []
        for number in range(job.attempts):
            done = attempt(
                cell,
                conduct,
                planner_of(number, world, cell),
                succeeded=lambda: task.succeeded(world),
                limit=task.limit,
                on_exposure=film.expose if film else lambda: None,
            )
            ends.append(_told(done, task, world))
            if ends[-1].outcome in ("success", "dropped"):
                break
        return Played(EpisodeInfo(seed=job.seed, attempts=tuple(ends)), film.encode() if film else None)


def _expert(job: Job, number: int, world: PhysicalWorld, cell: LockstepCell) -> Planner:
    random = np.random.default_rng((job.seed, 1, number))
    stride = job.site.timing.replan_after if job.contender.mode == "synchronous" else None
    return ExpertPlanner(TASKS[job.task], world, random, lambda: cell.now, stride).planner()


def _told(done: Attempt, task: Task, world: PhysicalWorld) -> AttemptInfo:
    outcome: Outcome = done.ending
    if outcome != "success" and any(world.pose(name)[2, 3] < OFF_TABLE for name in task.targets):
        outcome = "dropped"
    return AttemptInfo(outcome=outcome, seconds=done.seconds, chunks=done.chunks, reason=done.fault)


class _Loaded:
    """The bundle that this process loaded last."""

    def __init__(self) -> None:
        self._held: tuple[Path, Policy] | None = None

    def policy(self, bundle: Path, site: Site) -> Policy:
        """A policy on one thread: its speed says nothing here, and what it computes must not depend on the machine's
        number of cores."""
        if self._held is None or self._held[0] != bundle:
            self._held = None  # before the next is loaded: two may not fit into memory
            inference = site.inference
            self._held = (
                bundle,
                Policy(open_bundle(bundle), Device(inference.provider, 1), None, inference.solver, 0),
            )
        return self._held[1]


_LOADED: Final = _Loaded()


def _planner(job: Job, bundle: Path, noise: np.random.Generator) -> Planner:
    policy = _LOADED.policy(bundle, job.site)
    policy.set_sampler(job.contender.steps, job.site.inference.solver)
    policy.set_prompt(prompt_of(policy.manifest, job.task, job.site.prompt, bundle))
    guided = job.contender.mode == "rtc"
    if guided:
        policy.require_guidance()
    return bundle_planner(policy, noise, guided=guided)


def play_all(jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, Played]]:
    """Play jobs in so many processes (1: in this one); yields (number of the job, what came of it) as they end.

    What goes wrong in one of them is raised here; the others are ended then, as they are when this is interrupted.
    """
    if workers == 1:
        for number, job in enumerate(jobs):
            yield number, play(job)
        return
    # Not forked: a renderer and ONNX Runtime have threads.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=_ignore_interrupt)
    try:
        numbers = {pool.submit(play, job): number for number, job in enumerate(jobs)}
        for future in as_completed(numbers):
            yield numbers[future], future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown()


def _ignore_interrupt() -> None:
    """Ctrl-C goes to every process of the terminal; the one that started this one answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
