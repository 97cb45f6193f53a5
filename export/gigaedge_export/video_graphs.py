"""The two graphs of the video branch, as modules to be traced.

    video     future latents, row, actions and their noise, context, text -> next future latents, velocity
    decoder   latents of the observation and of its future                -> frames, u8

They continue from what `graphs` leaves behind after a chunk and nothing in them leads back: under the causal mask no
action sees the future. Everything that depends on the flow time is a row of a table, chosen by the input `row`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigaedge.bundle import VideoInfo
from gigaedge_export.graphs import Geometry, Graph, Traceable, paired
from gigaedge_export.layers import Modulation, join
from gigaedge_export.transformer import Conditioned, ExpertName, WorldActionTransformer
from gigaedge_export.video_vae import VideoVae, pictures


@dataclass(frozen=True)
class Flow:
    """The steps from noise to the future, and what each of them sees of the actions; (steps,) each."""

    deltas: NDArray[np.float32]
    """What the velocity is multiplied with: the next noise level minus this one."""
    timesteps: NDArray[np.float32]
    """Flow time of the future tokens, 0..1000."""
    action_sigmas: NDArray[np.float32]
    """Share of noise in the actions, 0..1."""
    action_timesteps: NDArray[np.float32]
    """Flow time of the action tokens, 0..1000."""

    @classmethod
    def of(cls, info: VideoInfo) -> Flow:
        """The flow that a manifest describes."""
        sigmas, timesteps = np.array(info.sigmas, np.float32), np.array(info.timesteps, np.float32)
        noisy = np.float32(info.actions == "same time")
        return cls(np.diff(sigmas), timesteps, sigmas[:-1] * noisy, timesteps * noisy)


class VideoGraph(Graph):
    """One Euler step of the future latents (C, f, h, w), given predicted actions (chunk, channels), normalised.

    The action tokens are made of `actions` and as much of `noise`, which the chunk was sampled from, as `Flow` says.
    They are computed anew in every step: they are few, and with the noise they differ from step to step.
    """

    stage = "video"
    step_table: Tensor
    action_table: Tensor
    video_table: Tensor

    def __init__(
        self,
        transformer: WorldActionTransformer,
        geometry: Geometry,
        flow: Flow,
        future: torch.Size,
        context_tokens: int,
    ) -> None:
        """`future`: shape of the future latents."""
        super().__init__(transformer, geometry)
        self.future, self.context_tokens = future, context_tokens
        action = transformer.condition(transformer.action_expert, torch.from_numpy(flow.action_timesteps))
        video = transformer.condition(transformer.image_expert, torch.from_numpy(flow.timesteps))
        self.widths = action.head_shift.shape[-1], video.head_shift.shape[-1]
        levels = torch.from_numpy(np.stack((flow.deltas, flow.action_sigmas), axis=1))
        self.register_buffer("step_table", levels)
        # The last layer's action tokens are seen and not updated, so that they need no output head.
        self.register_buffer("action_table", torch.cat([v for layer in action.layers for v in layer], dim=-1))
        vectors = [vector for layer in video.layers for vector in layer]
        self.register_buffer("video_table", torch.cat([*vectors, video.head_shift, video.head_scale], dim=-1))

    def forward(
        self, future: Tensor, row: Tensor, actions: Tensor, noise: Tensor, *caches: Tensor
    ) -> list[Tensor]:
        """See the class."""
        model = self.transformer
        delta, sigma = self.step_table.index_select(0, row).squeeze(0).split(1)
        action_at, _ = self._conditioned(self.action_table, row, self.widths[0])
        video_at, (head_shift, head_scale) = self._conditioned(self.video_table, row, self.widths[1])
        memory, texts = paired(caches[: 2 * self.layers]), caches[2 * self.layers :]
        text = {}
        for expert in model.experts:
            count = 2 * self.text_layers(expert)
            text[expert], texts = paired(texts[:count]), texts[count:]
        acting = [model.action_group(actions + sigma * (noise - actions))]
        imagined = [model.image_group(future, first_frame=1)]
        for layer, block in enumerate(model.blocks):
            last = layer == self.layers - 1
            action_text = None if last else [text[model.action_expert][layer]]
            acting, own = block(acting, [action_at[layer]], action_text, memory[layer])
            seen = join([memory[layer], own])
            imagined, _ = block(imagined, [video_at[layer]], [text[model.image_expert][layer]], seen)
        _, high, wide = model.config.patch_size
        grid = self.future[-3], self.future[-2] // high, self.future[-1] // wide
        velocity = model.decode_video(imagined[0].tokens, Conditioned([], head_shift, head_scale), grid)
        return [future + delta * velocity, velocity]

    def _conditioned(
        self, table: Tensor, row: Tensor, width: int
    ) -> tuple[list[Modulation], tuple[Tensor, ...]]:
        """A row's AdaLN vectors of every layer, and what follows them."""
        vectors = table.index_select(0, row).squeeze(0).split(width)
        layers = [Modulation(*vectors[6 * i : 6 * i + 6]) for i in range(self.layers)]
        return layers, vectors[6 * self.layers :]

    def text_layers(self, expert: ExpertName) -> int:
        """Layers whose text is needed; the last layer's action tokens are not updated."""
        return self.layers if expert == self.transformer.image_expert else self.layers - 1

    def example(self) -> dict[str, Tensor]:
        """Inputs of the right shapes."""
        config, geometry = self.transformer.config, self.geometry
        inputs = {
            "future": torch.zeros(self.future),
            "row": torch.zeros(1, dtype=torch.int64),
            "actions": torch.zeros(geometry.chunk, config.in_action_channels),
            "noise": torch.zeros(geometry.chunk, config.in_action_channels),
            **self.key_value_example("context", self.layers, self.context_tokens),
        }
        for expert in self.transformer.experts:
            inputs |= self.key_value_example(
                f"text.{expert}", self.text_layers(expert), geometry.prompt_length
            )
        return inputs

    def output_names(self) -> list[str]:
        """`next_future`, `velocity`."""
        return ["next_future", "velocity"]


class DecoderGraph(Traceable):
    """The observation's latents (C, 1, h, w) and its future's (C, f, h, w) -> frames (1 + factor * f, H, W, 3), RGB u8.

    The first frame is the observation as the VAE keeps it.
    """

    stage = "decoder"

    def __init__(self, vae: VideoVae, future: torch.Size) -> None:
        """`vae`: one that decodes; its encoder is not used."""
        super().__init__()
        self.vae, self.future = vae, future

    def forward(self, latents: Tensor, future: Tensor) -> Tensor:
        """See the class."""
        clip = torch.cat((latents, future), dim=1).unsqueeze(0)
        return pictures(self.vae.decode(self.vae.denormalise(clip))).squeeze(0)

    def example(self) -> dict[str, Tensor]:
        """Inputs of the right shapes."""
        return {"latents": torch.zeros(self.future)[:, :1], "future": torch.zeros(self.future)}

    def output_names(self) -> list[str]:
        """`frames`."""
        return ["frames"]
