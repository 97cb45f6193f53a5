"""Lowered bundles: near upstream's recordings, in the types they claim, and safe from what fp16 cannot hold."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gigaedge.bundle import Manifest, open_bundle, read_manifest
from gigaedge.cli import proof
from gigaedge.errors import CheckFailedError, InputError
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint
from gigaedge_export.ranges import Sample
from gigaedge_export.recipe import Recipe, Rule

WEIGHTS = "diffusion_pytorch_model.safetensors"
STAGES = ("text", "context", "step")


# What does not depend on the generation is tested on one of them: an export takes seconds.
gwp_0 = pytest.mark.parametrize("golden", ["gwp0-tiny"], indirect=True)
gwp_0_5 = pytest.mark.parametrize("golden", ["gwp05-tiny"], indirect=True)


def golden_sample(folder: Path) -> Sample:
    io = load_file(folder / "io.safetensors")
    prompt = io["prompt_embeds"].reshape(-1, io["prompt_embeds"].shape[-1])
    return Sample(io["composite"].numpy(), io["state"].numpy(), prompt.numpy(), io["noise"][0].numpy())


def export(
    checkpoint: Path, prompt: Path, out: Path, recipe: Recipe, opset: int = 23, calibrate: bool = False
) -> Manifest:
    loaded = load_checkpoint(CheckpointPaths.in_directory(checkpoint))
    options = ExportOptions(steps=(10,), opset=opset, recipe=recipe)
    samples = [golden_sample(checkpoint)] if calibrate else []
    export_bundle(
        loaded, {"p": prompt}, out, options, samples=samples, prove=lambda folder: proof.prove(folder, loaded)
    )
    return open_bundle(out).manifest


@pytest.fixture(scope="module")
def lowered(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`lowered("int8", "cpu")`: the golden checkpoint's bundle of that recipe, exported and proved once."""
    folder = tmp_path_factory.mktemp(golden.name)

    def once(precision: str, target: str, opset: int = 23) -> Path:
        out = folder / f"{precision}-{target}-{opset}"
        if not out.exists():
            recipe = Recipe(precision, target)  # type: ignore[arg-type]
            export(golden, golden / "io.safetensors", out, recipe, opset, calibrate=target == "tensorrt")
        return out

    return once


def operators(bundle: Path, stage: str) -> Counter[str]:
    model = onnx.load(bundle / f"{stage}.onnx", load_external_data=False)
    return Counter(node.op_type for node in model.graph.node)


def velocity_error(bundle: Path, golden: Path) -> float:
    checks = {check.row.stage.split(" (")[0]: check for check in proof.against_golden(bundle, golden)}
    return checks["velocity/10"].row.relative_l2


@pytest.mark.parametrize(
    ("precision", "target", "opset", "bound", "marks"),
    [
        ("fp16", "cuda", 23, 1e-2, {"Cast"}),
        ("fp16", "tensorrt", 20, 1e-2, {"Cast"}),
        ("int8", "cpu", 23, 3e-2, {"DynamicQuantizeLinear", "MatMulInteger"}),
        ("int8", "cuda", 23, 3e-2, {"MatMulNBits"}),
        ("int8", "tensorrt", 20, 3e-2, {"QuantizeLinear", "DequantizeLinear"}),
        ("int4", "cpu", 23, 0.25, {"MatMulNBits"}),
    ],
)
def test_golden_velocities(
    lowered: Callable[..., Path],
    golden: Path,
    precision: str,
    target: str,
    opset: int,
    bound: float,
    marks: set[str],
) -> None:
    bundle = lowered(precision, target, opset)
    manifest = open_bundle(bundle).manifest
    error = velocity_error(bundle, golden)
    assert 1e-5 < error < bound
    assert marks <= operators(bundle, "step").keys()
    # What only ONNX Runtime's CPU is known to run well stays out of the graphs for GPUs.
    assert ("RotaryEmbedding" in operators(bundle, "step")) == (target == "cpu")
    assert manifest.precision.recipe == precision
    assert manifest.fidelity is not None
    assert manifest.fidelity.passed
    caches = "float16" if target != "cpu" else "float32"
    context, step = manifest.graphs["context"], manifest.graphs["step"]
    assert {context.outputs["context.00.key"].dtype, step.inputs["context.00.key"].dtype} == {caches}
    assert {step.inputs["actions"].dtype, step.outputs["targets"].dtype} == {"float32"}


