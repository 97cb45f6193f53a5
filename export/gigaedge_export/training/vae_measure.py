"""What a trained VAE is worth: the spread of its latents, and how well pictures come back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigaedge import similarity
from gigaedge.progress import QUIET, Progress
from gigaedge_export.video_vae import VideoVae, pictures, pixels


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of the latents, per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Fidelity:
    """Peak signal-to-noise ratio of pictures that went through the VAE, dB; mean over pictures."""

    first: float
    """Of first frames: what the policy sees."""
    later: float
    """Of the frames after them, four to a latent frame."""


@torch.no_grad()
def encode_clips(vae: VideoVae, clips: NDArray[np.uint8], progress: Progress = QUIET) -> Tensor:
    """u8 RGB (n, T, H, W, 3) -> the transformer's latents (n, z_dim, t, H / 16, W / 16): the mode, normalised.

    Clips of one frame take a third of the arithmetic per frame, and give frame 0 of the same latents.
    """
    latents = []
    for clip in clips:
        posterior = vae.encode(pixels(torch.from_numpy(clip[np.newaxis].copy())))
        latents.append(vae.normalise(posterior.mean))
        progress.advance(1)
    return torch.cat(latents)


@torch.no_grad()
def spread(vae: VideoVae, clips: NDArray[np.uint8], progress: Progress = QUIET) -> Spread:
    """Over all latents that `clips` (n, 5, H, W, 3) have, the posterior's own width included.

    Without it, a channel that carries next to nothing would be blown up to unit variance.
    """
    total = squares = torch.zeros(vae.config.z_dim, dtype=torch.float64)
    count = 0
    for clip in clips:
        posterior = vae.encode(pixels(torch.from_numpy(clip[np.newaxis].copy())))
        mean, variance = (
            x.double().transpose(0, 1).flatten(1) for x in (posterior.mean, posterior.logvar.exp())
        )
        total = total + mean.sum(dim=1)
        squares = squares + (mean.square() + variance).sum(dim=1)
        count += mean.shape[1]
        progress.advance(1)
    centre = total / count
    return Spread(tuple(centre.tolist()), tuple((squares / count - centre.square()).sqrt().tolist()))


@torch.no_grad()
def fidelity(vae: VideoVae, clips: NDArray[np.uint8], progress: Progress = QUIET) -> Fidelity:
    """Of whole pictures, as u8, through the mode of the posterior."""
    first, later = [], []
    for clip in clips:
        found = pictures(vae.decode(vae.encode(pixels(torch.from_numpy(clip[np.newaxis].copy()))).mean))[0]
        ratios = [psnr(a, b) for a, b in zip(found.numpy(), clip, strict=True)]
        first.append(ratios[0])
        later += ratios[1:]
        progress.advance(1)
    return Fidelity(float(np.mean(first)), float(np.mean(later)))


def psnr(found: NDArray[np.uint8], target: NDArray[np.uint8]) -> float:
    """dB; pictures that are equal count as if one value in all were off by one."""
    ratio = similarity.psnr(found, target)
    return 10 * math.log10(similarity.PEAK**2 * found.size) if ratio is None else ratio
