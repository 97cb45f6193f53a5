"""ONNX Runtime sessions whose buffers are bound once and stay where they are."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gigaedge.bundle import STEPS, Bundle, GraphName, TensorInfo
from gigaedge.errors import BundleError, DeviceError
from gigaedge.files import sha256, user_cache
from gigaedge_runtime.providers import (
    EXECUTION_PROVIDERS,
    Provider,
    cache_folder,
    context_model,
    cuda_options,
    gpu_name,
    strays,
    tensorrt_options,
    tensorrt_version,
)

Buffers = Mapping[str, ort.OrtValue]


@dataclass(frozen=True)
class Device:
    """Where graphs run: an execution provider, and CPU threads for it."""

    provider: Provider = "cpu"
    threads: int = 0
    """0 leaves one core to control and cameras."""
    profiles: Path | None = None
    """Folder that every session writes ONNX Runtime's profile of its nodes into when it ends, `GRAPH_TIME.json`."""

    def __post_init__(self) -> None:
        """Find the provider's libraries before the first buffer or session needs them."""
        if self.provider != "cpu":
            _preload()

    @property
    def workers(self) -> int:
        """Threads that ONNX Runtime computes with on the CPU."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) - 1)

    @property
    def memory(self) -> str:
        """ONNX Runtime's name of the memory that buffers live in."""
        return "cpu" if self.provider == "cpu" else "cuda"

    def zeros(self, info: TensorInfo, steps: int = 0) -> ort.OrtValue:
        """A buffer of the given shape and type, filled with zeros; `steps` long where the shape says so."""
        return self.place(
            np.zeros([steps if size == STEPS else int(size) for size in info.shape], info.dtype)
        )

    def place(self, array: NDArray[Any]) -> ort.OrtValue:
        """A buffer that holds a copy of `array`. Raises DeviceError when the provider's memory is not there."""
        try:
            return ort.OrtValue.ortvalue_from_numpy(np.array(array, order="C"), self.memory, 0)
        except RuntimeError as error:
            raise self._does_not_start() from error

    def session(self, path: Path, *, model: str = "", capture: bool = False) -> ort.InferenceSession:
        """Load a graph; with `capture`, such that its runs may become CUDA graphs.

        `model` (SHA-256) tells it and its weights from others in TensorRT's cache; by default the file's own.

        Raises DeviceError when the provider does not run, or leaves nodes to another one, rather than falling back.
        """
        wanted = EXECUTION_PROVIDERS[self.provider]
        missing = [provider for provider in wanted if provider not in ort.get_available_providers()]
        if missing:
            raise DeviceError(
                f"provider {self.provider}: this onnxruntime ({ort.__version__}) was built without {missing[0]}; "
                "install gigaedge[gpu] (x86-64) or the wheel of your Jetson's vendor"
            )
        providers: list[Any] = list(wanted)
        if self.provider != "cpu":
            providers[-1] = (wanted[-1], cuda_options(capture=capture and self.provider == "cuda"))
        if self.provider == "tensorrt":
            cache = _tensorrt_cache(model or sha256(path))
            providers[0] = (wanted[0], tensorrt_options(cache, path.stem))
            compiled = context_model(cache, path.stem)
            path = compiled if compiled.is_file() else path
        session = self._load(path, providers)
        if session.get_providers()[0] != wanted[0]:
            raise self._does_not_start()
        if self.provider != "cpu" and _REPORTS_ASSIGNMENT:
            self._check_assignment(path, session)
        return session

    def _load(self, path: Path, providers: list[Any]) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.workers
        # Threads spin for each other's results within a run, where sleeping would cost more than a small operator, and
        # sleep when it ends: between runs the 200 Hz control loop needs the cores they would spin on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        if self.profiles is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(self.profiles / path.stem)
        if self.provider != "cpu":
            # Where ONNX Runtime cannot say afterwards which nodes it left to the CPU, it must refuse them.
            key = "record_ep_graph_assignment_info" if _REPORTS_ASSIGNMENT else "disable_cpu_ep_fallback"
            options.add_session_config_entry(f"session.{key}", "1")
        try:
            return ort.InferenceSession(path, options, providers=providers, enable_fallback=0)
        except Exception as error:
            message = " ".join(str(error).split())
            problem = f"ONNX Runtime {ort.__version__} cannot load it: {message}"
            if self.provider != "cpu":
                raise DeviceError(f"provider {self.provider}: {path}: {problem}") from error
            raise BundleError(f"{path}: {problem}") from error

    def _check_assignment(self, path: Path, session: ort.InferenceSession) -> None:
        left = strays(session.get_provider_graph_assignment_info(), self.provider)
        if left:
            names = ", ".join(f"{op} x {count}" for op, count in left.items())
            raise DeviceError(
                f"provider {self.provider}: {path} would run partly on the CPU ({names}); "
                "export a precision that this provider has kernels for, or choose provider cpu"
            )

    def _does_not_start(self) -> DeviceError:
        return DeviceError(
            f"provider {self.provider}: {EXECUTION_PROVIDERS[self.provider][0]} does not start on this machine and "
            "ONNX Runtime would fall back to the CPU; check the driver, CUDA and cuDNN, or choose provider cpu"
            + (f" ({problems})" if (problems := _preload()) else "")
        )


