"""What a machine can do at best: reading memory, and multiplying matrices with the library that inference runs on.

A roof is useful when nothing is above it, so every figure is the best of many short runs: on a machine that does other
things as well, a run of a millisecond has a chance to be left alone, a long one has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gigaedge.benchmark import Peaks
from gigaedge_runtime.sessions import Device

SYS = Path("/sys")
_GRAPHS = Path(__file__).parent
"""product_*.onnx, written by tools/write_products.py."""
_SECONDS = 0.5
"""Of measurement per figure; about 3 s in all."""
_PEAK_ROWS = (64, 256, 512)
_READ_BYTES = 128 << 20
"""Read at once, by all threads."""
_MIN_PART_BYTES, _MAX_PART_BYTES = 2 << 20, 16 << 20
"""Of it by one thread: long enough for its start not to count, and half a millisecond at most on a fast core."""
_PASSES = 4
"""Times as much memory as is read at once, and as the caches hold."""
_GPU_SIDE = 8192
"""A GPU's products, and its memory to read: 268 MB of weights."""
UNKNOWN_CACHE_BYTES = 64 << 20
"""Where a CPU's caches are not told: more than the boards have that do not tell."""
GPU_CACHE_BYTES = 128 << 20
"""No GPU has a larger second cache (NVIDIA B200: 126 MB)."""


def measure_peaks(device: Device, *, seconds: float = _SECONDS) -> Peaks:
    """Measure with the device's provider and threads, about `seconds` per figure.

    On the CPU: integers summed in numpy by as many threads as inference has, in turn through four times the memory that
    the caches hold, so that nothing is in one when its turn comes again; products of 64 to 512 rows with constant
    512 x 512 weights in ONNX Runtime, float32 and uint8 by int8. On a GPU (TensorRT's is measured through CUDA):
    products of 8192 x 8192 float32 without TF32, and memory by one row times such a matrix; no int8, as there gigaedge
    keeps weights in int8 and computes in floating point. Raises DeviceError where the provider does not run.
    """
    if device.provider != "cpu":
        return _gpu_peaks(Device("cuda", device.threads), seconds)
    return Peaks(
        read_gb_s=_read_rate(device.workers, cache_bytes(device), seconds),
        fp32_gflop_s=_product_rate(device, "product_fp32.onnx", np.dtype(np.float32), seconds),
        int8_gop_s=_product_rate(device, "product_int8.onnx", np.dtype(np.uint8), seconds),
    )


def cache_bytes(device: Device, *, sys: Path = SYS) -> int:
    """At most this much of a graph's weights can still be in the device's caches when its next run begins.

    A CPU's level 2 and 3 caches as sysfs lists them, each once; a bound from above where it lists none, and on a GPU.
    """
    if device.provider != "cpu":
        return GPU_CACHE_BYTES
    found = {}
    for index in sys.glob("devices/system/cpu/cpu[0-9]*/cache/index*"):
        try:
            level, size, shared = (
                (index / name).read_text(encoding="ascii").strip()
                for name in ("level", "size", "shared_cpu_list")
            )
        except OSError:
            continue
        if level in ("2", "3") and (match := re.fullmatch(r"(\d+)K", size)):
            found[level, shared] = int(match[1]) << 10
    return sum(found.values()) or UNKNOWN_CACHE_BYTES


def _read_rate(threads: int, caches: int, seconds: float) -> float:
    """GB/s."""
    part = min(max(_READ_BYTES // threads, _MIN_PART_BYTES), _MAX_PART_BYTES)
    count = max(_PASSES, -(-_PASSES * caches // (part * threads)))
    # Written once: memory that was not is one page of zeros.
    memory = np.ones((count, threads, part // 8), np.int64)
    with ThreadPoolExecutor(threads) as pool:

        def read(number: int) -> None:
            # Ends when every part is summed; numpy lets go of the interpreter's lock meanwhile.
            list(pool.map(np.add.reduce, memory[number % count]))

        return part * threads / _best(read, seconds) / 1e9


def _product_rate(device: Device, graph: str, dtype: np.dtype[Any], seconds: float) -> float:
    """GFLOP/s or GOP/s, of the best number of rows."""
    session = device.session(_GRAPHS / graph)
    (value,) = session.get_inputs()
    width = int(value.shape[1])
    rates = []
    for rows in _PEAK_ROWS:
        inputs = {value.name: np.ones((rows, width), dtype)}

        def multiply(_: int, inputs: dict[str, NDArray[Any]] = inputs) -> None:
            session.run(None, inputs)

        rates.append(2 * rows * width * width / _best(multiply, seconds / len(_PEAK_ROWS)) / 1e9)
    return max(rates)


def _gpu_peaks(device: Device, seconds: float, side: int = _GPU_SIDE) -> Peaks:
    session = device.session(_GRAPHS / "product_free.onnx")
    weights = device.place(np.ones((side, side), np.float32))

    def best(rows: int) -> float:
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", device.place(np.ones((rows, side), np.float32)))
        binding.bind_ortvalue_input("w", weights)
        binding.bind_ortvalue_output("y", device.place(np.zeros((rows, side), np.float32)))

        options = ort.RunOptions()

        def multiply(_: int) -> None:
            session.run_with_iobinding(binding, options)
            binding.synchronize_outputs()

        return _best(multiply, seconds)

    return Peaks(read_gb_s=4 * side**2 / best(1) / 1e9, fp32_gflop_s=2 * side**3 / best(side) / 1e9)


def _best(work: Callable[[int], None], seconds: float) -> float:
    """The shortest time of one call, s, of those that fit into `seconds` after a first one."""
    work(0)
    shortest, number, end = float("inf"), 1, perf_counter() + seconds
    while (begin := perf_counter()) < end or number == 1:
        work(number)
        shortest = min(shortest, perf_counter() - begin)
        number += 1
    return shortest
