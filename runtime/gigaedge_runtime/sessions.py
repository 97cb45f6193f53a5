"""ONNX Runtime sessions whose buffers are bound once and stay where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gigaedge.bundle import GraphInfo, TensorInfo
from gigaedge.errors import BundleError, DeviceError

Provider = Literal["cpu", "cuda", "tensorrt"]
PROVIDERS: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True)
class Device:
    """Where graphs run: an execution provider, and CPU threads for it."""

    provider: Provider = "cpu"
    threads: int = 0
    """0 leaves one core to control and cameras."""

    @property
    def memory(self) -> str:
        """ONNX Runtime's name of the memory that buffers live in."""
        return "cpu" if self.provider == "cpu" else "cuda"

    def zeros(self, info: TensorInfo) -> ort.OrtValue:
        """A buffer of the given shape and type, filled with zeros."""
        return self.place(np.zeros(info.shape, info.dtype))

    def place(self, array: NDArray[Any]) -> ort.OrtValue:
        """A buffer that holds a copy of `array`. Raises DeviceError when the provider's memory is not there."""
        try:
            return ort.OrtValue.ortvalue_from_numpy(np.array(array, order="C"), self.memory, 0)
        except RuntimeError as error:
            raise self._does_not_start() from error

    def session(self, path: Path) -> ort.InferenceSession:
        """Load a graph. Raises DeviceError when the provider does not run, rather than falling back."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads or max(1, len(os.sched_getaffinity(0)) - 1)
        # Waiting threads sleep: on a small board the 200 Hz control loop needs the core they would spin on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        wanted = PROVIDERS[self.provider]
        if wanted not in ort.get_available_providers():
            raise DeviceError(
                f"provider {self.provider}: this onnxruntime ({ort.__version__}) was built without {wanted}; "
                "install gigaedge[gpu] (x86-64) or the wheel of your Jetson's vendor"
            )
        try:
            session = ort.InferenceSession(path, options, providers=[wanted], enable_fallback=0)
        except Exception as error:
            message = " ".join(str(error).split())
            raise BundleError(f"{path}: ONNX Runtime {ort.__version__} cannot load it: {message}") from error
        if session.get_providers()[0] != wanted:
            raise self._does_not_start()
        return session

    def _does_not_start(self) -> DeviceError:
        return DeviceError(
            f"provider {self.provider}: {PROVIDERS[self.provider]} does not start on this machine and ONNX Runtime "
            "would fall back to the CPU; check the driver, CUDA and cuDNN, or choose provider cpu"
        )


class BoundGraph:
    """A session with every input and output bound to a named buffer."""

    def __init__(
        self, device: Device, path: Path, info: GraphInfo, buffers: Mapping[str, ort.OrtValue]
    ) -> None:
        """Bind `buffers` by name and allocate those that are missing. Raises BundleError on a wrong signature."""
        self._session = device.session(path)
        self._check_signature(path, info)
        self.buffers = {
            name: buffers[name] if name in buffers else device.zeros(tensor)
            for name, tensor in (info.inputs | info.outputs).items()
        }
        self._binding = self.bind({})

    def bind(self, replaced: Mapping[str, ort.OrtValue]) -> ort.IOBinding:
        """A binding of every input and output to its buffer, or to the one that `replaced` names for it."""
        binding = self._session.io_binding()
        for value in self._session.get_inputs():
            binding.bind_ortvalue_input(value.name, replaced.get(value.name, self.buffers[value.name]))
        for value in self._session.get_outputs():
            binding.bind_ortvalue_output(value.name, replaced.get(value.name, self.buffers[value.name]))
        return binding

    def run(self, binding: ort.IOBinding | None = None) -> None:
        """Run on the bound buffers; returns when the outputs are complete."""
        binding = binding or self._binding
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    def _check_signature(self, path: Path, info: GraphInfo) -> None:
        for kind, values, expected in (
            ("inputs", self._session.get_inputs(), info.inputs),
            ("outputs", self._session.get_outputs(), info.outputs),
        ):
            found = {value.name: tuple(value.shape) for value in values}
            if found != {name: tensor.shape for name, tensor in expected.items()}:
                raise BundleError(
                    f"{path}: its {kind} are not those of the manifest; export the bundle again"
                )
