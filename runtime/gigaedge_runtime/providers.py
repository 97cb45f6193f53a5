"""Execution providers of ONNX Runtime: their options, TensorRT's cache, and what did not run where it was told to.

The CUDA and TensorRT parts are written from the documentation of ONNX Runtime 1.23 to 1.31 and of TensorRT 10. None of
it has run on a GPU: the options, the cache's name and the judgement of an assignment are tested, their effect is not.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from gigaedge.errors import DeviceError

Provider = Literal["cpu", "cuda", "tensorrt"]
EXECUTION_PROVIDERS: Final[dict[Provider, tuple[str, ...]]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    # CUDA takes what TensorRT does not know, as the weight-only MatMulNBits.
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
"""What each provider asks ONNX Runtime for, first choice first."""

_TENSORRT_LIBRARY = "libnvinfer.so.10"
"""The major version that ONNX Runtime's wheels are linked with."""
_CUDA_LIBRARY = "libcuda.so.1"
_NAME_BYTES = 256


class AssignedNode(Protocol):
    """A node of a graph (ONNX Runtime's OrtEpAssignedNode)."""

    op_type: str


class AssignedPart(Protocol):
    """Nodes that one execution provider took (ONNX Runtime's OrtEpAssignedSubgraph)."""

    ep_name: str

    def get_nodes(self) -> Sequence[AssignedNode]:
        """The nodes."""


def strays(parts: Iterable[AssignedPart], provider: Provider) -> dict[str, int]:
    """Operators, with their number, that run on another execution provider than `provider` asked for."""
    wanted = EXECUTION_PROVIDERS[provider]
    counts = Counter(
        node.op_type for part in parts if part.ep_name not in wanted for node in part.get_nodes()
    )
    return dict(sorted(counts.items()))


def cuda_options(*, capture: bool) -> dict[str, str]:
    """Options of the CUDA execution provider.

    The arena grows by what is asked for: its default doubles, which a Jetson's shared memory has no room for. TF32 is
    off, so that fp32 means fp32. With `capture`, runs with a `gpu_graph_id` of their own become CUDA graphs: the first
    run of an id warms up, captures and replays by itself (ONNX Runtime repeats it), later ones replay.
    """
    return {
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
        "enable_cuda_graph": str(int(capture)),
    }


def tensorrt_options(cache: Path, name: str) -> dict[str, str]:
    """Options of the TensorRT execution provider; everything it builds lies in the folder `cache`.

    An engine takes minutes to build and fits one GPU and one TensorRT; it is kept, as are the timings of the builder
    (shared by the graphs of a bundle) and, where TensorRT takes the whole graph, `NAME_ctx.onnx`, which loads without
    parsing the model. With such a file ONNX Runtime wants the engine path relative to it. Level 3 is the builder's
    default; a lower one builds faster and runs slower. `trt_load_user_initializer` hands weights over by pointer,
    without which a graph of more than 2 GB cannot be passed on. No flag changes the precision: it is in the graph.
    """
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "engines",
        "trt_engine_cache_prefix": name,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
        "trt_dump_ep_context_model": "1",
        "trt_ep_context_file_path": str(context_model(cache, name)),
        "trt_ep_context_embed_mode": "0",
        "trt_builder_optimization_level": "3",
        "trt_load_user_initializer": "1",
    }


def context_model(cache: Path, name: str) -> Path:
    """Where TensorRT's compiled form of a graph is kept."""
    return cache / f"{name}_ctx.onnx"


def cache_folder(root: Path, model: str, gpu: str, tensorrt: str, onnxruntime: str) -> Path:
    """The folder for what TensorRT builds from a model (SHA-256): another one when any of the four differs."""
    key = hashlib.sha256("\n".join((model, gpu, tensorrt, onnxruntime)).encode()).hexdigest()
    return root / key[:32]


def gpu_name() -> str:
    """Name of the first GPU, as the CUDA driver has it. Raises DeviceError: no driver, no GPU."""
    driver = _library(_CUDA_LIBRARY, "provider tensorrt: no NVIDIA driver")
    device, name = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    for code in (
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDeviceGetName(name, _NAME_BYTES, device),
    ):
        if code:
            raise DeviceError(
                f"provider tensorrt: the CUDA driver names no GPU (error {code}); see nvidia-smi"
            )
    return name.value.decode()


def tensorrt_version() -> str:
    """Version of the TensorRT library, as 10.14.1. Raises DeviceError when it is not installed."""
    library = _library(_TENSORRT_LIBRARY, "provider tensorrt: TensorRT 10 is not installed")
    number = int(library.getInferLibVersion())
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def _library(name: str, problem: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise DeviceError(
            f"{problem} ({name} does not load); install it, or choose provider cuda or cpu"
        ) from error
