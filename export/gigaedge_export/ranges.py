"""How large activations become: found by running the graph modules in fp32 on observations.

The modules compute on memory-mapped weights, one layer at a time, so this works for a checkpoint of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gigaedge.progress import Progress
from gigaedge_export.checkpoint import LoadedCheckpoint
from gigaedge_export.graphs import STEP_INPUTS, ContextGraph, Graph, StepGraph, TextGraph
from gigaedge_export.layers import Conv2d, Linear
from gigaedge_export.places import layer_of, place
from gigaedge_export.quantize import HALF_LARGEST
from gigaedge_export.sampler import Schedule

HALF_LIMIT: Final = HALF_LARGEST / 2
"""What was seen may be exceeded; twice is the reserve."""
CACHED: Final = ("attn1.to_v", "attn1.norm_k", "attn1.norm_q", "attn2.to_v", "attn2.norm_k", "attn2.norm_q")
"""Modules of a layer whose outputs go into attention."""


@dataclass(frozen=True)
class Sample:
    """What one chunk is made from."""

    composite: NDArray[np.uint8]
    """(H, W, 3)."""
    state: NDArray[np.float32]
    """(14,), rad and m."""
    prompt: NDArray[np.float32]
    """(tokens, text_dim)."""
    noise: NDArray[np.float32]
    """(chunk, channels)."""


@dataclass
class Ranges:
    """Largest absolute inputs and outputs per place."""

    inputs: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, float] = field(default_factory=dict)
    lengths: dict[str, float] = field(default_factory=dict)
    """Largest Euclidean length of a head's query or key, times head_dim^-1/4: two multiply to at most a score."""

    def overflowing(self) -> dict[str, str]:
        """Places that fp16 might not hold, and layers whose attention it might not, with the reason."""
        found: dict[str, str] = {}
        for where, peak in self.inputs.items():
            largest = max(peak, self.outputs[where])
            if largest > HALF_LIMIT or not np.isfinite(largest):
                reason = f"activations reach {largest:.0f}"
                found[where] = reason
                if where.endswith(CACHED):
                    found[layer_of(where)] = reason
        return self._overflowing_scores() | found

    def _overflowing_scores(self) -> dict[str, str]:
        """Layers whose scores fp16 might not hold; ONNX Runtime's CPU, which may have them in fp32, does not tell."""
        longest: dict[tuple[str, str], dict[str, float]] = {}
        for where, length in self.lengths.items():
            attention, _, side = where.rpartition(".norm_")
            kept = longest.setdefault((layer_of(where), attention[-len("attn1") :]), {"q": 0.0, "k": 0.0})
            kept[side] = max(kept[side], length)
        return {
            layer: f"attention scores may reach {sides['q'] * sides['k']:.0f}"
            for (layer, _), sides in longest.items()
            if not sides["q"] * sides["k"] <= HALF_LIMIT
        }


def measure(
    checkpoint: LoadedCheckpoint,
    graphs: tuple[TextGraph, ContextGraph, StepGraph],
    schedule: Schedule,
    first_row: int,
    samples: Sequence[Sample],
    stages: set[str],
    progress: Progress,
) -> Ranges:
    """Run every sample through the graph modules and record what goes in and out of each layer.

    `stages` are those of interest; what only later ones would need is not run.
    """
    text, context, step = graphs
    ranges = Ranges()
    steps = schedule.steps if "step" in stages else 0
    context_runs = 0 if stages <= {"text"} else 1
    amounts = [sum(weight.nbytes for weight in graph.parameters()) for graph in graphs]
    runs = (1, context_runs, steps)
    progress("measuring activations", len(samples) * sum(a * n for a, n in zip(amounts, runs, strict=True)))
    with torch.no_grad(), ExitStack() as stack:
        for graph in graphs:
            stack.enter_context(_watched(graph, ranges, checkpoint.release))
        for sample in samples:
            memory = _named(text, text(torch.from_numpy(sample.prompt)))
            progress.advance(amounts[0])
            if not context_runs:
                continue
            memory |= _named(
                context,
                context(
                    torch.from_numpy(sample.composite),
                    torch.from_numpy(sample.state),
                    *_wanted(context, memory, 2),
                ),
            )
            progress.advance(amounts[1])
            actions = torch.from_numpy(sample.noise)
            velocity = torch.zeros_like(actions)
            alone = [step.example()[name] for name in ("previous", "weight", "guidance")]
            for row, coefficients in enumerate(schedule.coefficients[:steps]):
                actions, velocity, _ = step(
                    actions,
                    velocity,
                    torch.tensor([first_row + row]),
                    torch.from_numpy(coefficients),
                    torch.from_numpy(sample.state),
                    *alone,
                    *_wanted(step, memory, STEP_INPUTS),
                )
                progress.advance(amounts[2])
    return ranges


def _named(graph: Graph, outputs: list[Tensor]) -> dict[str, Tensor]:
    return dict(zip(graph.output_names(), outputs, strict=True))


def _wanted(graph: Graph, memory: dict[str, Tensor], skip: int) -> list[Tensor]:
    """The caches that a graph takes, after its first `skip` inputs."""
    return [memory[name] for name in list(graph.example())[skip:]]


@contextmanager
def _watched(graph: Graph, ranges: Ranges, release: Callable[[], None]) -> Iterator[None]:
    """Record the inputs and outputs of a graph's layers while the block runs.

    Graphs share modules, so a module's hooks are told by `active` which graph is running.
    """
    active = False
    head_dim = graph.transformer.config.attention_head_dim

    def begin(*_: Any) -> None:
        nonlocal active
        active = True

    def end(*_: Any) -> None:
        nonlocal active
        active = False

    def hook(where: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if active:
                for table, tensor in ((ranges.inputs, inputs[0]), (ranges.outputs, output)):
                    table[where] = float(np.maximum(table.get(where, 0.0), float(tensor.abs().amax())))
                if isinstance(module, nn.RMSNorm):
                    length = output.unflatten(-1, (-1, head_dim)).norm(dim=-1).amax()
                    ranges.lengths[where] = max(
                        ranges.lengths.get(where, 0.0), float(length) / head_dim**0.25
                    )
                release()

        return record

    handles = [graph.register_forward_pre_hook(begin), graph.register_forward_hook(end)]
    handles += [
        module.register_forward_hook(hook(place(graph.stage, path)))
        for path, module in graph.named_modules()
        if isinstance(module, Linear | Conv2d | nn.RMSNorm)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
