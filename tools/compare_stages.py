"""One stage of several bundles, run in turn on the CPU: time per run, CPU time, and what each operator takes.

    python tools/compare_stages.py step BUNDLE OTHER --threads 1 --runs 40

Runs alternate, so that what else the machine does meets all bundles alike; with one thread, CPU time hardly depends on
it. Inputs are noise, the same for all. Operator times are the minimum over the runs of every node, summed: a node that
was interrupted once does not count, the profiler's own cost does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64}


def session(path: Path, threads: int, profile: str = "") -> ort.InferenceSession:
    """A graph with the runtime's own settings; with `profile`, writing a trace whose name begins so."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def noise(graph: ort.InferenceSession) -> dict[str, NDArray[np.generic]]:
    """Inputs of the right shapes: normal where they are floating, else zero."""
    random = np.random.default_rng(0)
    return {
        value.name: random.standard_normal(value.shape, np.float32)
        if value.type == "tensor(float)"
        else np.zeros(value.shape, TYPES[value.type])
        for value in graph.get_inputs()
    }


def operators(path: Path, threads: int, runs: int) -> tuple[Counter[str], Counter[str]]:
    """Time of every operator type in microseconds, and its number of nodes."""
    with TemporaryDirectory() as folder:
        graph = session(path, threads, f"{folder}/trace")
        inputs = noise(graph)
        for _ in range(runs):
            graph.run(None, inputs)
        events = json.loads(Path(graph.end_profiling()).read_text(encoding="utf-8"))
    fastest: dict[tuple[str, str], int] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            node = (event["name"], event["args"]["op_name"])
            fastest[node] = min(fastest.get(node, event["dur"]), event["dur"])
    times, counts = Counter[str](), Counter[str]()
    for (_, operator), duration in fastest.items():
        times[operator] += duration
        counts[operator] += 1
    return times, counts


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stage", choices=("context", "step"))
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    given = parser.parse_args(arguments)
    paths = {bundle: bundle / f"{given.stage}.onnx" for bundle in given.bundles}
    graphs = {bundle: session(path, given.threads) for bundle, path in paths.items()}
    inputs = {bundle: noise(graph) for bundle, graph in graphs.items()}
    wall: dict[Path, list[float]] = {bundle: [] for bundle in graphs}
    busy: dict[Path, list[float]] = {bundle: [] for bundle in graphs}
    for turn in range(given.runs + 1):
        for bundle, graph in graphs.items():
            begin, cpu = time.perf_counter(), time.process_time()
            graph.run(None, inputs[bundle])
            if turn:  # the first run warms up
                busy[bundle].append(1e3 * (time.process_time() - cpu))
                wall[bundle].append(1e3 * (time.perf_counter() - begin))
    for bundle, path in paths.items():
        print(f"{bundle} {given.stage}, {given.threads} threads, {given.runs} runs, ms:", end=" ")
        print(f"median {np.median(wall[bundle]):.2f}, minimum {min(wall[bundle]):.2f},", end=" ")
        print(f"CPU median {np.median(busy[bundle]):.2f}, minimum {min(busy[bundle]):.2f}")
        times, counts = operators(path, given.threads, given.runs)
        for operator, microseconds in times.most_common(12):
            print(f"    {operator:24} {microseconds / 1e3:8.2f} ms  x {counts[operator]}")


if __name__ == "__main__":
    main()
