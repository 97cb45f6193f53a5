"""The rows of `gigaedge trials` in simulation: planned, played in worker processes, and some of them filmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from gigaedge.cli.common import StageProgress, parts_progress
from gigaedge.cli.trials_plan import RowPlan, Scored, Way
from gigaedge.errors import InputError
from gigaedge.site import Site
from gigaedge.trials import EpisodeInfo
from gigaedge.trials_page import Clip
from gigaedge_runtime.tasks import Task
from gigaedge_runtime.trials import Job, find_tasks, measured_latency, play_all, seeds_of

FILMED: Final = 2
"""Episodes of a row that are filmed: so many of those that failed, and of those that succeeded."""


def simulate(
    site: Site,
    tasks: str,
    ways: Sequence[Way],
    *,
    episodes: int,
    attempts: int,
    seed: int,
    latency: float | None,
    blind: bool,
    expert: bool,
    jobs: int,
    film: bool,
    quiet: bool,
) -> Scored:
    """Play all episodes of all rows, and films of the first that failed and succeeded; Ctrl-C leaves what there is.

    `latency`: s of simulated time; None: what each bundle takes here. Raises InputError or BundleError before anything
    is played; DeviceError: no pictures can be drawn.
    """
    _check(site)
    seeds = seeds_of(seed, episodes)
    plans = _plan(site, find_tasks(tasks), ways, blind=blind, expert=expert)
    if latency is None:
        plans = _with_latency(site, plans, quiet=quiet)
    else:
        plans = [replace(plan, latency=latency) for plan in plans]
    work = [Job(site, plan.contender(), plan.task, each, attempts) for plan in plans for each in seeds]
    found: list[dict[int, EpisodeInfo]] = [{} for _ in plans]
    clips: tuple[Clip, ...] = ()
    notices: tuple[str, ...] = ()
    whole = True
    try:
        with parts_progress(quiet) as progress:
            progress("trials", len(work))
            for number, played in play_all(work, jobs):
                found[number // episodes][number % episodes] = played.episode
                progress.advance(1)
            if film:
                clips, notices = _film(work, found, jobs, progress)
    except KeyboardInterrupt:
        whole = False
    rows = tuple(
        plan.row([row[place] for place in sorted(row)]) for plan, row in zip(plans, found, strict=True) if row
    )
    return Scored(rows, whole, clips, notices)


def _check(site: Site) -> None:
    """Raise InputError where the simulated world could not be what the site says."""
    if any(arm.driver == "absent" for arm in site.arms):
        raise InputError("trials in simulation move both arms; the site file says that one is absent")
    sizes = {(camera.width, camera.height) for camera in site.cameras}
    if len(sizes) > 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise InputError(
            f"trials in simulation draw all cameras in one size; the site file has {found} px: make them alike"
        )


def _plan(
    site: Site, tasks: Sequence[Task], ways: Sequence[Way], *, blind: bool, expert: bool
) -> list[RowPlan]:
    """Row by row, task by task: every way, then the first one blind, then the expert."""
    plans = []
    for task in tasks:
        for way in ways:
            way.prompt(task.name, site)  # told now rather than after an hour
            plans.append(RowPlan(task.name, task.instruction, way, way.mode))
        if blind:
            plans.append(RowPlan(task.name, task.instruction, ways[0], ways[0].mode, blind=True))
        if expert:
            plans.append(RowPlan(task.name, task.instruction, None, ways[0].mode))
    return plans


def _with_latency(site: Site, plans: Sequence[RowPlan], *, quiet: bool) -> list[RowPlan]:
    """What each bundle takes on this machine; an expert takes as long as the first one."""
    ways = [plan.way for plan in plans if plan.way is not None]
    measured: dict[tuple[Path, int], float] = {}
    with parts_progress(quiet) as progress:
        keys = list(dict.fromkeys((way.bundle, way.steps) for way in ways))
        progress("measuring latencies", len(keys))
        for bundle, steps in keys:
            measured[bundle, steps] = measured_latency(site, bundle, steps)
            progress.advance(1)
    return [
        replace(plan, latency=measured[keys[0] if plan.way is None else (plan.way.bundle, plan.way.steps)])
        for plan in plans
    ]


def _film(
    work: Sequence[Job], found: Sequence[dict[int, EpisodeInfo]], jobs: int, progress: StageProgress
) -> tuple[tuple[Clip, ...], tuple[str, ...]]:
    """Play some episodes again, with a camera; says which of them went otherwise than before: none should."""
    chosen: list[int] = []
    for number, row in enumerate(found):
        for succeeded in (False, True):
            kind = [place for place in sorted(row) if (row[place].outcome == "success") is succeeded]
            chosen += [number * len(row) + place for place in kind[:FILMED]]
    progress("filming", len(chosen))
    clips: dict[int, Clip] = {}
    notices = []
    for number, played in play_all([replace(work[each], film=True) for each in chosen], jobs):
        progress.advance(1)
        which, place = divmod(chosen[number], len(found[0]))
        if played.clip is not None:
            clips[number] = Clip(which, played.episode, played.clip)
        if played.episode != found[which][place]:
            job = work[chosen[number]]
            notices.append(
                f"{job.task}, scene {job.seed}: went otherwise when it was played again for its film; "
                "something in this machine's libraries does not compute the same twice"
            )
    return tuple(clips[number] for number in sorted(clips)), tuple(notices)
