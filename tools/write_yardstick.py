"""Write the graph of `gigaedge_runtime.yardstick`, whose runtime has no onnx to make one with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

FILE = Path(__file__).parents[1] / "runtime" / "gigaedge_runtime" / "yardstick.onnx"
ROWS, WIDTH, LAYERS = 48, 1024, 12
"""The tokens of one sampler step through a row of square layers: 1.2 GFLOP, 50 MB of float32 weights."""
OPSET, IR_VERSION = 20, 9
"""What every ONNX Runtime since 1.17 reads."""


def yardstick() -> ModelProto:
    """A chain of matrix products. Its weights are fills, which ONNX Runtime makes once, when it loads the graph."""
    nodes, name = [], "x"
    for layer in range(LAYERS):
        # Different ones, or ONNX Runtime would find them equal and keep one, which stays in the cache.
        fill = np.array([(layer + 1) / (LAYERS * WIDTH)], np.float32)
        weight, product = f"weight{layer}", f"product{layer}"
        nodes += [
            helper.make_node("ConstantOfShape", ["shape"], [weight], value=numpy_helper.from_array(fill)),
            helper.make_node("MatMul", [name, weight], [product]),
        ]
        name = product
    graph = helper.make_graph(
        nodes,
        "yardstick",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [ROWS, WIDTH])],
        [numpy_helper.from_array(np.array([WIDTH, WIDTH], np.int64), "shape")],
    )
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])


if __name__ == "__main__":
    FILE.write_bytes(yardstick().SerializeToString())
