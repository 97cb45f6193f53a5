"""The parts of a world-action transformer layer. Parameter names are the upstream checkpoint's.

Shapes: tokens are (..., n, width); attention works on (..., heads, n, head_dim). Leading dimensions are a batch
or nothing at all: export traces without a batch, so that every linear layer is one Gemm on the stored weight.

Weights may be of any floating type, as they lie in the checkpoint's file; everything is computed in fp32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROTARY_BASE = 10000.0
ACTION_INNER = (128, 256)
"""Hidden widths of the action encoder; the decoder has them reversed."""


class Linear(nn.Linear):
    """A linear layer whose weight is converted to fp32 where it is used."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, self.weight.float(), self.bias)


class Conv2d(nn.Conv2d):
    """A convolution whose weight is converted to fp32 where it is used."""

    def forward(self, x: Tensor) -> Tensor:
        """(1, in, h, w) -> (1, out, h', w')."""
        return self._conv_forward(x, self.weight.float(), self.bias)


class KeyValue(NamedTuple):
    """Keys and values of some tokens, (..., heads, n, head_dim) each."""

    key: Tensor
    value: Tensor


class Rotary(NamedTuple):
    """Rotary tables of some tokens, (n, head_dim) each; `sin` carries the sign of the pair's first half."""

    cos: Tensor
    sin: Tensor


class Modulation(NamedTuple):
    """AdaLN vectors of one expert in one layer, (..., width) each; the scales include the 1 of `1 + scale`."""

    shift: Tensor
    scale: Tensor
    gate: Tensor
    ffn_shift: Tensor
    ffn_scale: Tensor
    ffn_gate: Tensor


def join(parts: list[KeyValue]) -> KeyValue:
    """Concatenate along the tokens."""
    if len(parts) == 1:
        return parts[0]
    return KeyValue(torch.cat([p.key for p in parts], -2), torch.cat([p.value for p in parts], -2))


def attend(query: Tensor, memory: KeyValue) -> Tensor:
    """Softmax attention without a mask: (..., heads, n, head_dim) -> (..., n, heads * head_dim)."""
    batched = query.ndim == 4
    q, k, v = (t if batched else t.unsqueeze(0) for t in (query, memory.key, memory.value))
    out = F.scaled_dot_product_attention(q, k, v)
    return (out if batched else out.squeeze(0)).transpose(-3, -2).flatten(-2)


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """Rotary embedding on interleaved pairs, in real arithmetic (complex numbers do not export)."""
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return x * rotary.cos + swapped * rotary.sin


def rotary_table(positions: Tensor, dim: int) -> Rotary:
    """Tables for integer `positions` (n,) and an even `dim`, theta 10000, float64 inside as diffusers has it."""
    frequency = ROTARY_BASE ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.outer(positions.double(), frequency)
    cos = angle.cos().repeat_interleave(2, dim=1)
    sin = torch.stack((-angle.sin(), angle.sin()), dim=-1).flatten(1)
    return Rotary(cos.float(), sin.float())


def adaptive_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """LayerNorm(x) * scale + shift; vectors (width,) make it one fused operator, (batch, width) are broadcast."""
    if scale.ndim == 1:
        return F.layer_norm(x, x.shape[-1:], scale, shift, eps)
    return F.layer_norm(x, x.shape[-1:], eps=eps) * scale.unsqueeze(-2) + shift.unsqueeze(-2)


class Attention(nn.Module):
    """Projections of self- or cross-attention; q and k are normalised over all heads together."""

    def __init__(self, width: int, heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.to_q = Linear(width, inner)
        self.to_k = Linear(width, inner)
        self.to_v = Linear(width, inner)
        self.to_out = nn.ModuleList([Linear(inner, width)])
        self.norm_q = nn.RMSNorm(inner, eps=eps)
        self.norm_k = nn.RMSNorm(inner, eps=eps)

    def query(self, x: Tensor) -> Tensor:
        """Normalised queries."""
        return self._split(self.norm_q(self.to_q(x)))

    def key_value(self, x: Tensor) -> KeyValue:
        """Normalised keys, and values."""
        return KeyValue(self._split(self.norm_k(self.to_k(x))), self._split(self.to_v(x)))

    def project(self, attended: Tensor) -> Tensor:
        """Output projection."""
        return self.to_out[0](attended)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)