def test_norms_and_the_residual_stream_stay_fp32(lowered: Callable[..., Path]) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(lowered("fp16", "cuda") / "step.onnx"))
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    types |= {value.name: value.data_type for value in model.graph.initializer}
    for node in model.graph.node:
        found = {types[name] for name in node.output if name in types}
        if node.op_type in ("LayerNormalization", "RMSNormalization", "Add", "Mul"):
            assert found <= {onnx.TensorProto.FLOAT}
        if node.op_type in ("Gemm", "Attention", "Gelu"):
            assert found <= {onnx.TensorProto.FLOAT16}


@gwp_0
def test_a_recipe_mixes_precisions_by_place(golden: Path, tmp_path: Path) -> None:
    rules = (Rule(match="step/layer0[01]/*", precision="fp32"), Rule(match="step/*", precision="int4"))
    manifest = export(golden, golden / "io.safetensors", tmp_path / "b", Recipe("int8", "cpu", rules))
    names = {
        node.op_type: node.name.rpartition("/")[0]
        for node in onnx.load(tmp_path / "b" / "step.onnx", load_external_data=False).graph.node
    }
    assert names["MatMulNBits"].startswith(("step/layer02", "step/action_"))
    assert "MatMulInteger" not in names
    assert "MatMulInteger" in operators(tmp_path / "b", "context")
    assert [kept.match for kept in manifest.precision.kept if kept.reason == "recipe"] == [
        "step/layer0[01]/*",
        "step/*",
    ]


@pytest.mark.parametrize("recipe", [("fp32", "cpu"), ("fp16", "cuda"), ("int8", "cpu")])
def test_each_weight_is_stored_once(
    lowered: Callable[..., Path], golden: Path, recipe: tuple[str, str]
) -> None:
    """GWP-0's context and steps run the same weights: the file holds each of them once, in whatever form."""
    bundle = lowered(*recipe)
    manifest = open_bundle(bundle).manifest
    loaded = load_checkpoint(CheckpointPaths.in_directory(golden))
    sizes = {
        f"{root}.{name}": parameter.numel()
        for root, module in (("transformer", loaded.transformer), ("vae", loaded.vae))
        for name, parameter in module.named_parameters()
    }
    with safe_open(bundle / "weights.safetensors", "np") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    forms = Counter(
        re.sub(r"\.(fp16|int8|scale)$", "", name) for name in stored if name.startswith("transformer.")
    )
    scaled = {name.removesuffix(".scale") for name in stored if name.endswith(".scale")}
    assert {name for name, count in forms.items() if count > 1} == scaled
    for name, array in stored.items():
        weight = re.sub(r"\.(fp16|int8)$", "", name)
        assert weight not in sizes or array.size == sizes[weight]
    assert sum(array.nbytes for array in stored.values()) == sum(manifest.weights.by_type.values())
    header = manifest.weights.bytes - sum(manifest.weights.by_type.values())
    assert 0 < header < 200 * len(stored)


@gwp_0_5
def test_an_fp32_recipe_is_judged_by_the_coarsest_of_its_rules(golden: Path, tmp_path: Path) -> None:
    rules = (Rule(match="step/action_decoder.*", precision="fp16"),)
    manifest = export(golden, golden / "io.safetensors", tmp_path / "b", Recipe("fp32", "cpu", rules))
    assert manifest.fidelity is not None
    assert (manifest.fidelity.tolerance, manifest.fidelity.passed) == (1e-2, True)
    assert velocity_error(tmp_path / "b", golden) > 1e-4


