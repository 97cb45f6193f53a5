"""The rows of `gigaedge trials` on a real robot: a person sets every scene and judges every attempt."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from gigaedge.cli.trials_keys import terminal_keys
from gigaedge.cli.trials_plan import RowPlan, Scored, Way
from gigaedge.errors import InputError
from gigaedge.site import Site
from gigaedge.trials import EpisodeInfo
from gigaedge_runtime.tasks import TASKS
from gigaedge_runtime.trials import site_for
from gigaedge_runtime.trials_person import Judge, Keys


def score(
    site: Site,
    tasks: Sequence[str],
    ways: Sequence[Way],
    episodes: int,
    attempts: int,
    limit: float | None,
    *,
    judge: Judge | None = None,
) -> Scored:
    """All episodes of all rows, one after another; q or Ctrl-C leaves what there is.

    Args:
        site: its real arms move.
        tasks: names; of any but the simulated ones only `limit` is known.
        ways: bundles and how they are run.
        episodes: per row.
        attempts: allowed per episode.
        limit: of an attempt, s; None: the task's.
        judge: default: a person at this terminal.

    Raises InputError: no terminal, or no limit for a task; BundleError: no prompt for one.
    """
    limits = {task: _limit(task, limit) for task in tasks}
    plans = [
        (RowPlan(task, None, way, way.mode), _site_of(site, way, task)) for task in tasks for way in ways
    ]
    if judge is None:
        with terminal_keys() as keys:
            return _score(plans, episodes, attempts, limits, at_terminal(keys))
    return _score(plans, episodes, attempts, limits, judge)


def at_terminal(keys: Keys) -> Judge:
    """A person who reads stderr and presses keys."""
    return Judge(keys, lambda line: typer.echo(line, err=True))


def _score(
    plans: Sequence[tuple[RowPlan, Site]],
    episodes: int,
    attempts: int,
    limits: dict[str, float],
    judge: Judge,
) -> Scored:
    rows = []
    whole = True
    for plan, site in plans:
        done: list[EpisodeInfo] = []
        try:
            for number in range(episodes):
                title = f"{plan.task}, {plan.name}: episode {number + 1} of {episodes}"
                played = judge.episode(site, title, attempts=attempts, limit=limits[plan.task])
                if played is None:
                    whole = False
                    break
                done.append(played)
        except KeyboardInterrupt:
            whole = False
        if done:
            rows.append(plan.row(done))
        if not whole:
            break
    return Scored(tuple(rows), whole)


def _site_of(site: Site, way: Way, task: str) -> Site:
    """The site as a way does a task in it."""
    inference = site.inference.model_copy(update={"steps": way.steps})
    changed = {"bundle": way.bundle, "prompt": way.prompt(task, site), "inference": inference}
    return site_for(site, way.mode).model_copy(update=changed)


def _limit(task: str, limit: float | None) -> float:
    if limit is not None:
        return limit
    if task in TASKS:
        return TASKS[task].limit
    raise InputError(f"--tasks {task}: how long may an attempt take? pass --limit, as in --limit 60s")
