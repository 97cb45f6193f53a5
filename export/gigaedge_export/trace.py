"""A graph module -> an fp32 ONNX graph, without reading a weight.

The checkpoint's weights lie memory-mapped under the module, and tracing only looks at their shapes. While the graph is
simplified they are parked as its inputs, where no rewrite can read or fold them; afterwards they are initializers whose
values are made when the file is written. Parameters keep the checkpoint's names, so that graphs can share them.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor

from gigaedge.bundle import TensorInfo
from gigaedge.errors import GigaedgeError
from gigaedge_export.graphs import Traceable
from gigaedge_export.places import place
from gigaedge_export.quantize import as_type


def trace(graph: Traceable, opset: int) -> ir.Model:
    """Trace a graph module into ONNX with readable node names and no tracing debris."""
    example = graph.example()
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's own deprecations, nothing a user can act on
            program = torch.onnx.export(
                graph.eval(),
                tuple(example.values()),
                input_names=list(example),
                output_names=graph.output_names(),
                opset_version=opset,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
            if program is None:
                raise GigaedgeError(f"the {graph.stage} graph could not be traced")
            weights = {name: tensor for name, tensor in graph.named_parameters() if tensor.ndim > 1}
            _park(program.model, weights)
            program.optimize()
            _unpark(program.model, weights)
    finally:
        exporter_log.setLevel(level)
    model = program.model
    _name_nodes(model, graph.stage)
    ClearMetadataAndDocStringPass()(model)
    model.graph.name = graph.stage
    model.producer_name = "gigaedge"
    return model


def _park(model: ir.Model, weights: Mapping[str, Tensor]) -> None:
    """Make inputs of the weights."""
    for name in list(model.graph.initializers):
        if name in weights:
            model.graph.inputs.append(model.graph.initializers.pop(name))


def _unpark(model: ir.Model, weights: Mapping[str, Tensor]) -> None:
    """Make fp32 initializers of the parked weights, in place of their conversions."""
    for parked in [value for value in model.graph.inputs if value.name in weights]:
        model.graph.inputs.remove(parked)
        name, weight = str(parked.name), weights[str(parked.name)]
        shape = ir.Shape(weight.shape)
        value = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
        make = partial(_as_tensor, name, weight)
        value.const_value = ir.LazyTensor(make, ir.DataType.FLOAT, shape, name=name)
        for node in list(parked.consumers()):
            if node.op_type == "Cast":
                node.outputs[0].replace_all_uses_with(value)
                model.graph.remove(node, safe=True)
        parked.replace_all_uses_with(value)
        model.graph.register_initializer(value)


def _as_tensor(name: str, weight: Tensor) -> ir.TensorProtocol:
    return ir.tensor(as_type(weight, np.float32), name=name)


def _name_nodes(model: ir.Model, stage: str) -> None:
    """`PLACE/OPERATOR_NUMBER`, so that a profile sums per stage, layer and module."""
    where = stage
    for index, node in enumerate(model.graph):
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        if scopes is not None:  # a node that a rewrite made has none and belongs to its predecessor's place
            # From the graph module inwards; the last is the node's own name.
            *modules, _ = re.findall(r"'([^']*)'", scopes)
            where = place(stage, modules[-1])
        node.name = f"{where}/{node.op_type}_{index}"


def signature(model: ir.Model) -> tuple[dict[str, TensorInfo], dict[str, TensorInfo]]:
    """Names, types and shapes of a graph's inputs and outputs."""

    def describe(values: Any) -> dict[str, TensorInfo]:
        return {
            value.name: TensorInfo(
                dtype=value.dtype.numpy().name,
                shape=tuple(size if isinstance(size, int) else str(size.value) for size in value.shape),
            )
            for value in values
        }

    return describe(model.graph.inputs), describe(model.graph.outputs)