@gwp_0_5
def test_an_int8_rule_for_tensorrt_has_its_scales_measured(golden: Path, tmp_path: Path) -> None:
    rules = (Rule(match="step/layer00/*", precision="int8"), Rule(match="text/*", precision="fp16"))
    export(
        golden,
        golden / "io.safetensors",
        tmp_path / "b",
        Recipe("fp32", "tensorrt", rules),
        20,
        calibrate=True,
    )
    assert velocity_error(tmp_path / "b", golden) < 3e-2
    assert "QuantizeLinear" in operators(tmp_path / "b", "step")
    assert "QuantizeLinear" not in operators(tmp_path / "b", "context")


@gwp_0
def test_a_wide_int8_rule_keeps_a_convolution_that_fp16_cannot_hold(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden, tmp_path / "c")
    vae = load_file(tmp_path / "c" / "vae" / WEIGHTS)
    vae["encoder.conv_in.weight"][0, 0, -1, 0, 0] = 1e5
    save_file(vae, tmp_path / "c" / "vae" / WEIGHTS)
    recipe = Recipe("int8", "cpu", (Rule(match="*", precision="int8"),))
    manifest = export(tmp_path / "c", golden / "io.safetensors", tmp_path / "b", recipe)
    reasons = {kept.match: kept.reason for kept in manifest.precision.kept}
    assert "1 weights beyond fp16" in reasons["vae/encoder.conv_in"]


