"""From a traced graph to the operators that ONNX Runtime's CPU runs fast: a pass of its own, before precisions.

Requires: an fp32 graph as `trace` gives it from our modules, opset 23 or newer.
Ensures: the same values under the same names, inputs and outputs. Rotary embedding is one operator on tokens instead
of six on heads; self-attention with a cache takes tokens and the cache as they are; what only reshapes for the sake of
a broadcast, or splits into one part, is gone. Every new node has the place of those it stands for.

`docs/cpu.md` has what each of these is worth, and what was tried and is slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gigaedge_export.lower import place_of

OPSET: Final = 23
"""The first with Attention and RotaryEmbedding."""
TOKENS_FIRST: Final = (1, 0, 2)
"""Of a Transpose that swaps tokens and heads."""
BROADCASTING: Final = {"Add", "Mul"}


class Heads(NamedTuple):
    """What a value (heads, n, head_dim) was split from."""

    tokens: ir.Value
    """(n, heads * head_dim)."""
    heads: int
    head_dim: int


class Memory(NamedTuple):
    """Keys or values (heads, n, head_dim) that a group of tokens attends to."""

    cache: ir.Value | None
    """Those before the group's own, (heads, cached, head_dim)."""
    own: Heads


def fuse(model: ir.Model) -> None:
    """Rewrite a graph in place. Graphs of an older opset, which has no such operators, stay as they are."""
    if (model.opset_imports.get("") or 0) < OPSET:
        return
    _Fusion(model.graph).run()


