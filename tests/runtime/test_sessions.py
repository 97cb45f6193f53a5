"""Sessions on the CPU, and what is said where a GPU provider does not run or leaves nodes behind."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from gigaedge.bundle import Bundle, TensorInfo, open_bundle
from gigaedge.errors import BundleError, DeviceError
from gigaedge_runtime import sessions
from gigaedge_runtime.sessions import BoundGraph, Device, to_numpy


@pytest.fixture
def bundle(exported: Callable[..., Path]) -> Bundle:
    return open_bundle(exported("gwp05-tiny"))


def graph(bundle: Bundle, name: str) -> Path:
    return bundle.path / f"{name}.onnx"


def test_buffers_have_the_shape_and_type_of_the_manifest() -> None:
    device = Device()
    half = device.zeros(TensorInfo(dtype="float16", shape=(2, 3)))
    assert half.numpy().dtype == np.float16
    assert to_numpy(half).dtype == np.float32
    assert device.zeros(TensorInfo(dtype="float32", shape=("steps", 3)), steps=4).shape() == [4, 3]


def test_a_copy_is_not_overwritten() -> None:
    value = Device().place(np.zeros(3, np.float32))
    copy = to_numpy(value)
    value.update_inplace(np.ones(3, np.float32))
    np.testing.assert_array_equal(copy, np.zeros(3))


def test_a_binding_runs_on_the_buffers_it_was_given(bundle: Bundle) -> None:
    device = Device()
    bound = BoundGraph(device, bundle, "text", {})
    name = next(iter(bundle.manifest.graphs["text"].outputs))
    elsewhere = device.zeros(bundle.manifest.graphs["text"].outputs[name])
    bound.buffers["prompt_embeds"].update_inplace(np.ones((64, 64), np.float32))
    bound.run(bound.bind({name: elsewhere}))
    assert not to_numpy(bound.buffers[name]).any()
    bound.run(bound.bind())
    np.testing.assert_array_equal(to_numpy(bound.buffers[name]), to_numpy(elsewhere))


def test_waiting_threads_leave_their_cores_between_runs(bundle: Bundle) -> None:
    """Left alone, ONNX Runtime's threads go on spinning for about 30 ms after a run."""
    bound = BoundGraph(Device(threads=2), bundle, "context", {})
    binding = bound.bind()
    bound.run(binding)
    idle = []
    for _ in range(5):
        bound.run(binding)
        begin = time.process_time()
        time.sleep(0.05)
        idle.append(time.process_time() - begin)
    assert min(idle) < 0.005


def test_a_signature_that_is_not_the_manifests_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "b"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["graphs"]["step"]["inputs"]["actions"]["shape"] = [48, 33]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"step\.onnx: its inputs are not those of the manifest"):
        BoundGraph(Device(), open_bundle(copy), "step", {})


def test_a_graph_that_does_not_load_is_the_bundles_fault_on_the_cpu(bundle: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle.path, tmp_path / "b"))
    opened = open_bundle(copy)
    (copy / "step.onnx").write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"step\.onnx: ONNX Runtime .* cannot load it"):
        Device().session(graph(opened, "step"))


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_was_not_built_in_is_named(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, provider: sessions.Provider
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=rf"provider {provider}: .* was built without \w+ExecutionProvider"):
        Device(provider).session(graph(bundle, "step"))


GPU_PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


class FakeSession:
    """What ONNX Runtime gave for the options it was asked with."""

    asked: dict[str, Any]
    providers: tuple[str, ...] = ()
    parts: tuple[Any, ...] = ()

    def __init__(self, path: Path, options: ort.SessionOptions, **keywords: Any) -> None:
        type(self).asked = {"path": path, "options": options, **keywords}

    def get_providers(self) -> list[str]:
        return [*self.providers, "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> tuple[Any, ...]:
        return self.parts


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeSession]:
    """A machine with a GPU, as far as the choice of options goes."""

    class Session(FakeSession):
        providers = GPU_PROVIDERS

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ort, "InferenceSession", Session)
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(GPU_PROVIDERS))
    monkeypatch.setattr(sessions, "_REPORTS_ASSIGNMENT", True)
    monkeypatch.setattr(sessions, "gpu_name", lambda: "Orin")
    monkeypatch.setattr(sessions, "tensorrt_version", lambda: "10.14.0")
    return Session


def test_cuda_is_asked_for_graphs_where_runs_are_bound(bundle: Bundle, fake: type[FakeSession]) -> None:
    fake.providers = ("CUDAExecutionProvider",)
    for capture in (True, False):
        Device("cuda").session(graph(bundle, "step"), capture=capture)
        ((name, options),) = fake.asked["providers"]
        assert name == "CUDAExecutionProvider"
        assert options["enable_cuda_graph"] == str(int(capture))
    entry = fake.asked["options"].get_session_config_entry
    assert entry("session.record_ep_graph_assignment_info") == "1"