class FeedForward(nn.Module):
    """Linear, GELU (tanh), linear."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.net = nn.ModuleDict(
            {"0": nn.ModuleDict({"proj": Linear(width, inner)}), "2": Linear(inner, width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., n, width) -> the same shape."""
        hidden = F.gelu(self.net["0"]["proj"](x), approximate="tanh")  # type: ignore[index]
        return self.net["2"](hidden)


class Expert(nn.Module):
    """What one kind of token owns in one layer: attention, cross-attention, feed-forward, AdaLN table."""

    def __init__(self, width: int, ffn: int, heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.attn1 = Attention(width, heads, head_dim, eps)
        self.attn2 = Attention(width, heads, head_dim, eps)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.ffn = FeedForward(width, ffn)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 6, width))

    def modulation(self, time_projection: Tensor) -> Modulation:
        """AdaLN vectors for a projected time (..., 6 * width)."""
        rows = Modulation(*(self.scale_shift_table[0] + time_projection.unflatten(-1, (6, -1))).unbind(-2))
        return rows._replace(scale=1 + rows.scale, ffn_scale=1 + rows.ffn_scale)

    def project(self, x: Tensor, modulation: Modulation, rotary: Rotary) -> tuple[Tensor, KeyValue]:
        """Queries, keys and values of self-attention, rotated."""
        normed = adaptive_norm(x, modulation.scale, modulation.shift, self.eps)
        own = self.attn1.key_value(normed)
        return rotate(self.attn1.query(normed), rotary), own._replace(key=rotate(own.key, rotary))

    def update(self, x: Tensor, attended: Tensor, modulation: Modulation, text: KeyValue) -> Tensor:
        """The rest of the layer: gated attention output, cross-attention, gated feed-forward."""
        x = x + self.attn1.project(attended) * modulation.gate.unsqueeze(-2)
        x = x + self.attn2.project(attend(self.attn2.query(self.norm2(x)), text))
        normed = adaptive_norm(x, modulation.ffn_scale, modulation.ffn_shift, self.eps)
        return x + self.ffn(normed) * modulation.ffn_gate.unsqueeze(-2)

    def text(self, embedding: Tensor) -> KeyValue:
        """Keys and values of cross-attention for an embedded prompt (..., tokens, width)."""
        return self.attn2.key_value(embedding)


class _TwoLinears(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear_1 = Linear(inputs, width)
        self.linear_2 = Linear(width, width)


class ConditionEmbedder(nn.Module):
    """Embeds the flow time and the prompt for one kind of token."""

    def __init__(self, width: int, freq_dim: int, text_dim: int) -> None:
        super().__init__()
        self.freq_dim = freq_dim
        self.time_embedder = _TwoLinears(freq_dim, width)
        self.time_proj = Linear(width, 6 * width)
        self.text_embedder = _TwoLinears(text_dim, width)

    def time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Timestep (...,) in 0..1000 -> embedding (..., width) and AdaLN projection (..., 6 * width)."""
        half = self.freq_dim // 2
        frequency = torch.exp(-math.log(ROTARY_BASE) * torch.arange(half, dtype=torch.float32) / half)
        angle = timestep.float().unsqueeze(-1) * frequency.to(timestep.device)
        features = torch.cat([angle.cos(), angle.sin()], dim=-1)
        embedder = self.time_embedder
        embedded = embedder.linear_2(F.silu(embedder.linear_1(features)))
        return embedded, self.time_proj(F.silu(embedded))

    def text(self, prompt: Tensor) -> Tensor:
        """Prompt embedding (..., tokens, text_dim) -> (..., tokens, width)."""
        embedder = self.text_embedder
        return embedder.linear_2(F.gelu(embedder.linear_1(prompt), approximate="tanh"))


class ActionEncoder(nn.Module):
    """State or action values -> tokens. `in_proj` is embodiment 0's, the one that inference uses."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        inner, outer = ACTION_INNER
        self.in_proj = Linear(channels, inner)
        self.mid_proj = Linear(inner, outer)
        self.out_proj = Linear(outer, width)

    def forward(self, values: Tensor) -> Tensor:
        """(..., n, channels) -> (..., n, width)."""
        return self.out_proj(F.gelu(self.mid_proj(F.gelu(self.in_proj(values)))))


class ActionDecoder(nn.Module):
    """Tokens -> action velocity. `out_proj` is embodiment 0's."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        inner, outer = ACTION_INNER
        self.in_proj = Linear(width, outer)
        self.mid_proj = Linear(outer, inner)
        self.out_proj = Linear(inner, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., n, width) -> (..., n, channels)."""
        return self.out_proj(F.gelu(self.mid_proj(F.gelu(self.in_proj(tokens)))))
