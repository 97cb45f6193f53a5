"""Options, cache and judgement of the GPU providers. What they do on a GPU is not tested."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import pytest

from gigaedge.errors import DeviceError
from gigaedge_runtime import providers


@dataclass
class Node:
    op_type: str


@dataclass
class Part:
    ep_name: str
    operators: tuple[str, ...]

    def get_nodes(self) -> list[Node]:
        return [Node(operator) for operator in self.operators]


CUDA = Part("CUDAExecutionProvider", ("MatMulNBits", "Gemm"))
TENSORRT = Part("TensorrtExecutionProvider", ("TRTKernel",))
CPU = Part("CPUExecutionProvider", ("Gather", "DynamicQuantizeLinear", "Gather"))


@pytest.mark.parametrize(
    ("parts", "provider", "expected"),
    [
        ([CPU], "cpu", {}),
        ([CUDA], "cuda", {}),
        ([CUDA, CPU], "cuda", {"DynamicQuantizeLinear": 1, "Gather": 2}),
        ([TENSORRT, CUDA], "tensorrt", {}),
        ([TENSORRT, CPU], "tensorrt", {"DynamicQuantizeLinear": 1, "Gather": 2}),
        ([TENSORRT], "cuda", {"TRTKernel": 1}),
        ([], "cuda", {}),
    ],
)
def test_operators_that_strayed(
    parts: list[Part], provider: providers.Provider, expected: dict[str, int]
) -> None:
    assert providers.strays(parts, provider) == expected


def test_cuda_options() -> None:
    options = providers.cuda_options(capture=False)
    assert options == {
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
        "enable_cuda_graph": "0",
    }
    assert providers.cuda_options(capture=True)["enable_cuda_graph"] == "1"


def test_tensorrt_options_keep_what_was_built_and_change_no_precision(tmp_path: Path) -> None:
    options = providers.tensorrt_options(tmp_path, "step")
    assert not {"trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable"} & options.keys()
    assert all(isinstance(value, str) for value in options.values())
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_timing_cache_path"] == str(tmp_path)
    assert options["trt_ep_context_file_path"] == str(tmp_path / "step_ctx.onnx")
    assert not Path(options["trt_engine_cache_path"]).is_absolute()
    assert options["trt_ep_context_embed_mode"] == "0"
    assert options["trt_load_user_initializer"] == "1"


def test_the_cache_is_another_one_when_anything_changes(tmp_path: Path) -> None:
    same = ("a" * 64, "Orin", "10.13.0", "1.31.1")
    folders = {providers.cache_folder(tmp_path, *same)}
    for index, other in enumerate(("b" * 64, "Thor", "10.14.0", "1.32.0")):
        changed = [*same]
        changed[index] = other
        folders.add(providers.cache_folder(tmp_path, *changed))
    assert len(folders) == 5
    assert {folder.parent for folder in folders} == {tmp_path}
    assert providers.cache_folder(tmp_path, *same) in folders


class FakeLibrary:
    """Driver and TensorRT in one."""

    def __init__(self, code: int = 0) -> None:
        self.code = code

    def cuInit(self, flags: int) -> int:  # noqa: N802  the driver's names
        return self.code

    def cuDeviceGet(self, device: object, index: int) -> int:  # noqa: N802
        return self.code

    def cuDeviceGetName(self, name: ctypes.Array[ctypes.c_char], size: int, device: object) -> int:  # noqa: N802
        name.value = b"Orin"
        return self.code

    def getInferLibVersion(self) -> int:  # noqa: N802
        return 101402


def test_gpu_and_tensorrt_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeLibrary())
    assert providers.gpu_name() == "Orin"
    assert providers.tensorrt_version() == "10.14.2"
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeLibrary(code=100))
    with pytest.raises(DeviceError, match=r"the CUDA driver names no GPU \(error 100\)"):
        providers.gpu_name()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(DeviceError, match=r"no NVIDIA driver \(libcuda\.so\.1 does not load\)"):
        providers.gpu_name()
    with pytest.raises(DeviceError, match=r"TensorRT 10 is not installed .* choose provider cuda or cpu"):
        providers.tensorrt_version()
