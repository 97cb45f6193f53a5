"""Graphs on disk: one `.onnx` file each, and one weights file for all of them, written a tensor at a time.

The weights file is safetensors and at the same time the graphs' external data: ONNX takes an offset into any file of
the same folder. A weight that two graphs use in the same form is stored once.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from gigaedge.bundle import WeightsInfo
from gigaedge.errors import GigaedgeError
from gigaedge.progress import Progress

WEIGHTS_FILE: Final = "weights.safetensors"
INLINE_BYTES: Final = 1024
"""Constants up to this size stay inside the graph."""
SHARED: Final = ("transformer.", "vae.")
"""Prefixes of names that mean the same in every graph."""
_TYPES: Final = {
    ir.DataType.FLOAT: "F32",
    ir.DataType.FLOAT16: "F16",
    ir.DataType.INT8: "I8",
    ir.DataType.UINT8: "U8",
    ir.DataType.INT64: "I64",
}
"""ONNX type -> safetensors name."""


def save_graphs(
    models: Mapping[Any, ir.Model],
    folder: Path,
    progress: Progress,
    release: Callable[[], None],
) -> WeightsInfo:
    """Write WEIGHTS_FILE and `NAME.onnx` for every model.

    `release` is called after each tensor, to drop the pages of the checkpoint that it was made from.
    """
    found: list[tuple[str, ir.Value]] = []
    tensors: dict[str, ir.TensorProtocol] = {}
    for stage, model in models.items():
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.nbytes <= INLINE_BYTES:
                continue
            key = name if name.startswith(SHARED) else f"{stage}.{name}"
            found.append((key, value))
            known = tensors.setdefault(key, tensor)
            if (known.dtype, known.shape) != (tensor.dtype, tensor.shape):
                raise GigaedgeError(f"{key} differs between two graphs; this is a defect of the exporter")
    # Wide types first, so that every tensor is aligned to its own type.
    order = sorted(tensors, key=lambda key: -tensors[key].dtype.itemsize)
    header, offsets = _header({key: tensors[key] for key in order})
    path = folder / WEIGHTS_FILE
    progress("writing weights", sum(tensor.nbytes for tensor in tensors.values()))
    digest = hashlib.sha256(header)
    with path.open("wb") as file:
        file.write(header)
        for key in order:
            data = np.ascontiguousarray(tensors[key].numpy()).data.cast("B") if tensors[key].size else b""
            file.write(data)
            digest.update(data)
            progress.advance(len(data))
            release()
    for key, value in found:
        tensor = tensors[key]
        value.const_value = ir.ExternalTensor(
            WEIGHTS_FILE,
            offsets[key],
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=str(value.name),
            base_dir=folder,
        )
    for stage, model in models.items():
        ir.save(model, folder / f"{stage}.onnx")
    by_type = Counter[str]()
    for tensor in tensors.values():
        by_type[str(tensor.dtype).lower()] += tensor.nbytes
    return WeightsInfo(
        file=WEIGHTS_FILE, bytes=path.stat().st_size, sha256=digest.hexdigest(), by_type=dict(by_type)
    )


def _header(tensors: Mapping[str, ir.TensorProtocol]) -> tuple[bytes, dict[str, int]]:
    """The safetensors header, and where in the file every tensor begins."""
    described: dict[str, Any] = {"__metadata__": {"format": "gigaedge"}}
    begin = 0
    begins = {}
    for key, tensor in tensors.items():
        begins[key] = begin
        described[key] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape.numpy()),
            "data_offsets": [begin, begin + tensor.nbytes],
        }
        begin += tensor.nbytes
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    header = struct.pack("<Q", len(text)) + text
    return header, {key: len(header) + begin for key, begin in begins.items()}