class _Fusion:
    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self.serial = 0

    def run(self) -> None:
        for rewrite in (self._broadcast, self._whole, self._rotate, self._join, self._attend):
            for node in list(self.graph):
                rewrite(node)
            self._sweep()

    def _broadcast(self, node: ir.Node) -> None:
        """(width,) broadcasts to (n, width) without becoming (1, width) first."""
        if node.op_type not in BROADCASTING:
            return
        for index, value in enumerate(node.inputs):
            short, other = _unsqueezed(value), node.inputs[1 - index]
            if value is None or short is None or other is None:
                continue
            if _sizes(value) == (1, *_sizes(short)) and len(_sizes(other)) > len(_sizes(short)):
                node.replace_input_with(index, short)

    def _whole(self, node: ir.Node) -> None:
        """A Split into one part is a copy."""
        if node.op_type == "Split" and len(node.outputs) == 1 and node.inputs[0] is not None:
            _replace(node.outputs[0], node.inputs[0])

    def _rotate(self, node: ir.Node) -> None:
        """`layers.rotate` per head -> RotaryEmbedding on tokens, before the heads are split."""
        if node.op_type != "Add":
            return
        straight, swapped = (_made_by(value, "Mul") for value in node.inputs)
        if straight is None or swapped is None:
            return
        back = _made_by(swapped.inputs[0], "Reshape")
        flip = _made_by(_source(back), "Slice")
        pairs = _made_by(_source(flip), "Reshape")
        x, cos, sin = straight.inputs[0], _array(straight.inputs[1]), _array(swapped.inputs[1])
        source = _heads(x)
        if pairs is None or pairs.inputs[0] is not x or source is None or cos is None or sin is None:
            return
        cos, other_cos, negative, sin = cos[:, 0::2], cos[:, 1::2], -sin[:, 0::2], sin[:, 1::2]
        if not (np.array_equal(cos, other_cos) and np.array_equal(sin, negative)):
            return
        rotated = self._rotated(node, source, cos, sin)
        _replace(node.outputs[0], self._split(node, rotated, source))

    def _rotated(
        self, node: ir.Node, source: Heads, cos: NDArray[np.float32], sin: NDArray[np.float32]
    ) -> ir.Value:
        """Rotated tokens (n, heads * head_dim); the tables are (n, head_dim / 2)."""
        tables = [
            self._constant(f"rotary.{kind}", table[np.newaxis])
            for kind, table in (("cos", cos), ("sin", sin))
        ]
        batch = self._batched(node, source.tokens)
        attributes = {"interleaved": 1, "num_heads": source.heads}
        rotated = self._node("RotaryEmbedding", node, [batch, *tables], _sizes(batch), attributes)
        return self._single(node, rotated)

    def _join(self, node: ir.Node) -> None:
        """Tokens are joined before heads are split rather than after."""
        if node.op_type != "Concat" or node.attributes["axis"].as_int() not in (-2, 1):
            return
        sources = [_heads(value) for value in node.inputs]
        first = sources[0]
        if first is None or any(source is None for source in sources):
            return
        tokens = [source.tokens for source in sources if source is not None]
        rows = sum(_sizes(value)[0] for value in tokens)
        joined = self._node("Concat", node, tokens, (rows, _sizes(first.tokens)[1]), {"axis": 0})
        _replace(node.outputs[0], self._split(node, joined, first))

    def _attend(self, node: ir.Node) -> None:
        """Self-attention of heads, to a cache before them or without one -> of tokens.

        The operator splits and joins heads in place. A cache needs its outputs `present`, which nothing reads; without
        one ONNX Runtime 1.23 refuses them, so that keys and values for the step are split on their own.
        """
        if node.op_type != "Attention" or len(node.inputs) != 3 or "scale" in node.attributes:
            return
        query, *memory = [_unsqueezed(value) for value in node.inputs]
        parts = [_cached(value) for value in memory]
        squeezed = _only_user(node.outputs[0], "Squeeze")
        swapped = _only_user(_result(squeezed), "Transpose")
        flat = _only_user(_result(swapped), "Reshape")
        source = _heads(query)
        if source is None or flat is None or any(part is None for part in parts):
            return
        caches = [part.cache for part in parts if part is not None and part.cache is not None]
        own = [part.own.tokens for part in parts if part is not None]
        if len(caches) not in (0, len(own)):
            return
        tokens = [self._batched(node, value) for value in (source.tokens, *own)]
        past = [None, *(self._batched(node, value) for value in caches)] if caches else []
        present = [(1, *_sizes(value)) for value in memory if value is not None and caches]
        attended, *_ = self._nodes(
            "Attention",
            node,
            [*tokens, *past],
            [_sizes(tokens[0]), *present],
            {"q_num_heads": source.heads, "kv_num_heads": source.heads},
        )
        _replace(flat.outputs[0], self._single(node, attended))

    def _batched(self, before: ir.Node, value: ir.Value) -> ir.Value:
        """A value with a batch axis."""
        batched = _source(_made_by(value, "Squeeze"))
        if batched is not None and _sizes(batched) == (1, *_sizes(value)):
            return batched
        return self._node("Unsqueeze", before, [value, self._axis()], (1, *_sizes(value)))

    def _single(self, before: ir.Node, value: ir.Value) -> ir.Value:
        """A value without its batch axis."""
        return self._node("Squeeze", before, [value, self._axis()], _sizes(value)[1:])

    def _split(self, before: ir.Node, tokens: ir.Value, like: Heads) -> ir.Value:
        """Tokens (n, heads * head_dim) as (heads, n, head_dim)."""
        sizes = (_sizes(tokens)[0], like.heads, like.head_dim)
        shape = self._constant("heads", np.array(sizes, np.int64))
        cut = self._node("Reshape", before, [tokens, shape], sizes)
        return self._node(
            "Transpose", before, [cut], (sizes[1], sizes[0], sizes[2]), {"perm": list(TOKENS_FIRST)}
        )

    def _axis(self) -> ir.Value:
        return self._constant("first_axis", np.zeros(1, np.int64))

    def _constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        """A constant, made once for all that need the same values."""
        key = (name, array.shape, array.tobytes())
        if key not in self.constants:
            numbered = f"fused.{name}.{len(self.constants)}"
            tensor = ir.tensor(np.ascontiguousarray(array), name=numbered)
            value = ir.val(numbered, tensor.dtype, array.shape, const_value=tensor)
            self.graph.register_initializer(value)
            self.constants[key] = value
        return self.constants[key]

    def _node(
        self,
        op: str,
        before: ir.Node,
        inputs: Sequence[ir.Value | None],
        sizes: tuple[int, ...],
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        return self._nodes(op, before, inputs, [sizes], attributes)[0]

    def _nodes(
        self,
        op: str,
        before: ir.Node,
        inputs: Sequence[ir.Value | None],
        sizes: Sequence[tuple[int, ...]],
        attributes: Mapping[str, Any] | None = None,
    ) -> list[ir.Value]:
        """Insert a node with fp32 outputs of these sizes before another one, at the same place."""
        self.serial += 1
        name = f"{place_of(before)}/{op}_f{self.serial}"
        node = ir.node(op, inputs, attributes, num_outputs=len(sizes), name=name)
        for index, (value, shape) in enumerate(zip(node.outputs, sizes, strict=True)):
            value.name, value.shape = f"{name}:{index}", ir.Shape(shape)
            value.type = ir.TensorType(ir.DataType.FLOAT)
        self.graph.insert_before(before, node)
        return list(node.outputs)

    def _sweep(self) -> None:
        """Remove what nothing uses any more."""
        for node in reversed(list(self.graph)):
            if not any(value.uses() or value.is_graph_output() for value in node.outputs):
                self.graph.remove(node, safe=True)
        for name in [name for name, value in self.graph.initializers.items() if not value.uses()]:
            del self.graph.initializers[name]


def _source(node: ir.Node | None) -> ir.Value | None:
    return None if node is None else node.inputs[0]


def _result(node: ir.Node | None) -> ir.Value | None:
    return None if node is None else node.outputs[0]


def _made_by(value: ir.Value | None, op: str) -> ir.Node | None:
    """The node that computes a value, if it is one of `op`."""
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == op else None


def _only_user(value: ir.Value | None, op: str) -> ir.Node | None:
    """The node that alone uses a value, if it is one of `op`."""
    users = () if value is None else value.consumers()
    return users[0] if len(users) == 1 and users[0].op_type == op else None


def _heads(value: ir.Value | None) -> Heads | None:
    """Where a value is tokens split into heads: from what."""
    swap = _made_by(value, "Transpose")
    cut = _made_by(_source(swap), "Reshape")
    if (
        swap is None
        or cut is None
        or cut.inputs[0] is None
        or swap.attributes["perm"].as_ints() != TOKENS_FIRST
    ):
        return None
    tokens, sizes = cut.inputs[0], _sizes(cut.outputs[0])
    if len(_sizes(tokens)) != 2 or sizes[0] != _sizes(tokens)[0]:
        return None
    return Heads(tokens, heads=sizes[1], head_dim=sizes[2])


def _cached(value: ir.Value | None) -> Memory | None:
    """Where a value is heads, or a cache and heads after it: which."""
    joined = _made_by(value, "Concat")
    if joined is None or len(joined.inputs) != 2:
        own = _heads(value)
        return None if own is None else Memory(None, own)
    own = _heads(joined.inputs[1])
    return None if own is None else Memory(joined.inputs[0], own)


def _unsqueezed(value: ir.Value | None) -> ir.Value | None:
    """A value before it got a batch axis."""
    return _source(_made_by(value, "Unsqueeze"))


def _array(value: ir.Value | None) -> NDArray[Any] | None:
    """The values of a constant, or of a concatenation that was too large for the tracer to fold."""
    joined = _made_by(value, "Concat")
    if joined is not None:
        parts = [part for part in map(_array, joined.inputs) if part is not None]
        axis = joined.attributes["axis"].as_int()
        return np.concatenate(parts, axis) if len(parts) == len(joined.inputs) else None
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _sizes(value: ir.Value) -> tuple[int, ...]:
    return ir.Shape(value.shape or ()).numpy()


def _replace(old: ir.Value, new: ir.Value) -> None:
    """Let a value stand for another one, which leaves it its name where it is an output of the graph."""
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    if new.is_graph_output():
        old.name, new.name = f"{old.name}.replaced", old.name
