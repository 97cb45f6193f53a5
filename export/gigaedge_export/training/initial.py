"""A transformer before its first step: configuration and initial weights of upstream's architecture."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from gigaedge_export.config import Generation, TransformerConfig
from gigaedge_export.layers import ActionDecoder, ActionEncoder, Linear
from gigaedge_export.random_checkpoint import Sizes, transformer_config
from gigaedge_export.transformer import WorldActionTransformer


def new_transformer(
    generation: Generation, sizes: Sizes, latent_channels: int, text_dim: int, seed: int
) -> WorldActionTransformer:
    """A transformer that fits a VAE of `latent_channels` and prompts `text_dim` wide, ready to be trained.

    It begins as a plain transformer: AdaLN has no say yet (its projection is zero) and its gates are open, since four
    layers need none of the caution that thirty do. What it answers is zero.

    Queries and keys of self-attention have biases as large as what they are added to. Nothing but the rotary
    embedding tells tokens where they are, and it acts on queries and keys alone: with a bias, every head looks at
    places from the first step on, and not only at contents. The target in the picture is found sooner.
    """
    fitted = replace(sizes, latent_channels=latent_channels, text_dim=text_dim)
    config = TransformerConfig.model_validate(transformer_config(generation, fitted))
    model = WorldActionTransformer(config)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Linear):
                _draw(module, 1.0, random)
        for module in model.modules():
            if isinstance(module, ActionEncoder | ActionDecoder):
                for layer in (module.in_proj, module.mid_proj):
                    _draw(layer, math.sqrt(2), random)  # GELU halves the variance
        for name, parameter in model.named_parameters():
            if name.endswith(("attn1.to_q.bias", "attn1.to_k.bias")):
                parameter.normal_(0, 1, generator=random)
            elif "time_proj" in name or name.startswith(("proj_out", "action_decoder.out_proj")):
                parameter.zero_()
            elif name.startswith("blocks") and name.endswith("scale_shift_table"):
                parameter.zero_()
                parameter[:, 2::3] = 1  # both gates
    return model


def _draw(layer: nn.Linear, gain: float, random: torch.Generator) -> None:
    layer.weight.normal_(0, gain / math.sqrt(layer.in_features), generator=random)
    layer.bias.zero_()
