"""The arithmetic and the weights of one node, from the shapes that ONNX Runtime's profile tells.

Where ONNX Runtime packed a weight when it loaded the graph, the profile leaves that input out; depth and width of a
product can still be told from the other shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

_PRODUCTS = frozenset(
    (
        *("Gemm", "MatMul", "FusedGemm", "FusedMatMul", "MatMulNBits"),
        *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger", "QLinearMatMul"),
    )
)
_CONVOLUTIONS = frozenset(("Conv", "FusedConv", "NhwcConv", "NhwcFusedConv", "ConvInteger", "QLinearConv"))
_ATTENTION = frozenset(("Attention", "MultiHeadAttention"))
_INTEGER = frozenset(
    (
        *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger", "QLinearMatMul"),
        *("MatMulNBits", "ConvInteger", "QLinearConv"),
    )
)
_ITEM_BYTES = {"float": 4.0, "float16": 2.0, "bfloat16": 2.0}


@dataclass(frozen=True)
class Tensor:
    """Type, as ONNX Runtime names it (`float`), and shape."""

    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """What one run of a node asks for at least."""

    flop: float = 0.0
    """Multiplications and additions of matrix products, convolutions and attention; 0 for all else."""
    weight_bytes: float = 0.0
    """Constant factors of products and convolutions. Biases and scales are left out."""
    float32: bool = True
    """Whether the arithmetic is in float32; if not, no rate is higher than that of int8."""


def work_of(
    operator: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    parameter_bytes: int,
    *,
    packed_bits: int = 8,
) -> Work:
    """The work of one node.

    `inputs` are those that the profile shows, `parameter_bytes` the size of the constants among them, `packed_bits`
    the size of a MatMulNBits weight that it does not show. A convolution whose weight it does not show counts as
    nothing: too little, so that a floor stays one.
    """
    if not inputs or not outputs or len(outputs[0].shape) < 2:
        return Work()
    float32 = operator not in _INTEGER and inputs[0].kind == "float"
    if operator in _PRODUCTS:
        return _product(operator, inputs, outputs[0], parameter_bytes, packed_bits, float32=float32)
    if operator in _CONVOLUTIONS:
        return _convolution(inputs, outputs[0], parameter_bytes, float32=float32)
    if operator in _ATTENTION and len(inputs) > 1 and len(inputs[1].shape) > 2:
        # Scores, then their product with the values; heads may be an axis or part of the last one. Keys from before
        # are an input more, and all keys together the second output.
        keys = outputs[1] if len(outputs) > 1 else inputs[1]
        positions = keys.shape[-2]
        elements = prod(inputs[0].shape) + prod(outputs[0].shape)
        return Work(2.0 * positions * elements, float32=float32)
    return Work()


def _product(
    operator: str,
    inputs: Sequence[Tensor],
    output: Tensor,
    parameter_bytes: int,
    packed_bits: int,
    *,
    float32: bool,
) -> Work:
    rows, columns = output.shape[-2:]
    first = inputs[0].shape
    # Gemm may have its first factor transposed.
    depth = prod(first) // rows if operator in ("Gemm", "FusedGemm") else first[-1]
    flop = 2.0 * prod(output.shape) * depth
    size = packed_bits / 8 if operator == "MatMulNBits" else 1.0 if operator in _INTEGER else None
    item = _ITEM_BYTES.get(inputs[0].kind, 1.0) if size is None else size
    if operator == "MatMulNBits":
        # Blocks of packed values: (columns, blocks, bytes).
        second = next((value.shape for value in inputs[1:] if value.kind == "uint8"), None)
        return Work(flop, prod(second) if second else depth * columns * item, float32)
    second = next(
        (
            value.shape
            for value in inputs[1:]
            if len(value.shape) > 1 and sorted(value.shape[-2:]) == sorted((depth, columns))
        ),
        None,
    )
    if second is None:
        return Work(flop, depth * columns * item, float32)
    weight = prod(second) * item
    return Work(flop, weight if parameter_bytes >= weight else 0.0, float32)


def _convolution(inputs: Sequence[Tensor], output: Tensor, parameter_bytes: int, *, float32: bool) -> Work:
    weight = next((value for value in inputs[1:] if len(value.shape) == len(output.shape)), None)
    if weight is None or weight.shape == output.shape:
        return Work(float32=float32)
    item = _ITEM_BYTES.get(weight.kind, 1.0)
    size = prod(weight.shape) * item
    flop = 2.0 * prod(output.shape) * prod(weight.shape[1:])
    return Work(flop, size if parameter_bytes >= size else 0.0, float32)
