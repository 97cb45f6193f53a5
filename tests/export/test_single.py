"""The one graph of layout single: what is in it, and that any program may call it."""

from __future__ import annotations

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
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint
from gigaedge_export.recipe import Recipe
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
    assert list(shapes) == [
        *("composite", "state", "prompt_embeds", "noise", "rows", "coefficients"),
        *("previous", "weight", "guidance"),
    ]
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
    assert single.model.parameters == split.model.parameters


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
    """Four inputs are enough; two more choose another sampler, three the chunk to be continued.

    ONNX Runtime remarks on the defaults of these five only.
    """
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
    before = targets + np.float32(1)
    given |= {"previous": before, "weight": np.ones(48, np.float32), "guidance": np.array([100], np.float32)}
    (continued,) = session.run(["targets"], given)
    assert np.abs(continued - before).max() < 0.1
    complaints = [line for line in capfd.readouterr().err.splitlines() if line.strip("\x1b[0m")]
    assert all("appears in graph inputs" in line for line in complaints)
    assert len(complaints) == 5


@pytest.mark.parametrize(
    ("generation", "opset", "precision"),
    [("GWP-0", 23, "int8"), ("GWP-0.5", 20, "int8"), ("GWP-0.5", 23, "fp16")],
)
def test_lowered_graphs_compose_as_well(tmp_path: Path, generation: str, opset: int, precision: str) -> None:
    """Caches in float16 and, for int8, operators of another domain."""
    write_random_checkpoint(tmp_path / "c", generation, Sizes(layers=2))  # type: ignore[arg-type]
    chunks = []
    for layout in ("split", "single"):
        loaded = load_checkpoint(CheckpointPaths.in_directory(tmp_path / "c"))
        recipe = Recipe(precision, "cuda")  # type: ignore[arg-type]
        options = ExportOptions(steps=(3,), opset=opset, layout=layout, recipe=recipe)  # type: ignore[arg-type]
        export_bundle(loaded, {"p": tmp_path / "c" / PROMPT}, tmp_path / layout, options)
        policy = Policy.load(tmp_path / layout)
        given = feeds(tmp_path)
        chunks.append(policy.chunk(Observation(given["composite"], given["state"], given["noise"])))
    np.testing.assert_allclose(chunks[0].actions, chunks[1].actions, rtol=0, atol=1e-4)
    split = open_bundle(tmp_path / "split").manifest.graphs
    assert "float16" in {info.dtype for info in split["step"].inputs.values()}
    model = onnx.load(tmp_path / "single" / "policy.onnx", load_external_data=False)
    domains = {entry.domain: entry.version for entry in model.opset_import}
    assert domains[""] == opset
    assert ("com.microsoft" in domains) == (precision == "int8")


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
