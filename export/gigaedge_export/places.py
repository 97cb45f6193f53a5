"""Names for places in the model, the same in node names, profiles, recipes and manifests.

text/condition_embedder.text_embedder.linear_1     a layer's weights belong to the stage that runs them
context/layer07/ffn.net.2                          GWP-0.5: context/layer07/visual_expert.ffn.net.2
step/layer07/attn1.to_q
vae/encoder.conv_in
"""

from __future__ import annotations

import re

_LAYER = re.compile(r"^blocks\.(\d+)\.?(.*)$")


def place(stage: str, path: str) -> str:
    """The place of a module, from its dotted path below a graph module (empty for the graph itself)."""
    root, _, inner = path.partition(".")
    if root == "vae":
        return f"vae/{inner}".rstrip("/")
    layer = _LAYER.match(inner)
    if layer is None:
        return f"{stage}/{inner}".rstrip("/")
    return f"{stage}/layer{int(layer[1]):02d}/{layer[2]}".rstrip("/")


def layer_of(place: str) -> str:
    """`layer07`, or `vae`, or an empty string outside of both."""
    parts = place.split("/")
    if parts[0] == "vae":
        return "vae"
    return parts[1] if len(parts) > 1 and parts[1].startswith("layer") else ""
