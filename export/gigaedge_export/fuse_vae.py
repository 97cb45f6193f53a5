"""The VAE's channel norms as one operator each: a pass over a traced graph.

Requires: an fp32 graph as `trace` gives it from `gigaedge_export.vae`.
Ensures: the same values under the same names. From opset 23, where RMSNormalization is, a norm over rows is one pass
over memory instead of three; graphs of an older opset stay as they are.

`docs/cpu-vae.md` says what that is worth, and what was tried and is slower.
"""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from gigaedge_export.lower import place_of
from gigaedge_export.vae import NORM_FLOOR

OPSET: Final = 23
"""The first with RMSNormalization."""


def fuse_norms(model: ir.Model) -> int:
    """Replace every norm over rows in place; return how many there were."""
    if (model.opset_imports.get("") or 0) < OPSET:
        return 0
    return sum(_fuse(model.graph, node) for node in list(model.graph) if node.op_type == "ReduceL2")


def _fuse(graph: ir.Graph, length: ir.Node) -> bool:
    """rows / max(length(rows) / sqrt(width), floor) * gamma -> RMSNormalization(rows, gamma)."""
    chain = [length]
    for op in ("Div", "Clip", "Div", "Mul"):
        users = chain[-1].outputs[0].consumers()
        if len(users) != 1 or users[0].op_type != op:
            return False
        chain.append(users[0])
    rows, (*_, division, scaling) = length.inputs[0], chain
    gamma = scaling.inputs[1]
    if rows is None or division.inputs[0] is not rows or gamma is None or rows.shape is None:
        return False
    width = rows.shape[-1]
    if not isinstance(width, int) or gamma.shape != ir.Shape([width]):
        return False
    attributes = {"axis": -1, "epsilon": NORM_FLOOR**2 / width}
    norm = ir.node(
        "RMSNormalization", [rows, gamma], attributes, name=f"{place_of(scaling)}/RMSNormalization"
    )
    old, new = scaling.outputs[0], norm.outputs[0]
    new.name, new.type, new.shape = old.name, old.type, old.shape
    graph.insert_after(scaling, norm)
    old.replace_all_uses_with(new)
    graph.remove(reversed(chain), safe=True)
    return True
