"""The parts that the encoder and the decoder of the Wan-2.2 VAE share, over time. Parameter names are upstream's.

Tensors are (B, channels, frames, h, w), fp32. A clip goes through as a whole. Upstream feeds the first frame and then
groups of four, and keeps the last two frames of every convolution: what stands before the clip is zeros in both, so
that one causal convolution over all frames computes the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigaedge_export.vae import NORM_FLOOR


class CausalConv3d(nn.Conv3d):
    """A convolution that sees no later frame: the kernel's frames are the present one and those before."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, size, padding=(0, size // 2, size // 2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, h, w) -> (B, outputs, T, h, w)."""
        if x.shape[2] == 1:
            # Zeros before: only the kernel's last frame works. A third of the arithmetic.
            return F.conv2d(x[:, :, 0], self.weight[:, :, -1], self.bias, padding=self.padding[1:]).unsqueeze(
                2
            )
        return super().forward(F.pad(x, (0, 0, 0, 0, self.kernel_size[0] - 1, 0)))


class ChannelNorm(nn.Module):
    """RMS normalisation over the channels; `axes` is how many follow them where upstream stores the scale."""

    def __init__(self, channels: int, axes: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * axes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        floor = NORM_FLOOR**2 / x.shape[1]
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True).clamp_min(floor)) * self.gamma


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice; with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(inputs)
        self.conv1 = CausalConv3d(inputs, outputs, 3)
        self.norm2 = ChannelNorm(outputs)
        self.conv2 = CausalConv3d(outputs, outputs, 3)
        self.conv_shortcut = CausalConv3d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, h, w) -> (B, outputs, T, h, w)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.conv_shortcut(x)


class AttentionBlock(nn.Module):
    """Single-head self-attention over the cells of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, axes=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        frames = join_frames(x)
        # With an axis of heads, though there is one: attention without it does not export.
        heads = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2).unsqueeze(1)
        query, key, value = heads.chunk(3, dim=-1)
        attended = F.scaled_dot_product_attention(query, key, value).squeeze(1).transpose(1, 2)
        return x + split_frames(self.proj(attended.unflatten(2, x.shape[-2:])), x.shape[0])


class MidBlock(nn.Module):
    """Residual, attention, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([AttentionBlock(channels)])
        self.resnets = nn.ModuleList([ResidualBlock(channels, channels) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


def join_frames(x: Tensor) -> Tensor:
    """(B, C, T, h, w) -> (B * T, C, h, w), for what works frame by frame."""
    return x.transpose(1, 2).flatten(0, 1)


def split_frames(x: Tensor, batch: int) -> Tensor:
    """(B * T, C, h, w) -> (B, C, T, h, w)."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2)
