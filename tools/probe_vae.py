"""How well a VAE's latents tell where the red block is: a linear readout of single cells, on episodes kept apart.

    python tools/probe_vae.py DATASET VAE

For every cell of the high view it is fitted how many pixels of the block lie in the cell, and the sums of their
distances from its middle; from these follows the block's centre in the picture. The truth is the block's colour. Only
the first pictures of episodes count, and others at random, when at least 30 px of the block can be seen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gigaedge.compose import Compositor
from gigaedge.lerobot import Dataset, Episode
from gigaedge.robot import CAMERA_ROLES
from gigaedge_export.training.vae import encode_clips
from gigaedge_export.training.vae_data import SIZE, split
from gigaedge_export.video_vae import load_video_vae

CELL = 16
"""px."""
LEAST_SEEN = 30
"""px of the block, for a picture to count."""
LEAST_COVERED = 12
"""px; a cell with less, by the readout, has nothing of the block."""
RIDGE = 1.0
Values = NDArray[np.float64]


def main() -> None:
    """Print the errors as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("vae", type=Path)
    parser.add_argument("--pictures", type=int, default=8, help="per episode")
    given = parser.parse_args()
    vae = load_video_vae(given.vae)
    rows = vae.config.spatial_factor
    if rows != CELL:
        parser.error(f"{given.vae}: cells of {rows} px; this tool knows {CELL}")
    parts = []
    with Dataset(given.dataset, cameras=True) as opened:
        for numbers in split(len(opened.episodes)):
            pictures = np.concatenate([look(opened.episodes[number], given.pictures) for number in numbers])
            latents = encode_clips(vae, pictures[:, np.newaxis])[:, :, 0, : SIZE[1] // 2 // CELL]
            parts.append((features(latents), moments(block(pictures[:, : SIZE[1] // 2]))))
    (known, wanted), (unseen, truth) = parts
    readout = fit(known.reshape(-1, known.shape[-1]), wanted.reshape(-1, 3))
    seen = truth[..., 0].sum(axis=(1, 2)) >= LEAST_SEEN
    found, error = compare(unseen[seen] @ readout, truth[seen])
    print(
        json.dumps(
            {
                "pictures": int(seen.sum()),
                "not_found": int((~found).sum()),
                "px": {
                    "mean": round(float(error.mean()), 2),
                    "median": round(float(np.median(error)), 2),
                    "p90": round(float(np.quantile(error, 0.9)), 2),
                },
            }
        )
    )


def look(episode: Episode, count: int) -> NDArray[np.uint8]:
    """The composite of the first frame, and of others at random, (count, 384, 320, 3)."""
    random = np.random.default_rng(episode.index)
    frames = [0, *sorted(random.choice(np.arange(1, episode.length), count - 1, replace=False))]
    compositor = Compositor(SIZE)
    return np.stack(
        [
            compositor.compose({r: episode.frame(r, int(frame)) for r in CAMERA_ROLES}).copy()
            for frame in frames
        ]
    )


def block(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels are red: nothing else in the scene is."""
    red, green, blue = np.moveaxis(pictures.astype(np.float32), -1, 0)
    return np.asarray((red > 60) & (red > 2.5 * green) & (red > 2.5 * blue))


def moments(mask: NDArray[np.bool_]) -> Values:
    """Per cell: pixels of the block, and sums of their distances from the middle, px; (n, rows, columns, 3)."""
    n, height, width = mask.shape
    cells = mask.reshape(n, height // CELL, CELL, width // CELL, CELL).transpose(0, 1, 3, 2, 4).astype(float)
    distance = np.arange(CELL) - (CELL - 1) / 2
    sums = [cells, cells * distance, cells * distance[:, np.newaxis]]
    return np.stack([part.sum(axis=(3, 4)) for part in sums], axis=-1)


def features(latents: torch.Tensor) -> Values:
    """(n, channels, rows, columns) -> (n, rows, columns, channels and 1)."""
    cells = latents.permute(0, 2, 3, 1).double().numpy()
    return np.concatenate([cells, np.ones((*cells.shape[:3], 1))], axis=-1)


def fit(known: Values, wanted: Values) -> Any:
    """Ridge regression."""
    return np.linalg.solve(known.T @ known + RIDGE * np.eye(known.shape[1]), known.T @ wanted)


def compare(found: Values, truth: Values) -> tuple[NDArray[np.bool_], Values]:
    """Whether a block was found, and the distances of the centres where it was, px."""
    used = found[..., :1] > LEAST_COVERED
    there = used.any(axis=(1, 2, 3))
    error = centre(np.where(used, found, 0)[there]) - centre(truth[there])
    return there, np.linalg.norm(error, axis=1)


def centre(sums: Values) -> Values:
    """Of all pixels counted in `moments`, x and y in px, (n, 2)."""
    y, x = np.mgrid[0 : sums.shape[1], 0 : sums.shape[2]] * float(CELL) + (CELL - 1) / 2
    count = sums[..., 0]
    parts = [(count * x + sums[..., 1]), (count * y + sums[..., 2])]
    return np.stack([part.sum(axis=(1, 2)) / count.sum(axis=(1, 2)) for part in parts], axis=-1)


if __name__ == "__main__":
    main()
