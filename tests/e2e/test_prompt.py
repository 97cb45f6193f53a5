"""New prompts through the command line: from a checkpoint to a text encoder, from a text to a chunk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gigaedge.files import read_tensors, write_tensors
from tests.command_line import fails, succeeds

TOWEL = "fold the towel, then open the drawer"
RECORDING = Path(__file__).parents[1] / "golden" / "gwp05-tiny" / "io.safetensors"


@pytest.fixture
def bundle(exported: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported("gwp05-tiny"), tmp_path / "bundle"))


def test_from_a_checkpoint_to_a_chunk(umt5: Path, bundle: Path, tmp_path: Path) -> None:
    encoder, out = tmp_path / "encoder", tmp_path / "chunk.safetensors"
    exported = succeeds("text-encoder", "--checkpoint", umt5, "--out", encoder)
    assert exported.stderr == ""
    assert "int8" in exported.stdout
    assert "verified against PyTorch: relative L2" in exported.stdout
    fails("exists already", "text-encoder", "--checkpoint", umt5, "--out", encoder)
    description = json.loads(
        succeeds("text-encoder", "--checkpoint", umt5, "--out", encoder, "--force", "--json").stdout
    )
    assert description["precision"] == "int8"

    added = succeeds("prompt", "add", bundle, "towel", TOWEL, "--text-encoder", encoder)
    assert added.stderr == ""
    assert "prompt 'towel'" in added.stdout
    fails("has a prompt 'towel' already", "prompt", "add", bundle, "towel", "x", "--text-encoder", encoder)
    listed = json.loads(succeeds("prompt", "list", bundle, "--json").stdout)["prompts"]
    assert [prompt["name"] for prompt in listed] == ["task", "towel"]
    assert listed[1]["text"] == TOWEL
    assert TOWEL in succeeds("prompt", "list", bundle).stdout
    assert "task, towel" in succeeds("inspect", bundle).stdout

    observation = tmp_path / "observation.safetensors"
    write_tensors(observation, {k: v for k, v in read_tensors(RECORDING).items() if k != "prompt_embeds"})
    succeeds("infer", bundle, observation, "--out", out, "--prompt", "towel")
    towel = read_tensors(out)["action"]
    succeeds("infer", bundle, observation, "--out", out, "--prompt", "task")
    assert not np.array_equal(towel, read_tensors(out)["action"])

    assert "it has towel" in succeeds("prompt", "remove", bundle, "task").stdout
    fails("'towel' is its only prompt", "prompt", "remove", bundle, "towel")
    succeeds("infer", bundle, observation, "--out", out)
    np.testing.assert_array_equal(towel, read_tensors(out)["action"])


def test_a_checkpoint_in_place_of_an_encoder(umt5: Path, bundle: Path) -> None:
    added = succeeds("prompt", "add", bundle, "towel", TOWEL, "--text-encoder", umt5, "--json")
    assert "exporting it for this call" in added.stderr
    assert json.loads(added.stdout)["text"] == TOWEL


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_an_embedding_from_a_file(bundle: Path, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"towel{suffix}"
    values = np.ones((70, 64), np.float32)
    if suffix == ".pt":
        torch.save(torch.from_numpy(values), file)
    else:
        write_tensors(file, {"t5_embedding": values})
    added = succeeds("prompt", "add", bundle, "towel", "--embedding", file, "--json")
    assert f"towel{suffix}: 70 tokens cut to 64" in added.stderr
    assert json.loads(added.stdout)["tokens"] == 64


def test_refusals(text_encoder: Callable[[str], Path], bundle: Path, tmp_path: Path) -> None:
    encoder, add = text_encoder("int8"), ("prompt", "add", bundle, "towel")
    either = "needs either a text and --text-encoder DIR, or --embedding FILE"
    fails(either, *add)
    fails(either, *add, TOWEL)
    fails(either, *add, TOWEL, "--text-encoder", encoder, "--embedding", RECORDING)
    fails("nothing is left after cleaning", *add, " ", "--text-encoder", encoder)
    fails("no text encoder here", *add, TOWEL, "--text-encoder", tmp_path)
    fails("no such file", *add, "--embedding", tmp_path / "none.pt")
    fails("no bundle here", "prompt", "add", tmp_path, "towel", "--embedding", RECORDING)
    fails("no prompt 'towel' in the bundle", "prompt", "remove", bundle, "towel")
    fails("no such folder", "text-encoder", "--checkpoint", tmp_path / "none", "--out", tmp_path / "o")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["prompts"]["width"] = 4096
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    fails("embeddings are 64 wide, the policy's prompts 4096", *add, TOWEL, "--text-encoder", encoder)
    assert (bundle / "prompts.safetensors").is_file()


def test_export_takes_a_text(text_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    encoder, out = text_encoder("fp32"), tmp_path / "bundle"
    command = ("export", "--checkpoint", RECORDING.parent, "--steps", 1, "--out", out, "--prompt-length", 8)
    both = (*command, "--prompt", f"towel={TOWEL}", "--prompt", f"task={RECORDING}")
    exported = succeeds(*both, "--text-encoder", encoder)
    assert "prompt 'towel': " in exported.stderr
    assert "tokens cut to 8" in exported.stderr
    prompts = json.loads(succeeds("prompt", "list", out, "--json").stdout)["prompts"]
    assert [(prompt["name"], prompt["text"]) for prompt in prompts] == [("towel", TOWEL), ("task", None)]
    shutil.rmtree(out)
    fails("no such file", *both)
    fails("no such file", *command, "--prompt", "t=none.safetensors", "--text-encoder", encoder)
    assert not out.exists()


def test_every_command_explains_itself() -> None:
    for command in (["text-encoder"], ["prompt", "list"], ["prompt", "add"], ["prompt", "remove"]):
        assert "Example" in succeeds(*command, "--help").stdout, command
