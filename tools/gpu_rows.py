"""What a GPU report consists of: rows with their commands, the device's bandwidth, and figures others published."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from gigaedge.bundle import read_manifest

HEADER: Final = (
    *("what", "steps", "chunk, ms", "context, ms", "steps, ms", "one step, ms", "floor, ms", "load, s"),
    *("GPU, GB", "host, GB", "relative L2", "ran on", "problem"),
)


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(_Frozen):
    """Percentiles of repeated timings, ms."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Of timings in s."""
        p50, p95, p99 = np.percentile(np.array(seconds) * 1e3, (50, 95, 99))
        return cls(p50=float(p50), p95=float(p95), p99=float(p99))


class Row(_Frozen):
    """One measurement, or why there is none."""

    kind: Literal["policy", "pytorch", "check"]
    """Speed of a bundle, speed of our PyTorch modules, or how far a bundle is from them."""
    generation: str
    precision: str
    variant: str
    """Of a bundle its layout; of PyTorch how it ran."""
    provider: str
    layers: int
    commands: tuple[str, ...]
    """What makes this row from nothing, in order."""
    error: str = ""
    """One line; empty when it worked."""
    steps: int | None = None
    load_s: float | None = None
    """From the bundle or checkpoint on disk to a policy that is warm, without its warm-up."""
    chunk_ms: Spread | None = None
    context_ms: Spread | None = None
    steps_ms: Spread | None = None
    """All sampler steps together."""
    gpu_bytes: int | None = None
    """Growth of the GPU's used memory, with the CUDA context; None where nvidia-smi is not there."""
    host_bytes: int | None = None
    """Peak resident memory of the process."""
    ran_on: dict[str, int] = {}
    """Nodes per execution provider, after ONNX Runtime's optimisation; 0 where it does not count them."""
    floor_ms: float | None = None
    """The least time in which the device's memory can deliver the weights of a chunk."""
    relative_l2: float | None = None
    """Of the velocity, against our PyTorch modules in fp32."""
    gate: float | None = None
    """Largest `relative_l2` that passes; None where it is only reported."""

    @property
    def name(self) -> str:
        """What was measured, in a few words."""
        return f"{self.kind}: {self.generation} {self.precision} {self.variant}, {self.provider}, {self.layers} layers"

    @property
    def problem(self) -> str:
        """Why this row fails the report; empty when it does not."""
        if self.error or self.gate is None or self.relative_l2 is None or self.relative_l2 <= self.gate:
            return self.error
        return f"velocity beyond its gate of {self.gate:g}"

    def cells(self) -> list[str]:
        """Under HEADER."""
        step = self.steps_ms.p50 / self.steps if self.steps_ms and self.steps else None
        return [
            self.name,
            _text(self.steps, "d"),
            *(_spread(each) for each in (self.chunk_ms, self.context_ms, self.steps_ms)),
            *(_text(step, ".2f"), _text(self.floor_ms, ".2f"), _text(self.load_s, ".1f")),
            *(_text(size and size / 1e9, ".2f") for size in (self.gpu_bytes, self.host_bytes)),
            _text(self.relative_l2, ".1e"),
            ", ".join(
                f"{name.removesuffix('ExecutionProvider')} {n or ''}".strip()
                for name, n in self.ran_on.items()
            ),
            self.problem,
        ]


class Report(_Frozen):
    """A whole report."""

    machine: str
    versions: dict[str, str]
    copy_bytes_per_s: float | None
    """Measured: bytes read and written by a large copy in the device's memory, per second."""
    rows: tuple[Row, ...] = ()


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _spread(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.p50:.2f}/{spread.p95:.2f}/{spread.p99:.2f}"


class Published(_Frozen):
    """A latency that others report; its boundaries and its machine are theirs."""

    what: str
    machine: str
    ms: float
    source: str


_REPORT: Final = "GigaWorld-Policy-0.5 technical report, Table 4"
_WAM: Final = "GigaAI-research/wam.cpp, README section 2.2"
_PI: Final = "Jinlong-cs/pi.cpp, FastWAM ledger"
PUBLISHED: Final = tuple(
    Published(what=what, machine=machine, ms=ms, source=source)
    for what, machine, ms, source in (
        ("GWP-0", "A100", 360, _REPORT),
        ("GWP-0", "RTX 4090", 293, _REPORT),
        ("GWP-0.5", "A100", 189, _REPORT),
        ("GWP-0.5", "RTX 4090", 110, _REPORT),
        ("GWP-0.5, C++", "A100", 140, _REPORT),
        ("GWP-0.5, C++", "RTX 4090", 85, _REPORT),
        ("GWP-0.5, wam.cpp, bf16", "A800", 108, _WAM),
        ("GWP-0.5, wam.cpp, bf16", "RTX 4090", 85, _WAM),
        ("FastWAM, fp16, 10 steps", "Jetson AGX Orin", 297.16, _PI),
        ("FastWAM, selective int8, 10 steps", "Jetson AGX Orin", 182.53, _PI),
        ("FastWAM", "H200", 43.52, _PI),
    )
)


def floor_ms(bundle: Path, steps: int, bytes_per_s: float) -> float:
    """The least time to read every weight of a chunk once per use, ms; caches and activations come on top."""
    graphs = read_manifest(bundle).graphs
    if "policy" in graphs:
        once, per_step = weight_reads(bundle / graphs["policy"].file)
    else:
        once, _ = weight_reads(bundle / graphs["context"].file)
        per_step, _ = weight_reads(bundle / graphs["step"].file)
    return (once + steps * per_step) / bytes_per_s * 1e3


def weight_reads(graph: Path) -> tuple[int, int]:
    """Bytes of weights that one run of a graph reads, and that one iteration of the Scan in it reads.

    Of a table that a Gather looks rows up in, next to nothing is read.
    """
    import onnx

    model = onnx.load(graph, load_external_data=False).graph
    sizes = {
        each.name: math.prod(each.dims) * onnx.helper.tensor_dtype_to_np_dtype(each.data_type).itemsize
        for each in model.initializer
    }
    bodies = [
        attribute.g.node for node in model.node for attribute in node.attribute if attribute.HasField("g")
    ]
    inside = {name for body in bodies for name in _read(body)}
    return (
        sum(sizes.get(name, 0) for name in _read(model.node)),
        sum(sizes.get(name, 0) for name in inside),
    )


def _read(nodes: Iterable[object]) -> set[str]:
    return {
        name
        for node in nodes
        for index, name in enumerate(node.input)  # type: ignore[attr-defined]
        if not (node.op_type == "Gather" and index == 0)  # type: ignore[attr-defined]
    }
