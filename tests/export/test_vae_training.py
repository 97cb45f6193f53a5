"""The VAE's training learns, goes on after a stop as if there had been none, and writes what an export reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gigaedge.compose import Compositor
from gigaedge.errors import DatasetError, InputError
from gigaedge.lerobot import Dataset
from gigaedge.robot import CAMERA_ROLES
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
from gigaedge_export.training import vae_run
from gigaedge_export.training.vae import Batch, VaeSizes, VaeTraining, encode_clips, main, train_vae
from gigaedge_export.training.vae_data import OFFSETS, Moment, choose, read_clips, split
from gigaedge_export.training.vae_measure import psnr, spread
from gigaedge_export.training.vae_optimiser import Muon, initialise
from gigaedge_export.training.vae_run import LOSSES, Run, schedule
from gigaedge_export.training.vae_step import backward, crops, gradient_loss
from gigaedge_export.video_vae import WEIGHTS, VideoVae, load_video_vae, pixels
from tests.lerobot_writer import DatasetWriter

GOLDEN = Path(__file__).parent.parent / "golden" / "gwp05-tiny"
SIZES = VaeSizes(base_dim=4, decoder_base_dim=4)
TINY = VaeTraining(steps=8, clips=3, sizes=SIZES, batch=Batch(images=1, image_side=32, clips=1, clip_side=32))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "demonstrations"
    DatasetWriter(root).write()
    return root


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training of eight steps has all that a long one has."""
    for name, value in {"WARM_UP": 4, "SAVE_EVERY": 4, "LOG_EVERY": 1, "MEASURED": 1, "SPREAD": 1}.items():
        monkeypatch.setattr(vae_run, name, value)


