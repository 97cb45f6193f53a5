"""Demonstrations by the hundred: attempts in worker processes, kept one by one, then put together as a dataset.

Attempts have the seeds from the first one on; the dataset consists of the first ones that succeeded, in the order of
their seeds, and so is the same however many processes made it and however often it was interrupted. Until it is
complete, what is done so far is kept beside it in DATASET.unfinished, from where `resume` goes on.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import shutil
import signal
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import CheckFailedError, DatasetError, InputError, ProcessError
from gigaedge.files import atomic_directory, locked, read_tensors, write_tensors, write_text
from gigaedge.lerobot import Motion
from gigaedge.lerobot_stats import Summary
from gigaedge.lerobot_write import DatasetWriter, Recording
from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge.word_embedding import embedding
from gigaedge_runtime.attempt import Demonstration, demonstrate
from gigaedge_runtime.physics.world import PICTURE
from gigaedge_runtime.tasks import FIRST_TRAINING_SEED, RATE, TASKS, Task

MARK: Final = "meta/info.json"
_PLAN: Final = "collection.json"
_STATISTICS: Final = ("least", "greatest", "mean", "deviation", "quantiles")
"""Of a `Summary`, beside its count."""
_FAILED_IN_A_ROW: Final = 30
"""So many, and something is wrong with the world rather than with the attempts."""


@dataclass(frozen=True)
class Collection:
    """What is asked for."""

    task: str
    """One of `TASKS`."""
    episodes: int
    """That succeed."""
    seed: int
    """Of the first attempt; the next one has the next."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise InputError(f"--task {self.task!r}: no such task; there are {', '.join(TASKS)}")
        if self.seed < FIRST_TRAINING_SEED:
            raise InputError(
                f"--seed {self.seed}: seeds below {FIRST_TRAINING_SEED} are held out for trials; "
                f"pass {FIRST_TRAINING_SEED} or more"
            )


@dataclass(frozen=True)
class Collected:
    """How far it got."""

    episodes: int
    """In the dataset."""
    failed: int
    """Attempts that did not succeed, and are not in it."""
    frames: int
    complete: bool


def collect(
    plan: Collection, out: Path, *, jobs: int = 1, resume: bool = False, advance: Callable[[int], None]
) -> Collected:
    """Collect demonstrations into a LeRobot v3 dataset.

    Ctrl-C (KeyboardInterrupt) ends it early and cleanly: the dataset then has the episodes there are, and the result
    says that it is not complete.

    Args:
        plan: what is asked for.
        out: folder of the dataset.
        jobs: processes; 1 is this one.
        resume: go on with what an interrupted collection left.
        advance: called with the number of episodes that are newly there.

    Raises InputError: `out` exists, or is another collection's; CheckFailedError: the expert never succeeds;
    ProcessError: a worker died.
    """
    stage = out.with_name(f"{out.name}.unfinished")
    _require_usable(plan, out, stage, resume)
    try:
        stage.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    with locked(stage):
        write_text(stage / _PLAN, json.dumps({"task": plan.task, "seed": plan.seed}))
        succeeded: list[int] = []
        failed: list[int] = []
        with suppress(KeyboardInterrupt), closing(_attempts(plan, stage, jobs)) as attempts:
            while len(succeeded) < plan.episodes:
                seed, good = next(attempts)
                (succeeded if good else failed).append(seed)
                advance(int(good))
                if seed - max(succeeded, default=plan.seed - 1) == _FAILED_IN_A_ROW:
                    raise CheckFailedError(
                        f"{plan.task}: the expert failed {_FAILED_IN_A_ROW} times in a row, at seeds up to {seed}"
                    )
        frames = _assemble(TASKS[plan.task], stage, succeeded, out) if succeeded else 0
        complete = len(succeeded) == plan.episodes
        if complete:
            shutil.rmtree(stage)
    return Collected(len(succeeded), len(failed), frames, complete)


