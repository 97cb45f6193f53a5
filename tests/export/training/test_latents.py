"""Latents on disk are those that deployment and the video VAE compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gigaedge.compose import Compositor
from gigaedge.lerobot import Dataset
from gigaedge.robot import CAMERA_ROLES
from gigaedge_export.checkpoint import load_vae
from gigaedge_export.training.latents import Encoding, encode_dataset
from gigaedge_export.training.vae import VaeSizes
from gigaedge_export.video_vae import VideoVae, load_video_vae, pixels, save_video_vae
from tests.lerobot_writer import DatasetWriter

VIEW = (64, 96)
OFFSETS = (0, 4, 8, 12, 16)


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Encoding:
    root = DatasetWriter(tmp_path_factory.mktemp("data"), lengths=(20, 31)).write().root
    vae = tmp_path_factory.mktemp("vae")
    torch.manual_seed(0)
    save_video_vae(VideoVae(VaeSizes(base_dim=4, decoder_base_dim=4, z_dim=8).config()), vae)
    return Encoding(root, vae, VIEW, 3, 15, OFFSETS)


def test_they_are_what_deployment_and_the_video_vae_see(encoding: Encoding, tmp_path: Path) -> None:
    with Dataset(encoding.dataset, cameras=True) as dataset:
        episodes = encode_dataset(encoding, dataset.episodes, tmp_path)
        one, compositor = dataset.episodes[1], Compositor(VIEW)
        composites = [
            compositor.compose({role: one.frame(role, frame) for role in CAMERA_ROLES}).copy()
            for frame in range(one.length)
        ]
    found = episodes[1]
    assert found.frames.tolist() == list(range(0, 31, 3))
    assert found.clip_frames.tolist() == [0, 15, 30]
    latents, futures = found.open_latents(), found.open_futures()
    assert isinstance(latents, np.memmap)
    first, video = load_vae(encoding.vae)[0], load_video_vae(encoding.vae)
    with torch.no_grad():
        expected = first(torch.from_numpy(composites[9]))[:, 0].numpy()
        # Where the episode ends, its last picture stands for what would follow.
        clip = torch.from_numpy(np.stack([composites[min(15 + offset, 30)] for offset in OFFSETS])[None])
        imagined = video.normalise(video.encode(pixels(clip)).mean)[0, :, 1].numpy()
    np.testing.assert_allclose(latents[3], expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(futures[1], imagined, rtol=2e-3, atol=2e-3)


def test_an_interrupted_encoding_goes_on(encoding: Encoding, tmp_path: Path) -> None:
    with Dataset(encoding.dataset, cameras=True) as dataset:
        (first,) = encode_dataset(encoding, dataset.episodes[:1], tmp_path)
        written = first.futures.stat().st_mtime_ns
        _, second = encode_dataset(encoding, dataset.episodes, tmp_path)
        second.latents.unlink()
        encode_dataset(encoding, dataset.episodes, tmp_path)
    assert first.futures.stat().st_mtime_ns == written
    assert second.latents.is_file()


def test_two_processes_encode_the_same(encoding: Encoding, tmp_path: Path) -> None:
    with Dataset(encoding.dataset, cameras=True) as dataset:
        alone = encode_dataset(encoding, dataset.episodes, tmp_path / "alone")
        shared = encode_dataset(encoding, dataset.episodes, tmp_path / "shared", jobs=2)
    for one, other in zip(alone, shared, strict=True):
        assert np.array_equal(one.open_latents(), other.open_latents())
        assert np.array_equal(one.open_futures(), other.open_futures())


def test_other_choices_have_another_name(encoding: Encoding) -> None:
    others = [
        Encoding(encoding.dataset, encoding.vae, view, stride, clips, offsets)
        for view, stride, clips, offsets in (
            (VIEW, 3, 15, ()), (VIEW, 3, 30, OFFSETS), (VIEW, 5, 15, OFFSETS), ((96, 64), 3, 15, OFFSETS)
        )
    ]  # fmt: skip
    assert len({encoding.name(), *(other.name() for other in others)}) == 5
    assert encoding.name() == Encoding(*vars(encoding).values()).name()


def test_without_a_video_loss_no_future_is_encoded(encoding: Encoding, tmp_path: Path) -> None:
    plain = Encoding(encoding.dataset, encoding.vae, VIEW, 10, 10, ())
    with Dataset(encoding.dataset, cameras=True) as dataset:
        episode, _ = encode_dataset(plain, dataset.episodes, tmp_path)
    assert episode.open_latents().shape == (2, 8, 6, 4)
    assert episode.open_futures().shape == (0, 8, 6, 4)
    assert episode.clip_frames.size == 0
