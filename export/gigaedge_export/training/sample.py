"""Chunks from a policy in training, and how far they are from what the demonstrator did: no export needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigaedge.openloop import Report, Rollout, evaluate
from gigaedge_export.sampler import Schedule, schedule
from gigaedge_export.training.forward import (
    Mask,
    Noisy,
    Observed,
    action_velocity,
    context_memory,
    velocities,
)
from gigaedge_export.training.samples import Demonstration, Scaling, following
from gigaedge_export.transformer import WorldActionTransformer

STEPS: Final = 10
EVERY: Final = 24
"""Frames, about, from one evaluated chunk of an episode to the next."""


@dataclass(frozen=True)
class OpenLoop:
    """Errors on held-out episodes."""

    report: Report
    found: float
    """mm; mean distance of the fingertips at the end of the chunks that begin with an episode: has the target been
    found in the first picture?"""
    moving: float
    """mm; the same over the arms that move there."""


@torch.no_grad()
def sample_chunks(
    model: WorldActionTransformer, observed: Observed, noise: Tensor, plan: Schedule, mask: Mask
) -> Tensor:
    """Actions (B, chunk, channels) of observations, from noise of the same shape.

    With the full mask the context is computed again in every step: a cache would not be exact.
    """
    texts = {name: model.text(name, observed.prompts) for name in model.experts}
    memory = context_memory(model, observed, texts) if mask == "causal" else []
    x, before = noise, torch.zeros_like(noise)
    for timestep, (now, earlier) in zip(plan.timesteps, plan.coefficients, strict=True):
        noisy = Noisy(x, torch.full((len(x),), float(timestep)))
        if mask == "causal":
            velocity, _ = action_velocity(model, memory, texts, observed.prompt, noisy)
        else:
            drawn = Noisy(x.unsqueeze(1), noisy.timestep.unsqueeze(1))
            velocity = velocities(model, observed, drawn, None, mask).action[:, 0]
        x = x + float(now) * velocity + float(earlier) * before
        before = velocity
    return x


def open_loop(
    model: WorldActionTransformer,
    episodes: list[Demonstration],
    scaling: Scaling,
    prompts: Tensor,
    *,
    chunk: int,
    shift: float,
    mask: Mask,
) -> OpenLoop:
    """Chunks at every so many frames of the episodes, against what was recorded. The noise is always the same."""
    rollouts: list[Rollout] = []
    for episode in episodes:
        frames = episode.encoded.frames
        rows = np.flatnonzero(np.diff(frames // EVERY, prepend=-1))
        states = episode.motion.states[frames[rows]]
        observed = Observed(
            torch.from_numpy(episode.encoded.open_latents()[rows].astype(np.float32)).unsqueeze(2),
            torch.from_numpy(scaling.state(states)).unsqueeze(1),
            prompts,
            torch.full((len(rows),), episode.prompt),
        )
        noise = [
            np.random.default_rng((episode.number, frame)).standard_normal(
                (chunk, scaling.channels), np.float32
            )
            for frame in frames[rows]
        ]
        actions = sample_chunks(
            model, observed, torch.from_numpy(np.stack(noise)), schedule(STEPS, shift, "bf16"), mask
        )
        targets = scaling.targets(states, actions.numpy())
        rollouts += [
            _rollout(episode, int(frame), predicted, chunk)
            for frame, predicted in zip(frames[rows], targets, strict=True)
        ]
    first = [rollout for rollout in rollouts if rollout.start == 0]
    last = np.stack([rollout.fingertip_error()[-1] for rollout in first]) * 1e3
    moves = np.stack([_moves(rollout) for rollout in first])
    return OpenLoop(
        evaluate(rollouts, EVERY), float(last.mean()), float(last[moves].mean() if moves.any() else 0.0)
    )


def _rollout(episode: Demonstration, frame: int, predicted: NDArray[np.float32], chunk: int) -> Rollout:
    length = len(episode.motion.actions)
    recorded = following(episode.motion, frame, chunk)[: length - frame]
    return Rollout(episode.number, frame, length, predicted.astype(np.float32), recorded)


def _moves(rollout: Rollout) -> NDArray[np.bool_]:
    """Which of the two arms goes more than 2 degrees with a joint."""
    travel = np.abs(rollout.recorded - rollout.recorded[0]).max(axis=0).reshape(2, -1)[:, :-1]
    return np.asarray(travel.max(axis=1) > np.radians(2))
