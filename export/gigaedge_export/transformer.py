"""GWP-0 and GWP-0.5 from one set of layers.

The causal mask is never built. Tokens come in groups - context (state and reference image), action, future video -
and a group attends to the keys and values of the groups it may see: context to itself, action to context and
itself, future to everything. Groups that see nothing later can therefore be computed once and cached, exactly.

GWP-0 has one expert for every token; GWP-0.5 has a visual expert (image and video tokens) and a narrower action
expert (state and action tokens) that meet in self-attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gigaedge_export.config import TransformerConfig
from gigaedge_export.layers import (
    ActionDecoder,
    ActionEncoder,
    ConditionEmbedder,
    Expert,
    KeyValue,
    Linear,
    Modulation,
    Rotary,
    adaptive_norm,
    attend,
    join,
    rotary_table,
)

ExpertName = Literal["shared", "visual", "action"]


class Group(NamedTuple):
    """Tokens of one expert at one flow time."""

    expert: ExpertName
    tokens: Tensor
    """(..., n, width of the expert)."""
    rotary: Rotary


class Block(nn.Module):
    """One layer: joint self-attention over groups and a cache, then each group's own expert."""

    def expert(self, name: ExpertName) -> Expert:
        """The weights of one expert."""
        raise KeyError(name)

    def forward(
        self,
        groups: list[Group],
        modulations: list[Modulation],
        texts: list[KeyValue] | None,
        cache: KeyValue | None = None,
    ) -> tuple[list[Group], KeyValue]:
        """Advance the groups by one layer; also return their keys and values (without the cache's).

        Without `texts` the groups stay as they are: keys and values are all that the last layer's context is for.
        """
        projected = [
            self.expert(group.expert).project(group.tokens, modulation, group.rotary)
            for group, modulation in zip(groups, modulations, strict=True)
        ]
        queries, own = [query for query, _ in projected], join([keys for _, keys in projected])
        if texts is None:
            return groups, own
        memory = own if cache is None else join([cache, own])
        attended = attend(torch.cat(queries, dim=-2), memory)
        parts = attended.split([group.tokens.shape[-2] for group in groups], dim=-2)
        updated = [
            group._replace(tokens=self.expert(group.expert).update(group.tokens, part, modulation, text))
            for group, part, modulation, text in zip(groups, parts, modulations, texts, strict=True)
        ]
        return updated, own


class DenseBlock(Block, Expert):
    """GWP-0: every token shares the layer's weights."""

    def expert(self, name: ExpertName) -> Expert:
        """The layer itself."""
        return self


class MixtureBlock(Block):
    """GWP-0.5: a visual and an action expert."""

    def __init__(self, visual: Expert, action: Expert) -> None:
        super().__init__()
        self.visual_expert = visual
        self.action_expert = action

    def expert(self, name: ExpertName) -> Expert:
        """The visual or the action expert."""
        return self.visual_expert if name == "visual" else self.action_expert


@dataclass(frozen=True)
class Conditioned:
    """AdaLN vectors of one expert at one flow time."""

    layers: list[Modulation]
    head_shift: Tensor
    """Of the output norm, (..., width)."""
    head_scale: Tensor
    """Of the output norm, with its 1, (..., width)."""


