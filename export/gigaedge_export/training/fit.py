"""The training loop: gradients, AdamW, a moving average, a look at held-out episodes now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from gigaedge.errors import GigaedgeError
from gigaedge_export.training.sample import OpenLoop, open_loop
from gigaedge_export.training.samples import Demonstration
from gigaedge_export.training.state import Log, RunState, load_state, save_state
from gigaedge_export.training.team import Lesson, Outcome, Team
from gigaedge_export.training.weights import FlatWeights
from gigaedge_export.transformer import WorldActionTransformer

LOG_EVERY: Final = 10
"""Steps whose mean makes one line of the log."""
LEAST_RATE: Final = 0.02
"""Of the largest, at the end."""


class Watcher(Protocol):
    """Who is told how a training goes."""

    def trained(self, step: int, done: float, outcome: Outcome) -> None:
        """A step is done; `done` of the whole, 0..1."""

    def evaluated(self, step: int, found: OpenLoop) -> None:
        """The average was looked at."""


@dataclass(frozen=True)
class Fitted:
    """A trained transformer."""

    model: WorldActionTransformer
    """With the averaged weights."""
    steps: int
    seconds: float
    evaluation: OpenLoop
    last: OpenLoop
    """Of the weights themselves, not averaged."""


def fit(
    lesson: Lesson,
    held_out: list[Demonstration],
    folder: Path,
    watcher: Watcher,
    *,
    resume: bool,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Train until the time or the steps are over; `folder` keeps the state and the log.

    Resumed with the same settings, a run of a number of steps ends with the very weights that an uninterrupted one
    ends with. Raises InputError (nothing to resume), GigaedgeError (a loss is not finite).
    """
    settings = lesson.settings
    model, averaged = lesson.new_model(), lesson.new_model()
    flat = FlatWeights(model)
    weights, average = flat.values, flat.values.clone()
    state = load_state(folder, settings) if resume else None
    step, before = (state.step, state.seconds) if state else (0, 0.0)
    if state:
        weights.copy_(state.weights)
        average.copy_(state.average)
    flat.bind(model, weights)
    flat.bind(averaged, average)
    log = Log(folder, step)
    began = clock()

    def evaluate(one: WorldActionTransformer) -> OpenLoop:
        return open_loop(
            one,
            held_out,
            lesson.scaling,
            torch.from_numpy(lesson.prompts),
            chunk=settings.chunk,
            shift=settings.action_shift,
            mask=settings.mask,
        )

    def seconds() -> float:
        return before + clock() - began

    def done() -> float:
        if settings.steps is not None:
            return step / settings.steps
        return seconds() / (60 * (settings.minutes or math.inf))

    recent: list[Outcome] = []
    with Team(lesson, weights) as team:
        optimiser = _optimiser(flat, weights, team.gradients[0], settings.decay)
        if state:
            optimiser.load_state_dict(state.optimiser)
        while (share := done()) < 1:
            outcome = team.work(step)
            norm = float(torch.linalg.vector_norm(team.gradients[0]))
            if not math.isfinite(norm + outcome.action + outcome.video):
                raise GigaedgeError(
                    f"step {step}: the loss is not finite; begin again with a lower --rate, "
                    f"or take the last good state in {folder} with --resume"
                )
            team.gradients[0] *= min(1.0, settings.clip / max(norm, 1e-12))
            rate = learning_rate(step, share, settings.rate, settings.warmup)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            average.lerp_(weights, 1 - min(settings.average, (1 + step) / (10 + step)))
            step += 1
            recent.append(outcome)
            watcher.trained(step, done(), outcome)
            if step % LOG_EVERY == 0:
                log.add(_record(step, seconds(), recent, rate, norm))
                recent.clear()
            if step % settings.evaluate_every == 0 and done() < 1:
                found = evaluate(averaged)
                log.add(_evaluation(step, seconds(), found))
                watcher.evaluated(step, found)
            if step % settings.save_every == 0:
                save_state(
                    folder, RunState(step, seconds(), weights, average, optimiser.state_dict()), settings
                )
        save_state(folder, RunState(step, seconds(), weights, average, optimiser.state_dict()), settings)
    evaluation, last = evaluate(averaged), evaluate(model)
    watcher.evaluated(step, evaluation)
    log.add(_evaluation(step, seconds(), evaluation))
    return Fitted(averaged.eval(), step, seconds(), evaluation, last)


def learning_rate(step: int, share: float, largest: float, warmup: int) -> float:
    """Rising over `warmup` steps, then a cosine over the `share` 0..1 of the run that is done."""
    cosine = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return largest * min(1.0, (step + 1) / warmup) * cosine


def _optimiser(flat: FlatWeights, weights: Tensor, gradients: Tensor, decay: float) -> torch.optim.AdamW:
    groups: list[dict[str, Any]] = []
    for part, weight_decay in ((slice(None, flat.decayed), decay), (slice(flat.decayed, None), 0.0)):
        parameter = nn.Parameter(weights[part])
        parameter.grad = gradients[part]
        groups.append({"params": [parameter], "weight_decay": weight_decay})
    return torch.optim.AdamW(groups, betas=(0.9, 0.99))


def _record(
    step: int, seconds: float, recent: list[Outcome], rate: float, norm: float
) -> dict[str, float | int]:
    return {
        "step": step,
        "seconds": round(seconds, 1),
        "action": sum(o.action for o in recent) / len(recent),
        "video": sum(o.video for o in recent) / len(recent),
        "rate": rate,
        "gradient": norm,
    }


def _evaluation(step: int, seconds: float, found: OpenLoop) -> dict[str, Any]:
    report = found.report
    return {
        "step": step,
        "seconds": round(seconds, 1),
        "held_out": {
            "joints_deg": report.joints.mean_abs,
            "fingertips_mm": report.fingertips.mean_abs,
            "grippers_mm": report.grippers.mean_abs,
            "first_end_mm": found.found,
            "first_end_moving_mm": found.moving,
            "horizon_mm": list(report.horizon.fingertips_mm),
        },
    }
