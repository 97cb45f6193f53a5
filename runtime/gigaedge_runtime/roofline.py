"""Where a chunk's time goes, per stage and operator, beside what the machine's peaks would allow.

After S. Williams, A. Waterman, D. Patterson, Roofline, CACM 52(4), 2009. Every node's arithmetic is held against the
peak of its type, and the weights of a stage against the rate at which memory is read.

**Weights in the cache.** A run of a stage need not read from memory what the caches kept since the run before, and
they cannot have kept more than their size. So the floor of memory counts what the weights of a stage exceed the caches
by, and a small model, whose weights fit, has a floor of computing only. Weights that a sampler inside the graph uses
in every step count once per step, by the same rule.
"""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from gigaedge.benchmark import OperatorInfo, Peaks, StageProfile
from gigaedge.bundle import LAYOUTS, Bundle
from gigaedge.sampling import Solver
from gigaedge_runtime.node_profile import NodeRun, SessionRun, read_profile
from gigaedge_runtime.operators import Work, work_of
from gigaedge_runtime.peaks import cache_bytes, measure_peaks
from gigaedge_runtime.policy import Observation, Policy
from gigaedge_runtime.sessions import Device

__all__ = ["measure_peaks", "profile_bundle"]

_ENOUGH_SECONDS = 30.0
"""Of chunks; a policy of several billion weights takes seconds for one."""
_PLACES = ("text", "vae", "context", "step", "sampler")
"""First parts of node names (`gigaedge_export`)."""


def profile_bundle(
    bundle: Bundle,
    device: Device,
    steps: int | None = None,
    *,
    solver: Solver = "euler",
    peaks: Peaks | None = None,
    repeats: int = 5,
) -> tuple[StageProfile, ...]:
    """Profile `repeats` chunks of a bundle, or half a minute of them, after one to warm up.

    With the device's provider and threads. Stages `vae`, `context` and `step` in layout split, `policy` in layout
    single; an empty tuple on a GPU, where ONNX Runtime's profile tells when kernels were launched and not how long they
    took. A node's time is the shortest of the runs, as a peak is the best of many: both tell of the machine when it is
    left alone. `peaks` are measured when they are not handed over. Raises BundleError (no such step count or solver)
    and DeviceError (the provider does not run).
    """
    if device.provider != "cpu":
        return ()
    peaks = peaks or measure_peaks(device)
    with TemporaryDirectory(prefix="gigaedge-profile-") as name:
        folder = Path(name)
        profiling = Device(device.provider, device.threads, folder)
        chunks = _make_chunks(bundle, profiling, steps, solver, 1 + repeats)
        runs = {
            graph: read_profile(next(folder.glob(f"{graph}_*.json")))
            for graph in LAYOUTS[bundle.manifest.layout]
            if graph != "text"
        }
    bits = 4 if bundle.manifest.precision.coarsest == "int4" else 8
    stages: list[StageProfile] = []
    for graph, made in runs.items():
        nodes = list(_undisturbed(made[len(made) // chunks :], bits))
        for stage in ("vae", graph) if graph == "context" else (graph,):
            chosen = [
                node for node in nodes if graph != "context" or (node.place == "vae") == (stage == "vae")
            ]
            stages.append(_stage(stage, chosen, peaks, cache_bytes(device)))
    return tuple(stages)


def _make_chunks(bundle: Bundle, device: Device, steps: int | None, solver: Solver, count: int) -> int:
    """Make `count` chunks, or as many as there is time for, but two; return how many."""
    policy = Policy(bundle, device, steps, solver, seed=0)
    policy.set_prompt(policy.manifest.prompts.names[0])
    observation = Observation.make_example(policy.manifest.view)
    begin, made = monotonic(), 0
    while made < 2 or (made < count and monotonic() < begin + _ENOUGH_SECONDS):
        policy.chunk(observation)
        made += 1
    # A session writes its profile when it goes.
    del policy
    gc.collect()
    return made


@dataclass(frozen=True)
class _Node:
    """A node as it ran when it was left alone."""

    place: str
    run: NodeRun
    """Of the last run, but for `seconds`."""
    seconds: float
    work: Work
    """Of one time; see `run.times`."""


def _undisturbed(runs: Sequence[SessionRun], packed_bits: int) -> Iterator[_Node]:
    """The nodes of several runs of one session, with their shortest time."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        for node in run.nodes:
            seconds[node.name, node.operator].append(node.seconds)
    last = runs[-1].nodes
    for node, place in zip(last, places([node.name for node in last]), strict=True):
        work = work_of(
            node.operator, node.inputs, node.outputs, node.parameter_bytes, packed_bits=packed_bits
        )
        yield _Node(place, node, min(seconds[node.name, node.operator]), work)


def places(names: Sequence[str]) -> list[str]:
    """The place of every node, from names in the order of running.

    ONNX Runtime gives convolutions in its own layout, and conversions that it adds, names without one: these belong to
    the node before them, the first ones to the first that has a place.
    """
    known = [first if (first := name.split("/", 1)[0]) in _PLACES else "" for name in names]
    current = next(filter(None, known), "")
    return [current := place or current for place in known]


def _stage(stage: str, nodes: Sequence[_Node], peaks: Peaks, cache: int) -> StageProfile:
    read = _bytes_read(nodes, cache)
    total = sum(node.work.weight_bytes * node.run.times for node in nodes)
    share = read / total if total else 0.0
    grouped: dict[str, list[_Node]] = defaultdict(list)
    for node in nodes:
        grouped[node.run.operator].append(node)
    operators = [_operator(name, group, peaks, share) for name, group in grouped.items()]
    return StageProfile(
        stage=stage,
        provider_nodes=dict(Counter(node.run.provider for node in nodes)),
        time=sum(operator.time for operator in operators),
        gflop=sum(operator.gflop for operator in operators),
        weight_mb=total / 1e6,
        floor_compute=_floor_compute(nodes, peaks),
        floor_memory=_floor_memory(read, peaks),
        operators=tuple(sorted(operators, key=lambda operator: operator.time, reverse=True)),
    )


def _operator(name: str, nodes: Sequence[_Node], peaks: Peaks, share: float) -> OperatorInfo:
    weights = sum(node.work.weight_bytes * node.run.times for node in nodes)
    return OperatorInfo(
        operator=name,
        nodes=sum(node.run.times for node in nodes),
        time=sum(node.seconds for node in nodes) * 1e3,
        gflop=sum(node.work.flop * node.run.times for node in nodes) / 1e9,
        weight_mb=weights / 1e6,
        floor=max(_floor_compute(nodes, peaks), _floor_memory(weights * share, peaks)),
    )


def _bytes_read(nodes: Iterable[_Node], cache: int) -> float:
    """Weights that cannot have stayed in the cache since they were used last."""
    weights: dict[int, float] = defaultdict(float)
    for node in nodes:
        weights[node.run.times] += node.work.weight_bytes
    return sum(times * max(0.0, size - cache) for times, size in weights.items())


def _floor_compute(nodes: Iterable[_Node], peaks: Peaks) -> float:
    """ms. What is not float32 is held against the highest rate there is."""
    other = max(peaks.fp32_gflop_s, peaks.int8_gop_s or 0.0)
    seconds = (
        node.work.flop * node.run.times / 1e9 / (peaks.fp32_gflop_s if node.work.float32 else other)
        for node in nodes
    )
    return sum(seconds) * 1e3


def _floor_memory(size: float, peaks: Peaks) -> float:
    """ms."""
    return size / 1e9 / peaks.read_gb_s * 1e3
