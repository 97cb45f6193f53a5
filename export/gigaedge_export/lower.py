"""From a traced fp32 graph to one of mixed precision: a pass over the nodes, all of it visible in the graph.

Requires: a graph as `trace` gives it, fp32 throughout, with the checkpoint's weights as initializers.
Ensures: every weight has the precision that the recipe gives its place; matrix products, convolutions and attention
compute in fp16 where they may, everything else in fp32, with a Cast wherever a value crosses; inputs and outputs keep
their types, except for keys and values, which are fp16 when attention is.

Nothing here reads a weight: initializers become lazy tensors that convert theirs when the file is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import Tensor

from gigaedge.errors import GigaedgeError
from gigaedge_export.places import layer_of
from gigaedge_export.quantize import Blocks, as_type, channel_int8, channel_scales
from gigaedge_export.recipe import INTEGERS, Recipe

FULL: Final = ir.DataType.FLOAT
HALF: Final = ir.DataType.FLOAT16
MICROSOFT: Final = "com.microsoft"
CACHES: Final = ("context.", "text.")
"""Prefixes of the inputs and outputs that hold keys and values."""
WEIGHTED: Final = {"Gemm", "Conv"}
HALF_OPS: Final = {"Attention", "MatMul"}
"""Operators without weights that are worth computing in fp16."""
FOLLOWERS: Final = {
    "Gelu",
    "Reshape",
    "Transpose",
    "Slice",
    "Split",
    "Squeeze",
    "Unsqueeze",
    "Expand",
    "Identity",
}
"""Operators that compute in the type of their first input."""
INT8_BLOCKS, INT4_BLOCKS = Blocks(bits=8, block=32), Blocks(bits=4, block=32)
"""32 is the one block size that the weight-only tensor-core kernels in ONNX Runtime's CUDA wheels are built for."""
INT8_ACCURACY: Final = 4
"""MatMulNBits on the CPU: multiply in int8."""
Make = Callable[[], NDArray[Any]]
KINDS: Final[dict[ir.DataType, type[np.float16] | type[np.float32]]] = {FULL: np.float32, HALF: np.float16}
"""What numpy calls them."""


def lower(
    model: ir.Model, weights: Mapping[str, Tensor], recipe: Recipe, ranges: Mapping[str, float]
) -> None:
    """Lower a graph in place.

    `weights` are the checkpoint's tensors by initializer name. `ranges` has the largest absolute input of every place,
    which int8 for TensorRT needs.
    """
    _Lowering(model, weights, recipe, ranges).run()


def place_of(node: ir.Node) -> str:
    """The place a node was traced from: its name without the operator."""
    return (node.name or "").rpartition("/")[0]


