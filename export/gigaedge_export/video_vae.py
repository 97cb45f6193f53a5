"""The Wan-2.2 VAE for short clips: frames -> latents -> frames, in batches, to train and to look with.

A clip is a first frame and groups of four: T = 1 + 4 k frames of H x W px become 1 + k latent frames of H / 16 x W / 16
cells, with upstream's sizes. Frame 0's latent depends on frame 0 alone and is what `FirstFrameVae` makes of it, which
is the form that an export holds. Weights and `config.json` are upstream's: the same files load in diffusers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import model_validator
from safetensors.torch import save_file
from torch import Tensor, nn

from gigaedge.errors import CheckpointError, InputError
from gigaedge_export.config import Count, VaeConfig, load_config
from gigaedge_export.shards import Shards
from gigaedge_export.video_vae_decoder import Decoder
from gigaedge_export.video_vae_layers import (
    CausalConv3d,
    ChannelNorm,
    MidBlock,
    ResidualBlock,
    join_frames,
    split_frames,
)

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"
LOGVAR_RANGE = (-30.0, 20.0)
"""Between these upstream keeps the logarithm of the posterior's variance."""


class VideoVaeConfig(VaeConfig):
    """Sizes of encoder and decoder. Where the encoder's shortcuts average whole channels, the decoder's repeat them."""

    decoder_base_dim: Count | None = None
    """None is the same as `base_dim`."""
    out_channels: Count

    @model_validator(mode="after")
    def _patches_agree(self) -> VideoVaeConfig:
        if self.out_channels != self.in_channels:
            raise ValueError(f"out_channels {self.out_channels} differs from in_channels {self.in_channels}")
        return self

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels of the blocks, in the encoder's order."""
        return tuple((self.decoder_base_dim or self.base_dim) * m for m in self.dim_mult)

    @property
    def time(self) -> tuple[bool, ...]:
        """Which of the downsamplers halve the frames."""
        return self.temperal_downsample[: len(self.dim_mult) - 1]

    @property
    def temporal_factor(self) -> int:
        """Frames per latent frame after the first."""
        return int(2 ** sum(self.time))


@dataclass(frozen=True)
class Posterior:
    """A normal distribution over latents."""

    mean: Tensor
    """(B, z_dim, t, h, w); upstream's mode, as the decoder takes it: not normalised."""
    logvar: Tensor
    """Logarithm of the variance, same shape."""

    def sample(self, noise: Tensor) -> Tensor:
        """`noise`: standard normal, in the shape of `mean`."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Tensor:
        """Divergence from the standard normal, nats per latent value, averaged."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1 - self.logvar).mean()


class Downsample(nn.Module):
    """Halves height and width, padding right and bottom only; with `time` halves the frames after the first."""

    def __init__(self, channels: int, *, time: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels, 3, stride=2)})
        self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if time else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, h, w) -> (B, C, T or (T + 1) / 2, h / 2, w / 2)."""
        frames = self.resample["1"](F.pad(join_frames(x), (0, 1, 0, 1)))
        halved = split_frames(frames, x.shape[0])
        if self.time_conv is None or x.shape[2] == 1:
            return halved
        return torch.cat((halved[:, :, :1], self.time_conv(halved)), dim=2)


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
        self.downsampler = Downsample(outputs, time=time) if space else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, T, h, w) -> (B, outputs, T or (T + 1) / 2, h / 2, w / 2); the last block keeps all three."""
        h = x
        for block in self.resnets:
            h = block(h)
        return self.downsampler(h) + self.shortcut(x)

    def shortcut(self, x: Tensor) -> Tensor:
        """Mean over groups of (channel, frame, row, column) neighbours; before the first frame are zeros."""
        space, time = self.space_factor, self.time_factor
        x = F.pad(x, (0, 0, 0, 0, time - 1, 0))
        x = x.unflatten(4, (-1, space)).unflatten(3, (-1, space)).unflatten(2, (-1, time))
        cells = x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
        return cells.unflatten(1, (self.outputs, -1)).mean(dim=2)


class Encoder(nn.Module):
    """Patches of the frames (B, channels, T, h, w) -> twice `z_dim` channels."""

    def __init__(self, config: VideoVaeConfig) -> None:
        super().__init__()
        widths = [config.base_dim, *(config.base_dim * m for m in config.dim_mult)]
        last = len(config.dim_mult) - 1
        self.conv_in = CausalConv3d(config.in_channels, widths[0], 3)
        self.down_blocks = nn.ModuleList(
            [
                DownBlock(
                    inputs, outputs, config.num_res_blocks, space=i != last, time=i != last and config.time[i]
                )
                for i, (inputs, outputs) in enumerate(pairwise(widths))
            ]
        )
        self.mid_block = MidBlock(widths[-1])
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], 2 * config.z_dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(self.mid_block(x))))


