"""Traced modules -> ONNX graphs that share one weights file.

Parameters keep the checkpoint's names, so a weight that two graphs use is stored once. The weights file is
safetensors and at the same time the graphs' external data: ONNX takes an offset into any file of the same folder.
"""

from __future__ import annotations

import json
import logging
import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from safetensors.numpy import save_file

from gigaedge.bundle import TensorInfo
from gigaedge.errors import GigaedgeError
from gigaedge_export.graphs import Graph

WEIGHTS_FILE = "weights.safetensors"
SHARED_PREFIXES = ("transformer.", "vae.")
"""Names with these come from the checkpoint and mean the same weight in every graph."""
INLINE_BYTES = 1024
"""Constants up to this size stay inside the graph."""

_LAYER = re.compile(r"\bblocks\.(\d+)$")


def trace(graph: Graph, opset: int) -> ir.Model:
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
                verbose=False,
            )
    finally:
        exporter_log.setLevel(level)
    if program is None:
        raise GigaedgeError(f"the {graph.stage} graph could not be traced")
    model = program.model
    _name_nodes(model, graph.stage)
    ClearMetadataAndDocStringPass()(model)
    model.graph.name = graph.stage
    model.producer_name = "gigaedge"
    return model


def _name_nodes(model: ir.Model, stage: str) -> None:
    """`vae/...` for the encoder, else `STAGE/layerNN/...`, so that a profile sums per stage and layer."""
    where = stage
    for index, node in enumerate(model.graph):
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        if scopes is not None:  # a node that a rewrite made has none and belongs to its predecessor's place
            where = _place(scopes, stage)
        node.name = f"{where}/{node.op_type}_{index}"


def _place(scopes: str, stage: str) -> str:
    names = re.findall(r"'([^']*)'", scopes)
    if "vae" in names:
        return "vae"
    layers = [match for match in map(_LAYER.search, names) if match]
    return f"{stage}/layer{int(layers[0].group(1)):02d}" if layers else stage


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


def save_graphs(models: Mapping[Any, ir.Model], folder: Path) -> int:
    """Write WEIGHTS_FILE and `NAME.onnx` for every model; return the number of stored weights."""
    tensors: dict[str, NDArray[Any]] = {}
    keys: dict[tuple[str, str], str] = {}
    for stage, model in models.items():
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.nbytes <= INLINE_BYTES:
                continue
            # Names that tracing invents (constants) mean nothing beyond their graph.
            key = name if name.startswith(SHARED_PREFIXES) else f"{stage}.{name}"
            array = tensor.numpy()
            if key in tensors and not np.array_equal(tensors[key], array):
                raise GigaedgeError(f"{key} differs between two graphs; this is a defect of the exporter")
            tensors[key] = array
            keys[stage, name] = key
    path = folder / WEIGHTS_FILE
    save_file(tensors, path, metadata={"format": "gigaedge"})
    path.chmod(0o644)
    offsets = _offsets(path)
    for stage, model in models.items():
        for name, value in model.graph.initializers.items():
            stored = keys.get((stage, name))
            if stored is not None and value.const_value is not None:
                start, length = offsets[stored]
                value.const_value = ir.ExternalTensor(
                    WEIGHTS_FILE,
                    start,
                    length,
                    value.const_value.dtype,
                    shape=ir.Shape(value.const_value.shape.numpy()),
                    name=name,
                    base_dir=folder,
                )
        ir.save(model, folder / f"{stage}.onnx")
    return sum(array.size for array in tensors.values())


def _offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Absolute offset and length of every tensor of a safetensors file."""
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
    start = 8 + header_bytes
    return {
        name: (start + begin, end - begin)
        for name, entry in header.items()
        if name != "__metadata__"
        for begin, end in [entry["data_offsets"]]
    }
