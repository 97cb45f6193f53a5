"""ONNX Runtime's profile of a session, read: which node of which run took how long, on which shapes.

The file is a list with one event a line (the format of Chrome's tracing): `..._kernel_time` of category Node for every
node, after it has run, and `model_run` after the nodes of a run. Nodes of a subgraph appear like others, as often as
they ran, and again as part of the time of their Scan, Loop or If.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gigaedge_runtime.operators import Tensor

_NODE_SUFFIX = "_kernel_time"
_CONTROL = frozenset(("Scan", "Loop", "If"))


@dataclass(frozen=True)
class NodeRun:
    """One node, each time it ran within one run of its session."""

    name: str
    """As the exporter gave it, its place first (`context/layer07/...`); what ONNX Runtime fused or added may have
    another."""
    operator: str
    provider: str
    seconds: float
    """Of all its times, without those of the nodes inside it."""
    times: int
    inputs: tuple[Tensor, ...]
    """Without those that were packed when the graph was loaded."""
    outputs: tuple[Tensor, ...]
    parameter_bytes: int
    """Of the constants among `inputs`."""


@dataclass(frozen=True)
class SessionRun:
    """One run of a session."""

    seconds: float
    nodes: tuple[NodeRun, ...]
    """In the order in which they began first."""


def read_profile(file: Path) -> tuple[SessionRun, ...]:
    """All complete runs of a profile. Raises ValueError: no such profile, or one that is cut off."""
    runs, events = [], []
    with file.open(encoding="utf-8") as lines:
        line = ""
        for line in lines:
            text = line.strip().rstrip(",")
            if text in ("[", "]", ""):
                continue
            event = json.loads(text)
            if event["cat"] == "Node" and event["name"].endswith(_NODE_SUFFIX):
                events.append(_node(event))
            elif event["name"] == "model_run":
                runs.append(SessionRun(event["dur"] * 1e-6, _merged(events)))
                events = []
    if line.strip() != "]":
        raise ValueError(f"{file}: not a complete profile of ONNX Runtime")
    return tuple(runs)


@dataclass(frozen=True)
class _Event:
    begin: int
    """us."""
    end: int
    index: int
    """Of the node in its graph."""
    node: NodeRun


def _node(event: dict[str, Any]) -> _Event:
    arguments = event["args"]
    node = NodeRun(
        name=event["name"].removesuffix(_NODE_SUFFIX),
        operator=arguments["op_name"],
        provider=arguments["provider"],
        seconds=event["dur"] * 1e-6,
        times=1,
        inputs=_tensors(arguments["input_type_shape"]),
        outputs=_tensors(arguments["output_type_shape"]),
        parameter_bytes=int(arguments["parameter_size"]),
    )
    return _Event(event["ts"], event["ts"] + event["dur"], int(arguments["node_index"]), node)


def _tensors(values: list[dict[str, list[int]]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(kind, tuple(shape)) for value in values for kind, shape in value.items())


def _merged(events: list[_Event]) -> tuple[NodeRun, ...]:
    """Every node once; the time of a node with a subgraph without that of the nodes inside."""
    events = sorted(events, key=lambda event: (event.begin, -event.end))
    inside: dict[int, float] = defaultdict(float)
    around: list[tuple[int, _Event]] = []
    for index, event in enumerate(events):
        while around and around[-1][1].end <= event.begin:
            around.pop()
        if around:
            inside[around[-1][0]] += event.node.seconds
        if event.node.operator in _CONTROL:
            around.append((index, event))
    nodes: dict[tuple[str, str, int], NodeRun] = {}
    for index, event in enumerate(events):
        node = replace(event.node, seconds=max(0.0, event.node.seconds - inside[index]))
        key = (node.name, node.operator, event.index)
        before = nodes.get(key)
        nodes[key] = (
            replace(before, seconds=before.seconds + node.seconds, times=before.times + 1) if before else node
        )
    return tuple(nodes.values())
