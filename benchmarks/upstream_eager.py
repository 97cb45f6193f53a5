"""GigaWorld-Policy in plain PyTorch, computed in the order and with the caches of the upstream release.

GWP-0: every token (state, reference picture, actions) goes through every block at every sampler step under the causal
mask, and time embedding, text embedding and cross-attention keys are computed anew each time. GWP-0.5: keys and values
of state and picture and the action expert's keys and values of the text are computed once per chunk; then the action
tokens alone go through the action expert at every step.

What differs from upstream is in PyTorch's favour: rotary tables and mask are made once, embodiment 0 is picked when
the weights are loaded, nothing passes through a pipeline or a scheduler object, and in bf16 the sampler's state stays
fp32. Tensors are (1, tokens, width); attention is (1, heads, tokens, head_dim).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigaedge_export.config import TransformerConfig, load_config
from gigaedge_export.layers import ACTION_INNER
from gigaedge_export.shards import Shards
from gigaedge_export.transformer import fold
from upstream_parts import (
    ActionMlp,
    ConditionEmbedder,
    Expert,
    Memory,
    Rotary,
    attend,
    join,
    joined_rotary,
    rotary_of,
)

KEPT_FP32 = ("time_embedder", "scale_shift_table", "norm2")
"""Parameters that upstream leaves in fp32 when the model is bf16."""


class DenseBlock(Expert):
    """A layer of GWP-0: every token shares its weights."""

    def forward(self, x: Tensor, text: Tensor, times: Tensor, rotary: Rotary, mask: Tensor) -> Tensor:
        """Advance all tokens (1, n, width); text (1, length, width), times (1, n, 6, width), mask (n, n)."""
        modulation = self.modulation(times)
        normed = self.modulated(x, modulation[0], modulation[1])
        attended = attend(self.attn1.query(normed, rotary), self.attn1.memory(normed, rotary), mask)
        return self.update(x, attended, modulation, self.attn2.memory(text))


class Stream(NamedTuple):
    """Tokens of one expert with what conditions them."""

    tokens: Tensor
    """(1, n, width)."""
    times: Tensor
    """(1, n, 6, width)."""
    text: Tensor
    """(1, length, width)."""
    rotary: Rotary


class LayerCache(NamedTuple):
    """What the steps need of one layer."""

    prefix: Memory
    """Of state and picture."""
    text: Memory
    """Of the action expert."""


class MixtureBlock(nn.Module):
    """A layer of GWP-0.5: two experts that meet in self-attention."""

    def __init__(self, visual: Expert, action: Expert) -> None:
        super().__init__()
        self.visual_expert, self.action_expert = visual, action

    def prefix(self, state: Stream, picture: Stream) -> tuple[Tensor, Tensor, LayerCache]:
        """Advance state and picture; also return their keys and values."""
        pairs = ((self.action_expert, state), (self.visual_expert, picture))
        modulations = [expert.modulation(stream.times) for expert, stream in pairs]
        normed = [
            expert.modulated(stream.tokens, modulation[0], modulation[1])
            for (expert, stream), modulation in zip(pairs, modulations, strict=True)
        ]
        queries, memories = [], []
        for (expert, stream), x in zip(pairs, normed, strict=True):
            queries.append(expert.attn1.query(x, stream.rotary))
            memories.append(expert.attn1.memory(x, stream.rotary))
        joined = join(*memories)
        attended = attend(torch.cat(queries, dim=1), joined)
        count = state.tokens.shape[1]
        text = self.action_expert.attn2.memory(state.text)
        picture_text = self.visual_expert.attn2.memory(picture.text)
        return (
            self.action_expert.update(state.tokens, attended[:, :count], modulations[0], text),
            self.visual_expert.update(picture.tokens, attended[:, count:], modulations[1], picture_text),
            LayerCache(joined, text),
        )

    def step(self, x: Tensor, times: Tensor, rotary: Rotary, cache: LayerCache) -> Tensor:
        """Advance the action tokens (1, n, width)."""
        expert = self.action_expert
        modulation = expert.modulation(times)
        normed = expert.modulated(x, modulation[0], modulation[1])
        memory = join(cache.prefix, expert.attn1.memory(normed, rotary))
        attended = attend(expert.attn1.query(normed, rotary), memory)
        return expert.update(x, attended, modulation, cache.text)


class Upstream(nn.Module, ABC):
    """What both generations have; `sigmas` and `timesteps` are the sampler's, (steps + 1,) and (steps,)."""

    def __init__(self, config: TransformerConfig, *, rows: int, columns: int) -> None:
        super().__init__()
        c = self.config = config
        self.patch_embedding = nn.Linear(c.in_channels * c.patch_size[1] * c.patch_size[2], c.width)
        self.condition_embedder = ConditionEmbedder(c.width, c.freq_dim, c.text_dim)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 2, c.width))
        self.proj_out = nn.Linear(c.width, c.out_channels * c.patch_size[1] * c.patch_size[2])
        width = c.action_expert_dim or c.width
        self.action_encoder = ActionMlp(c.in_action_channels, ACTION_INNER, width)
        self.action_decoder = ActionMlp(width, (ACTION_INNER[1], ACTION_INNER[0]), c.in_action_channels)
        self.grid = (rows, columns)
        self.sizes = (c.num_attention_heads, c.attention_head_dim, c.eps)

    def patches(self, latents: Tensor) -> Tensor:
        """Latents (C, 1, h, w) -> tokens (1, rows * columns, width)."""
        _, high, wide = self.config.patch_size
        rows, columns = self.grid
        cells = latents.reshape(-1, rows, high, columns, wide).permute(1, 3, 0, 2, 4)
        result: Tensor = self.patch_embedding(cells.reshape(1, rows * columns, -1))
        return result

    def picture_rotary(self) -> Rotary:
        """Of the reference picture's tokens: frame 0, row, column."""
        dim = self.config.attention_head_dim
        side = 2 * (dim // 6)
        rows, columns = (
            axis.flatten() for axis in torch.meshgrid(*map(torch.arange, self.grid), indexing="ij")
        )
        parts = ((torch.zeros_like(rows), dim - 2 * side), (rows, side), (columns, side))
        return joined_rotary(*(rotary_of(positions, size) for positions, size in parts), dim=2)

    def velocity_of(self, tokens: Tensor, embedded: Tensor, table: Tensor) -> Tensor:
        """Output norm and action decoder: (1, n, width) -> (1, n, channels), fp32."""
        shift, scale = (table.unsqueeze(0) + embedded.float().unsqueeze(2)).unbind(2)
        normed = F.layer_norm(tokens.float(), tokens.shape[-1:], eps=self.config.eps) * (1 + scale) + shift
        result: Tensor = self.action_decoder(normed.type_as(tokens)).float()
        return result

    @abstractmethod
    def sampler(self, latents: Tensor, state: Tensor, prompt: Tensor) -> Callable[[Tensor, float], Tensor]:
        """From noisy actions (1, n, channels) and a timestep to their velocity, for one observation."""

    @torch.inference_mode()
    def sample(
        self,
        latents: Tensor,
        state: Tensor,
        prompt: Tensor,
        noise: Tensor,
        sigmas: list[float],
        timesteps: list[float],
    ) -> Tensor:
        """A chunk (n, channels), normalised: latents (C, 1, h, w), state (1, channels), prompt (length, text_dim)."""
        dtype = self.patch_embedding.weight.dtype
        velocity = self.sampler(
            latents.to(dtype), state.to(dtype).unsqueeze(0), prompt.to(dtype).unsqueeze(0)
        )
        x = noise.unsqueeze(0)
        for step, timestep in enumerate(timesteps):
            x = x + (sigmas[step + 1] - sigmas[step]) * velocity(x.to(dtype), timestep)
        return x[0]


class UpstreamDense(Upstream):
    """GWP-0: nothing is kept from one step to the next."""

    def __init__(self, config: TransformerConfig, *, rows: int, columns: int, chunk: int) -> None:
        super().__init__(config, rows=rows, columns=columns)
        blocks = [DenseBlock(config.width, config.ffn_dim, *self.sizes) for _ in range(config.num_layers)]
        self.blocks = nn.ModuleList(blocks)
        dim, clean = config.attention_head_dim, 1 + rows * columns
        moving = rotary_of(torch.arange(1 + chunk), dim)
        first, rest = (Rotary(*(t[part] for t in moving)) for part in (slice(0, 1), slice(1, None)))
        self.rotary = joined_rotary(first, self.picture_rotary(), rest, dim=0)
        mask = torch.zeros(clean + chunk, clean + chunk)
        mask[:clean, clean:] = -math.inf
        self.mask: Tensor
        self.register_buffer("mask", mask, persistent=False)
        self.clean = clean

    def sampler(self, latents: Tensor, state: Tensor, prompt: Tensor) -> Callable[[Tensor, float], Tensor]:
        """See `Upstream.sampler`."""

        def velocity(actions: Tensor, timestep: float) -> Tensor:
            timesteps = torch.zeros(1, len(self.mask))
            timesteps[:, self.clean :] = timestep
            return self.velocity(latents, state, prompt, actions, timesteps)

        return velocity

    def velocity(
        self, latents: Tensor, state: Tensor, prompt: Tensor, actions: Tensor, timesteps: Tensor
    ) -> Tensor:
        """One whole forward pass; timesteps (1, 1 + rows * columns + n)."""
        encode = self.action_encoder
        x = torch.cat([encode(state), self.patches(latents), encode(actions)], dim=1)
        embedded, times = self.condition_embedder.time(timesteps)
        text = self.condition_embedder.text(prompt)
        for block in self.blocks:
            x = block(x, text, times, self.rotary, self.mask)
        return self.velocity_of(x[:, self.clean :], embedded[:, self.clean :], self.scale_shift_table)


class UpstreamMixture(Upstream):
    """GWP-0.5: the prefix is computed once per chunk."""

    def __init__(self, config: TransformerConfig, *, rows: int, columns: int, chunk: int) -> None:
        super().__init__(config, rows=rows, columns=columns)
        width, ffn = config.action_expert_dim, config.action_ffn_dim
        if width is None or ffn is None:
            raise ValueError("a mixture needs action_expert_dim and action_ffn_dim")
        self.state_encoder = ActionMlp(config.in_action_channels, ACTION_INNER, width)
        self.action_condition_embedder = ConditionEmbedder(width, config.freq_dim, config.text_dim)
        self.action_scale_shift_table = nn.Parameter(torch.zeros(1, 2, width))
        blocks = [
            MixtureBlock(Expert(config.width, config.ffn_dim, *self.sizes), Expert(width, ffn, *self.sizes))
            for _ in range(config.num_layers)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.state_rotary = rotary_of(torch.arange(1), config.attention_head_dim)
        self.rotary = rotary_of(torch.arange(1, 1 + chunk), config.attention_head_dim)
        self.visual_rotary = self.picture_rotary()

    def sampler(self, latents: Tensor, state: Tensor, prompt: Tensor) -> Callable[[Tensor, float], Tensor]:
        """See `Upstream.sampler`."""
        caches = self.prefix(latents, state, prompt)

        def velocity(actions: Tensor, timestep: float) -> Tensor:
            return self.velocity(actions, torch.full(actions.shape[:2], timestep), caches)

        return velocity

    def prefix(self, latents: Tensor, state: Tensor, prompt: Tensor) -> list[LayerCache]:
        """Keys and values of state, picture and text, per layer."""
        rows, columns = self.grid
        _, state_times = self.action_condition_embedder.time(torch.zeros(1, 1))
        _, picture_times = self.condition_embedder.time(torch.zeros(1, rows * columns))
        text = self.action_condition_embedder.text(prompt), self.condition_embedder.text(prompt)
        own, picture = self.state_encoder(state), self.patches(latents)
        caches = []
        for block in self.blocks:
            own, picture, cache = block.prefix(  # type: ignore[operator]
                Stream(own, state_times, text[0], self.state_rotary),
                Stream(picture, picture_times, text[1], self.visual_rotary),
            )
            caches.append(cache)
        return caches

    def velocity(self, actions: Tensor, timesteps: Tensor, caches: list[LayerCache]) -> Tensor:
        """One step; timesteps (1, n)."""
        x = self.action_encoder(actions)
        embedded, times = self.action_condition_embedder.time(timesteps)
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block.step(x, times, self.rotary, cache)  # type: ignore[operator]
        return self.velocity_of(x, embedded, self.action_scale_shift_table)


def load_upstream(
    folder: Path, *, latent_size: tuple[int, int], chunk: int, dtype: torch.dtype = torch.float32
) -> Upstream:
    """The transformer in a checkpoint's `transformer/`, its weights in memory as `dtype`; latents are (h, w)."""
    config = load_config(folder / "config.json", TransformerConfig)
    _, high, wide = config.patch_size
    kind = UpstreamDense if config.generation == "GWP-0" else UpstreamMixture
    model = kind(config, rows=latent_size[0] // high, columns=latent_size[1] // wide, chunk=chunk)
    shards = Shards(folder)
    weights = {}
    for name in shards.names():
        kept = torch.float32 if any(part in name for part in KEPT_FP32) else dtype
        weights[name] = fold(name, shards.tensor(name)).to(kept, copy=True).contiguous()
    model.load_state_dict(weights, assign=True)
    return model.eval().requires_grad_(False)
