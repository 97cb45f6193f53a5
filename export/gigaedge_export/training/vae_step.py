"""One training step of the VAE: crops of composites, through encoder and decoder, and how wrong they came back.

Everything random in a step follows from the seed and the step's number, so that a run which was stopped and resumed
is the run that was not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gigaedge_export.video_vae import VideoVae, pixels

SCALES = (1, 2, 4)
"""px; the gradients are compared between neighbours this far apart, each the mean of so many px squared."""
SQUARE_WEIGHT = 10.0
"""Absolute errors alone are content with the median: to them a small block is not worth its place in a large table."""
GRADIENT_WEIGHT = 0.5
"""Edges of small things; more of it, and the picture stays flat for long, which has no wrong edges."""
KL_WEIGHT = 1e-4
"""Keeps the latents' size bounded, and costs next to no detail."""
GRID = 16
"""px; crops begin and end on latent cells, as the whole picture does."""


@dataclass(frozen=True)
class Batch:
    """What one step looks at."""

    images: int = 4
    image_side: int = 96
    """px."""
    clips: int = 1
    clip_side: int = 64
    """px."""


@dataclass(frozen=True)
class Losses:
    """Of one step; pixels are in -1..1."""

    l1: float
    """Mean absolute error of a value."""
    square: float
    """Mean squared error of a value."""
    gradient: float
    """Mean absolute error of the differences between neighbours, mean of the scales."""
    kl: float
    """nats per latent value."""

    def log(self) -> dict[str, float]:
        """Rounded, by name."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


def crops(clips: NDArray[np.uint8], batch: Batch, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Single pictures (images, 1, side, side, 3) and clips (clips, 5, side, side, 3), u8 RGB."""
    frames = clips.shape[1]
    singles = []
    for _ in range(batch.images):
        clip, frame = int(random.integers(len(clips))), int(random.integers(frames))
        singles.append(_crop(clips[clip, frame : frame + 1], batch.image_side, random))
    several = [
        _crop(clips[int(random.integers(len(clips)))], batch.clip_side, random) for _ in range(batch.clips)
    ]
    return torch.from_numpy(np.stack(singles)), torch.from_numpy(np.stack(several))


def backward(vae: VideoVae, batches: tuple[Tensor, ...], generator: torch.Generator) -> Losses:
    """Add the gradients of the mean loss of `batches` (u8, as `crops` makes them) to the weights'."""
    sums = np.zeros(4)
    for batch in batches:
        target = pixels(batch)
        posterior = vae.encode(target)
        noise = torch.randn(posterior.mean.shape, generator=generator)
        found = vae.decode(posterior.sample(noise))
        l1, gradient, kl = F.l1_loss(found, target), gradient_loss(found, target), posterior.kl()
        square = F.mse_loss(found, target)
        loss = l1 + SQUARE_WEIGHT * square + GRADIENT_WEIGHT * gradient + KL_WEIGHT * kl
        (loss / len(batches)).backward()
        sums += [l1.item(), square.item(), gradient.item(), kl.item()]
    return Losses(*(sums / len(batches)).tolist())


def gradient_loss(found: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of differences between neighbours: what keeps the edges of small things."""
    error = (found - target).transpose(1, 2).flatten(0, 1)
    total = error.new_zeros(())
    for scale in SCALES:
        pooled = F.avg_pool2d(error, scale) if scale > 1 else error
        total = total + pooled.diff(dim=2).abs().mean() + pooled.diff(dim=3).abs().mean()
    return total / len(SCALES)


def _crop(clip: NDArray[np.uint8], side: int, random: np.random.Generator) -> NDArray[np.uint8]:
    y, x = (GRID * int(random.integers((size - side) // GRID + 1)) for size in clip.shape[1:3])
    return clip[:, y : y + side, x : x + side]