class VideoVae(nn.Module):
    """Encoder and decoder. Pixels are RGB in -1..1, (B, 3, T, H, W); `pixels` makes them from pictures."""

    def __init__(self, config: VideoVaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quant_conv = CausalConv3d(2 * config.z_dim, 2 * config.z_dim, 1)
        self.post_quant_conv = CausalConv3d(config.z_dim, config.z_dim, 1)
        self.decoder = Decoder(
            config.z_dim, config.decoder_widths, config.num_res_blocks, config.time, config.out_channels
        )

    def encode(self, pixels: Tensor) -> Posterior:
        """Posterior of a clip. Raises InputError: the frames are not 1 + 4 k, or no whole number of cells."""
        frames, height, width = pixels.shape[2:]
        time, space = self.config.temporal_factor, self.config.spatial_factor
        if (frames - 1) % time or height % space or width % space:
            raise InputError(
                f"a clip of {frames} frames of {width}x{height} px; this VAE takes 1 + a multiple of {time} frames, "
                f"and sides that are multiples of {space} px"
            )
        mean, logvar = self.quant_conv(self.encoder(self._cut(pixels))).chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(*LOGVAR_RANGE))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, z_dim, t, h, w), not normalised -> pixels, not yet clamped: training needs their gradient."""
        patches = self.decoder(self.post_quant_conv(latents))
        patch = self.config.patch_size
        cells = patches.unflatten(1, (3, patch, patch)).permute(0, 1, 4, 5, 3, 6, 2)
        return cells.flatten(5, 6).flatten(3, 4)

    def normalise(self, latents: Tensor) -> Tensor:
        """The decoder's latents -> the transformer's."""
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    def denormalise(self, latents: Tensor) -> Tensor:
        """The transformer's latents -> the decoder's."""
        mean, std = self._statistics(latents)
        return latents * std + mean

    def _cut(self, pixels: Tensor) -> Tensor:
        """Patches; upstream orders a patch's values by channel, column, row."""
        patch = self.config.patch_size
        cells = pixels.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))
        return cells.permute(0, 1, 6, 4, 2, 3, 5).flatten(1, 3)

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        values = (self.config.latents_mean, self.config.latents_std)
        mean, std = (latents.new_tensor(row).reshape(-1, 1, 1, 1) for row in values)
        return mean, std


def pixels(pictures: Tensor) -> Tensor:
    """RGB u8 (B, T, H, W, 3) -> (B, 3, T, H, W) in -1..1."""
    return pictures.permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


def pictures(pixels: Tensor) -> Tensor:
    """(B, 3, T, H, W), clamped to -1..1 -> RGB u8 (B, T, H, W, 3)."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)


def load_video_vae(folder: Path) -> VideoVae:
    """Read encoder and decoder from `folder`, weights of any floating type. Raises CheckpointError."""
    vae = VideoVae(load_config(folder / CONFIG, VideoVaeConfig))
    shards = Shards(folder)
    wanted = vae.state_dict()
    for names, word in (
        (wanted.keys() - shards.names(), "missing"),
        (shards.names() - wanted.keys(), "unexpected"),
    ):
        if names:
            raise CheckpointError(
                f"{folder}: {word} tensor {min(names)}; weights and {CONFIG} do not belong together, "
                "or the decoder was left out"
            )
    for name, tensor in wanted.items():
        if shards.shape(name) != tensor.shape:
            raise CheckpointError(
                f"{folder}: tensor {name} has shape {tuple(shards.shape(name))}, {CONFIG} asks for "
                f"{tuple(tensor.shape)}"
            )
        tensor.copy_(shards.tensor(name))
    return vae.eval().requires_grad_(False)


def save_video_vae(vae: VideoVae, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write `config.json` and the weights into `folder`, which exists, as diffusers lays them out."""
    config = vae.config.model_dump(mode="json", by_alias=True)
    config |= {
        "decoder_base_dim": vae.config.decoder_base_dim or vae.config.base_dim,
        "scale_factor_spatial": vae.config.spatial_factor,
        "scale_factor_temporal": vae.config.temporal_factor,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in vae.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