def plant(checkpoint: Path, golden: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    shutil.copytree(golden, checkpoint)
    tensors = load_file(checkpoint / "transformer" / WEIGHTS)
    change(tensors)
    save_file(tensors, checkpoint / "transformer" / WEIGHTS)


@gwp_0_5
def test_an_overflowing_activation_keeps_its_layer_in_fp32(golden: Path, tmp_path: Path) -> None:
    """A hidden channel of one feed-forward is blown up and shrunk again: exact in fp32, infinite in fp16."""
    hidden = "visual_expert.ffn"

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for suffix in ("weight", "bias"):
            tensors[f"blocks.1.{hidden}.net.0.proj.{suffix}"][3] *= 1e5
        tensors[f"blocks.1.{hidden}.net.2.weight"][:, 3] *= 1e-5

    plant(tmp_path / "c", golden, change)
    manifest = export(tmp_path / "c", golden / "io.safetensors", tmp_path / "b", Recipe("fp16", "cuda"))
    kept = {kept.match: kept.reason for kept in manifest.precision.kept}
    assert kept.keys() >= {f"context/layer01/{hidden}.net.0.proj", f"context/layer01/{hidden}.net.2"}
    assert all("activations reach" in reason for reason in kept.values())
    assert not any("layer00" in place or "layer02" in place for place in kept)
    assert manifest.fidelity is not None
    assert manifest.fidelity.passed


@gwp_0
def test_an_overflowing_value_keeps_attention_and_its_cache_in_fp32(golden: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for suffix in ("weight", "bias"):
            tensors[f"blocks.0.attn1.to_v.{suffix}"] *= 1e5
        tensors["blocks.0.attn1.to_out.0.weight"] *= 1e-5

    plant(tmp_path / "c", golden, change)
    manifest = export(tmp_path / "c", golden / "io.safetensors", tmp_path / "b", Recipe("fp16", "cuda"))
    outputs = manifest.graphs["context"].outputs
    assert outputs["context.00.value"].dtype == outputs["context.00.key"].dtype == "float32"
    assert outputs["context.01.value"].dtype == "float16"
    assert "layer00" in {kept.match for kept in manifest.precision.kept}
    assert manifest.fidelity is not None
    assert manifest.fidelity.passed


@gwp_0
def test_a_checkpoint_beyond_fp32_is_not_called_a_defect_of_the_export(golden: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["blocks.0.ffn.net.0.proj.weight"] *= 1e30
        tensors["blocks.0.ffn.net.2.weight"] *= 1e30

    plant(tmp_path / "c", golden, change)
    with pytest.raises(CheckFailedError, match="the checkpoint itself computes values that are not finite"):
        export(tmp_path / "c", golden / "io.safetensors", tmp_path / "b", Recipe())
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@gwp_0_5
def test_overflowing_scores_keep_attention_in_fp32(golden: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for norm in ("norm_q", "norm_k"):
            tensors[f"blocks.1.visual_expert.attn1.{norm}.weight"] *= 400

    plant(tmp_path / "c", golden, change)
    manifest = export(tmp_path / "c", golden / "io.safetensors", tmp_path / "b", Recipe("fp16", "cuda"))
    kept = {kept.match: kept.reason for kept in manifest.precision.kept}
    assert kept.keys() == {"layer01"}
    assert "attention scores may reach" in kept["layer01"]
    assert manifest.graphs["context"].outputs["context.01.key"].dtype == "float32"
    assert manifest.fidelity is not None
    assert max(row.relative_l2 for row in manifest.fidelity.stages) < 1


@gwp_0_5
def test_weights_that_fp16_cannot_hold_are_counted_and_kept(golden: Path, tmp_path: Path) -> None:
    name = "blocks.1.visual_expert.ffn.net"

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"{name}.0.proj.weight"][0, 0] = 1e5
        tensors[f"{name}.2.weight"][:, 0] *= 1e-4  # or the network itself would amplify every error
        tensors[f"{name}.2.weight"][1, :3] = 1e-9

    plant(tmp_path / "c", golden, change)
    manifest = export(tmp_path / "c", golden / "io.safetensors", tmp_path / "b", Recipe("fp16", "cuda"))
    casts = {cast.name: cast for cast in manifest.precision.casts}
    large, small = casts[f"transformer.{name}.0.proj.weight"], casts[f"transformer.{name}.2.weight"]
    assert (large.overflows, small.overflows) == (1, 0)
    assert 3 <= small.flushed < 10
    reasons = [kept.reason for kept in manifest.precision.kept if kept.match.endswith("ffn.net.0.proj")]
    assert all("1 weights beyond fp16" in reason for reason in reasons)
    assert reasons
    assert manifest.fidelity is not None
    assert manifest.fidelity.passed


def test_int8_for_tensorrt_wants_observations(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pass --calibration"):
        export(golden, golden / "io.safetensors", tmp_path / "b", Recipe("int8", "tensorrt"))
    assert list(tmp_path.iterdir()) == []


def test_bf16_shards_make_the_same_fp16_bundle_as_one_file(tmp_path: Path) -> None:
    for name, limit in (("one", None), ("many", 200_000)):
        write_random_checkpoint(
            tmp_path / name, "GWP-0", Sizes(layers=2), dtype=torch.bfloat16, shard_bytes=limit
        )
        loaded = load_checkpoint(CheckpointPaths.in_directory(tmp_path / name))
        options = ExportOptions(steps=(2,), recipe=Recipe("fp16", "cuda"))
        export_bundle(loaded, {"p": tmp_path / name / PROMPT}, tmp_path / f"b-{name}", options)
    shards = sorted((tmp_path / "many" / "transformer").glob("*.safetensors"))
    index = json.loads((tmp_path / "many" / "transformer" / f"{WEIGHTS}.index.json").read_text())
    assert len(shards) > 3
    assert set(index["weight_map"].values()) == {path.name for path in shards}
    one, many = (read_manifest(tmp_path / f"b-{name}") for name in ("one", "many"))
    assert one.weights.sha256 == many.weights.sha256
    assert np.isclose(one.weights.by_type["float16"] / one.weights.bytes, 1, atol=0.3)