def test_tensorrt_keeps_its_engines_by_model_and_machine(
    bundle: Bundle, fake: type[FakeSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, folders = Device("tensorrt"), []
    for name in ("context", "step", "step"):
        device.session(graph(bundle, name), capture=True)
        (tensorrt, options), (cuda, cuda_options) = fake.asked["providers"]
        assert (tensorrt, cuda) == fake.providers
        assert cuda_options["enable_cuda_graph"] == "0"
        folders.append(Path(options["trt_timing_cache_path"]))
    monkeypatch.setattr(sessions, "gpu_name", lambda: "Thor")
    device.session(graph(bundle, "step"))
    folders.append(Path(fake.asked["providers"][0][1]["trt_timing_cache_path"]))
    assert folders[1] == folders[2]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() and folder.parent == tmp_path / "gigaedge" / "tensorrt" for folder in folders)
    assert fake.asked["path"] == bundle.path / "step.onnx"
    (folders[-1] / "step_ctx.onnx").touch()
    device.session(graph(bundle, "step"))
    assert fake.asked["path"] == folders[-1] / "step_ctx.onnx"


@pytest.fixture
def on_cpu(bundle: Bundle) -> tuple[Any, ...]:
    """The real assignment of a graph that runs on the CPU."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    path = bundle.file(bundle.manifest.graphs["text"])
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return tuple(session.get_provider_graph_assignment_info())


def test_nodes_left_to_the_cpu_are_an_error_that_names_them(
    bundle: Bundle, on_cpu: tuple[Any, ...], fake: type[FakeSession]
) -> None:
    fake.providers, fake.parts = ("CUDAExecutionProvider",), on_cpu
    with pytest.raises(DeviceError, match=r"text\.onnx would run partly on the CPU \(.*Gemm x \d+.*\)"):
        Device("cuda").session(graph(bundle, "text"))


def test_an_older_onnxruntime_refuses_by_itself(
    bundle: Bundle, fake: type[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_REPORTS_ASSIGNMENT", False)
    fake.providers = ("CUDAExecutionProvider",)
    Device("cuda").session(graph(bundle, "step"))
    assert fake.asked["options"].get_session_config_entry("session.disable_cpu_ep_fallback") == "1"


def test_a_provider_that_onnxruntime_dropped_is_an_error(bundle: Bundle, fake: type[FakeSession]) -> None:
    fake.providers = ()
    with pytest.raises(DeviceError, match="would fall back to the CPU; check the driver"):
        Device("cuda").session(graph(bundle, "step"))


@pytest.fixture
def preload(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Replace ONNX Runtime's own search for CUDA; each line of the result is one call."""
    calls: list[str] = []

    def preload_dlls() -> None:
        calls.append("preload")
        print("Failed to load libcudart.so.13: not there\nFailed to load libcublas.so.13: neither")

    monkeypatch.setattr(ort, "preload_dlls", preload_dlls, raising=False)
    sessions._preload.cache_clear()
    yield calls
    sessions._preload.cache_clear()


def test_a_gpu_device_loads_cuda_once_and_a_cpu_never(
    preload: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Device("cpu")
    assert preload == []
    Device("cuda")
    Device("tensorrt")
    assert preload == ["preload"]
    assert capsys.readouterr().out == ""


def test_libraries_that_were_not_found_are_named_when_the_provider_does_not_start(
    bundle: Bundle, fake: type[FakeSession], preload: list[str]
) -> None:
    fake.providers = ()
    with pytest.raises(DeviceError, match=r"provider cpu \(.*libcudart\.so\.13: not there; .*libcublas"):
        Device("cuda").session(graph(bundle, "step"))


def test_an_onnxruntime_that_cannot_preload_starts_all_the_same(
    preload: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ort, "preload_dlls")
    Device("cuda")
    assert preload == []


def test_a_graph_that_a_gpu_provider_does_not_load_is_the_devices_fault(
    bundle: Bundle, fake: type[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr(ort, "InferenceSession", refuse)
    with pytest.raises(
        DeviceError, match=r"provider cuda: .*step\.onnx: .* cannot load it: no kernel for this"
    ):
        Device("cuda").session(graph(bundle, "step"))


def test_every_binding_has_a_cuda_graph_of_its_own(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read on the CPU, where the run option has no effect."""
    bound = BoundGraph(Device(), bundle, "text", {}, capture=True)
    with pytest.raises(RuntimeError, match="gpu_graph_id"):
        bound.bind().options.get_run_config_entry("gpu_graph_id")
    monkeypatch.setattr(bound, "_capture", True)
    numbers = {bound.bind().options.get_run_config_entry("gpu_graph_id") for _ in range(3)}
    assert len(numbers) == 3
    assert not numbers & {"0", "-1"}
