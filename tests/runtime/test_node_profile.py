"""Reading ONNX Runtime's profile: a made-up one, and a real one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gigaedge_runtime.node_profile import read_profile
from gigaedge_runtime.operators import Tensor
from gigaedge_runtime.peaks import _GRAPHS
from gigaedge_runtime.sessions import Device


def node(name: str, begin: int, duration: int, operator: str = "Mul", index: int = 0) -> dict[str, object]:
    return {
        "cat": "Node",
        "name": f"{name}_kernel_time",
        "ts": begin,
        "dur": duration,
        "args": {
            "op_name": operator,
            "provider": "CPUExecutionProvider",
            "node_index": str(index),
            "parameter_size": "12",
            "input_type_shape": [{"float": [2, 3]}, {"int64": []}],
            "output_type_shape": [{"float": [2, 3]}],
        },
    }


def session(name: str, duration: int) -> dict[str, object]:
    return {"cat": "Session", "name": name, "ts": 0, "dur": duration, "args": {}}


def write(file: Path, events: list[dict[str, object]], end: str = "]") -> Path:
    file.write_text("[\n" + ",\n".join(map(json.dumps, events)) + f"\n{end}\n")
    return file


def test_nodes_belong_to_the_run_that_ends_after_them(tmp_path: Path) -> None:
    events = [
        session("session_initialization", 9),
        node("step/a", 0, 10),
        node("step/b", 12, 20, "Add"),
        session("SequentialExecutor::Execute", 35),
        session("model_run", 40),
        node("step/a", 100, 11),
        session("model_run", 15),
        node("step/a", 200, 1),
    ]
    first, second = read_profile(write(tmp_path / "p.json", events))
    assert (first.seconds, second.seconds) == pytest.approx((40e-6, 15e-6))
    assert [(each.name, each.operator, each.seconds, each.times) for each in first.nodes] == [
        ("step/a", "Mul", pytest.approx(10e-6), 1),
        ("step/b", "Add", pytest.approx(20e-6), 1),
    ]
    assert first.nodes[0].inputs == (Tensor("float", (2, 3)), Tensor("int64", ()))
    assert first.nodes[0].outputs == (Tensor("float", (2, 3)),)
    assert first.nodes[0].parameter_bytes == 12
    assert [each.name for each in second.nodes] == ["step/a"]


def test_time_inside_a_subgraph_is_counted_once(tmp_path: Path) -> None:
    events = [
        node("before", 0, 10),
        node("step/a", 20, 30, index=1),
        node("step/b", 52, 8, index=2),
        node("step/a", 62, 28, index=1),
        node("sampler/Scan", 15, 85, "Scan"),
        node("after", 105, 5),
        session("model_run", 120),
    ]
    (run,) = read_profile(write(tmp_path / "p.json", events))
    assert {each.name: (round(each.seconds * 1e6), each.times) for each in run.nodes} == {
        "before": (10, 1),
        "sampler/Scan": (85 - 30 - 8 - 28, 1),
        "step/a": (58, 2),
        "step/b": (8, 1),
        "after": (5, 1),
    }


def test_nodes_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    events = [node("", 0, 10, index=1), node("", 10, 20, index=2), session("model_run", 30)]
    (run,) = read_profile(write(tmp_path / "p.json", events))
    assert [each.times for each in run.nodes] == [1, 1]


def test_a_profile_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "p.json", [node("a", 0, 1), session("model_run", 1)], end="")
    with pytest.raises(ValueError, match=r"p\.json: not a complete profile of ONNX Runtime"):
        read_profile(file)


def test_a_device_leaves_profiles_of_its_sessions(tmp_path: Path) -> None:
    loaded = Device(threads=1, profiles=tmp_path).session(_GRAPHS / "product_fp32.onnx")
    for rows in (2, 3):
        loaded.run(None, {"x": np.ones((rows, 512), np.float32)})
    del loaded
    (file,) = tmp_path.glob("product_fp32_*.json")
    runs = read_profile(file)
    assert [run.nodes[0].outputs[0].shape for run in runs] == [(2, 512), (3, 512)]
    (product,) = runs[0].nodes
    assert (product.operator, product.provider) == ("MatMul", "CPUExecutionProvider")
    assert 0 < product.seconds <= runs[0].seconds
