"""The joint forward with future video tokens, for training and diagnosis. It is not exported."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gigaedge_export.layers import KeyValue, join
from gigaedge_export.transformer import Conditioned, ExpertName, Group, WorldActionTransformer


class JointOutput(NamedTuple):
    """Velocities (noise minus data) of one joint forward."""

    action: Tensor
    """(..., chunk, channels)."""
    video: Tensor
    """(..., C, 1 + future frames, h, w); the first frame is the reference."""


def joint_forward(
    model: WorldActionTransformer,
    *,
    reference: Tensor,
    future: Tensor,
    state: Tensor,
    actions: Tensor,
    prompt: Tensor,
    action_timestep: Tensor,
    video_timestep: Tensor,
) -> JointOutput:
    """All token groups under the causal mask.

    Shapes: reference (..., C, 1, h, w), future (..., C, f, h, w), state (..., 1, channels),
    actions (..., chunk, channels), prompt (..., tokens, text_dim), timesteps (...,) in 0..1000.
    State and reference are at time 0.
    """
    texts = {name: model.text(name, prompt) for name in model.experts}
    clean = torch.zeros_like(action_timestep)
    at: dict[tuple[ExpertName, str], Conditioned] = {
        (name, label): model.condition(name, timestep)
        for name in model.experts
        for label, timestep in (("clean", clean), ("action", action_timestep), ("video", video_timestep))
    }
    context = model.context_groups(reference, state)
    action = [model.action_group(actions)]
    video = [model.image_group(future, first_frame=reference.shape[-3])]
    for layer, block in enumerate(model.blocks):

        def advance(
            groups: list[Group],
            label: str,
            cache: KeyValue | None,
            layer: int = layer,
            block: torch.nn.Module = block,
        ) -> tuple[list[Group], KeyValue]:
            modulations = [at[group.expert, label].layers[layer] for group in groups]
            layer_texts = [texts[group.expert][layer] for group in groups]
            result: tuple[list[Group], KeyValue] = block(groups, modulations, layer_texts, cache)
            return result

        context, seen = advance(context, "clean", None)
        action, own = advance(action, "action", seen)
        video, _ = advance(video, "video", join([seen, own]))
    image = context[-1].tokens[..., -_count(reference, model) :, :]
    _, high, wide = model.config.patch_size
    rows, columns = reference.shape[-2] // high, reference.shape[-1] // wide
    expert = model.image_expert
    frames = [
        model.decode_video(image, at[expert, "clean"], (reference.shape[-3], rows, columns)),
        model.decode_video(video[0].tokens, at[expert, "video"], (future.shape[-3], rows, columns)),
    ]
    velocity = model.decode_actions(action[0].tokens, at[model.action_expert, "action"])
    return JointOutput(action=velocity, video=torch.cat(frames, dim=-3))


def _count(latents: Tensor, model: WorldActionTransformer) -> int:
    _, high, wide = model.config.patch_size
    return latents.shape[-3] * (latents.shape[-2] // high) * (latents.shape[-1] // wide)