class _Lowering:
    def __init__(
        self, model: ir.Model, weights: Mapping[str, Tensor], recipe: Recipe, ranges: Mapping[str, float]
    ) -> None:
        self.model, self.graph = model, model.graph
        self.weights, self.recipe, self.ranges = weights, recipe, ranges
        self.converted: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self.quantized: dict[ir.Value, list[ir.Value]] = {}
        self.serial = 0

    def run(self) -> None:
        for value in self.graph.inputs:
            if self._is_half_cache(value):
                value.type = ir.TensorType(HALF)
        for node in list(self.graph):
            self._lower_node(node)
        for index, value in enumerate(self.graph.outputs):
            self._fix_output(index, value)
        for name in [n for n, v in self.graph.initializers.items() if not v.uses()]:
            del self.graph.initializers[name]

    def _lower_node(self, node: ir.Node) -> None:
        place = place_of(node)
        weight = self._weight(node)
        if weight is not None:
            precision = self.recipe.of(place)
            if precision in INTEGERS:
                self._quantize(node, place, weight, precision)
            else:
                self._retype(node, HALF if precision != "fp32" else FULL)
        elif node.op_type in HALF_OPS:
            kept = self.recipe.kept.keys() & {place, layer_of(place)}
            self._retype(node, HALF if self.recipe.half and not kept else FULL)
        elif node.op_type in FOLLOWERS:
            self._retype(node, _dtype(node.inputs[0]))
        elif node.op_type == "Concat":
            self._retype(node, self._joined(node))
        elif node.op_type != "Cast":
            self._retype(node, FULL)

    def _joined(self, node: ir.Node) -> ir.DataType | None:
        """The type of a concatenation: fp16 where all parts are, or where one is a cache, which is not widened."""
        halves = [value for value in node.inputs if _dtype(value) == HALF]
        if len(halves) == len(node.inputs) or any(value and value.is_graph_input() for value in halves):
            return HALF
        return FULL if halves else _dtype(node.inputs[0])

    def _weight(self, node: ir.Node) -> Tensor | None:
        if node.op_type not in WEIGHTED or node.inputs[1] is None:
            return None
        return self.weights.get(node.inputs[1].name or "")

    def _retype(self, node: ir.Node, dtype: ir.DataType | None) -> None:
        """Let a node compute in `dtype`: convert its floating inputs and declare its outputs."""
        if dtype not in (FULL, HALF):
            return
        for index, value in enumerate(node.inputs):
            if value is not None and _dtype(value) in (FULL, HALF) and _dtype(value) != dtype:
                node.replace_input_with(index, self._as(value, dtype, node))
        for value in node.outputs:
            if _dtype(value) in (FULL, HALF):
                value.type = ir.TensorType(dtype)

    def _as(self, value: ir.Value, dtype: ir.DataType, before: ir.Node) -> ir.Value:
        """A value in another type; computed values are cast once, constants are stored in it."""
        if _dtype(value) == dtype:
            return value
        if (value, dtype) not in self.converted:
            if value.is_initializer():
                self.converted[value, dtype] = self._constant(
                    f"{value.name}.{'fp16' if dtype == HALF else 'fp32'}",
                    dtype,
                    value.shape,
                    self._source(value, KINDS[dtype]),
                )
            else:
                self.converted[value, dtype] = self._node("Cast", before, [value], dtype, {"to": dtype})
        return self.converted[value, dtype]

    def _source(self, value: ir.Value, kind: type[np.float16] | type[np.float32]) -> Make:
        weight, constant = self.weights.get(value.name or ""), value.const_value
        if weight is not None:
            return lambda: as_type(weight, kind)
        if constant is None:
            raise GigaedgeError(f"initializer {value.name} has no value; this is a defect of the exporter")
        return lambda: constant.numpy().astype(kind)

    def _quantize(self, node: ir.Node, place: str, weight: Tensor, precision: str) -> None:
        x, name = node.inputs[0], str(node.inputs[1] and node.inputs[1].name)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if x is None:
            raise GigaedgeError(f"{node.name} has no input; this is a defect of the exporter")
        if precision == "int8" and self.recipe.target == "tensorrt":
            self._quantize_dequantize(node, place, x, name, weight)
            return
        if precision == "int8" and self.recipe.target == "cpu":
            product = self._dynamic(node, x, name, weight)
        else:
            product = self._blockwise(
                node, x, name, weight, INT8_BLOCKS if precision == "int8" else INT4_BLOCKS
            )
        dtype = _dtype(product) or FULL
        if bias is not None:
            product = self._node("Add", node, [product, self._as(bias, dtype, node)], dtype)
        self._replace(node, product)

    def _dynamic(self, node: ir.Node, x: ir.Value, name: str, weight: Tensor) -> ir.Value:
        """int8 times uint8 activations, whose scale is found at run time; ONNX Runtime's CPU fuses the chain."""
        x = self._as(x, FULL, node)
        if x not in self.quantized:
            self.quantized[x] = self._nodes(
                "DynamicQuantizeLinear", node, [x], [ir.DataType.UINT8, FULL, ir.DataType.UINT8]
            )
        levels, scale, zero = self.quantized[x]
        outputs, inputs = weight.shape
        stored = self._constant(
            f"{name}.int8", ir.DataType.INT8, (inputs, outputs), lambda: channel_int8(weight, transpose=True)
        )
        scales = self._constant(f"{name}.scale", FULL, (outputs,), lambda: channel_scales(weight))
        product = self._node("MatMulInteger", node, [levels, stored, zero], ir.DataType.INT32)
        product = self._node("Cast", node, [product], FULL, {"to": FULL})
        return self._node("Mul", node, [product, self._node("Mul", node, [scale, scales], FULL)], FULL)

    def _blockwise(self, node: ir.Node, x: ir.Value, name: str, weight: Tensor, blocks: Blocks) -> ir.Value:
        """MatMulNBits: weights in blocks, activations as they are."""
        dtype = HALF if self.recipe.half else FULL
        outputs, inputs = weight.shape
        count = blocks.count(inputs)
        stored = self._constant(
            f"{name}.int{blocks.bits}",
            ir.DataType.UINT8,
            (outputs, count, blocks.block * blocks.bits // 8),
            lambda: blocks.packed(weight),
        )
        scales = self._constant(
            f"{name}.scale{blocks.bits}",
            dtype,
            (outputs * count,),
            lambda: blocks.scales(weight).astype(KINDS[dtype]).ravel(),
        )
        attributes = {
            "K": inputs,
            "N": outputs,
            "bits": blocks.bits,
            "block_size": blocks.block,
            "accuracy_level": 0 if self.recipe.half else INT8_ACCURACY,
        }
        self.model.opset_imports.setdefault(MICROSOFT, 1)
        x = self._as(x, dtype, node)
        return self._node("MatMulNBits", node, [x, stored, scales], dtype, attributes, MICROSOFT)

    def _quantize_dequantize(self, node: ir.Node, place: str, x: ir.Value, name: str, weight: Tensor) -> None:
        """Symmetric Q/DQ around the Gemm, which TensorRT fuses into an int8 kernel; scales are known beforehand."""
        x = self._as(x, HALF, node)
        scale = np.float16(max(self.ranges[place], 1e-4) / 127)
        zero = self._constant("int8.zero", ir.DataType.INT8, (), lambda: np.zeros((), np.int8))
        step = self._constant(f"{place}.input_scale", HALF, (), lambda: np.array(scale))
        levels = self._node("QuantizeLinear", node, [x, step, zero], ir.DataType.INT8)
        node.replace_input_with(0, self._node("DequantizeLinear", node, [levels, step, zero], HALF))
        stored = self._constant(
            f"{name}.qdq8", ir.DataType.INT8, weight.shape, lambda: channel_int8(weight, transpose=False)
        )
        scales = self._constant(
            f"{name}.scale16", HALF, (len(weight),), lambda: channel_scales(weight).astype(np.float16)
        )
        widened = self._node("DequantizeLinear", node, [stored, scales], HALF, {"axis": 0})
        node.replace_input_with(1, widened)
        self._retype(node, HALF)

    def _is_half_cache(self, value: ir.Value) -> bool:
        name = value.name or ""
        if not self.recipe.half or not name.startswith(CACHES):
            return False
        return f"layer{name.split('.')[-2]}" not in self.recipe.kept

    def _fix_output(self, index: int, value: ir.Value) -> None:
        wanted = HALF if self._is_half_cache(value) else FULL
        producer = value.producer()
        if producer is None or _dtype(value) not in (FULL, HALF) or _dtype(value) == wanted:
            return
        name = value.name
        cast = ir.node("Cast", [value], {"to": wanted}, name=f"{place_of(producer)}/Cast_{name}")
        self.graph.append(cast)
        value.name = f"{name}.unconverted"
        cast.outputs[0].name = name
        cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(wanted), value.shape
        self.graph.outputs[index] = cast.outputs[0]

    def _constant(self, name: str, dtype: ir.DataType, shape: Any, make: Make) -> ir.Value:
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        sizes = ir.Shape(shape if shape is not None else ())
        tensor = ir.LazyTensor(lambda: ir.tensor(make(), dtype=dtype, name=name), dtype, sizes, name=name)
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=sizes, const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def _node(
        self,
        op: str,
        before: ir.Node,
        inputs: list[ir.Value],
        dtype: ir.DataType,
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> ir.Value:
        return self._nodes(op, before, inputs, [dtype], attributes, domain)[0]

    def _nodes(
        self,
        op: str,
        before: ir.Node,
        inputs: list[ir.Value],
        dtypes: list[ir.DataType],
        attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> list[ir.Value]:
        """Insert a node before another one, at the same place."""
        self.serial += 1
        name = f"{place_of(before)}/{op}_p{self.serial}"
        node = ir.node(op, inputs, attributes, domain=domain, num_outputs=len(dtypes), name=name)
        for index, (value, dtype) in enumerate(zip(node.outputs, dtypes, strict=True)):
            value.name, value.type = f"{name}:{index}", ir.TensorType(dtype)
            if op == "Cast":
                value.shape = inputs[0].shape
        self.graph.insert_before(before, node)
        return list(node.outputs)

    def _replace(self, node: ir.Node, value: ir.Value) -> None:
        old = node.outputs[0]
        value.shape = old.shape
        old.replace_all_uses_with(value, replace_graph_outputs=True)
        if value.is_graph_output():
            old.name, value.name = f"{old.name}.replaced", old.name
        self.graph.remove(node, safe=True)


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    return None if value is None else value.dtype
