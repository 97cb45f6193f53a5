"""One chunk in plain PyTorch, everything recomputed at every step: what an exported bundle is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigaedge.robot import DELTA_MASK, ROBOT_DIM
from gigaedge_export.checkpoint import LoadedCheckpoint
from gigaedge_export.graphs import GUIDANCE_REACH, RANGE_FLOOR
from gigaedge_export.joint import joint_forward
from gigaedge_export.layers import KeyValue
from gigaedge_export.sampler import Schedule


@dataclass(frozen=True)
class ReferenceGuidance:
    """The chunk before, for real-time chunking."""

    previous: NDArray[np.float32]
    """Its absolute targets at the times of the new actions, (chunk, 14)."""
    weight: NDArray[np.float32]
    """How much each binds the new one, (chunk,)."""
    limit: float
    """Bound of the strength."""


@torch.no_grad()
def reference_chunk(
    checkpoint: LoadedCheckpoint,
    schedule: Schedule,
    *,
    composite: NDArray[np.uint8],
    state: NDArray[np.float32],
    prompt: NDArray[np.float32],
    noise: NDArray[np.float32],
    context: bool = True,
    guidance: ReferenceGuidance | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Latents, context, velocities, trajectory and actions of one observation.

    Shapes: composite (H, W, 3), state (14,), prompt (tokens, text_dim), noise (chunk, channels). Keys and shapes of
    the result are those of `gigaedge infer --intermediate`: `ref_latents`, `context.LAYER.key` and `.value` (with
    `context`, which no schedule changes), `velocity`, `trajectory`, `action`.
    """
    model, stats = checkpoint.transformer, checkpoint.stats
    raw = torch.from_numpy(state)
    padded = normalised_state(checkpoint, state)
    latents = checkpoint.vae(torch.from_numpy(composite))
    text = torch.from_numpy(prompt)
    x = torch.from_numpy(noise)
    trajectory = [x]
    velocities: list[Tensor] = []
    for step, (timestep, (now, before)) in enumerate(
        zip(schedule.timesteps, schedule.coefficients, strict=True)
    ):
        output = joint_forward(
            model,
            reference=latents,
            future=latents[:, :0],
            state=padded,
            actions=x,
            prompt=text,
            action_timestep=torch.tensor(timestep),
            video_timestep=torch.tensor(timestep),
        )
        velocity = output.action
        if guidance is not None:
            velocity = _guided(checkpoint, guidance, raw, x, velocity, *map(float, schedule.guidance[step]))
        x = x + float(now) * velocity
        if velocities:
            x = x + float(before) * velocities[-1]
        velocities.append(velocity)
        trajectory.append(x)
    low, high = torch.tensor(stats.action_q01), torch.tensor(stats.action_q99)
    predicted = (x[:, :ROBOT_DIM] + 1) / 2 * (high - low).clamp_min(RANGE_FLOOR) + low
    action = predicted + raw * torch.tensor(DELTA_MASK, dtype=torch.float32)
    return {
        "ref_latents": latents.unsqueeze(0).numpy(),
        **(_context(checkpoint, latents, padded, text) if context else {}),
        "velocity": torch.stack(velocities).numpy(),
        "trajectory": torch.stack(trajectory).numpy(),
        "action": action.numpy(),
    }


def normalised_state(checkpoint: LoadedCheckpoint, state: NDArray[np.float32]) -> Tensor:
    """A raw state (14,) as the network takes it, (1, channels)."""
    low, high = torch.tensor(checkpoint.stats.state_q01), torch.tensor(checkpoint.stats.state_q99)
    padded = torch.zeros(1, checkpoint.transformer.config.in_action_channels)
    padded[0, :ROBOT_DIM] = (torch.from_numpy(state) - low) / (high - low).clamp_min(RANGE_FLOOR) * 2 - 1
    return padded


def _guided(
    checkpoint: LoadedCheckpoint,
    guidance: ReferenceGuidance,
    state: Tensor,
    x: Tensor,
    velocity: Tensor,
    sigma: float,
    strength: float,
) -> Tensor:
    """The velocity whose estimate of the data is drawn towards the chunk before, value by value."""
    low, high = torch.tensor(checkpoint.stats.action_q01), torch.tensor(checkpoint.stats.action_q99)
    span = (high - low).clamp_min(RANGE_FLOOR)
    guided = velocity.clone()
    for k, weight in enumerate(guidance.weight):
        for column in range(ROBOT_DIM):
            target = float(guidance.previous[k, column])
            if DELTA_MASK[column]:
                target -= float(state[column])
            wanted = (target - float(low[column])) / float(span[column]) * 2 - 1
            if abs(wanted) > GUIDANCE_REACH:
                continue
            estimate = float(x[k, column]) - sigma * float(velocity[k, column])
            guided[k, column] -= min(strength, guidance.limit) * float(weight) * (wanted - estimate)
    return guided


def _context(
    checkpoint: LoadedCheckpoint, latents: Tensor, state: Tensor, prompt: Tensor
) -> Mapping[str, NDArray[Any]]:
    """Keys and values of state and image tokens, per layer."""
    model = checkpoint.transformer
    groups = model.context_groups(latents, state)
    conditions = {name: model.condition(name, torch.zeros(())) for name in model.experts}
    texts: dict[str, list[KeyValue]] = {name: model.text(name, prompt) for name in model.experts}
    arrays = {}
    for layer, block in enumerate(model.blocks):
        modulations = [conditions[group.expert].layers[layer] for group in groups]
        groups, own = block(groups, modulations, [texts[group.expert][layer] for group in groups])
        arrays[f"context.{layer:02d}.key"] = own.key.numpy()
        arrays[f"context.{layer:02d}.value"] = own.value.numpy()
    return arrays
