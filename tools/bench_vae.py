"""What the VAE encoder costs on this CPU: time, rate of its convolutions, and where the rest goes.

    python tools/bench_vae.py                               # widths 32, 64, 96 and 160, one thread
    python tools/bench_vae.py --base-dim 160 --threads 2

Weights are random; only their sizes matter. Each encoder is exported alone, as it is in a bundle's context graph, and
runs in turns with a large matrix product on as many threads, whose rate is the yardstick. `docs/cpu-vae.md` has figures
and what they mean.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
import typer
from torch import Tensor, nn

from gigaedge.machine import describe_machine, installed_versions
from gigaedge_export.checkpoint import load_vae
from gigaedge_export.fuse_vae import fuse_norms
from gigaedge_export.random_checkpoint import Sizes, write_random_checkpoint
from gigaedge_export.trace import trace
from gigaedge_export.vae import FirstFrameVae

WIDTH, HEIGHT = 320, 384
BASE_DIMS = (32, 64, 96, 160)
YARDSTICK = 1024
"""Rows and columns of the matrix product."""


class EncoderGraph(nn.Module):
    """The encoder as a graph of its own: composite u8 (height, width, 3) -> latents."""

    stage = "context"

    def __init__(self, vae: FirstFrameVae, width: int = WIDTH, height: int = HEIGHT) -> None:
        super().__init__()
        self.vae, self.size = vae, (height, width, 3)

    def forward(self, composite: Tensor) -> list[Tensor]:
        """See the class."""
        return [self.vae(composite)]

    def example(self) -> dict[str, Tensor]:
        """An input of the right shape."""
        return {"composite": torch.zeros(self.size, dtype=torch.uint8)}

    def output_names(self) -> list[str]:
        """`latents`."""
        return ["latents"]


def encoder(vae: FirstFrameVae, opset: int = 23, width: int = WIDTH, height: int = HEIGHT) -> ir.Model:
    """The encoder's graph as a bundle has it, in fp32."""
    model = trace(EncoderGraph(vae, width, height), opset)  # type: ignore[arg-type]
    fuse_norms(model)
    return model


def random_vae(folder: Path, base_dim: int) -> FirstFrameVae:
    """An encoder of that width with random weights, by way of a checkpoint in `folder`."""
    write_random_checkpoint(folder, "GWP-0", Sizes(layers=1, vae_base=base_dim))
    return load_vae(folder / "vae")[0]


def operations(model: ir.Model) -> float:
    """Floating-point operations of the convolutions, a multiplication and an addition as two."""
    total = 0
    for node in model.graph:
        if node.op_type == "Conv":
            weight, output = (ir.Shape(v.shape).numpy() for v in (node.inputs[1], node.outputs[0]))  # type: ignore[union-attr,arg-type]
            total += 2 * int(np.prod(weight)) * output[-2] * output[-1]
    return float(total)


def session(model: ir.Model | str, threads: int, profile: Path | None = None) -> ort.InferenceSession:
    """A session on the CPU, from a graph or its file."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    source = model if isinstance(model, str) else ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def product() -> ir.Model:
    """A product of two large matrices, as the yardstick."""
    weight = ir.tensor(np.ones((YARDSTICK, YARDSTICK), np.float32), name="weight")
    square = ir.Shape([YARDSTICK, YARDSTICK])
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=square)
    constant = ir.Value(name="weight", type=x.type, shape=square, const_value=weight)
    node = ir.node("MatMul", [x, constant])
    y = node.outputs[0]
    y.name, y.type, y.shape = "y", x.type, square
    graph = ir.Graph([x], [y], nodes=[node], initializers=[constant], opset_imports={"": 23}, name="product")
    return ir.Model(graph, ir_version=10)


def in_turns(runs: list[Callable[[], Any]], repeats: int, clock: Callable[[], float]) -> list[float]:
    """The shortest time of each, s."""
    best = [float("inf")] * len(runs)
    for _ in range(repeats):
        for index, run in enumerate(runs):
            begin = clock()
            run()
            best[index] = min(best[index], clock() - begin)
    return best


def shares(path: str, feed: dict[str, Any], threads: int, repeats: int, folder: Path) -> Counter[str]:
    """Seconds per operator, from the shortest time of each node."""
    profiled = session(path, threads, folder / "profile")
    for _ in range(repeats):
        profiled.run(None, feed)
    events = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    shortest: dict[tuple[str, str], float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (event["args"]["op_name"], event["name"])
            shortest[key] = min(shortest.get(key, float("inf")), event["dur"] / 1e6)
    seconds: Counter[str] = Counter()
    for (operator, _), duration in shortest.items():
        seconds[operator] += duration  # type: ignore[assignment]
    return seconds


def main(
    base_dim: Annotated[
        list[int] | None, typer.Option(help="Widths of encoders; default: 32, 64, 96, and 160 as published.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each, in turns; the shortest counts.")] = 8,
) -> None:
    """Measure the encoder and print a line per width, and its operators."""
    # With one thread its own time counts, whatever else runs on the machine.
    clock = time.process_time if threads == 1 else time.perf_counter
    versions = ", ".join(
        f"{name} {v}" for name, v in installed_versions(["onnxruntime", "onnxruntime-gpu"]).items()
    )
    print(f"{describe_machine()}; {versions}; {threads} thread(s)")
    yardstick, ones = session(product(), threads), {"x": np.ones((YARDSTICK, YARDSTICK), np.float32)}
    for base in base_dim or BASE_DIMS:
        with TemporaryDirectory() as name:
            folder = Path(name)
            model = encoder(random_vae(folder / "checkpoint", base))
            path, work = str(folder / "encoder.onnx"), operations(model)
            ir.save(model, path, external_data="weights.bin")
            measured = session(path, threads)
            feed = {"composite": np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)}
            runs = [partial(measured.run, None, feed), partial(yardstick.run, None, ones)]
            own, peak = in_turns(runs, repeats, clock)
            rate, reachable = work / own / 1e9, 2 * YARDSTICK**3 / peak / 1e9
            print(
                f"base_dim {base}: {own * 1e3:.1f} ms, {work / 1e9:.1f} GFLOP, {rate:.0f} GFLOP/s, "
                f"{rate / reachable:.0%} of a matrix product's {reachable:.0f}"
            )
            seconds = shares(path, feed, threads, repeats, folder)
            total = sum(seconds.values())
            print("   " + ", ".join(f"{op} {part / total:.1%}" for op, part in seconds.most_common(8)))


if __name__ == "__main__":
    typer.run(main)
