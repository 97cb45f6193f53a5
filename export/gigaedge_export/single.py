"""The three graphs of the split layout -> one graph `policy`, its sampler an ONNX Scan over the step graph.

    composite (H, W, 3) u8, state (14,), prompt_embeds (length, width), noise (chunk, channels)
    rows (steps,) i64, coefficients (steps, 2) f32      which sampler; left out: the bundle's first Euler schedule
    previous (chunk, 14), weight (chunk,), guidance (1,)    the chunk before; left out: none
        -> targets (chunk, 14), actions (chunk, channels), velocity and trajectory (steps, chunk, channels), latents

So that any program in any language gets a chunk from one call of ONNX Runtime. The Scan's body holds the nodes of one
step and no weights: those, and the keys and values it reads, belong to the graph around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from gigaedge.bundle import STEPS
from gigaedge.errors import GigaedgeError
from gigaedge_export.weights import SHARED

STAGES = ("text", "context", "step")
GUIDANCE = ("previous", "weight", "guidance")
"""Inputs of the step that are the same for all steps and may be left out."""


def compose_single(
    models: Mapping[Any, ir.Model], rows: NDArray[np.int64], coefficients: NDArray[np.float32]
) -> ir.Model:
    """Join `text`, `context` and `step`, which are taken apart and of no use afterwards, into one model.

    `rows` (steps,) of the time table and `coefficients` (steps, 2) of the solver are the values of the inputs of that
    name where a caller leaves them out. A weight that two graphs have under one name is kept once.
    """
    graphs = {stage: models[stage].graph for stage in STAGES}
    for stage, graph in graphs.items():
        _qualify(graph, stage)
    text, context, step = graphs.values()
    weights = _merge_initializers(graphs)
    entering = {value.name: value for value in (*text.inputs, *context.inputs)}
    known = entering | {value.name: value for value in (*text.outputs, *context.outputs)}
    for value in (*context.inputs, *step.inputs):
        if value.name in known and value is not known[value.name]:
            value.replace_all_uses_with(known[value.name])
    actions, targets = step.inputs[0], step.outputs[2]
    noise = _like(actions, "noise")
    start = [
        _constant("sampler.velocity", np.zeros(_sizes(actions), np.float32)),
        _constant("sampler.targets", np.zeros(_sizes(targets), np.float32)),
    ]
    choices = [_choice("rows", rows), _choice("coefficients", coefficients)]
    guidance = [_left_out(value) for value in step.inputs if value.name in GUIDANCE]
    results = [
        _like(actions, "actions"),
        _like(actions, "last_velocity"),
        _like(targets, "targets"),
        _like(actions, "velocity", axis=STEPS),
        _like(actions, "trajectory", axis=STEPS),
    ]
    body = ir.AttrGraph("body", _scan_body(step))
    scan = ir.node(
        "Scan",
        [noise, *start, *choices],
        {"body": body, "num_scan_inputs": len(choices)},
        outputs=results,
        name="sampler/Scan",
    )
    inputs = [entering[name] for name in ("composite", "state", "prompt_embeds")]
    outputs = {value.name: value for value in (*results, *context.outputs)}
    nodes = [*_take_nodes(text), *_take_nodes(context), scan]
    graph = ir.Graph(
        [*inputs, noise, *choices, *guidance],
        [outputs[name] for name in ("targets", "actions", "velocity", "trajectory", "latents")],
        nodes=nodes,
        initializers=[*weights, *start, *choices, *guidance],
        opset_imports={
            domain: version for model in models.values() for domain, version in model.opset_imports.items()
        },
        name="policy",
    )
    return ir.Model(graph, ir_version=models["step"].ir_version, producer_name="gigaedge")


def _qualify(graph: ir.Graph, stage: str) -> None:
    """Put the stage before every name that another graph may have, too."""
    keep = {value.name for value in (*graph.inputs, *graph.outputs)}
    values = [output for node in graph for output in node.outputs]
    values += [value for name, value in graph.initializers.items() if not name.startswith(SHARED)]
    for value in values:
        if value.name and value.name not in keep:
            value.name = f"{stage}.{value.name}"


def _merge_initializers(graphs: Mapping[str, ir.Graph]) -> list[ir.Value]:
    """Take the weights out of all graphs; one that comes again serves the uses of its namesakes."""
    merged: dict[str, ir.Value] = {}
    for graph in graphs.values():
        for name in list(graph.initializers):
            value = graph.initializers.pop(name)
            first = merged.setdefault(name, value)
            if first is value:
                continue
            if (first.dtype, first.shape) != (value.dtype, value.shape):
                raise GigaedgeError(
                    f"{name} is {first.dtype} {first.shape} in one graph and {value.dtype} {value.shape} in another; "
                    "this is a defect of the exporter"
                )
            value.replace_all_uses_with(first)
    return list(merged.values())


def _scan_body(step: ir.Graph) -> ir.Graph:
    """The step graph as (actions, velocity, targets; row, coefficients) -> the same three, then two records."""
    actions, velocity, index, weights = step.inputs[:4]
    following, next_velocity, targets = step.outputs
    row = ir.val("step.row", ir.DataType.INT64, [])
    axis = _constant("step.row_axis", np.zeros(1, np.int64))
    gather = ir.node("Unsqueeze", [row, axis], outputs=[_like(index, "step.rows")], name="step/row")
    index.replace_all_uses_with(gather.outputs[0])
    # A value may leave a body once: what is both carried on and recorded has a second name.
    records = [
        ir.node("Identity", [value], outputs=[_like(value, f"step.{name}")], name=f"step/{name}")
        for value, name in ((next_velocity, "velocity_record"), (following, "actions_record"))
    ]
    carried = [actions, velocity, _like(targets, "step.previous_targets")]
    nodes = [gather, *_take_nodes(step), *records]
    for value in (actions, velocity, weights, following, next_velocity, targets):
        value.name = f"step.{value.name}"
    return ir.Graph(
        [*carried, row, weights],
        [following, next_velocity, targets, *(record.outputs[0] for record in records)],
        nodes=nodes,
        initializers=[axis],
        name="step",
    )


def _take_nodes(graph: ir.Graph) -> list[ir.Node]:
    graph.inputs.clear()
    graph.outputs.clear()
    nodes = list(graph)
    graph.remove(nodes)
    return nodes


def _sizes(value: ir.Value) -> tuple[int, ...]:
    return ir.Shape(value.shape or ()).numpy()


def _like(value: ir.Value, name: str, *, axis: str | None = None) -> ir.Value:
    """A new value of the same type and shape, after a leading `axis`."""
    if value.dtype is None:
        raise GigaedgeError(f"{value.name} has no type; this is a defect of the exporter")
    return ir.val(name, value.dtype, [*([axis] if axis else []), *_sizes(value)])


def _constant(name: str, array: NDArray[Any]) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    return ir.val(name, tensor.dtype, array.shape, const_value=tensor)


def _left_out(value: ir.Value) -> ir.Value:
    """A graph input that is zero by default, in place of one of the step."""
    given = _constant(str(value.name), np.zeros(_sizes(value), np.float32))
    value.replace_all_uses_with(given)
    return given


def _choice(name: str, default: NDArray[Any]) -> ir.Value:
    """A graph input with a default, whose length a caller may change."""
    value = _constant(name, default)
    value.shape = ir.Shape([STEPS, *default.shape[1:]])
    return value
