"""One training step of the VAE: crops of composites, through encoder and decoder, and how wrong they came back.

Everything random in a step follows from the seed and the step's number, so that a run which was stopped and resumed
is the run that was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass

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
COLOUR_WEIGHT = 10.0
"""Of squared errors in red - green and blue - green: what tells a small block from another is its colour."""
GRADIENT_WEIGHT = 0.5
"""Edges of small things; more of it, and the picture stays flat for long, which has no wrong edges."""
PLACES = 3
"""Every other crop is the one with the most contrast of so many: most of a table is empty."""
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
    clip_every: int = 4
    """Steps. A frame of a clip costs three times a picture; every clip begins with one."""


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

    @staticmethod
    def mean(several: Sequence[Losses]) -> Losses:
        """Of each loss."""
        return Losses(*np.mean([astuple(losses) for losses in several], axis=0).tolist())

    def log(self) -> dict[str, float]:
        """Rounded, by name."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


def crops(clips: NDArray[np.uint8], batch: Batch, step: int, random: np.random.Generator) -> list[Tensor]:
    """What one step looks at, u8 RGB: pictures (images, 1, side, side, 3), and clips (clips, 5, side, side, 3)."""
    frames = clips.shape[1]
    singles = []
    for _ in range(batch.images):
        clip, frame = int(random.integers(len(clips))), int(random.integers(frames))
        singles.append(_crop(clips[clip, frame : frame + 1], batch.image_side, random))
    drawn = [torch.from_numpy(np.stack(singles))]
    if step % batch.clip_every == 0:
        chosen = [clips[int(random.integers(len(clips)))] for _ in range(batch.clips)]
        drawn.append(torch.from_numpy(np.stack([_crop(clip, batch.clip_side, random) for clip in chosen])))
    return drawn


def backward(vae: VideoVae, batches: Sequence[Tensor], generator: torch.Generator) -> Losses:
    """Add the gradients of the mean loss of `batches` (u8, as `crops` makes them) to the weights'."""
    several = []
    for batch in batches:
        target = pixels(batch)
        posterior = vae.encode(target)
        noise = torch.randn(posterior.mean.shape, generator=generator)
        found = vae.decode(posterior.sample(noise))
        l1, gradient, kl = F.l1_loss(found, target), gradient_loss(found, target), posterior.kl()
        square = F.mse_loss(found, target)
        colour = (found - target).diff(dim=1).square().mean()
        loss = l1 + SQUARE_WEIGHT * square + COLOUR_WEIGHT * colour
        loss = loss + GRADIENT_WEIGHT * gradient + KL_WEIGHT * kl
        (loss / len(batches)).backward()
        several.append(Losses(l1.item(), square.item(), gradient.item(), kl.item()))
    return Losses.mean(several)


def gradient_loss(found: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of differences between neighbours: what keeps the edges of small things."""
    error = (found - target).transpose(1, 2).flatten(0, 1)
    total = error.new_zeros(())
    for scale in SCALES:
        pooled = F.avg_pool2d(error, scale) if scale > 1 else error
        total = total + pooled.diff(dim=2).abs().mean() + pooled.diff(dim=3).abs().mean()
    return total / len(SCALES)


def _crop(clip: NDArray[np.uint8], side: int, random: np.random.Generator) -> NDArray[np.uint8]:
    places = []
    for _ in range(PLACES if random.random() < 0.5 else 1):
        y, x = (GRID * int(random.integers((size - side) // GRID + 1)) for size in clip.shape[1:3])
        places.append(clip[:, y : y + side, x : x + side])
    return max(places, key=lambda place: float(place[0].std()))
