"""How well a VAE's latents tell where the red block is: two readouts, judged on episodes that neither has seen.

    python tools/probe_vae.py DATASET VAE

Both say for every cell of the high view whether the block's centre is in it, and where in it. `linear` sees the cell
alone; `network` the cells around it, through one hidden layer of 64, which a policy's first layers are more than equal
to. The truth is the block's colour, where at least 30 px of it can be seen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gigaedge.compose import Compositor
from gigaedge.lerobot import Dataset, Episode
from gigaedge.robot import CAMERA_ROLES
from gigaedge_export.training.vae import encode_clips
from gigaedge_export.training.vae_data import SIZE, split
from gigaedge_export.video_vae import VideoVae, load_video_vae

HIGH = SIZE[1] // 2
"""Rows of the composite that the high view has, px."""
LEAST_SEEN = 30
"""px of the block, for a picture to count."""
NEAR = 8.0
"""px; half a block's height."""
EPOCHS, TOGETHER, RATE = 80, 32, 3e-3


def main() -> None:
    """Print the errors as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("vae", type=Path)
    parser.add_argument(
        "--pictures", type=int, default=8, help="per episode: the first, and others at random"
    )
    given = parser.parse_args()
    vae = load_video_vae(given.vae)
    with Dataset(given.dataset, cameras=True) as opened:
        known, unseen = (
            gather(vae, [opened.episodes[number] for number in numbers], given.pictures)
            for numbers in split(len(opened.episodes))
        )
    channels, cell = vae.config.z_dim, vae.config.spatial_factor
    torch.manual_seed(0)
    readouts = {
        "linear": nn.Conv2d(channels, 3, 1),
        "network": nn.Sequential(nn.Conv2d(channels, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 3, 1)),
    }
    report: dict[str, object] = {"pictures": len(unseen[0])}
    for name, readout in readouts.items():
        fit(readout, *known, cell)
        error = np.linalg.norm(locate(readout, unseen[0], cell) - unseen[1].numpy(), axis=1)
        report[name] = {
            "median_px": round(float(np.median(error)), 1),
            "p90_px": round(float(np.quantile(error, 0.9)), 1),
            f"within_{NEAR:.0f}_px": round(float((error <= NEAR).mean()), 3),
        }
    print(json.dumps(report, indent=2))


def gather(vae: VideoVae, episodes: list[Episode], count: int) -> tuple[Tensor, Tensor]:
    """Latents of the high view (n, channels, rows, columns), and the block's centre, x and y in px, (n, 2)."""
    latents, centres = [], []
    for episode in episodes:
        pictures = look(episode, count)
        red = block(pictures[:, :HIGH])
        seen = red.sum(axis=(1, 2)) >= LEAST_SEEN
        if seen.any():
            rows = HIGH // vae.config.spatial_factor
            latents.append(encode_clips(vae, pictures[seen][:, np.newaxis])[:, :, 0, :rows])
            centres += [np.argwhere(mask).mean(axis=0)[::-1] for mask in red[seen]]
    return torch.cat(latents), torch.tensor(np.array(centres), dtype=torch.float32)


def look(episode: Episode, count: int) -> NDArray[np.uint8]:
    """The composite of the first frame, and of others at random, (count, 384, 320, 3)."""
    random = np.random.default_rng(episode.index)
    frames = [0, *sorted(random.choice(np.arange(1, episode.length), count - 1, replace=False))]
    compositor = Compositor(SIZE)
    composites = []
    for frame in frames:
        images = {role: episode.frame(role, int(frame)) for role in CAMERA_ROLES}
        composites.append(compositor.compose(images).copy())
    return np.stack(composites)


def block(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels are red: nothing else in the scene is."""
    red, green, blue = np.moveaxis(pictures.astype(np.float32), -1, 0)
    return np.asarray((red > 60) & (red > 2.5 * green) & (red > 2.5 * blue))


def fit(readout: nn.Module, latents: Tensor, centres: Tensor, cell: int) -> None:
    """Cross-entropy over the cells, and the absolute error of the place in the right one, in cells."""
    optimiser = torch.optim.Adam(readout.parameters(), RATE, weight_decay=1e-4)
    x, y = (centres / cell).long().unbind(1)
    for _ in range(EPOCHS):
        for some in torch.randperm(len(latents)).split(TOGETHER):
            found = readout(latents[some])
            number = y[some] * latents.shape[-1] + x[some]
            inside = found[torch.arange(len(some)), 1:, y[some], x[some]]
            loss = F.cross_entropy(found[:, 0].flatten(1), number)
            loss = loss + F.l1_loss(inside, centres[some] / cell - torch.stack((x[some], y[some]), dim=1))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


@torch.no_grad()
def locate(readout: nn.Module, latents: Tensor, cell: int) -> NDArray[np.float32]:
    """Where the readout says the block is, x and y in px, (n, 2)."""
    found = readout(latents)
    y, x = torch.unravel_index(found[:, 0].flatten(1).argmax(dim=1), latents.shape[-2:])
    inside = found[torch.arange(len(found)), 1:, y, x]
    return np.asarray((torch.stack((x, y), dim=1) + inside) * cell)


if __name__ == "__main__":
    main()
