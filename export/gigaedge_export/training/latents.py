"""Latents of a dataset's pictures, encoded once and memory-mapped: training reads them many times.

    FOLDER/episode_000000.latents.npy   (n, C, h, w) fp16: every `stride`-th frame, as deployment encodes a picture
    FOLDER/episode_000000.futures.npy   (m, C, h, w) fp16: what follows every `clip_stride`-th, as one latent frame

One episode after the other, each file whole or absent: an encoding that was interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gigaedge.compose import Compositor
from gigaedge.files import atomic_file, sha256
from gigaedge.lerobot import Dataset, Episode
from gigaedge.progress import QUIET, Progress
from gigaedge.robot import CAMERA_ROLES
from gigaedge_export.checkpoint import load_vae
from gigaedge_export.shards import weight_files
from gigaedge_export.video_vae import load_video_vae, pixels

TOGETHER = 8
"""Pictures encoded at a time."""


@dataclass(frozen=True)
class Encoding:
    """What is encoded, and how; picklable, for processes that share the work."""

    dataset: Path
    vae: Path
    view: tuple[int, int]
    """Width and height of the composite, px."""
    stride: int
    clip_stride: int
    offsets: tuple[int, ...]
    """Frames of a clip; without any, no future is encoded."""

    def frames(self, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Frame numbers of the pictures, and of those that a future follows, in an episode of `length` frames."""
        pictures = np.arange(0, length, self.stride)
        return pictures, np.arange(0, length, self.clip_stride) if self.offsets else pictures[:0]

    def name(self) -> str:
        """Tells encodings apart that must not be mixed up."""
        files = [self.dataset / "meta" / "info.json", self.vae / "config.json", *weight_files(self.vae)]
        facts = [str(self.dataset.resolve()), self.view, self.stride, self.clip_stride, self.offsets]
        return hashlib.sha256(repr((facts, [sha256(path) for path in files])).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class EncodedEpisode:
    """Where the latents of one episode lie; n pictures, m futures."""

    frames: NDArray[np.int64]
    """Frame numbers of the pictures, (n,)."""
    latents: Path
    clip_frames: NDArray[np.int64]
    """Frame numbers of the pictures that a future follows, (m,); all of them are in `frames`."""
    futures: Path

    def open_latents(self) -> NDArray[np.float16]:
        """(n, C, h, w), memory-mapped."""
        return np.load(self.latents, mmap_mode="r")

    def open_futures(self) -> NDArray[np.float16]:
        """(m, C, h, w), memory-mapped."""
        return np.load(self.futures, mmap_mode="r")


def encode_dataset(
    encoding: Encoding,
    episodes: Sequence[Episode],
    folder: Path,
    *,
    jobs: int = 1,
    progress: Progress = QUIET,
) -> list[EncodedEpisode]:
    """Encode what is not in `folder` yet, and open all of it."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [
        episode.index
        for episode in episodes
        if not all(path.is_file() for path in _files(folder, episode.index))
    ]
    if missing:
        progress(f"encoding {len(missing)} episodes", len(missing))
        for _ in _encode_all(encoding, missing, folder, jobs):
            progress.advance(1)
    return [described(encoding, episode, folder) for episode in episodes]


def described(encoding: Encoding, episode: Episode, folder: Path) -> EncodedEpisode:
    """What lies in the files of an encoded episode."""
    latents, futures = _files(folder, episode.index)
    pictures, clips = encoding.frames(episode.length)
    return EncodedEpisode(pictures, latents, clips, futures)


class LatentEncoder:
    """Pictures -> normalised latents."""

    def __init__(self, folder: Path, *, futures: bool) -> None:
        """Load the VAE in `folder`; its decoder is not needed. Raises CheckpointError."""
        self._first, _ = load_vae(folder)
        self._video = load_video_vae(folder) if futures else None

    @torch.no_grad()
    def pictures(self, composites: NDArray[np.uint8]) -> NDArray[np.float16]:
        """(n, H, W, 3) -> (n, C, h, w), each by itself, by the encoder that is exported."""
        frames = pixels(torch.from_numpy(composites).unsqueeze(1))[:, :, 0]
        return self._first.quant_conv(self._first.encoder(frames)).half().numpy()

    @torch.no_grad()
    def futures(self, clips: NDArray[np.uint8]) -> NDArray[np.float16]:
        """(n, frames, H, W, 3) -> the latent frame after each first, (n, C, h, w).

        Several at a time: for a single one, PyTorch takes a convolution that needs three times as long.
        """
        if self._video is None:
            raise RuntimeError("this encoder was opened for single pictures")
        posterior = self._video.encode(pixels(torch.from_numpy(clips)))
        return self._video.normalise(posterior.mean)[:, :, 1].half().numpy()


def _encode_all(encoding: Encoding, episodes: list[int], folder: Path, jobs: int) -> Iterator[None]:
    if jobs == 1:
        _prepare(encoding, folder, torch.get_num_threads())
        yield from map(_encode_one, episodes)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _prepare, (encoding, folder, 1)) as pool:
        try:
            yield from pool.map(_encode_one, episodes)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@dataclass
class _Worker:
    encoding: Encoding
    folder: Path
    encoder: LatentEncoder
    compositor: Compositor
    dataset: Dataset


_worker: _Worker | None = None


def _prepare(encoding: Encoding, folder: Path, threads: int) -> None:
    """Open in this process what every episode needs."""
    global _worker
    torch.set_num_threads(threads)
    encoder = LatentEncoder(encoding.vae, futures=bool(encoding.offsets))
    _worker = _Worker(
        encoding, folder, encoder, Compositor(encoding.view), Dataset(encoding.dataset, cameras=True)
    )


def _encode_one(index: int) -> None:
    worker = _worker
    if worker is None:
        raise RuntimeError("the worker was not prepared")
    encoding, episode = worker.encoding, worker.dataset.episodes[index]
    pictures, begins = encoding.frames(episode.length)
    clips = np.minimum(begins[:, np.newaxis] + np.array(encoding.offsets or (0,)), episode.length - 1)
    composites = {}
    for frame in np.union1d(pictures, clips):
        images = {role: episode.frame(role, int(frame)) for role in CAMERA_ROLES}
        composites[int(frame)] = worker.compositor.compose(images).copy()
    shown = np.stack([composites[int(frame)] for frame in pictures])
    parts = [
        worker.encoder.pictures(shown[first : first + TOGETHER]) for first in range(0, len(shown), TOGETHER)
    ]
    latents = np.concatenate(parts)
    futures = np.empty((0, *latents.shape[1:]), np.float16)
    if len(begins):
        shown = np.stack([np.stack([composites[int(frame)] for frame in clip]) for clip in clips])
        futures = worker.encoder.futures(shown)
    for path, values in zip(_files(worker.folder, index), (latents, futures), strict=True):
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, values)


def _files(folder: Path, episode: int) -> tuple[Path, Path]:
    stem = f"episode_{episode:06d}"
    return folder / f"{stem}.latents.npy", folder / f"{stem}.futures.npy"