def _require_usable(plan: Collection, out: Path, stage: Path, resume: bool) -> None:
    if not resume:
        for path in (out, stage):
            if path.exists():
                raise InputError(
                    f"{path} exists already; pass --resume to go on with it, remove it, or choose another --out"
                )
        return
    if not (stage / _PLAN).is_file():
        state = "is complete" if (out / MARK).is_file() else "was not begun"
        raise InputError(f"{out}: there is nothing to go on with, it {state}; leave out --resume")
    if out.exists() and not (out / MARK).is_file():
        raise InputError(f"{out}: is no dataset, and is not replaced; remove it, or choose another --out")
    try:
        begun = json.loads((stage / _PLAN).read_text(encoding="utf-8"))
        same = (begun["task"], begun["seed"]) == (plan.task, plan.seed)
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{stage / _PLAN}: not readable; remove {stage} and begin again") from error
    if not same:
        raise InputError(
            f"{out}: was begun with --task {begun['task']} --seed {begun['seed']}; go on with those, "
            "or choose another --out"
        )


def _attempts(plan: Collection, stage: Path, jobs: int) -> Generator[tuple[int, bool], None, None]:
    """Seeds and whether their attempts succeeded, in the order of the seeds, without end."""
    seeds = itertools.count(plan.seed)
    if jobs == 1:
        for seed in seeds:
            yield seed, _attempt(plan.task, seed, stage, lambda: False)
        return
    # Processes that are forked would share the parent's OpenGL context.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin_worker, initargs=(stop,))
    waiting: deque[tuple[int, Future[bool]]] = deque()
    try:
        while True:
            while len(waiting) < 2 * jobs:
                seed = next(seeds)
                waiting.append((seed, pool.submit(_attempt_in_worker, plan.task, seed, stage)))
            seed, future = waiting.popleft()
            yield seed, future.result()
    except BrokenProcessPool as error:
        raise ProcessError(
            "a process that collects was killed, perhaps for its memory; go on with --resume and fewer --jobs"
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


_stop: Event | None = None
"""Of this worker process."""


def _begin_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all of them; the first process decides


def _attempt_in_worker(task: str, seed: int, stage: Path) -> bool:
    stopped = _stop.is_set if _stop is not None else lambda: False
    try:
        return _attempt(task, seed, stage, stopped)
    except KeyboardInterrupt:
        return False


def _attempt(name: str, seed: int, stage: Path, stopped: Callable[[], bool]) -> bool:
    """Make one attempt, unless it was made before; its files are in place, whole, when the last one is."""
    if _result(stage, seed).is_file():
        return True
    failure = stage / f"{seed}.failed"
    if failure.is_file():
        return False
    videos = _videos(stage, seed)
    done = demonstrate(TASKS[name], seed, videos, stopped)
    if done is None:
        for path in videos.values():
            path.unlink(missing_ok=True)
        failure.touch()
        return False
    _write_result(_result(stage, seed), done)
    return True


def _result(stage: Path, seed: int) -> Path:
    return stage / f"{seed}.safetensors"


def _videos(stage: Path, seed: int) -> dict[CameraRole, Path]:
    return {role: stage / f"{seed}.{role}.mp4" for role in CAMERA_ROLES}


def _write_result(path: Path, done: Demonstration) -> None:
    arrays: dict[str, NDArray[Any]] = {"states": done.motion.states, "actions": done.motion.actions}
    for role, summary in done.pictures.items():
        arrays |= {f"{role}/{name}": getattr(summary, name) for name in _STATISTICS}
        arrays[f"{role}/count"] = np.array([summary.count])
    write_tensors(path, arrays)


def _read_result(path: Path) -> Demonstration:
    arrays = read_tensors(path)
    pictures = {
        role: Summary(
            **{name: arrays[f"{role}/{name}"] for name in _STATISTICS}, count=int(arrays[f"{role}/count"][0])
        )
        for role in CAMERA_ROLES
    }
    return Demonstration(Motion(arrays["states"], arrays["actions"]), pictures)


def _assemble(task: Task, stage: Path, seeds: list[int], out: Path) -> int:
    """Put the episodes of these seeds together; their frames."""
    frames = 0
    with atomic_directory(out, mark=MARK, replace=out.exists()) as folder:
        writer = DatasetWriter(folder, RATE, *PICTURE)
        for seed in seeds:
            done = _read_result(_result(stage, seed))
            frames += len(done.motion.states)
            writer.add(
                Recording(
                    task.instruction,
                    done.motion,
                    _videos(stage, seed),
                    done.pictures,
                    embedding(task.instruction),
                )
            )
        writer.finish()
    return frames