class StopAt:
    """Presses Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.training = False

    def __call__(self, what: str, total: int = 0) -> None:
        self.training = what == "training the VAE"

    def advance(self, amount: int) -> None:
        self.left -= self.training * amount
        if self.left < 0:
            raise KeyboardInterrupt


def picture_clips() -> np.ndarray:
    """Two clips of a bright square on a slope of grey, which moves from frame to frame."""
    rows = np.mgrid[0:96, 0:96][0]
    clips = np.empty((2, 5, 96, 96, 3), np.uint8)
    clips[...] = (60 + rows)[..., None]
    for clip in range(2):
        for frame in range(5):
            x, y = 10 + 12 * frame, 20 + 30 * clip
            clips[clip, frame, y : y + 14, x : x + 14] = (220, 30, 40)
    return clips


def test_the_loss_falls_on_a_batch() -> None:
    torch.manual_seed(0)
    vae = VideoVae(SIZES.config())
    initialise(vae)
    optimiser = Muon(vae.parameters(), 0.02)
    batches = crops(picture_clips(), TINY.batch, np.random.default_rng(0))
    losses = []
    for step in range(25):
        optimiser.zero_grad()
        losses.append(backward(vae, batches, torch.Generator().manual_seed(step)))
        optimiser.step()
    assert losses[-1].l1 < 0.4 * losses[0].l1


def test_crops_lie_on_the_grid_of_cells() -> None:
    rows, columns = np.mgrid[0:96, 0:64].astype(np.uint8)
    clip = np.stack([rows, columns, np.zeros_like(rows)], axis=-1)
    clips = np.broadcast_to(clip, (3, 5, 96, 64, 3)).copy()
    clips[..., 2] = np.arange(5).reshape(1, 5, 1, 1)
    images, several = crops(clips, Batch(20, 48, 20, 32), np.random.default_rng(3))
    assert images.shape == (20, 1, 48, 48, 3)
    assert several.shape == (20, 5, 32, 32, 3)
    assert {int(y) for y in images[:, 0, 0, 0, 0]} == {0, 16, 32, 48}
    assert {int(x) for x in several[:, 0, 0, 0, 1]} == {0, 16, 32}
    assert several[0, :, 0, 0, 2].tolist() == [0, 1, 2, 3, 4]
    assert {int(t) for t in images[:, 0, 0, 0, 2]} == {0, 1, 2, 3, 4}


def test_the_gradient_loss_sees_edges_and_no_level() -> None:
    flat, edge = torch.zeros(1, 3, 1, 16, 16), torch.zeros(1, 3, 1, 16, 16)
    assert gradient_loss(flat + 0.5, flat) == 0
    edge[..., 8:] = 1
    # One step per row: among the differences along rows that is 1 of 15, of 7 at half and of 3 at a quarter size.
    expected = (1 / 15 + 1 / 7 + 1 / 3) / 3
    torch.testing.assert_close(gradient_loss(edge, flat), torch.tensor(expected))


def test_clips_are_what_deployment_composes(dataset: Path, tmp_path: Path) -> None:
    with Dataset(dataset, cameras=True) as opened:
        episode = opened.episodes[1]
        (clip,) = read_clips(opened.episodes, [Moment(1, 7)], tmp_path / "clips.npy")
        compositor = Compositor((320, 384))
        for found, offset in zip(clip, OFFSETS, strict=True):
            frame = min(7 + offset, episode.length - 1)
            views = {role: episode.frame(role, frame) for role in CAMERA_ROLES}
            np.testing.assert_array_equal(found, compositor.compose(views))


def test_moments_are_spread_over_the_episodes(dataset: Path) -> None:
    with Dataset(dataset, cameras=False) as opened:
        moments = choose(opened.episodes, 9, seed=0)
        assert [sum(m.episode == e for m in moments) for e in range(3)] == [3, 3, 3]
        assert len(set(moments)) == 9
        assert moments == choose(opened.episodes, 9, seed=0) != choose(opened.episodes, 9, seed=1)
        assert len(choose(opened.episodes, 1000, seed=0)) == 20 + 31 + 25


def test_some_episodes_are_held_out() -> None:
    assert split(2) == ([0], [1])
    assert split(12) == ([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11], [9])
    with pytest.raises(DatasetError, match="has 1 episodes; training needs one and measuring another"):
        split(1)


def test_a_channel_that_carries_nothing_is_not_blown_up() -> None:
    torch.manual_seed(1)
    vae = VideoVae(SIZES.config())
    with torch.no_grad():
        vae.quant_conv.weight[0] = 0
        vae.quant_conv.weight[48] = 0
        vae.quant_conv.bias[[0, 48]] = 0
        found = spread(vae, picture_clips())
        latents = vae.encode(pixels(torch.from_numpy(picture_clips()))).mean
    assert found.std[0] == pytest.approx(1.0)
    assert found.mean[1] == pytest.approx(latents[:, 1].mean().item(), abs=1e-5)


def test_psnr_of_known_errors() -> None:
    target = np.zeros((4, 4, 3), np.uint8)
    assert psnr(target + np.uint8(5), target) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(target, target) == pytest.approx(10 * np.log10(255**2 * 48))


def test_a_stopped_training_goes_on_as_if_it_had_not(dataset: Path, tmp_path: Path) -> None:
    train_vae(dataset, tmp_path / "whole", TINY)
    with pytest.raises(KeyboardInterrupt):
        train_vae(dataset, tmp_path / "parts", TINY, StopAt(5))
    assert not (tmp_path / "parts").exists()
    with pytest.raises(InputError, match=r"parts\.training: a training was stopped here; pass --resume"):
        train_vae(dataset, tmp_path / "parts", TINY)
    with pytest.raises(InputError, match=r"was started with other options .*\"seed\": 0.*now .*\"seed\": 1"):
        train_vae(dataset, tmp_path / "parts", replace(TINY, seed=1, resume=True))
    train_vae(dataset, tmp_path / "parts", replace(TINY, resume=True))
    assert not (tmp_path / "parts.training").exists()
    whole, parts = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    logs = [
        [json.loads(line) | {"seconds": 0} for line in text.splitlines()]
        for text in ((tmp_path / name / LOSSES).read_text(encoding="utf-8") for name in ("whole", "parts"))
    ]
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0]] == list(range(1, 9))


def test_the_result_is_the_vae_of_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    train_vae(dataset, tmp_path / "vae", TINY)
    report = json.loads((tmp_path / "vae" / "training.json").read_text(encoding="utf-8"))
    assert report["dataset"] == "demonstrations"
    assert report["steps"] == 8
    assert report["psnr_db"].keys() == {"first", "later"}
    loaded = load_checkpoint(CheckpointPaths.in_directory(GOLDEN, vae=tmp_path / "vae"))
    clips = picture_clips()
    latents = encode_clips(load_video_vae(tmp_path / "vae"), clips)
    assert latents.shape == (2, 48, 2, 6, 6)
    with torch.no_grad():
        first = loaded.vae(torch.from_numpy(clips[0, 0]))
    torch.testing.assert_close(latents[0, :, :1], first, rtol=1e-4, atol=1e-4)


def test_the_time_decides_on_the_steps(dataset: Path, tmp_path: Path) -> None:
    run = Run(dataset, tmp_path / "work", replace(TINY, steps=None, minutes=1e-6))
    run.train()
    assert run.step == run.total == vae_run.WARM_UP
    assert run.seconds > 0


def test_the_rate_warms_up_and_falls() -> None:
    assert [schedule(step, None) for step in (0, 3, 1000)] == [0.25, 1.0, 1.0]
    assert [schedule(step, 104) for step in (1, 4)] == [0.5, 1.0]
    assert schedule(54, 104) == pytest.approx((1 + vae_run.LAST_RATE) / 2)
    assert schedule(104, 104) == pytest.approx(vae_run.LAST_RATE)


def test_the_command_says_what_is_wrong(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "vae")
    assert main([str(dataset), "--out", out, "--steps", "3"]) == 2
    assert "3 steps of training; it takes 4 to warm up" in capsys.readouterr().err
    assert main([str(dataset), "--out", str(dataset)]) == 2
    assert "exists already" in capsys.readouterr().err
