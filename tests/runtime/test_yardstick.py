"""The yardstick's graph, and that its time is that of work."""

from __future__ import annotations

import onnxruntime as ort
import pytest

from gigaedge_runtime.yardstick import GRAPH, Yardstick
from write_products import FOLDER, LAYERS, ROWS, WIDTH, graphs


def test_the_measuring_graphs_are_what_their_script_writes() -> None:
    """After a change: python tools/write_products.py."""
    assert {file.name: file.read_bytes() for file in FOLDER.glob("*.onnx")} == graphs()


def test_its_weights_are_made_when_it_is_loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    import onnx

    optimised = tmp_path_factory.mktemp("yardstick") / "optimised.onnx"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(optimised)
    options.log_severity_level = 3
    ort.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(optimised).graph
    assert [node.op_type for node in graph.node] == ["MatMul"] * LAYERS
    weights = {value.name: tuple(value.dims) for value in graph.initializer}
    assert [weights[node.input[1]] for node in graph.node] == [(WIDTH, WIDTH)] * LAYERS


def test_a_run_takes_the_time_of_the_work() -> None:
    measure = Yardstick(1)
    fastest = min(measure.run() for _ in range(5))
    operations = 2 * ROWS * WIDTH * WIDTH * LAYERS
    # No processor that this runs on computes more than 10 TFLOP/s in float32, or less than 1 GFLOP/s.
    assert operations / 10e12 < fastest < operations / 1e9


def test_it_has_as_many_threads_as_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ort.SessionOptions] = []
    load = ort.InferenceSession

    def session(path: object, options: ort.SessionOptions, **keywords: object) -> ort.InferenceSession:
        asked.append(options)
        return load(path, options, **keywords)

    monkeypatch.setattr(ort, "InferenceSession", session)
    Yardstick(3)
    assert asked[0].intra_op_num_threads == 3
