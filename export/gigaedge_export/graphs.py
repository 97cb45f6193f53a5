"""The three graphs of the split layout, as modules to be traced.

    text     prompt embedding           -> cross-attention keys and values      once per prompt
    context  composite, state, text     -> self-attention keys and values       once per chunk
    step     actions, row, context, text, and the chunk before
                                         -> next actions, velocity, targets     once per sampler step

Everything that depends on the flow time alone is a row of a table in `step`, chosen by its input `row`. All tensors
are without a batch axis; `signature` of each graph gives names and shapes, the same ones the manifest records.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gigaedge.robot import DELTA_MASK, ROBOT_DIM
from gigaedge_export.checkpoint import NormStats
from gigaedge_export.layers import KeyValue, Modulation
from gigaedge_export.sampler import Schedule
from gigaedge_export.transformer import Conditioned, WorldActionTransformer
from gigaedge_export.vae import FirstFrameVae

RANGE_FLOOR = 1e-8
"""Smallest q99 - q01, as upstream has it."""
GUIDANCE_REACH = 10.0
"""Normalised distance from the middle of the statistics beyond which a previous action guides nothing.

The statistics' 1st and 99th percentile are at -1 and 1. A value this far out belongs to a dimension that hardly moves
(an absent arm: its span may be `RANGE_FLOOR`), and would swamp everything else in the network."""
STEP_INPUTS = 8
"""Inputs of `StepGraph` before its keys and values."""


@dataclass(frozen=True)
class Geometry:
    """Sizes that are chosen at export rather than stored in the checkpoint."""

    view_width: int
    view_height: int
    chunk: int
    prompt_length: int


def key_value_names(prefix: str, layers: int) -> list[str]:
    """`prefix.00.key`, `prefix.00.value`, `prefix.01.key`, ..."""
    return [f"{prefix}.{layer:02d}.{part}" for layer in range(layers) for part in ("key", "value")]


def paired(flat: tuple[Tensor, ...] | list[Tensor]) -> list[KeyValue]:
    """Keys and values, flat as a graph's inputs are, per layer."""
    return [KeyValue(key, value) for key, value in zip(flat[::2], flat[1::2], strict=True)]


def _flattened(pairs: list[KeyValue]) -> list[Tensor]:
    return [tensor for pair in pairs for tensor in pair]


class Traceable(nn.Module, ABC):
    """A module with a name, example inputs, and names for what goes in and out."""

    stage: str

    @abstractmethod
    def example(self) -> dict[str, Tensor]:
        """Inputs of the right names, shapes and types, in the order of `forward`."""

    @abstractmethod
    def output_names(self) -> list[str]:
        """Names of the outputs, in the order of `forward`."""


class Graph(Traceable):
    """A part of the transformer."""

    def __init__(self, transformer: WorldActionTransformer, geometry: Geometry) -> None:
        super().__init__()
        self.transformer = transformer
        self.geometry = geometry

    @property
    def layers(self) -> int:
        """Number of transformer layers."""
        return self.transformer.config.num_layers

    def key_value_example(self, prefix: str, layers: int, tokens: int) -> dict[str, Tensor]:
        """Keys and values of the right shapes, by name."""
        config = self.transformer.config
        shape = (config.num_attention_heads, tokens, config.attention_head_dim)
        return {name: torch.zeros(shape) for name in key_value_names(prefix, layers)}


class TextGraph(Graph):
    """Prompt embedding (length, text_dim) -> keys and values of cross-attention, per expert and layer.

    For actions alone, the last layer's image tokens are never updated; with `video` those of the future are.
    """

    stage = "text"

    def __init__(
        self, transformer: WorldActionTransformer, geometry: Geometry, *, video: bool = False
    ) -> None:
        super().__init__(transformer, geometry)
        self.video = video

    def text_layers(self, expert: str) -> int:
        """Layers whose text is needed."""
        return self.layers - 1 if expert == "visual" and not self.video else self.layers

    def forward(self, prompt_embeds: Tensor) -> list[Tensor]:
        """See the class."""
        model = self.transformer
        return [
            tensor
            for expert in model.experts
            for tensor in _flattened(model.text(expert, prompt_embeds)[: self.text_layers(expert)])
        ]

    def example(self) -> dict[str, Tensor]:
        """Inputs of the right shapes."""
        return {"prompt_embeds": torch.zeros(self.geometry.prompt_length, self.transformer.config.text_dim)}

    def output_names(self) -> list[str]:
        """`text.EXPERT.LAYER.key` and `.value`."""
        return [
            name
            for expert in self.transformer.experts
            for name in key_value_names(f"text.{expert}", self.text_layers(expert))
        ]


