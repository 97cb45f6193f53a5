"""The decoder of the Wan-2.2 VAE: latents of a clip -> its frames.

A latent frame after the first becomes four frames, in two blocks that double them. The first stays one: it passes the
doubling convolutions by, and those that come after do not see it, as upstream trains them.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigaedge_export.video_vae_layers import (
    CausalConv3d,
    ChannelNorm,
    MidBlock,
    ResidualBlock,
    join_frames,
    split_frames,
)


class DoublingConv(nn.Conv3d):
    """Two frames from each, with the two before it: (B, C, T, h, w) -> (B, C, 2 T, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels, (3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        both = super().forward(F.pad(x, (0, 0, 0, 0, 2, 0)))
        return both.unflatten(1, (2, -1)).movedim(1, 3).flatten(2, 3)


class Upsample(nn.Module):
    """Doubles height and width, and with `time` every frame but the first."""

    def __init__(self, channels: int, *, time: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels, 3, padding=1)})
        self.time_conv = DoublingConv(channels) if time else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, h, w) -> (B, C, T or 2 T - 1, 2 h, 2 w)."""
        if self.time_conv is not None and x.shape[2] > 1:
            x = torch.cat((x[:, :, :1], self.time_conv(x[:, :, 1:])), dim=2)
        frames = F.interpolate(join_frames(x), scale_factor=2.0, mode="nearest-exact")
        return split_frames(self.resample["1"](frames), x.shape[0])


class UpBlock(nn.Module):
    """Residual blocks and an upsampler, beside a shortcut that spreads channels over frames, rows and columns."""

    def __init__(self, inputs: int, outputs: int, depth: int, *, space: bool, time: bool) -> None:
        super().__init__()
        self.outputs = outputs
        self.time_factor = 2 if time else 1
        self.resnets = nn.ModuleList(
            [ResidualBlock(inputs if i == 0 else outputs, outputs) for i in range(depth)]
        )
        self.upsampler = Upsample(outputs, time=time) if space else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, h, w) -> (B, outputs, T or 2 T - 1, 2 h, 2 w); the last block keeps T, h and w."""
        h = x
        for block in self.resnets:
            h = block(h)
        return h if self.upsampler is None else self.upsampler(h) + self.shortcut(x)

    def shortcut(self, x: Tensor) -> Tensor:
        """Each channel repeated, then dealt out to (channel, frame, row, column) neighbours.

        The frame that the first would make before itself is left out.
        """
        frames = self.time_factor
        x = x.repeat_interleave(self.outputs * frames * 4 // x.shape[1], dim=1)
        x = x.unflatten(1, (self.outputs, frames, 2, 2)).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)[:, :, frames - 1 :]


class Decoder(nn.Module):
    """(B, z_dim, t, h, w) -> patches of the frames (B, channels, T, 8 h, 8 w) with upstream's four blocks."""

    def __init__(
        self,
        z_dim: int,
        widths: tuple[int, ...],
        depth: int,
        time: tuple[bool, ...],
        channels: int,
    ) -> None:
        """`widths`: of the encoder's blocks, in its order; `time`: which of its downsamplers halve the frames."""
        super().__init__()
        reverse = widths[::-1]
        self.conv_in = CausalConv3d(z_dim, reverse[0], 3)
        self.mid_block = MidBlock(reverse[0])
        last = len(widths) - 1
        self.up_blocks = nn.ModuleList(
            [
                UpBlock(inputs, outputs, depth + 1, space=i != last, time=i != last and time[::-1][i])
                for i, (inputs, outputs) in enumerate(pairwise((reverse[0], *reverse)))
            ]
        )
        self.norm_out = ChannelNorm(reverse[-1])
        self.conv_out = CausalConv3d(reverse[-1], channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))
