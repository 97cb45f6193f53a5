"""The two flow-matching losses: 5 x action + 1 x video, each the mean squared error of noise minus data.

Noise levels are drawn uniformly and shifted; those of a step are spread evenly over 0..1 first, which changes no
average and lowers the spread from step to step. The network is told 1000 x the level, rounded to bfloat16: upstream
trains in bfloat16 and the export folds rounded times, so this is what is deployed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gigaedge_export.sampler import TRAIN_TIMESTEPS
from gigaedge_export.training.forward import Noisy, Observed, velocities
from gigaedge_export.training.samples import Batch
from gigaedge_export.training.settings import ACTION_WEIGHT, PolicyTraining
from gigaedge_export.transformer import WorldActionTransformer


@dataclass(frozen=True)
class Losses:
    """Of one batch; scalars."""

    total: Tensor
    action: Tensor
    video: Tensor
    """0 where there is no future."""


def noise_levels(count: int, shift: float, random: torch.Generator) -> Tensor:
    """`count` levels in 0..1, shifted; each is uniform before the shift."""
    spread = (torch.randperm(count, generator=random) + torch.rand(count, generator=random)) / count
    return shift * spread / (1 + (shift - 1) * spread)


def timesteps(levels: Tensor) -> Tensor:
    """What the network is told of noise levels, 0..1000."""
    return (levels * TRAIN_TIMESTEPS).bfloat16().float()


def losses(
    model: WorldActionTransformer,
    batch: Batch,
    prompts: Tensor,
    settings: PolicyTraining,
    random: torch.Generator,
) -> Losses:
    """Of one batch with noise from `random`; `prompts` (prompts, tokens, text_dim)."""
    actions = torch.from_numpy(batch.actions).unsqueeze(1).expand(-1, settings.draws, -1, -1)
    levels = noise_levels(actions.shape[:2].numel(), settings.action_shift, random).view(actions.shape[:2])
    noisy, wanted = _noised(actions, levels, random)
    video, imagined = None, None
    if futures := len(batch.futures):
        if settings.same_time:
            levels = levels[:futures, 0]
        else:
            levels = noise_levels(futures, settings.video_shift, random)
        video, imagined = _noised(torch.from_numpy(batch.futures), levels, random)
    observed = Observed(
        torch.from_numpy(batch.latents),
        torch.from_numpy(batch.states),
        prompts,
        torch.from_numpy(batch.prompts),
    )
    found = velocities(model, observed, noisy, video, settings.mask)
    action = (found.action - wanted).square().mean()
    if found.video is None or imagined is None:
        return Losses(ACTION_WEIGHT * action, action.detach(), torch.zeros(()))
    seen = (found.video - imagined).square().mean()
    return Losses(ACTION_WEIGHT * action + settings.video_weight * seen, action.detach(), seen.detach())


def _noised(data: Tensor, levels: Tensor, random: torch.Generator) -> tuple[Noisy, Tensor]:
    """Data at levels of noise, one for each of its leading axes, and the velocity there."""
    level = levels.reshape(*levels.shape, *(1 for _ in data.shape[levels.ndim :]))
    noise = torch.randn(data.shape, generator=random)
    return Noisy((1 - level) * data + level * noise, timesteps(levels)), noise - data