class ContextGraph(Graph):
    """Composite (H, W, 3) u8 and raw state (14,) -> latent, and keys and values per layer.

    State and image are at flow time 0, so their AdaLN vectors are constants here. The last layer is cut down to
    what others see of it.
    """

    stage = "context"
    state_low: Tensor
    state_span: Tensor

    def __init__(
        self, transformer: WorldActionTransformer, vae: FirstFrameVae, stats: NormStats, geometry: Geometry
    ) -> None:
        super().__init__(transformer, geometry)
        self.vae = vae
        low, span = _bounds(stats.state_q01, stats.state_q99)
        self.register_buffer("state_low", low)
        self.register_buffer("state_span", span)
        self.conditions = {name: transformer.condition(name, torch.zeros(())) for name in transformer.experts}

    def forward(self, composite: Tensor, state: Tensor, *texts: Tensor) -> list[Tensor]:
        """See the class."""
        model = self.transformer
        latents = self.vae(composite)
        normalised = (state - self.state_low) / self.state_span * 2 - 1
        padded = nn.functional.pad(normalised, (0, model.config.in_action_channels - ROBOT_DIM))
        groups = model.context_groups(latents, padded.unsqueeze(0))
        text = self._texts(texts)
        seen: list[KeyValue] = []
        for layer, block in enumerate(model.blocks):
            modulations = [self.conditions[group.expert].layers[layer] for group in groups]
            last = layer == self.layers - 1
            texts_here = None if last else [text[group.expert][layer] for group in groups]
            groups, own = block(groups, modulations, texts_here)
            seen.append(own)
        return [latents, *_flattened(seen)]

    def _texts(self, flat: tuple[Tensor, ...]) -> dict[str, list[KeyValue]]:
        per_expert = len(flat) // len(self.transformer.experts)
        return {
            expert: paired(flat[i * per_expert : (i + 1) * per_expert])
            for i, expert in enumerate(self.transformer.experts)
        }

    def example(self) -> dict[str, Tensor]:
        """Inputs of the right shapes."""
        inputs = {
            "composite": torch.zeros(
                self.geometry.view_height, self.geometry.view_width, 3, dtype=torch.uint8
            ),
            "state": torch.zeros(ROBOT_DIM),
        }
        for expert in self.transformer.experts:
            inputs |= self.key_value_example(f"text.{expert}", self.layers - 1, self.geometry.prompt_length)
        return inputs

    def output_names(self) -> list[str]:
        """`latents`, `context.LAYER.key` and `.value`."""
        return ["latents", *key_value_names("context", self.layers)]


