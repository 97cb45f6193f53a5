"""The CPU's form of the graphs: the same values as PyTorch's operators give, from fewer nodes at the same places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from gigaedge.cli import proof
from gigaedge_export import export as exporting
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.fuse import OPSET, fuse
from gigaedge_export.recipe import Recipe, Rule
from gigaedge_export.trace import signature
from gigaedge_runtime import Observation, Policy

LAYERS = 3
STEP_LAYER_NODES = 38
"""Nodes of one layer of the step; as traced they are 59."""
CONTEXT_LAYER_NODES = {"gwp0-tiny": 41, "gwp05-tiny": 83}
"""Nodes of one layer of the context, but for the last; as traced they are 55 and 105."""


def export(golden: Path, out: Path, recipe: Recipe) -> Path:
    loaded = load_checkpoint(CheckpointPaths.in_directory(golden))
    options = ExportOptions(steps=(10,), recipe=recipe)
    export_bundle(loaded, {"task": golden / "io.safetensors"}, out, options)
    return out


@pytest.fixture(scope="module")
def traced(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the same checkpoint whose graphs are as the tracer leaves them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "fuse", lambda model: None)
        return export(golden, tmp_path_factory.mktemp(golden.name) / "b", Recipe())


@pytest.fixture
def fused(exported: Callable[..., Path], golden: Path) -> Path:
    return exported(golden.name)


def load(bundle: Path, stage: str) -> onnx.ModelProto:
    return onnx.load(bundle / f"{stage}.onnx", load_external_data=False)


def in_layer(model: onnx.ModelProto, layer: str) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node if node.name.startswith(f"{layer}/"))


def test_every_value_is_the_tracers(traced: Path, fused: Path) -> None:
    random = np.random.default_rng(0)
    observation = Observation(
        composite=random.integers(0, 256, (384, 320, 3), np.uint8),
        state=random.normal(size=14).astype(np.float32),
        noise=random.standard_normal((48, 32), np.float32),
    )
    values = []
    for bundle in (traced, fused):
        chunk = Policy.load(bundle).chunk(observation, intermediate=True)
        values.append({"actions": chunk.actions, **chunk.intermediate})
    assert values[0].keys() == values[1].keys() >= {"context.00.key", "context.02.value", "velocity"}
    for name, expected in values[0].items():
        difference = np.linalg.norm(values[1][name] - expected)
        assert difference <= 1e-5 * np.linalg.norm(expected), name


def test_a_layer_of_the_step_has_no_more_nodes_than_it_needs(traced: Path, fused: Path) -> None:
    before, after = load(traced, "step"), load(fused, "step")
    for layer in range(LAYERS):
        operators = in_layer(after, f"step/layer{layer:02d}")
        assert operators.total() == STEP_LAYER_NODES
        assert (operators["RotaryEmbedding"], operators["Attention"]) == (2, 2)
        # What is left of them belongs to cross-attention, whose keys and values come per head.
        assert (operators["Transpose"], operators["Reshape"]) == (2, 2)
        assert not {"Slice", "Concat", "Split"} & operators.keys()
    assert len(before.graph.node) - len(after.graph.node) == LAYERS * (59 - STEP_LAYER_NODES)


def test_a_layer_of_the_context_has_no_more_nodes_than_it_needs(fused: Path, golden: Path) -> None:
    model = load(fused, "context")
    for layer in range(LAYERS - 1):
        operators = in_layer(model, f"context/layer{layer:02d}")
        assert operators.total() == CONTEXT_LAYER_NODES[golden.name]
        assert not {"Slice", "Expand"} & operators.keys()
    last = in_layer(model, f"context/layer{LAYERS - 1:02d}")
    assert last["RotaryEmbedding"] == (1 if golden.name == "gwp0-tiny" else 2)
    assert last["Attention"] == 0


def test_names_and_the_signature_stay(traced: Path, fused: Path) -> None:
    for stage in ("context", "step"):
        before, after = load(traced, stage), load(fused, stage)
        signatures = [signature(ir.load(bundle / f"{stage}.onnx")) for bundle in (traced, fused)]
        assert [list(part.items()) for part in signatures[0]] == [
            list(part.items()) for part in signatures[1]
        ]
        names = [node.name for node in after.graph.node]
        assert len(set(names)) == len(names)
        places = {name.rpartition("/")[0] for name in names}
        assert places <= {node.name.rpartition("/")[0] for node in before.graph.node}


def test_an_older_opset_is_left_alone(traced: Path) -> None:
    model = ir.load(traced / "step.onnx")
    model.opset_imports[""] = OPSET - 1
    count = len(model.graph)
    fuse(model)
    assert len(model.graph) == count
    model.opset_imports[""] = OPSET
    fuse(model)
    assert len(model.graph) < count


def test_fusing_again_changes_nothing(fused: Path) -> None:
    model = ir.load(fused / "step.onnx")
    names = [node.name for node in model.graph]
    fuse(model)
    assert [node.name for node in model.graph] == names


def test_keys_and_values_in_another_precision_are_converted(golden: Path, tmp_path: Path) -> None:
    rules = (Rule(match="*/layer00/*", precision="fp16"), Rule(match="*/layer01/*", precision="int8"))
    bundle = export(golden, tmp_path / "b", Recipe("fp32", "cpu", rules))
    operators = in_layer(load(bundle, "step"), "step/layer00")
    assert operators["RotaryEmbedding"] == 2
    assert operators["Cast"] > 0
    errors = {check.row.stage: check.row.relative_l2 for check in proof.against_golden(bundle, golden)}
    velocity = next(error for stage, error in errors.items() if stage.startswith("velocity/10"))
    assert 1e-5 < velocity < 3e-2