@cache
def _preload() -> str:
    """Load the CUDA and cuDNN that pip installed, which no search path leads to; return what was not found.

    ONNX Runtime prints that; standard output belongs to the command line. It has had the function since 1.21, and one
    built without CUDA does nothing.
    """
    load = getattr(ort, "preload_dlls", None)
    if load is None:
        return ""
    printed = io.StringIO()
    with redirect_stdout(printed):
        load()
    return "; ".join(printed.getvalue().splitlines())


def _tensorrt_cache(model: str) -> Path:
    cache = cache_folder(user_cache("tensorrt"), model, gpu_name(), tensorrt_version(), ort.__version__)
    cache.mkdir(parents=True, exist_ok=True)
    return cache


_REPORTS_ASSIGNMENT = hasattr(ort.InferenceSession, "get_provider_graph_assignment_info")
"""ONNX Runtime 1.23, the last for Python 3.10, does not."""


@dataclass(frozen=True)
class Binding:
    """Buffers for every input and output of a session, and how a run on them is to be made."""

    buffers: ort.IOBinding
    options: ort.RunOptions


class BoundGraph:
    """A session of a bundle's graph with a named buffer for every input and output of fixed size."""

    def __init__(
        self, device: Device, bundle: Bundle, name: GraphName, buffers: Buffers, *, capture: bool = False
    ) -> None:
        """Take `buffers` by name and allocate those that are missing. Raises BundleError on a wrong signature.

        With `capture`, on provider cuda, every binding becomes a CUDA graph at its first run.
        """
        info = bundle.manifest.graphs[name]
        model = hashlib.sha256(f"{info.sha256}{bundle.manifest.weights.sha256}".encode()).hexdigest()
        self._session = device.session(bundle.file(info), model=model, capture=capture)
        self._capture = capture and device.provider == "cuda"
        self._bindings = 0
        self._inputs = [*self._session.get_inputs(), *self._session.get_overridable_initializers()]
        for kind, values, expected in (
            ("inputs", self._inputs, info.inputs),
            ("outputs", self._session.get_outputs(), info.outputs),
        ):
            found = {value.name: tuple(value.shape) for value in values}
            if found != {name: tensor.shape for name, tensor in expected.items()}:
                raise BundleError(
                    f"{bundle.file(info)}: its {kind} are not those of the manifest; export the bundle again"
                )
        self.buffers = {
            name: buffers[name] if name in buffers else device.zeros(tensor)
            for name, tensor in (info.inputs | info.outputs).items()
            if name in buffers or STEPS not in tensor.shape
        }

    def bind(self, replaced: Buffers | None = None) -> Binding:
        """A binding of every input and output to its buffer, or to the one that `replaced` names for it."""
        buffers = self.buffers | dict(replaced or {})
        binding = self._session.io_binding()
        for value in self._inputs:
            binding.bind_ortvalue_input(value.name, buffers[value.name])
        for value in self._session.get_outputs():
            binding.bind_ortvalue_output(value.name, buffers[value.name])
        options = ort.RunOptions()
        self._bindings += 1
        if self._capture:
            # A captured graph has the addresses of its buffers in it. 0 is ONNX Runtime's own.
            options.add_run_config_entry("gpu_graph_id", str(self._bindings))
        return Binding(binding, options)

    def run(self, binding: Binding) -> None:
        """Run on the bound buffers; returns when the outputs are complete."""
        self._session.run_with_iobinding(binding.buffers, binding.options)
        binding.buffers.synchronize_outputs()


def to_numpy(value: ort.OrtValue) -> NDArray[np.float32]:
    """A copy of a buffer, in float32, that the next run does not overwrite."""
    return np.array(value.numpy(), np.float32)
