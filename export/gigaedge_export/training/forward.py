"""What the network says of noisy actions and noisy futures, for many draws of the noise at one context's cost.

Under the causal mask the context depends on neither: its keys and values are computed once per picture and seen by
every draw, as at deployment. With the full mask, an ablation, the context attends to actions and future as well; then
nothing can be shared, and nothing be cached.

Shapes: B pictures, D draws of the action for each, V <= B of them with a future, which sees the first draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gigaedge_export.layers import KeyValue, join
from gigaedge_export.transformer import Conditioned, ExpertName, Group, WorldActionTransformer

Mask = Literal["causal", "full"]
Texts = dict[ExpertName, list[KeyValue]]
"""Cross-attention keys and values per expert and layer, (prompts, heads, tokens, head_dim)."""


class Velocities(NamedTuple):
    """Noise minus data, as predicted."""

    action: Tensor
    """(B, D, chunk, channels)."""
    video: Tensor | None
    """(V, C, f, h, w); None where there is no future."""


@dataclass(frozen=True)
class Observed:
    """What is known when a chunk is asked for."""

    reference: Tensor
    """Latents of the present picture, (B, C, 1, h, w)."""
    state: Tensor
    """Normalised, (B, 1, channels)."""
    prompts: Tensor
    """Different prompts, (prompts, tokens, text_dim)."""
    prompt: Tensor
    """Which of them each picture has, (B,) i64."""


@dataclass(frozen=True)
class Noisy:
    """Data on its way to noise."""

    values: Tensor
    """Actions (B, D, chunk, channels), or future latents (V, C, f, h, w)."""
    timestep: Tensor
    """Flow time in 0..1000, (B, D) or (V,)."""


def velocities(
    model: WorldActionTransformer, observed: Observed, action: Noisy, video: Noisy | None, mask: Mask
) -> Velocities:
    """One joint forward."""
    texts = {name: model.text(name, observed.prompts) for name in model.experts}
    if mask == "full":
        return _full(model, observed, texts, action, video)
    memory = context_memory(model, observed, texts)
    batch, draws = action.values.shape[:2]
    prompt = observed.prompt.repeat_interleave(draws)
    seen = [_repeat(layer, draws) for layer in memory]
    velocity, own = action_velocity(
        model, seen, texts, prompt, Noisy(action.values.flatten(0, 1), action.timestep.flatten())
    )
    future = None
    if video is not None:
        count = len(video.values)
        first = [KeyValue(*(part.unflatten(0, (batch, draws))[:count, 0] for part in layer)) for layer in own]
        known = [
            join([KeyValue(*(part[:count] for part in layer)), acted])
            for layer, acted in zip(memory, first, strict=True)
        ]
        future = _video_velocity(model, known, texts, observed.prompt[:count], video)
    return Velocities(velocity.unflatten(0, (batch, draws)), future)


def context_memory(model: WorldActionTransformer, observed: Observed, texts: Texts) -> list[KeyValue]:
    """Keys and values of state and reference per layer, (B, heads, n, head_dim): what a chunk's steps share.

    The last layer's context is needed for nothing else and is not computed any further.
    """
    at = _clean(model, observed.state)
    groups = model.context_groups(observed.reference, observed.state)
    memory = []
    for layer, block in enumerate(model.blocks):
        last = layer == len(model.blocks) - 1
        groups, own = _advance(
            block, layer, groups, [at[g.expert] for g in groups], None if last else texts, observed.prompt
        )
        memory.append(own)
    return memory


def action_velocity(
    model: WorldActionTransformer, memory: list[KeyValue], texts: Texts, prompt: Tensor, noisy: Noisy
) -> tuple[Tensor, list[KeyValue]]:
    """Velocity of actions (N, chunk, channels) that see `memory` of N, and their own keys and values per layer."""
    at = model.condition(model.action_expert, noisy.timestep)
    groups, own = [model.action_group(noisy.values)], []
    for layer, (block, seen) in enumerate(zip(model.blocks, memory, strict=True)):
        groups, keys = _advance(block, layer, groups, [at], texts, prompt, seen)
        own.append(keys)
    return model.decode_actions(groups[0].tokens, at), own


def _video_velocity(
    model: WorldActionTransformer, memory: list[KeyValue], texts: Texts, prompt: Tensor, noisy: Noisy
) -> Tensor:
    at = model.condition(model.image_expert, noisy.timestep)
    groups = [model.image_group(noisy.values, first_frame=1)]
    for layer, (block, seen) in enumerate(zip(model.blocks, memory, strict=True)):
        groups, _ = _advance(block, layer, groups, [at], texts, prompt, seen)
    return model.decode_video(groups[0].tokens, at, _grid(model, noisy.values))


def _full(
    model: WorldActionTransformer, observed: Observed, texts: Texts, action: Noisy, video: Noisy | None
) -> Velocities:
    """Everything sees everything; rows without a future see none, so that a chunk can be sampled without one."""
    batch, draws = action.values.shape[:2]
    count = 0 if video is None else len(video.values)
    rows = torch.arange(batch * draws)
    imagined = rows[: count * draws : draws]
    plain = rows[~torch.isin(rows, imagined)]
    values, timestep = action.values.flatten(0, 1), action.timestep.flatten()
    found = torch.empty_like(values)
    future = None
    for chosen, noisy in ((imagined, video), (plain, None)):
        if not len(chosen):
            continue
        picture = chosen // draws
        seen = Observed(
            observed.reference[picture], observed.state[picture], observed.prompts, observed.prompt[picture]
        )
        velocity, imagined_velocity = _all_at_once(
            model, seen, texts, Noisy(values[chosen], timestep[chosen]), noisy
        )
        found = found.index_copy(0, chosen, velocity)
        future = imagined_velocity if noisy is not None else future
    return Velocities(found.unflatten(0, (batch, draws)), future)


def _all_at_once(
    model: WorldActionTransformer, observed: Observed, texts: Texts, action: Noisy, video: Noisy | None
) -> tuple[Tensor, Tensor | None]:
    clean = _clean(model, observed.state)
    groups = model.context_groups(observed.reference, observed.state)
    at = [clean[group.expert] for group in groups]
    acting = len(groups)
    groups.append(model.action_group(action.values))
    at.append(model.condition(model.action_expert, action.timestep))
    if video is not None:
        groups.append(model.image_group(video.values, first_frame=1))
        at.append(model.condition(model.image_expert, video.timestep))
    batch = len(observed.state)
    at = [_broadcast(conditioned, batch) for conditioned in at]
    for layer, block in enumerate(model.blocks):
        groups, _ = _advance(block, layer, groups, at, texts, observed.prompt)
    velocity = model.decode_actions(groups[acting].tokens, at[acting])
    if video is None:
        return velocity, None
    return velocity, model.decode_video(groups[-1].tokens, at[-1], _grid(model, video.values))


def _advance(
    block: nn.Module,
    layer: int,
    groups: list[Group],
    at: list[Conditioned],
    texts: Texts | None,
    prompt: Tensor,
    cache: KeyValue | None = None,
) -> tuple[list[Group], KeyValue]:
    chosen = None if texts is None else [_of_prompt(texts[group.expert][layer], prompt) for group in groups]
    result: tuple[list[Group], KeyValue] = block(groups, [one.layers[layer] for one in at], chosen, cache)
    return result


def _clean(model: WorldActionTransformer, like: Tensor) -> dict[ExpertName, Conditioned]:
    """Vectors of time 0, one for all pictures."""
    zero = torch.zeros((), device=like.device)
    return {name: model.condition(name, zero) for name in model.experts}


def _broadcast(conditioned: Conditioned, batch: int) -> Conditioned:
    """Vectors of one time as those of a batch."""
    if conditioned.head_shift.ndim > 1:
        return conditioned
    layers = [type(layer)(*(v.expand(batch, -1) for v in layer)) for layer in conditioned.layers]
    return Conditioned(
        layers, conditioned.head_shift.expand(batch, -1), conditioned.head_scale.expand(batch, -1)
    )


def _of_prompt(text: KeyValue, prompt: Tensor) -> KeyValue:
    """Each row's keys and values; one prompt for all is not copied."""
    if len(text.key) == 1:
        return KeyValue(*(part.expand(len(prompt), -1, -1, -1) for part in text))
    return KeyValue(*(part[prompt] for part in text))


def _repeat(memory: KeyValue, draws: int) -> KeyValue:
    return memory if draws == 1 else KeyValue(*(part.repeat_interleave(draws, 0) for part in memory))


def _grid(model: WorldActionTransformer, latents: Tensor) -> tuple[int, int, int]:
    _, high, wide = model.config.patch_size
    frames, height, width = latents.shape[-3:]
    return frames, height // high, width // wide
