"""The one graph of layout single: what is in it, and that any program may call it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from gigaedge.bundle import open_bundle
from gigaedge.cli import proof
from gigaedge.errors import GigaedgeError
from gigaedge.sampling import coefficients
from gigaedge_export import export as export_module
from gigaedge_export.checkpoint import CheckpointPaths
from gigaedge_export.export import ExportOptions, export_bundle, load_checkpoint
from gigaedge_export.graphs import Graph
from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint
from gigaedge_export.single import compose_single
from gigaedge_runtime import Observation, Policy


@pytest.fixture
def bundle(exported: Callable[..., Path], golden: Path) -> Path:
    return exported(golden.name, layout="single")


def test_golden_parity(bundle: Path, golden: Path) -> None:
    checks = proof.against_golden(bundle, golden)
    assert "action/10" in {check.row.stage for check in checks}
    assert [check.row.stage for check in checks if not check.passed] == []


def test_the_signature_says_what_is_chosen_at_run_time(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    assert manifest.layout == "single"
    graph = manifest.graphs["policy"]
    shapes = {name: info.shape for name, info in graph.inputs.items()}
    assert list(shapes) == ["composite", "state", "prompt_embeds", "noise", "rows", "coefficients"]
    assert shapes["rows"] == ("steps",)
    assert shapes["coefficients"] == ("steps", 2)
    assert list(graph.outputs) == ["targets", "actions", "velocity", "trajectory", "latents"]
    assert graph.outputs["velocity"].shape == ("steps", 48, 32)


def test_a_weight_is_there_once(exported: Callable[..., Path], bundle: Path, golden: Path) -> None:
    onnx.checker.check_model(bundle / "policy.onnx", full_check=True)
    model = onnx.load(bundle / "policy.onnx", load_external_data=False)
    names = [tensor.name for tensor in model.graph.initializer]
    assert len(set(names)) == len(names)
    (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
    body = next(attribute.g for attribute in scan.attribute if attribute.name == "body")
    assert sum(len(tensor.raw_data) for tensor in body.initializer) < 100
    split = open_bundle(exported(golden.name)).manifest
    single = open_bundle(bundle).manifest
    assert single.weights.bytes < split.weights.bytes + 20_000
    assert single.model.parameters - split.model.parameters == 48 * 32 + 48 * 14  # where the sampler starts


def test_nodes_carry_their_stage(bundle: Path) -> None:
    model = onnx.load(bundle / "policy.onnx", load_external_data=False)
    scan = model.graph.node[-1]
    assert scan.name == "sampler/Scan"
    inner = [node.name for node in scan.attribute[0].g.node]
    outer = [node.name for node in model.graph.node]
    assert len({*inner, *outer}) == len(inner) + len(outer)
    assert {name.split("/")[0] for name in inner} == {"step"}
    assert {name.split("/")[0] for name in outer} == {"text", "context", "vae", "sampler"}
    assert any(name.startswith("step/layer02/") for name in inner)
    assert any(name.startswith("context/layer01/") for name in outer)


def feeds(bundle: Path) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "composite": random.integers(0, 256, (384, 320, 3), np.uint8),
        "state": random.normal(size=14).astype(np.float32),
        "prompt_embeds": random.standard_normal((64, 64), np.float32),
        "noise": random.standard_normal((48, 32), np.float32),
    }


def test_any_program_may_call_it(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Four inputs are enough; two more choose another sampler. ONNX Runtime remarks on their defaults only."""
    session = ort.InferenceSession(bundle / "policy.onnx", providers=["CPUExecutionProvider"])
    given = feeds(bundle)
    targets, velocity = session.run(["targets", "velocity"], given)
    assert (targets.shape, velocity.shape) == ((48, 14), (10, 48, 32))
    schedule = open_bundle(bundle).manifest.schedule(4, "multistep")
    given["rows"] = schedule.first_row + np.arange(4)
    given["coefficients"] = coefficients(np.array(schedule.sigmas, np.float32), "multistep")
    other, velocity = session.run(["targets", "velocity"], given)
    assert (other.shape, velocity.shape) == ((48, 14), (4, 48, 32))
    assert not np.allclose(targets, other)
    complaints = [line for line in capfd.readouterr().err.splitlines() if line.strip("\x1b[0m")]
    assert all("appears in graph inputs" in line for line in complaints)
    assert len(complaints) == 2


