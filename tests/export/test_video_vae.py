"""The VAE over time computes what diffusers' does, and its first frame is what the export holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gigaedge.errors import CheckpointError, InputError
from gigaedge_export.checkpoint import load_vae
from gigaedge_export.video_vae import (
    CONFIG,
    WEIGHTS,
    VideoVae,
    VideoVaeConfig,
    load_video_vae,
    pictures,
    pixels,
    save_video_vae,
)

GOLDEN = Path(__file__).parent.parent / "golden"
CHECKPOINT = GOLDEN / "gwp05-tiny" / "vae"
KNOWN = json.loads((CHECKPOINT / CONFIG).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def vae() -> VideoVae:
    return load_video_vae(CHECKPOINT)


@pytest.fixture(scope="module")
def recording() -> dict[str, Tensor]:
    return load_file(GOLDEN / "video-vae-tiny.safetensors")


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_clips_become_the_latents_of_diffusers(vae: VideoVae, recording: dict[str, Tensor]) -> None:
    posterior = vae.encode(pixels(recording["clip"]))
    close(posterior.mean, recording["mean"])
    close(posterior.logvar, recording["logvar"])


@pytest.mark.parametrize(("latents", "frames"), [("mean", "reconstruction"), ("drawn", "decoded")])
def test_latents_become_the_frames_of_diffusers(
    vae: VideoVae, recording: dict[str, Tensor], latents: str, frames: str
) -> None:
    close(vae.decode(recording[latents]).clamp(-1, 1), recording[frames])


@pytest.mark.parametrize("frames", [1, 5])
def test_the_first_latent_is_that_of_the_exported_encoder(vae: VideoVae, frames: int) -> None:
    clip = torch.randint(
        0, 256, (1, frames, 48, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    exported, _ = load_vae(CHECKPOINT)
    with torch.no_grad():
        expected = exported(clip[0, 0])
    found = vae.normalise(vae.encode(pixels(clip)).mean)
    assert found.shape == (1, 48, 1 + frames // 4, 3, 2)
    close(found[0, :, :1], expected)


def test_normalising_and_back(vae: VideoVae) -> None:
    latents = torch.randn(1, 48, 2, 3, 2, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(vae.denormalise(vae.normalise(latents)), latents)
    channel = torch.tensor(KNOWN["latents_mean"]).reshape(1, -1, 1, 1, 1)
    torch.testing.assert_close(vae.denormalise(torch.zeros(1, 48, 1, 1, 1)), channel)


def test_pixels_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16, 1).expand(-1, -1, -1, -1, 3)
    assert torch.equal(pictures(pixels(every)), every)
    assert pixels(every).aminmax() == (-1, 1)


def test_every_weight_learns_from_a_clip(vae: VideoVae, recording: dict[str, Tensor]) -> None:
    learner = VideoVae(vae.config)
    learner.load_state_dict(vae.state_dict())
    posterior = learner.encode(pixels(recording["clip"][:1, :5]))
    noise = torch.ones_like(posterior.mean)
    (learner.decode(posterior.sample(noise)).square().mean() + posterior.kl()).backward()
    still = [name for name, p in learner.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize(
    ("shape", "said"),
    [((4, 48, 32), "4 frames of 32x48 px"), ((5, 40, 32), "5 frames of 32x40 px"), ((1, 48, 8), "8x48 px")],
)
def test_clips_of_other_shapes_are_refused(vae: VideoVae, shape: tuple[int, int, int], said: str) -> None:
    with pytest.raises(InputError, match=f"{said}; this VAE takes 1 \\+ a multiple of 4 frames"):
        vae.encode(torch.zeros(1, 3, *shape))


def test_what_is_saved_loads_here_and_in_an_export(vae: VideoVae, tmp_path: Path) -> None:
    save_video_vae(vae, tmp_path, torch.float16)
    loaded = load_video_vae(tmp_path)
    assert loaded.config == vae.config
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, vae.state_dict()[name], rtol=1e-3, atol=1e-6)
    config = json.loads((tmp_path / CONFIG).read_text(encoding="utf-8"))
    assert {key: config[key] for key in KNOWN.keys() & config.keys()} == {
        key: KNOWN[key] for key in KNOWN.keys() & config.keys()
    }
    exported, _ = load_vae(tmp_path)
    picture = torch.full((48, 32, 3), 40, dtype=torch.uint8)
    with torch.no_grad():
        close(loaded.normalise(loaded.encode(pixels(picture[None, None])).mean)[0], exported(picture))


def test_a_checkpoint_without_its_decoder_is_named(tmp_path: Path) -> None:
    shutil.copy(CHECKPOINT / CONFIG, tmp_path)
    tensors = load_file(CHECKPOINT / WEIGHTS)
    save_file({n: t for n, t in tensors.items() if not n.startswith("decoder.")}, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"missing tensor decoder\.conv_in\.bias; .*or the decoder was"):
        load_video_vae(tmp_path)
    save_file(tensors | {"decoder.conv_in.bias": torch.zeros(3)}, tmp_path / WEIGHTS)
    with pytest.raises(
        CheckpointError, match=r"decoder\.conv_in\.bias has shape \(3,\), config\.json asks for"
    ):
        load_video_vae(tmp_path)


def test_a_decoder_of_other_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="out_channels 3 differs from in_channels 12"):
        VideoVaeConfig.model_validate(KNOWN | {"out_channels": 3})
