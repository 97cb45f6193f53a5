"""A checkpoint that is not right is refused in one line that names the thing."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gigaedge.errors import CheckpointError
from gigaedge_export.checkpoint import CheckpointPaths, load_norm_stats, load_transformer, load_vae
from gigaedge_export.prompts import load_prompt
from gigaedge_export.transformer import fold

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def checkpoint(golden: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(golden, tmp_path / "checkpoint"))


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_loads(checkpoint: Path) -> None:
    paths = CheckpointPaths.in_directory(checkpoint)
    assert load_transformer(paths.transformer)[0].config.num_layers == 3
    assert load_vae(paths.vae)[0].config.z_dim == 48
    assert len(load_norm_stats(paths.norm_stats).action_q01) == 14
    assert set(paths.files()) == {
        "norm_stats.json",
        "transformer/config.json",
        f"transformer/{WEIGHTS}",
        "vae/config.json",
        f"vae/{WEIGHTS}",
    }


def test_shards_are_read_through_their_index(checkpoint: Path) -> None:
    folder = checkpoint / "transformer"
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / WEIGHTS).unlink()
    loaded = load_transformer(folder)[0].state_dict()
    assert all(torch.equal(loaded[name], fold(name, tensors[name])) for name in names)
    (folder / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"shard b\.safetensors is missing"):
        load_transformer(folder)


def test_a_tensor_in_two_shards_is_refused(checkpoint: Path) -> None:
    folder = checkpoint / "transformer"
    shutil.copy(folder / WEIGHTS, folder / "b.safetensors")
    index = {"weight_map": {"proj_out.bias": WEIGHTS, "proj_out.weight": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(
        CheckpointError, match=r"tensor .* is in another shard, too; copy the checkpoint again"
    ):
        load_transformer(folder)


@pytest.mark.parametrize(
    "content", [b"[1]", b"{", b"\xff\xfe", b'{"weight_map": {"a": 3}}', b'{"weight_map": ["a"]}']
)
def test_a_wrong_shard_index_is_named(checkpoint: Path, content: bytes) -> None:
    (checkpoint / "transformer" / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"not a shard index .* copy it|shard 3 is missing; copy it"):
        load_transformer(checkpoint / "transformer")


def test_averaged_weights_serve_where_there_are_no_others(checkpoint: Path) -> None:
    (checkpoint / "transformer").rename(checkpoint / "transformer_ema")
    assert CheckpointPaths.in_directory(checkpoint).transformer == checkpoint / "transformer_ema"


def test_bfloat16_weights_stay_in_their_file_and_compute_in_fp32(checkpoint: Path) -> None:
    folder = checkpoint / "transformer"
    edit_weights(folder, lambda t: t.update({name: v.bfloat16() for name, v in t.items()}))
    layer = load_transformer(folder)[0].proj_out
    stored = load_file(folder / WEIGHTS)
    assert (layer.weight.dtype, layer.bias.dtype) == (torch.bfloat16, torch.float32)
    x = torch.randn(2, layer.in_features)
    weight, bias = stored["proj_out.weight"].float(), stored["proj_out.bias"].float()
    assert torch.equal(layer(x), torch.nn.functional.linear(x, weight, bias))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(_class_name="WanTransformer3DModel"),
            "_class_name is 'WanTransformer3DModel'; expected",
        ),
        (lambda c: c.pop("num_layers"), "missing key `num_layers`"),
        (lambda c: c.update(num_layers="three"), "`num_layers`"),
        (
            lambda c: c.update(out_action_channels=16),
            "in_action_channels 32 and out_action_channels 16 differ",
        ),
        (lambda c: c.update(num_layers=4), r"missing tensor blocks\.3\."),
        (lambda c: c.update(num_layers=2), r"unexpected tensor blocks\.2\."),
        (lambda c: c.update(ffn_dim=200), r"tensor blocks\.0\..*ffn\.net\.0\.proj.* has shape"),
    ],
)
def test_a_wrong_config_is_named(
    checkpoint: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_json(checkpoint / "transformer" / "config.json", change)
    with pytest.raises(CheckpointError, match=message):
        load_transformer(checkpoint / "transformer")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("proj_out.bias"), "missing tensor proj_out.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "unexpected tensor extra"),
        (lambda t: t["proj_out.bias"].fill_(math.nan), "tensor proj_out.bias has NaN or infinite values"),
        (lambda t: t.update({"proj_out.bias": torch.zeros(3)}), r"proj_out.bias has shape \(3,\)"),
        (
            lambda t: t.update({"proj_out.bias": torch.zeros(192, dtype=torch.int8)}),
            "is I8, expected floating",
        ),
    ],
)
def test_a_wrong_tensor_is_named(
    checkpoint: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    edit_weights(checkpoint / "transformer", change)
    with pytest.raises(CheckpointError, match=message):
        load_transformer(checkpoint / "transformer")


def test_a_truncated_file_is_named(checkpoint: Path) -> None:
    file = checkpoint / "transformer" / WEIGHTS
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(CheckpointError, match="truncated or not safetensors"):
        load_transformer(checkpoint / "transformer")


def test_an_incomplete_vae_is_named(checkpoint: Path) -> None:
    edit_weights(checkpoint / "vae", lambda t: t.pop("encoder.conv_in.bias"))
    with pytest.raises(CheckpointError, match=r"missing tensor encoder\.conv_in\.bias"):
        load_vae(checkpoint / "vae")


def test_an_older_vae_is_refused(checkpoint: Path) -> None:
    edit_json(checkpoint / "vae" / "config.json", lambda c: c.update(is_residual=False))
    with pytest.raises(CheckpointError, match="`is_residual`"):
        load_vae(checkpoint / "vae")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("action"), "missing 'action'"),
        (lambda s: s["action"].pop("q99"), "missing 'q99'"),
        (
            lambda s: s["action"].update(q01=[0.0] * 13),
            r"action\.q01: expected a list of at least 14 numbers",
        ),
        (lambda s: s["action"]["q01"].__setitem__(3, math.nan), r"action\.q01: left_joint_4 is nan"),
        (lambda s: s["observation.state"]["q01"].__setitem__(6, 9.0), r"left_gripper: q01 9\.0 is above q99"),
    ],
)
def test_wrong_statistics_are_named(
    checkpoint: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_json(checkpoint / "norm_stats.json", lambda data: change(data["norm_stats"]))
    with pytest.raises(CheckpointError, match=message):
        load_norm_stats(checkpoint / "norm_stats.json")


class TestPrompt:
    @pytest.mark.parametrize("shape", [(5, 8), (1, 5, 8)])
    def test_is_padded(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        torch.save({"t5_embedding": torch.ones(shape, dtype=torch.bfloat16)}, tmp_path / "p.pt")
        tensor, notice = load_prompt(tmp_path / "p.pt", length=7, width=8)
        assert notice is None
        assert tensor.dtype == torch.float32
        assert tensor[:5].eq(1).all()
        assert tensor[5:].eq(0).all()

    def test_a_long_one_is_cut_with_a_notice(self, tmp_path: Path) -> None:
        torch.save(torch.ones(9, 8), tmp_path / "p.pt")
        tensor, notice = load_prompt(tmp_path / "p.pt", length=7, width=8)
        assert tensor.shape == (7, 8)
        assert notice is not None
        assert "9 tokens cut to 7" in notice

    def test_the_wrong_width_is_refused(self, tmp_path: Path) -> None:
        save_file({"prompt_embeds": torch.ones(5, 9)}, tmp_path / "p.safetensors")
        with pytest.raises(CheckpointError, match="embedding is 9 wide, the policy's text_dim is 8"):
            load_prompt(tmp_path / "p.safetensors", length=7, width=8)

    def test_pickled_code_is_refused_and_never_run(self, tmp_path: Path) -> None:
        witness = tmp_path / "ran"

        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (witness,))

        (tmp_path / "p.pt").write_bytes(pickle.dumps(Evil()))
        torch.save({"t5_embedding": Evil()}, tmp_path / "q.pt")
        for name in ("p.pt", "q.pt"):
            with pytest.raises(CheckpointError, match="pickled objects"):
                load_prompt(tmp_path / name, length=7, width=8)
        assert not witness.exists()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"other": torch.ones(5, 8)}, "expected the key prompt_embeds or t5_embedding"),
            (torch.ones(8), r"\(8,\)"),
        ],
    )
    def test_other_contents_are_refused(self, tmp_path: Path, content: Any, message: str) -> None:
        torch.save(content, tmp_path / "p.pt")
        with pytest.raises(CheckpointError, match=message):
            load_prompt(tmp_path / "p.pt", length=7, width=8)

    def test_nan_is_refused(self, tmp_path: Path) -> None:
        torch.save(torch.full((5, 8), math.nan), tmp_path / "p.pt")
        with pytest.raises(CheckpointError, match="NaN or infinite"):
            load_prompt(tmp_path / "p.pt", length=7, width=8)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="no such file"):
            load_prompt(tmp_path / "p.pt", length=7, width=8)
