"""The parts of `upstream_eager`: attention, experts, embedders. Parameter names are the upstream checkpoint's."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigaedge_export.layers import ROTARY_BASE, rotary_table


class Rotary(NamedTuple):
    """Cosine and sine per pair of channels, (tokens, 1, head_dim / 2) each."""

    cos: Tensor
    sin: Tensor


class Memory(NamedTuple):
    """Keys and values, (1, tokens, heads, head_dim) each."""

    key: Tensor
    value: Tensor


class Attention(nn.Module):
    """Projections of self- or cross-attention; queries and keys are normalised over all heads together."""

    def __init__(self, width: int, heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(inner, width)])
        self.norm_q, self.norm_k = (nn.RMSNorm(inner, eps=eps) for _ in range(2))

    def query(self, x: Tensor, rotary: Rotary | None = None) -> Tensor:
        """Normalised, rotated queries (1, tokens, heads, head_dim)."""
        return rotated(self.norm_q(self.to_q(x)).unflatten(2, (self.heads, -1)), rotary)

    def memory(self, x: Tensor, rotary: Rotary | None = None) -> Memory:
        """What queries attend to."""
        key = rotated(self.norm_k(self.to_k(x)).unflatten(2, (self.heads, -1)), rotary)
        return Memory(key, self.to_v(x).unflatten(2, (self.heads, -1)))

    def output(self, attended: Tensor) -> Tensor:
        """(1, tokens, heads, head_dim) -> (1, tokens, width)."""
        result: Tensor = self.to_out[0](attended.flatten(2))
        return result


class FeedForward(nn.Module):
    """Linear, GELU (tanh), linear."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.net = nn.ModuleDict(
            {"0": nn.ModuleDict({"proj": nn.Linear(width, inner)}), "2": nn.Linear(inner, width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """(1, tokens, width) -> the same shape."""
        hidden = F.gelu(self.net["0"]["proj"](x), approximate="tanh")  # type: ignore[index]
        result: Tensor = self.net["2"](hidden)
        return result


class Expert(nn.Module):
    """One layer's weights for one kind of token."""

    def __init__(self, width: int, ffn: int, heads: int, head_dim: int, eps: float) -> None:
        super().__init__()
        self.width, self.eps = width, eps
        self.attn1 = Attention(width, heads, head_dim, eps)
        self.attn2 = Attention(width, heads, head_dim, eps)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.ffn = FeedForward(width, ffn)
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 6, width))

    def modulation(self, times: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate of attention, then of the feed-forward, (1, tokens, width) each, fp32.

        `times` is (1, tokens, 6, width).
        """
        parts: tuple[Tensor, ...] = (self.scale_shift_table.unsqueeze(0) + times.float()).unbind(2)
        return parts

    def modulated(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """LayerNorm without weights in fp32, then scale and shift."""
        normed = F.layer_norm(x.float(), (self.width,), eps=self.eps)
        return (normed * (1 + scale) + shift).type_as(x)

    def update(self, x: Tensor, attended: Tensor, modulation: tuple[Tensor, ...], text: Memory) -> Tensor:
        """Gated attention output, cross-attention, gated feed-forward."""
        _, _, gate, ffn_shift, ffn_scale, ffn_gate = modulation
        x = (x.float() + self.attn1.output(attended).float() * gate).type_as(x)
        normed = F.layer_norm(x.float(), (self.width,), self.norm2.weight, self.norm2.bias, self.eps)
        x = x + self.attn2.output(attend(self.attn2.query(normed.type_as(x)), text))
        fed: Tensor = self.ffn(self.modulated(x, ffn_shift, ffn_scale))
        return (x.float() + fed.float() * ffn_gate).type_as(x)


class _TwoLinears(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(inputs, width), nn.Linear(width, width)


class ConditionEmbedder(nn.Module):
    """Embeds a flow time per token, and the prompt."""

    def __init__(self, width: int, freq_dim: int, text_dim: int) -> None:
        super().__init__()
        half = freq_dim // 2
        frequency = torch.exp(-math.log(ROTARY_BASE) * torch.arange(half, dtype=torch.float32) / half)
        self.frequency: Tensor
        self.register_buffer("frequency", frequency, persistent=False)
        self.time_embedder = _TwoLinears(freq_dim, width)
        self.time_proj = nn.Linear(width, 6 * width)
        self.text_embedder = _TwoLinears(text_dim, width)

    def time(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Timesteps (1, n) in 0..1000 -> (1, n, width) for the head and (1, n, 6, width) for the layers."""
        angle = timesteps.unsqueeze(-1) * self.frequency
        embedder = self.time_embedder
        features = torch.cat([angle.cos(), angle.sin()], dim=-1)
        embedded = embedder.linear_2(F.silu(embedder.linear_1(features))).to(self.time_proj.weight.dtype)
        return embedded, self.time_proj(F.silu(embedded)).unflatten(2, (6, -1))

    def text(self, prompt: Tensor) -> Tensor:
        """(1, length, text_dim) -> (1, length, width)."""
        embedder = self.text_embedder
        result: Tensor = embedder.linear_2(F.gelu(embedder.linear_1(prompt), approximate="tanh"))
        return result


class ActionMlp(nn.Module):
    """Three linear layers: values to tokens, or tokens to values."""

    def __init__(self, inputs: int, widths: tuple[int, int], outputs: int) -> None:
        super().__init__()
        first, second = widths
        self.in_proj = nn.Linear(inputs, first)
        self.mid_proj = nn.Linear(first, second)
        self.out_proj = nn.Linear(second, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(1, n, inputs) -> (1, n, outputs)."""
        result: Tensor = self.out_proj(F.gelu(self.mid_proj(F.gelu(self.in_proj(x)))))
        return result


def attend(query: Tensor, memory: Memory, mask: Tensor | None = None) -> Tensor:
    """Softmax attention: queries (1, n, heads, head_dim) on keys and values -> the same shape."""
    q, k, v = (tensor.transpose(1, 2) for tensor in (query, *memory))
    mask = mask if mask is None else mask.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)


def join(*parts: Memory) -> Memory:
    """Concatenate along the tokens."""
    return Memory(torch.cat([p.key for p in parts], dim=1), torch.cat([p.value for p in parts], dim=1))


def rotated(x: Tensor, rotary: Rotary | None) -> Tensor:
    """Rotary embedding on interleaved pairs of channels; None leaves them as they are."""
    if rotary is None:
        return x
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * rotary.cos - odd * rotary.sin, even * rotary.sin + odd * rotary.cos), dim=-1)
    return turned.flatten(-2).type_as(x)


def rotary_of(positions: Tensor, dim: int) -> Rotary:
    """Tables for integer positions (n,)."""
    table = rotary_table(positions, dim)
    return Rotary(*(t[:, 1::2].unsqueeze(1).contiguous() for t in table))


def joined_rotary(*parts: Rotary, dim: int) -> Rotary:
    """Tables one after the other: of tokens with dim 0, of channels with dim 2."""
    return Rotary(*(torch.cat(tensors, dim=dim) for tensors in zip(*parts, strict=True)))
