"""`gigaedge train` as a user calls it: dataset -> checkpoint -> bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gigaedge_export.training.state import LOG, STATE, read_log
from gigaedge_export.training.vae import VaeSizes
from gigaedge_export.video_vae import VideoVae, save_video_vae
from tests.command_line import answer, fails, succeeds
from tests.lerobot_writer import DatasetWriter

STEPS = ("--steps", "2", "--batch", "4")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return DatasetWriter(tmp_path_factory.mktemp("data") / "reach", lengths=(20, 31, 25, 18)).write().root


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vae")
    torch.manual_seed(0)
    save_video_vae(VideoVae(VaeSizes(base_dim=4, decoder_base_dim=4, z_dim=8).config()), folder)
    return folder


@pytest.fixture(scope="module")
def trained(dataset: Path, vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "checkpoint"
    html = out.with_name("curves.html")
    found = succeeds("train", dataset, "--out", out, "--vae", vae, *STEPS, "--seed", 3, "--html", html)
    assert "step 2," in found.stderr
    assert "left_joint_1" in found.stdout
    assert f"--prompt task-3={out}/prompts/task-3.safetensors" in found.stdout
    assert "<svg" in html.read_text(encoding="utf-8")
    return out


def test_the_checkpoint_exports_and_agrees_with_pytorch(trained: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    prompt = f"task={trained}/prompts/task-0.safetensors"
    manifest = answer("export", "--checkpoint", trained, "--prompt", prompt, "--out", bundle)
    assert manifest["model"]["generation"] == "GWP-0.5"
    assert manifest["fidelity"]["passed"]


def test_the_checkpoint_says_where_it_comes_from(trained: Path, dataset: Path) -> None:
    about = json.loads((trained / "training.json").read_text(encoding="utf-8"))
    assert about["command"].startswith("gigaedge train ")
    assert "--seed 3" in about["command"]
    assert about["settings"]["seed"] == 3
    assert (about["steps"], about["episodes"], about["held_out"]) == (2, 3, [2])
    assert about["frames"] == 20 + 31 + 18
    assert about["date"].startswith("20")
    weights = load_file(trained / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    size = sum(path.stat().st_size for path in trained.rglob("*") if path.is_file())
    assert size < 20e6


def test_its_statistics_are_the_command_s_own(trained: Path, dataset: Path, tmp_path: Path) -> None:
    succeeds("norm-stats", dataset, "--out", tmp_path / "norm_stats.json", "--width", 14)
    expected, found = (
        json.loads(path.read_text(encoding="utf-8"))["norm_stats"]
        for path in (tmp_path / "norm_stats.json", trained / "norm_stats.json")
    )
    assert found == expected


def test_a_run_that_was_begun_is_resumed_or_left_alone(
    trained: Path, dataset: Path, vae: Path, tmp_path: Path
) -> None:
    out = tmp_path / "checkpoint"
    command = ("train", dataset, "--out", out, "--vae", vae, "--seed", 3, "--batch", 4)
    succeeds(*command, "--steps", 1, "--work", tmp_path / "work")
    fails("exists already", *command, "--steps", 2, "--work", tmp_path / "work")
    fails(
        "work holds a run that was begun; pass --resume", *command, "--force", "--steps", 2,
        "--work", tmp_path / "work",
    )  # fmt: skip
    found = answer(*command, "--steps", 2, "--work", tmp_path / "work", "--resume", "--force")
    assert found["steps"] == 2
    assert found["held_out"]["report"]["joints"]["unit"] == "deg"
    assert (tmp_path / "work" / STATE).is_file()
    assert [record["step"] for record in read_log(tmp_path / "work")] == [1, 2]
    assert (tmp_path / "work" / LOG).is_file()
    once, twice = (
        np.load(next((folder).glob("latents-*/episode_000001.latents.npy")))
        for folder in (trained.with_name("checkpoint.training"), tmp_path / "work")
    )
    assert np.array_equal(once, twice)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", 1, "--minutes", 1), "--minutes and --steps exclude each other"),
        (("--steps", 1, "--batch", 5, "--jobs", 2), "2 processes cannot evenly share 5 pictures"),
        (("--steps", 1, "--view-size", "320"), "--view-size '320': expected WIDTHxHEIGHT"),
    ],
)
def test_options_that_do_not_fit(
    dataset: Path, vae: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    fails(message, "train", dataset, "--out", tmp_path / "out", "--vae", vae, *arguments)
    assert not (tmp_path / "out").exists()


def test_a_dataset_that_is_too_small(vae: Path, tmp_path: Path) -> None:
    small = DatasetWriter(tmp_path / "small").write().root
    message = "3 episodes; training needs at least 4, of which it holds one out"
    fails(message, "train", small, "--out", tmp_path / "out", "--vae", vae, *STEPS)
    fails(
        "no LeRobot dataset here", "train", tmp_path / "none", "--out", tmp_path / "out", "--vae", vae, *STEPS
    )


def test_a_vae_that_is_not_there(dataset: Path, tmp_path: Path) -> None:
    fails(
        "no VAE here (config.json is missing); leave out --vae to train one",
        "train",
        dataset,
        "--out",
        tmp_path / "out",
        "--vae",
        tmp_path,
        *STEPS,
    )