class StepGraph(Graph):
    """One step of the flow: actions (chunk, channels) and a row of the time table -> next actions, velocity, targets.

    `coefficients` (2,) weigh this step's velocity and the previous one's (`gigaedge.sampling`). `targets` (chunk, 14)
    are the next actions as absolute joint angles (rad) and gripper openings (m); after the last step they are the
    policy's answer.

    Real-time chunking: `previous` (chunk, 14) are the targets of the chunk before at the times of the new actions,
    absolute, rad and m; `weight` (chunk,) in 0..1 says how much each binds the new one, and `guidance` (1,) bounds the
    strength of `gigaedge.sampling.guidance_strengths`. They become what the network would have had to predict from
    the new state. `velocity` is the guided one, which is what a solver of higher order must go on with. Where weight or
    guidance is zero nothing changes, to the last bit.
    """

    stage = "step"
    action_low: Tensor
    action_span: Tensor
    delta_mask: Tensor
    time_table: Tensor
    guidance_table: Tensor

    def __init__(
        self,
        transformer: WorldActionTransformer,
        stats: NormStats,
        schedules: list[Schedule],
        geometry: Geometry,
        context_tokens: int,
    ) -> None:
        super().__init__(transformer, geometry)
        self.context_tokens = context_tokens
        low, span = _bounds(stats.action_q01, stats.action_q99)
        self.register_buffer("action_low", low)
        self.register_buffer("action_span", span)
        self.register_buffer("delta_mask", torch.tensor(DELTA_MASK, dtype=torch.float32))
        timesteps = torch.from_numpy(np.concatenate([s.timesteps for s in schedules]))
        condition = transformer.condition(transformer.action_expert, timesteps)
        vectors = [vector for layer in condition.layers for vector in layer]
        # One gather and one split fetch every time-dependent vector of a step.
        table = torch.cat([*vectors, condition.head_shift, condition.head_scale], dim=-1)
        self.vector_width = condition.head_shift.shape[-1]
        self.register_buffer("time_table", table)
        guidance = torch.from_numpy(np.concatenate([s.guidance for s in schedules]))
        self.register_buffer("guidance_table", guidance)

    def forward(
        self,
        actions: Tensor,
        previous_velocity: Tensor,
        row: Tensor,
        coefficients: Tensor,
        state: Tensor,
        previous: Tensor,
        weight: Tensor,
        guidance: Tensor,
        *caches: Tensor,
    ) -> list[Tensor]:
        """See the class."""
        model = self.transformer
        vectors = self.time_table.index_select(0, row).squeeze(0).split(self.vector_width)
        *layer_vectors, head_shift, head_scale = vectors
        modulations = [Modulation(*layer_vectors[6 * i : 6 * i + 6]) for i in range(self.layers)]
        condition = Conditioned(modulations, head_shift, head_scale)
        seen, text = paired(caches[: 2 * self.layers]), paired(caches[2 * self.layers :])
        groups = [model.action_group(actions)]
        for layer, block in enumerate(model.blocks):
            groups, _ = block(groups, [modulations[layer]], [text[layer]], seen[layer])
        velocity = model.decode_actions(groups[0].tokens, condition)
        wanted = (previous - state * self.delta_mask - self.action_low) / self.action_span * 2 - 1
        velocity = self._guided(actions, velocity, row, wanted, weight.unsqueeze(-1), guidance)
        following = actions + coefficients[0] * velocity + coefficients[1] * previous_velocity
        predicted = (following[:, :ROBOT_DIM] + 1) / 2 * self.action_span + self.action_low
        return [following, velocity, predicted + state * self.delta_mask]

    def _guided(
        self, x: Tensor, velocity: Tensor, row: Tensor, wanted: Tensor, weight: Tensor, guidance: Tensor
    ) -> Tensor:
        """The velocity drawn towards `wanted`, (chunk, 14) normalised; padding channels are left alone."""
        sigma, strength = self.guidance_table.index_select(0, row).squeeze(0).split(1)
        estimate = x[:, :ROBOT_DIM] - sigma * velocity[:, :ROBOT_DIM]
        pull = torch.minimum(strength, guidance) * weight * (wanted - estimate)
        # Chosen rather than multiplied by zero: zero times what overflowed would be NaN.
        binding = (wanted.abs() <= GUIDANCE_REACH) & (weight > 0) & (guidance > 0)
        guided = velocity[:, :ROBOT_DIM] - torch.where(binding, pull, torch.zeros_like(pull))
        return torch.cat((guided, velocity[:, ROBOT_DIM:]), dim=-1)

    def example(self) -> dict[str, Tensor]:
        """Inputs of the right shapes."""
        config, geometry = self.transformer.config, self.geometry
        return {
            "actions": torch.zeros(geometry.chunk, config.in_action_channels),
            "previous_velocity": torch.zeros(geometry.chunk, config.in_action_channels),
            "row": torch.zeros(1, dtype=torch.int64),
            "coefficients": torch.zeros(2),
            "state": torch.zeros(ROBOT_DIM),
            "previous": torch.zeros(geometry.chunk, ROBOT_DIM),
            "weight": torch.zeros(geometry.chunk),
            "guidance": torch.zeros(1),
            **self.key_value_example("context", self.layers, self.context_tokens),
            **self.key_value_example(
                f"text.{self.transformer.action_expert}", self.layers, geometry.prompt_length
            ),
        }

    def output_names(self) -> list[str]:
        """`next_actions`, `velocity`, `targets`."""
        return ["next_actions", "velocity", "targets"]


def _bounds(q01: tuple[float, ...], q99: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    low = torch.tensor(q01, dtype=torch.float32)
    return low, (torch.tensor(q99, dtype=torch.float32) - low).clamp_min(RANGE_FLOOR)
