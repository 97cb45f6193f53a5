"""Write the graphs that `gigaedge_runtime` measures a machine with; at run time there is no onnx to make them with.

All are matrix products. Constant weights are fills, which ONNX Runtime makes once, when it loads the graph: a graph of
50 MB takes a kilobyte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

FOLDER = Path(__file__).parents[1] / "runtime" / "gigaedge_runtime"
ROWS, WIDTH, LAYERS = 48, 1024, 12
"""The yardstick: the tokens of one sampler step through a row of square layers, 1.2 GFLOP, 50 MB of float32 weights."""
PEAK_WIDTH = 512
"""Weights of a processor's peak: in a core's second cache, and deep enough for its arithmetic to be what limits."""
OPSET, IR_VERSION = 20, 9
"""What every ONNX Runtime since 1.17 reads."""


def graphs() -> dict[str, bytes]:
    """File name -> content."""
    models = {
        "yardstick.onnx": yardstick(),
        "product_fp32.onnx": product("MatMul", np.array([1 / PEAK_WIDTH], np.float32)),
        "product_int8.onnx": product("MatMulInteger", np.array([1], np.int8)),
        "product_free.onnx": free_product(),
    }
    return {name: model.SerializeToString() for name, model in models.items()}


def yardstick() -> ModelProto:
    """A chain of products, x (48, 1024)."""
    nodes, name = [], "x"
    for layer in range(LAYERS):
        # Different ones, or ONNX Runtime would find them equal and keep one, which stays in the cache.
        fill = np.array([(layer + 1) / (LAYERS * WIDTH)], np.float32)
        nodes += [
            _weight(f"weight{layer}", fill),
            helper.make_node("MatMul", [name, f"weight{layer}"], [f"product{layer}"]),
        ]
        name = f"product{layer}"
    return _model(nodes, [_float("x", ROWS, WIDTH)], _float(name, ROWS, WIDTH), WIDTH)


def product(operator: str, fill: NDArray[Any]) -> ModelProto:
    """x (rows, 512) times constant weights; x is uint8 where they are int8, as dynamic quantisation has it."""
    integer = fill.dtype == np.int8
    kinds = (TensorProto.UINT8, TensorProto.INT32) if integer else (TensorProto.FLOAT, TensorProto.FLOAT)
    x, y = (
        helper.make_tensor_value_info(name, kind, ("rows", PEAK_WIDTH))
        for name, kind in zip("xy", kinds, strict=True)
    )
    nodes = [_weight("weight", fill), helper.make_node(operator, ["x", "weight"], ["y"])]
    return _model(nodes, [x], y, PEAK_WIDTH)


def free_product() -> ModelProto:
    """x (rows, depth) times w (depth, columns), both inputs."""
    inputs = [_float("x", "rows", "depth"), _float("w", "depth", "columns")]
    return _model([helper.make_node("MatMul", ["x", "w"], ["y"])], inputs, _float("y", "rows", "columns"))


def _float(name: str, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _weight(name: str, fill: NDArray[Any]) -> NodeProto:
    return helper.make_node("ConstantOfShape", ["square"], [name], value=numpy_helper.from_array(fill))


def _model(
    nodes: list[NodeProto], inputs: list[ValueInfoProto], output: ValueInfoProto, side: int | None = None
) -> ModelProto:
    """A graph; `side` is that of its square weights."""
    constants = [] if side is None else [numpy_helper.from_array(np.array([side, side], np.int64), "square")]
    graph = helper.make_graph(nodes, "product", inputs, [output], constants)
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])


if __name__ == "__main__":
    for name, content in graphs().items():
        (FOLDER / name).write_bytes(content)