class WorldActionTransformer(nn.Module):
    """The action-centred world-action model; parameters are named as in the upstream checkpoint."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        expert_sizes = (c.num_attention_heads, c.attention_head_dim, c.eps)
        self.patch_embedding = Linear(c.in_channels * c.patch_size[1] * c.patch_size[2], c.width)
        self.condition_embedder = ConditionEmbedder(c.width, c.freq_dim, c.text_dim)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 2, c.width))
        self.proj_out = Linear(c.width, c.out_channels * c.patch_size[1] * c.patch_size[2])
        action_width = c.action_expert_dim or c.width
        self.action_encoder = ActionEncoder(c.in_action_channels, action_width)
        self.action_decoder = ActionDecoder(action_width, c.in_action_channels)
        blocks: list[Block]
        if c.action_expert_dim is None or c.action_ffn_dim is None:
            blocks = [DenseBlock(c.width, c.ffn_dim, *expert_sizes) for _ in range(c.num_layers)]
        else:
            self.state_encoder = ActionEncoder(c.in_action_channels, action_width)
            self.action_condition_embedder = ConditionEmbedder(action_width, c.freq_dim, c.text_dim)
            self.action_scale_shift_table = nn.Parameter(torch.zeros(1, 2, action_width))
            blocks = [
                MixtureBlock(
                    Expert(c.width, c.ffn_dim, *expert_sizes),
                    Expert(action_width, c.action_ffn_dim, *expert_sizes),
                )
                for _ in range(c.num_layers)
            ]
        self.blocks = nn.ModuleList(blocks)

    @property
    def image_expert(self) -> ExpertName:
        """Which expert image and video tokens use."""
        return "shared" if self.config.generation == "GWP-0" else "visual"

    @property
    def action_expert(self) -> ExpertName:
        """Which expert state and action tokens use."""
        return "shared" if self.config.generation == "GWP-0" else "action"

    @property
    def experts(self) -> tuple[ExpertName, ...]:
        """All experts, the image expert first."""
        return tuple(dict.fromkeys((self.image_expert, self.action_expert)))

    def embedder(self, expert: ExpertName) -> ConditionEmbedder:
        """Time and text embedder of an expert."""
        return self.action_condition_embedder if expert == "action" else self.condition_embedder

    def block_expert(self, layer: int, expert: ExpertName) -> Expert:
        """An expert's weights in one layer."""
        return self.blocks[layer].expert(expert)  # type: ignore[operator]

    def condition(self, expert: ExpertName, timestep: Tensor) -> Conditioned:
        """AdaLN vectors of every layer and of the output head for a timestep (...,) in 0..1000."""
        embedded, projected = self.embedder(expert).time(timestep)
        table = self.action_scale_shift_table if expert == "action" else self.scale_shift_table
        layers = [self.block_expert(i, expert).modulation(projected) for i in range(len(self.blocks))]
        return Conditioned(layers, head_shift=table[0, 0] + embedded, head_scale=1 + table[0, 1] + embedded)

    def text(self, expert: ExpertName, prompt: Tensor) -> list[KeyValue]:
        """Cross-attention keys and values per layer for a prompt (..., tokens, text_dim)."""
        embedded = self.embedder(expert).text(prompt)
        return [self.block_expert(i, expert).text(embedded) for i in range(len(self.blocks))]

    def context_groups(self, latents: Tensor, state: Tensor) -> list[Group]:
        """State (..., 1, channels) and reference latents (..., C, 1, h, w) as tokens, one group per expert."""
        encoder = self.action_encoder if self.config.generation == "GWP-0" else self.state_encoder
        state_group = Group(self.action_expert, encoder(state), self.step_rotary(0, 1))
        image_group = self.image_group(latents, first_frame=0)
        if self.config.generation == "GWP-0.5":
            return [state_group, image_group]
        merged = Rotary(
            *(torch.cat(pair) for pair in zip(state_group.rotary, image_group.rotary, strict=True))
        )
        return [Group("shared", torch.cat((state_group.tokens, image_group.tokens), dim=-2), merged)]

    def action_group(self, actions: Tensor) -> Group:
        """Noisy actions (..., chunk, channels) as tokens; positions follow the state's."""
        return Group(self.action_expert, self.action_encoder(actions), self.step_rotary(1, actions.shape[-2]))

    def image_group(self, latents: Tensor, first_frame: int) -> Group:
        """Latent frames (..., C, f, h, w) as tokens in (frame, row, column) order."""
        _, high, wide = self.config.patch_size
        frames, height, width = latents.shape[-3], latents.shape[-2] // high, latents.shape[-1] // wide
        patches = latents.unflatten(-1, (width, wide)).unflatten(-3, (height, high))
        # (..., C, f, rows, high, columns, wide) -> (..., f * rows * columns, C * high * wide)
        axes = patches.ndim - 6
        order = [*range(axes), axes + 1, axes + 2, axes + 4, axes, axes + 3, axes + 5]
        flat = patches.permute(order).flatten(-3).flatten(-4, -2)
        return Group(
            self.image_expert,
            self.patch_embedding(flat),
            self.image_rotary(first_frame, frames, height, width),
        )

    def step_rotary(self, first: int, count: int) -> Rotary:
        """Rotary tables of state (position 0) and actions (1, 2, ...)."""
        return rotary_table(torch.arange(first, first + count), self.config.attention_head_dim)

    def image_rotary(self, first_frame: int, frames: int, height: int, width: int) -> Rotary:
        """Rotary tables over (frame, row, column), (frames * height * width, head_dim)."""
        dim = self.config.attention_head_dim
        side = 2 * (dim // 6)
        axes = (
            (torch.arange(first_frame, first_frame + frames), dim - 2 * side),
            (torch.arange(height), side),
            (torch.arange(width), side),
        )
        grid = torch.meshgrid(*(positions for positions, _ in axes), indexing="ij")
        tables = [rotary_table(g.flatten(), d) for g, (_, d) in zip(grid, axes, strict=True)]
        return Rotary(*(torch.cat(parts, dim=-1) for parts in zip(*tables, strict=True)))

    def decode_actions(self, tokens: Tensor, conditioned: Conditioned) -> Tensor:
        """Action tokens -> velocity (..., chunk, channels)."""
        normed = adaptive_norm(tokens, conditioned.head_scale, conditioned.head_shift, self.config.eps)
        return self.action_decoder(normed)

    def decode_video(self, tokens: Tensor, conditioned: Conditioned, grid: tuple[int, int, int]) -> Tensor:
        """Image tokens of a (frames, rows, columns) grid -> velocity (..., C, f, h, w)."""
        flat = self.proj_out(
            adaptive_norm(tokens, conditioned.head_scale, conditioned.head_shift, self.config.eps)
        )
        _, high, wide = self.config.patch_size
        cells = flat.unflatten(-1, (high, wide, -1)).unflatten(-4, grid)
        # (..., f, rows, columns, high, wide, C) -> (..., C, f, rows, high, columns, wide)
        axes = cells.ndim - 6
        order = [*range(axes), axes + 5, axes, axes + 1, axes + 3, axes + 2, axes + 4]
        return cells.permute(order).flatten(-2).flatten(-3, -2)


EMBODIMENT_LAYERS = ("action_encoder.in_proj", "state_encoder.in_proj", "action_decoder.out_proj")
"""Stored with one weight per embodiment, (embodiment, in, out); inference uses embodiment 0."""


def checkpoint_shapes(model: WorldActionTransformer) -> dict[str, torch.Size]:
    """The shapes a checkpoint must have."""
    c = model.config
    shapes = {}
    for name, tensor in model.state_dict().items():
        shape = tensor.shape
        if name.startswith(EMBODIMENT_LAYERS):
            shape = torch.Size((c.num_embodiments, *reversed(shape)))
        elif name == "patch_embedding.weight":  # a convolution whose stride is its kernel
            shape = torch.Size((c.width, c.in_channels, *c.patch_size))
        shapes[name] = shape
    return shapes


def fold(name: str, tensor: Tensor) -> Tensor:
    """A stored tensor as this module wants it, as a view."""
    if name.startswith(EMBODIMENT_LAYERS):
        return tensor[0].T if tensor.ndim == 3 else tensor[0]
    return tensor.flatten(1) if name == "patch_embedding.weight" else tensor


def unfold(name: str, tensor: Tensor, config: TransformerConfig) -> Tensor:
    """The inverse of `fold`: every embodiment is stored with the same values."""
    if name.startswith(EMBODIMENT_LAYERS):
        stored = tensor.T if tensor.ndim == 2 else tensor
        return stored.expand(config.num_embodiments, *stored.shape)
    if name == "patch_embedding.weight":
        return tensor.unflatten(1, (config.in_channels, *config.patch_size))
    return tensor
