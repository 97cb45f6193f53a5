"""Bundles of the golden checkpoints, and of random ones of other sizes, compute what they should."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from gigaedge.bundle import open_bundle
from gigaedge.cli import proof
from gigaedge.errors import CheckFailedError, InputError
from gigaedge_export.checkpoint import CheckpointPaths, LoadedCheckpoint, load_checkpoint
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint


@pytest.mark.parametrize("timesteps", ["exact", "bf16"])
def test_golden_parity(exported: Callable[..., Path], golden: Path, timesteps: str) -> None:
    checks = proof.against_golden(exported(golden.name, timesteps), golden)
    assert [check.row.stage.split(" (")[0] for check in checks] == [
        "composite",
        "latents",
        "velocity/10",
        "trajectory/10",
        "action/10",
        "joint action",
        "joint video",
    ]
    assert [check.row.stage for check in checks if not check.passed] == []


def test_rounded_timesteps_are_not_the_exact_ones(exported: Callable[..., Path], golden: Path) -> None:
    """The gate can fail: an exact bundle does not pass for a rounded one."""
    exact = exported(golden.name, "exact")
    checks = proof.against_golden(exact, golden, tolerance=1e-9)
    assert not all(check.passed for check in checks)


@pytest.mark.parametrize(
    ("generation", "sizes", "options"),
    [
        (
            "GWP-0",
            Sizes(layers=1, heads=3, head_dim=16, action_channels=16, vae_base=8, text_dim=40),
            ExportOptions(chunk=20, view_width=256, view_height=192, steps=(1, 3), prompt_length=10),
        ),
        (
            "GWP-0.5",
            Sizes(layers=2, heads=2, head_dim=32, action_channels=14, embodiments=1, action_expert=80),
            ExportOptions(view_layout="horizontal", view_width=416, view_height=224, opset=20, steps=(4,)),
        ),
    ],
)
def test_other_sizes_agree_with_pytorch(
    tmp_path: Path, generation: str, sizes: Sizes, options: ExportOptions
) -> None:
    write_random_checkpoint(tmp_path / "c", generation, sizes)  # type: ignore[arg-type]
    loaded = load_checkpoint(CheckpointPaths.in_directory(tmp_path / "c"))
    out = tmp_path / "b"
    export_bundle(
        loaded, {"p": tmp_path / "c" / PROMPT}, out, options, prove=lambda folder: proof.prove(folder, loaded)
    )
    manifest = open_bundle(out).manifest
    assert manifest.fidelity is not None
    assert max(row.relative_l2 for row in manifest.fidelity.stages) < 1e-5
    assert manifest.graphs["step"].inputs["actions"].shape == (options.chunk, sizes.action_channels)
    assert manifest.opset == options.opset


@pytest.fixture(scope="module")
def loaded(golden: Path) -> LoadedCheckpoint:
    return load_checkpoint(CheckpointPaths.in_directory(golden))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions(view_width=330), "width 330 is not a multiple of 32"),
        (ExportOptions(view_height=0), "height 0 is not a multiple of 32"),
        (ExportOptions(chunk=2000), "rotary table ends at 1024"),
    ],
)
def test_options_that_do_not_fit(
    loaded: LoadedCheckpoint, golden: Path, tmp_path: Path, options: ExportOptions, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        export_bundle(loaded, {"task": golden / "io.safetensors"}, tmp_path / "b", options)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_proof_leaves_nothing(loaded: LoadedCheckpoint, golden: Path, tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise CheckFailedError("no")

    with pytest.raises(CheckFailedError):
        export_bundle(
            loaded,
            {"task": golden / "io.safetensors"},
            tmp_path / "b",
            ExportOptions(steps=(1,)),
            prove=refuse,  # type: ignore[arg-type]
        )
    assert list(tmp_path.iterdir()) == []


STAGES = {"text": {"text"}, "context": {"context", "vae"}, "step": {"step"}}
"""First parts of the node names of each graph."""


def test_nodes_carry_their_stage_and_layer(exported: Callable[..., Path], golden: Path) -> None:
    bundle = exported(golden.name)
    places: dict[str, set[str]] = {}
    for stage in ("text", "context", "step"):
        model = onnx.load(bundle / f"{stage}.onnx", load_external_data=False)
        names = [node.name for node in model.graph.node]
        assert len(set(names)) == len(names)
        places[stage] = {re.sub(r"/[^/]+$", "", name) for name in names}
        assert {place.partition("/")[0] for place in places[stage]} == STAGES[stage]
        assert not any(node.metadata_props for node in model.graph.node)
    layers = {f"layer{i:02d}" for i in range(3)}
    assert {place.split("/")[1] for place in places["step"] if "/layer" in place} == layers
    expert = {"gwp0-tiny": "", "gwp05-tiny": "action_expert."}[golden.name]
    assert f"step/layer02/{expert}attn1.to_q" in places["step"]
    assert {"step/action_decoder.out_proj", "text/condition_embedder.text_embedder.linear_1"} <= set().union(
        *places.values()
    )


def test_verify_refuses_another_checkpoint(
    exported: Callable[..., Path], golden: Path, tmp_path: Path
) -> None:
    write_random_checkpoint(tmp_path / "c", "GWP-0.5", Sizes())
    other = load_checkpoint(CheckpointPaths.in_directory(tmp_path / "c"))
    with pytest.raises(InputError, match="was not made from this file"):
        proof.against_checkpoint(exported(golden.name), other)


def test_a_random_checkpoint_is_reproducible(tmp_path: Path) -> None:
    for name in "ab":
        write_random_checkpoint(tmp_path / name, "GWP-0", Sizes(layers=1), seed=3)
    files = [sorted((tmp_path / name).rglob("*.safetensors")) for name in "ab"]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))
