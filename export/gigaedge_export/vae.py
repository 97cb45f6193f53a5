"""The Wan-2.2 VAE encoder for a single frame, in two dimensions.

With one frame, every causal 3-D convolution sees zeros before it, so only the last temporal slice of its kernel
works; the strided temporal convolutions (`time_conv`) do not run at all. The encoder therefore folds, exactly, into
2-D convolutions when the weights are loaded; the posterior's mean and the latent normalisation fold into the last.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigaedge_export.config import VaeConfig
from gigaedge_export.layers import Conv2d, KeyValue, attend

FIRST = "encoder.conv_in.weight"
"""The weight that is stored for patches and folded for pixels."""
NORM_FLOOR = 1e-12
"""Smallest length of a cell's channels that a norm divides by."""


class ChannelNorm(nn.Module):
    """RMS normalisation over the channels of (1, C, h, w), with or without the SiLU that follows it."""

    def __init__(self, channels: int, *, silu: bool = True) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.silu = silu

    def forward(self, x: Tensor) -> Tensor:
        """Same shape.

        Cells are rows here, because a mean along rows is one pass over memory. The Reshape holds the rows together:
        without it ONNX Runtime moves the transpositions inwards, until the mean is along columns again.
        """
        cells = x.movedim(1, -1)
        rows = cells.flatten(0, 2)
        width = rows.shape[-1] ** 0.5
        rms = (torch.linalg.vector_norm(rows, dim=-1, keepdim=True) / width).clamp_min(NORM_FLOOR / width)
        rows = rows / rms * self.gamma
        return (F.silu(rows) if self.silu else rows).view(cells.shape).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice; with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(inputs)
        self.conv1 = Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = ChannelNorm(outputs)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(1, inputs, h, w) -> (1, outputs, h, w)."""
        h = self.conv1(self.norm1(x))
        h = self.conv2(self.norm2(h))
        return h + self.conv_shortcut(x)


class AttentionBlock(nn.Module):
    """Single-head self-attention over the cells of a frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, silu=False)
        self.to_qkv = Conv2d(channels, 3 * channels, 1)
        self.proj = Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        qkv = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1)
        query, key, value = qkv.chunk(3, dim=-1)
        attended = attend(query, KeyValue(key, value)).transpose(1, 2).unflatten(2, x.shape[-2:])
        return x + self.proj(attended)


class Downsample(nn.Module):
    """Halves height and width; pads right and bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": Conv2d(channels, channels, 3, stride=2)})

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, h, w) -> (1, C, h/2, w/2)."""
        return self.resample["1"](F.pad(x, (0, 1, 0, 1)))


class DownBlock(nn.Module):
    """Residual blocks and a downsampler, beside an average-pooling shortcut."""

    def __init__(self, inputs: int, outputs: int, depth: int, *, space: bool, time: bool) -> None:
        super().__init__()
        self.outputs = outputs
        self.space_factor = 2 if space else 1
        self.time_factor = 2 if time else 1
        self.resnets = nn.ModuleList(
            [ResidualBlock(inputs if i == 0 else outputs, outputs) for i in range(depth)]
        )
        self.downsampler = Downsample(outputs) if space else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(1, inputs, h, w) -> (1, outputs, h/2, w/2), or the same height and width in the last block."""
        h = x
        for block in self.resnets:
            h = block(h)
        return self.downsampler(h) + self.shortcut(x)

    def shortcut(self, x: Tensor) -> Tensor:
        """Mean over groups of (channel, frame, row, column) neighbours.

        The frame before the first is missing and counts as zeros, in front of the present one.
        """
        if self.space_factor > 1:
            x = F.avg_pool2d(x, self.space_factor)
        if self.time_factor > 1:
            x = F.pad(x.unsqueeze(2), (0, 0, 0, 0, self.time_factor - 1, 0)).flatten(1, 2)
        return x if x.shape[1] == self.outputs else x.unflatten(1, (self.outputs, -1)).mean(dim=2)


class MidBlock(nn.Module):
    """Residual, attention, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([AttentionBlock(channels)])
        self.resnets = nn.ModuleList([ResidualBlock(channels, channels) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Encoder(nn.Module):
    """The convolutional part; (1, 3, H, W) -> (1, 2 * z_dim, H / f, W / f).

    Upstream cuts the picture into patches and convolves 3 x 3 of them; `conv_in` does both.
    """

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = [config.base_dim, *(config.base_dim * m for m in config.dim_mult)]
        last = len(config.dim_mult) - 1
        patch = config.patch_size
        self.conv_in = Conv2d(3, widths[0], 3 * patch, stride=patch, padding=patch)
        self.down_blocks = nn.ModuleList(
            [
                DownBlock(
                    widths[i],
                    widths[i + 1],
                    config.num_res_blocks,
                    space=i != last,
                    time=i != last and config.temperal_downsample[i],
                )
                for i in range(last + 1)
            ]
        )
        self.mid_block = MidBlock(widths[-1])
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = Conv2d(widths[-1], 2 * config.z_dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(self.norm_out(self.mid_block(x)))


class FirstFrameVae(nn.Module):
    """u8 picture -> normalised latent, the mode of the posterior."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = Conv2d(2 * config.z_dim, config.z_dim, 1)
        """Folded: the mean half of the stored layer, then (z - latents_mean) / latents_std."""

    def forward(self, picture: Tensor) -> Tensor:
        """RGB u8 (H, W, 3) -> (z_dim, 1, H / f, W / f)."""
        pixels = picture.permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1.0
        latents: Tensor = self.quant_conv(self.encoder(pixels))
        return latents.transpose(0, 1)


def checkpoint_shapes(vae: FirstFrameVae) -> dict[str, torch.Size]:
    """The shapes a checkpoint must have for the folded encoder."""
    shapes = {}
    for name, tensor in vae.state_dict().items():
        shape = tensor.shape
        if name == "quant_conv.weight":
            shape = torch.Size((2 * shape[0], *shape[1:]))
        elif name == "quant_conv.bias":
            shape = torch.Size((2 * shape[0],))
        elif name == FIRST:
            shape = torch.Size((shape[0], vae.config.in_channels, 3, 3))
        if name.endswith("gamma"):
            shape = torch.Size((*shape, 1, 1))
        if _is_temporal(name) and len(shape) > 1:
            depth = 3 if tensor.ndim == 4 and shape[-1] == 3 else 1
            shape = torch.Size((*shape[:-2], depth, *shape[-2:]))
        shapes[name] = shape
    return shapes


def fold(name: str, tensor: Tensor, config: VaeConfig) -> Tensor:
    """A stored tensor as the folded encoder wants it."""
    if name.endswith("gamma"):
        return tensor.flatten()
    if _is_temporal(name) and tensor.ndim == 5:
        tensor = tensor[:, :, -1]
    if name == FIRST:
        # Stored (out, channel x column x row in the patch, 3 patches down, 3 across) -> (out, channel, row, column).
        patch = config.patch_size
        cells = tensor.unflatten(1, (3, patch, patch)).permute(0, 1, 4, 3, 5, 2)
        return cells.flatten(4, 5).flatten(2, 3)
    if name.startswith("quant_conv."):
        mean, std = torch.tensor(config.latents_mean), torch.tensor(config.latents_std)
        tensor = tensor[: config.z_dim]
        if name.endswith("bias"):
            return (tensor.float() - mean) / std
        return tensor.float() / std.reshape(-1, 1, 1, 1)
    return tensor


def _is_temporal(name: str) -> bool:
    """Whether upstream stores the tensor with a time axis; attention and resampling work frame by frame."""
    return ".attentions." not in name and ".resample." not in name