@pytest.mark.parametrize(
    ("generation", "opset"), [("GWP-0", 23), ("GWP-0.5", 20)], ids=["gwp0-opset23", "gwp05-opset20"]
)
def test_half_precision_caches_and_operators_of_other_domains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: str, opset: int
) -> None:
    """What a lowering does to the three graphs, the one graph takes over."""
    traced = export_module.trace

    def lowered(graph: Graph, opset: int) -> ir.Model:
        model = traced(graph, opset)
        halve_caches(model)
        model.opset_imports["com.microsoft"] = 1
        for node in model.graph:
            if node.op_type == "Gelu":
                node.op_type, node.domain = "FastGelu", "com.microsoft"
                node.attributes.clear()
        return model

    monkeypatch.setattr(export_module, "trace", lowered)
    write_random_checkpoint(tmp_path / "c", generation, Sizes(layers=2))  # type: ignore[arg-type]
    loaded = load_checkpoint(CheckpointPaths.in_directory(tmp_path / "c"), lambda what: None)
    chunks = []
    for layout in ("split", "single"):
        options = ExportOptions(steps=(3,), opset=opset, layout=layout)  # type: ignore[arg-type]
        export_bundle(loaded, {"p": tmp_path / "c" / PROMPT}, tmp_path / layout, options)
        policy = Policy.load(tmp_path / layout)
        given = feeds(tmp_path)
        chunks.append(policy.chunk(Observation(given["composite"], given["state"], given["noise"])))
    np.testing.assert_allclose(chunks[0].actions, chunks[1].actions, rtol=0, atol=1e-5)
    split = open_bundle(tmp_path / "split").manifest.graphs
    assert split["step"].inputs["context.00.key"].dtype == "float16"
    model = onnx.load(tmp_path / "single" / "policy.onnx", load_external_data=False)
    assert Counter({entry.domain: entry.version for entry in model.opset_import}) == {
        "": opset,
        "com.microsoft": 1,
    }


def halve_caches(model: ir.Model) -> None:
    """Keys and values enter and leave a graph as float16."""
    graph = model.graph
    for value in graph.inputs:
        if value.name and value.name.startswith(("text.", "context.")):
            cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=f"{graph.name}/{value.name}")
            value.replace_all_uses_with(cast.outputs[0])
            cast.replace_input_with(0, value)
            cast.outputs[0].name = f"{value.name}.float"
            cast.outputs[0].dtype = ir.DataType.FLOAT
            value.dtype = ir.DataType.FLOAT16
            graph.insert_before(graph[0], cast)
    for index, value in enumerate(list(graph.outputs)):
        if value.name and value.name.startswith(("text.", "context.")):
            name, value.name = value.name, f"{value.name}.float"
            half = ir.val(name, ir.DataType.FLOAT16, value.shape)
            graph.append(
                ir.node(
                    "Cast", [value], {"to": ir.DataType.FLOAT16}, outputs=[half], name=f"{graph.name}/{name}"
                )
            )
            graph.outputs[index] = half


def test_graphs_that_disagree_on_a_weight_are_refused() -> None:
    def graph(stage: str, size: int) -> ir.Model:
        weight = ir.val(
            "transformer.w", ir.DataType.FLOAT, [size], const_value=ir.tensor(np.zeros(size, np.float32))
        )
        return ir.Model(ir.Graph([], [], nodes=[], initializers=[weight], name=stage), ir_version=10)

    models = {"text": graph("text", 2), "context": graph("context", 2), "step": graph("step", 3)}
    with pytest.raises(
        GigaedgeError, match=r"transformer\.w is FLOAT \[2\] in one graph and FLOAT \[3\] in another"
    ):
        compose_single(models, np.arange(1), np.zeros((1, 2), np.float32))
