"""One measurement for `gpu_report.py`, in a process of its own: prints JSON, the fields of one row per step count.

python tools/gpu_measure.py bundle BUNDLE --provider cuda
python tools/gpu_measure.py check BUNDLE CHECKPOINT --provider cuda
python tools/gpu_measure.py pytorch CHECKPOINT --device cuda --mode graph
python tools/gpu_measure.py bandwidth --device cuda
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime as ort
import typer

from gigaedge.bundle import open_bundle
from gigaedge.cli.export import parse_steps
from gigaedge.errors import GigaedgeError
from gigaedge.fidelity import GATES, compare
from gigaedge.files import read_tensors
from gigaedge_runtime.measuring import RecordingDevice, observe, random_observation
from gigaedge_runtime.memory import gpu_used, resident
from gigaedge_runtime.policy import Policy
from gigaedge_runtime.providers import Provider
from gpu_rows import Spread

SEED = 2026
COPY_BYTES = {"cuda": 4 << 30, "cpu": 256 << 20}
"""Far more than a cache holds."""
COPIES = 20

app = typer.Typer(pretty_exceptions_enable=False, help=__doc__)

StepsOption = Annotated[str, typer.Option(help="Step counts, as in 10,5.")]
RepeatsOption = Annotated[int, typer.Option(help="Chunks to time per step count.", min=1)]
WarmupOption = Annotated[int, typer.Option(help="Chunks before those, not timed.", min=1)]
BundleArgument = Annotated[Path, typer.Argument(help="Bundle folder.")]
CheckpointArgument = Annotated[Path, typer.Argument(help="Checkpoint folder.")]
ProviderOption = Annotated[Literal["cpu", "cuda", "tensorrt"], typer.Option(help="Where the graphs run.")]
DeviceOption = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where PyTorch runs.")]


@app.command()
def bundle(
    path: BundleArgument,
    provider: ProviderOption = "cuda",
    steps: StepsOption = "10",
    repeats: RepeatsOption = 100,
    warmup: WarmupOption = 10,
) -> None:
    """Time chunks of a bundle."""
    gpu_before = gpu_used()
    begin = time.perf_counter()
    policy, ran_on = load(path, provider)
    loaded = time.perf_counter() - begin
    observation = observe(policy.manifest, SEED)
    rows = []
    for count in parse_steps(steps):
        policy.set_sampler(count)
        for _ in range(warmup):
            policy.chunk(observation)
        total, parts = [], []
        for _ in range(repeats):
            begin = time.perf_counter()
            parts.append(policy.chunk(observation).timings)
            total.append(time.perf_counter() - begin)
        spreads = {name: Spread.of([each[name] for each in parts]).model_dump() for name in parts[0]}
        rows.append(
            {
                "steps": count,
                "load_s": loaded,
                "chunk_ms": Spread.of(total).model_dump(),
                "context_ms": spreads.get("context"),
                "steps_ms": spreads.get("steps"),
                **memory(gpu_before),
                "ran_on": dict(ran_on),
            }
        )
    typer.echo(json.dumps(rows))


@app.command()
def check(path: BundleArgument, checkpoint: CheckpointArgument, provider: ProviderOption = "cuda") -> None:
    """Compare a bundle's velocities with our PyTorch modules in fp32, on the CPU, on one random observation."""
    from gpu_pytorch import reference_velocity

    policy, ran_on = load(path, provider)
    observation, manifest = observe(policy.manifest, SEED), policy.manifest
    chunk = policy.chunk(observation, intermediate=True)
    prompt = read_tensors(path / manifest.prompts.file)[manifest.prompts.names[0]].astype(np.float32)
    expected = reference_velocity(checkpoint, observation, prompt, policy.schedule.steps)
    found = compare("velocity", chunk.intermediate["velocity"], expected)
    row = {
        "steps": policy.schedule.steps,
        "relative_l2": found.row.relative_l2,
        "gate": GATES[manifest.precision.recipe],
        "ran_on": dict(ran_on),
    }
    typer.echo(json.dumps([row]))


@app.command()
def pytorch(
    checkpoint: CheckpointArgument,
    device: DeviceOption = "cuda",
    mode: Annotated[
        Literal["eager", "compile", "graph"],
        typer.Option(help="compile: torch.compile, max-autotune; graph: that, in CUDA graphs."),
    ] = "graph",
    steps: StepsOption = "10",
    repeats: RepeatsOption = 100,
    warmup: WarmupOption = 10,
    check: Annotated[bool, typer.Option("--check", help="Compare velocities with fp32 as well.")] = False,
) -> None:
    """Time our PyTorch modules in bf16, context cached, as an exported bundle runs them."""
    from gpu_pytorch import DEFAULTS, Baseline, read_inputs, reference_velocity

    gpu_before = gpu_used()
    inputs = read_inputs(checkpoint)
    picture = (DEFAULTS.view_height, DEFAULTS.view_width)
    limits = (inputs.stats.state_q01, inputs.stats.state_q99)
    observation = random_observation(picture, limits, (DEFAULTS.chunk, inputs.channels), SEED)
    begin = time.perf_counter()
    baseline = Baseline(checkpoint, inputs.prompt, parse_steps(steps), device=device, mode=mode)
    loaded = time.perf_counter() - begin
    rows = []
    for count in parse_steps(steps):
        baseline.prepare(observation, count)
        for _ in range(warmup):
            chunk = baseline.chunk(observation)
        timed = [baseline.chunk(observation) for _ in range(repeats)]
        row: dict[str, Any] = {
            "steps": count,
            "load_s": loaded,
            "chunk_ms": Spread.of([each.context_s + each.steps_s for each in timed]).model_dump(),
            "context_ms": Spread.of([each.context_s for each in timed]).model_dump(),
            "steps_ms": Spread.of([each.steps_s for each in timed]).model_dump(),
            **memory(gpu_before),
        }
        if check:
            expected = reference_velocity(checkpoint, observation, inputs.prompt, count)
            row["relative_l2"] = compare("velocity", chunk.velocity, expected).row.relative_l2
        rows.append(row)
    typer.echo(json.dumps(rows))


@app.command()
def bandwidth(device: DeviceOption = "cuda") -> None:
    """Copy a large array within the device's memory; the median of 20 counts, bytes read and written per second."""
    import torch

    source = torch.ones(COPY_BYTES[device] // 4, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(COPIES + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    rate = 2 * source.nbytes / float(np.median(times[1:]))
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    versions = {"torch": torch.__version__, "onnxruntime": ort.__version__}
    typer.echo(json.dumps({"copy_bytes_per_s": rate, "gpu": name, "versions": versions}))


def load(path: Path, provider: Provider) -> tuple[Policy, Counter[str]]:
    """A policy with its first prompt and step count, and what its sessions run on."""
    device = RecordingDevice(provider)
    opened = open_bundle(path)
    policy = Policy(opened, device, steps=None, solver="euler", seed=SEED)
    policy.set_prompt(opened.manifest.prompts.names[0])
    return policy, device.ran_on


def memory(gpu_before: int | None) -> dict[str, int | None]:
    """What this process has taken so far, bytes."""
    gpu_now = gpu_used()
    grown = None if gpu_now is None or gpu_before is None else gpu_now - gpu_before
    return {"gpu_bytes": grown, "host_bytes": resident("VmHWM")}


if __name__ == "__main__":
    try:
        app()
    except GigaedgeError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
