"""Demonstrations of the simplest task that needs eyes: where a square is says where both arms go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gigaedge.lerobot import Motion
from gigaedge.robot import ROBOT_DIM
from gigaedge_export.checkpoint import NormStats
from gigaedge_export.random_checkpoint import Sizes
from gigaedge_export.training.latents import EncodedEpisode
from gigaedge_export.training.samples import Demonstration, Scaling
from gigaedge_export.training.settings import PolicyTraining
from gigaedge_export.training.team import Lesson

SIDE, SQUARE, CELL = 96, 24, 16
"""px."""
CHUNK = 8
SIZES = Sizes(
    layers=2, heads=2, head_dim=24, ffn=96, text_dim=16, action_expert=48, action_ffn=96, action_channels=14,
    embodiments=1, latent_channels=8, freq_dim=32,
)  # fmt: skip


def settings(**changes: object) -> PolicyTraining:
    """Of a training that takes seconds."""
    small = {
        "sizes": SIZES, "chunk": CHUNK, "stride": 4, "clip_stride": 4, "batch": 16, "clips": 4, "warmup": 10,
        "rate": 3e-3, "average": 0.98, "prompt_length": 2,
    }  # fmt: skip
    return PolicyTraining(**{**small, **changes})  # type: ignore[arg-type]


def picture(column: float, row: float) -> NDArray[np.uint8]:
    """A red square whose place is given in 0..1."""
    image = np.full((SIDE, SIDE, 3), 60, np.uint8)
    left, top = (round(place * (SIDE - SQUARE)) for place in (column, row))
    image[top : top + SQUARE, left : left + SQUARE] = (230, 40, 30)
    return image


def latents(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean colours of cells, about as large as a VAE's latents, (C, h, w): what a VAE would have to learn first."""
    cells = image.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    return np.concatenate([cells / 60 - 1, np.zeros((SIZES.latent_channels - 3, *cells.shape[1:]))])


def lesson(folder: Path, count: int, chosen: PolicyTraining) -> tuple[Lesson, list[Demonstration]]:
    """`count` episodes of a few frames, and a dozen that are held out; their latents lie in `folder` from then on."""
    random = np.random.default_rng(0)
    episodes = []
    for number in range(count + 12):
        place = random.uniform(0, 1, 2)
        goal = np.zeros(ROBOT_DIM, np.float32)
        goal[[0, 7]] = place[0] - 0.5
        goal[[1, 8]] = place[1] - 0.5
        goal[[6, 13]] = 0.04
        start = random.normal(0, 0.05, ROBOT_DIM).astype(np.float32)
        shares = np.minimum(np.arange(CHUNK + 5) / CHUNK, 1)[:, np.newaxis].astype(np.float32)
        states = start + shares * (goal - start)
        motion = Motion(states[:-1], states[1:])
        frames = np.arange(0, len(motion.states), chosen.stride)
        files = [folder / f"{number}.{kind}.npy" for kind in ("latents", "futures")]
        for file in files:
            if not file.is_file():
                np.save(file, np.repeat(latents(picture(*place))[np.newaxis], len(frames), axis=0))
        episodes.append(Demonstration(number, motion, EncodedEpisode(frames, files[0], frames, files[1]), 0))
    reach = (1.0,) * ROBOT_DIM
    stats = NormStats(tuple(-x for x in reach), reach, tuple(-x for x in reach), reach)
    prompts = random.normal(size=(1, 2, SIZES.text_dim)).astype(np.float32)
    scaling = Scaling(stats, SIZES.action_channels)
    channels = SIZES.latent_channels
    return Lesson(chosen, episodes[:count], scaling, prompts, channels, 30.0), episodes[count:]
