"""Peaks of this machine, and the profile of tiny bundles beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import pytest

from gigaedge.benchmark import Peaks, StageProfile
from gigaedge.bundle import open_bundle
from gigaedge.errors import DeviceError
from gigaedge_runtime import peaks as peaks_module
from gigaedge_runtime import roofline
from gigaedge_runtime.peaks import cache_bytes
from gigaedge_runtime.roofline import measure_peaks, places, profile_bundle
from gigaedge_runtime.sessions import Device

PEAKS = Peaks(read_gb_s=10.0, fp32_gflop_s=100.0, int8_gop_s=400.0)


def test_peaks_are_those_of_some_processor() -> None:
    found = measure_peaks(Device(threads=1), seconds=0.05)
    assert 0.1 < found.read_gb_s < 1000
    assert 1 < found.fp32_gflop_s < 10_000
    assert found.int8_gop_s is not None
    assert 1 < found.int8_gop_s < 100_000


def test_a_gpus_peaks_are_measured_with_buffers_on_it() -> None:
    found = peaks_module._gpu_peaks(Device(threads=1), 0.01, side=64)
    assert found.read_gb_s > 0
    assert found.fp32_gflop_s > 0
    assert found.int8_gop_s is None


def test_a_provider_that_is_not_there_has_no_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=r"provider cuda: .* was built without CUDAExecutionProvider"):
        measure_peaks(Device("tensorrt"))


def test_caches_are_counted_once_each(tmp_path: Path) -> None:
    for cpu in range(4):
        for index, level, size, shared in (
            (0, 1, "48K", str(cpu)),
            (2, 2, "1024K", str(cpu)),
            (3, 3, "32768K", "0-1" if cpu < 2 else "2-3"),
            (4, 4, "?", "0-3"),
        ):
            folder = tmp_path / f"devices/system/cpu/cpu{cpu}/cache/index{index}"
            folder.mkdir(parents=True)
            for name, content in (("level", level), ("size", size), ("shared_cpu_list", shared)):
                (folder / name).write_text(f"{content}\n")
    (tmp_path / "devices/system/cpu/cpu0/cache/index9").mkdir()
    assert cache_bytes(Device(), sys=tmp_path) == 4 * 2**20 + 2 * 2**25


def test_caches_that_are_not_told_are_taken_for_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_bytes(Device(), sys=tmp_path) == 64 * 2**20
    monkeypatch.setattr("gigaedge_runtime.sessions._preload", lambda: "")
    assert cache_bytes(Device("cuda"), sys=tmp_path) == 128 * 2**20


def test_nodes_without_a_place_belong_to_the_one_before() -> None:
    names = ["ReorderInput", "vae/Cast", "conv2d_nchwc", "context/layer00/Gemm", "Transpose_token_3", "a/b"]
    assert places(names) == ["vae", "vae", "vae", "context", "context", "context"]
    assert places(["a", "b"]) == ["", ""]


@pytest.fixture(scope="module")
def split(exported: Callable[..., Path]) -> dict[str, StageProfile]:
    stages = profile_bundle(open_bundle(exported("gwp05-tiny")), Device(threads=1), 4, peaks=PEAKS, repeats=2)
    return {stage.stage: stage for stage in stages}


def test_the_stages_of_layout_split(split: dict[str, StageProfile]) -> None:
    assert list(split) == ["vae", "context", "step"]
    for stage in split.values():
        assert list(stage.provider_nodes) == ["CPUExecutionProvider"]
        assert stage.provider_nodes["CPUExecutionProvider"] == sum(each.nodes for each in stage.operators)
        assert stage.time == pytest.approx(sum(each.time for each in stage.operators))
        assert stage.gflop == pytest.approx(sum(each.gflop for each in stage.operators))
        times = [each.time for each in stage.operators]
        assert times == sorted(times, reverse=True)
    operators = {stage.stage: {each.operator for each in stage.operators} for stage in split.values()}
    assert "Conv" in operators["vae"]
    assert not {name for stage in ("context", "step") for name in operators[stage] if "Conv" in name}


def test_the_arithmetic_of_a_step_is_what_its_layers_say(split: dict[str, StageProfile]) -> None:
    """Of the action expert: width 48, 3 layers with 4 heads of 24, coder 32-128-256-48 and back, 48 tokens."""
    coders = 2 * (32 * 128 + 128 * 256 + 256 * 48)
    layers = 3 * (4 + 2 + 2) * 48 * 96
    attention = 3 * 2 * 2 * (169 + 64) * 4 * 48 * 24
    assert split["step"].gflop * 1e9 == pytest.approx(2 * 48 * (coders + layers) + attention)
    assert split["step"].weight_mb * 1e6 == pytest.approx(4 * (coders + layers))


def test_weights_that_stay_in_the_cache_have_no_floor_of_memory(split: dict[str, StageProfile]) -> None:
    for stage in split.values():
        assert stage.floor_memory == 0
        assert stage.floor_compute == pytest.approx(stage.gflop / 100 * 1e3)
        assert 0 < stage.floor == stage.floor_compute
        for each in stage.operators:
            assert each.floor == pytest.approx(each.gflop / 100 * 1e3)


def test_weights_beyond_the_cache_are_read_in_every_run(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = 500_000
    monkeypatch.setattr(roofline, "cache_bytes", lambda _: cache)
    slow = Peaks(read_gb_s=1e-3, fp32_gflop_s=1e6)
    bundle = open_bundle(exported("gwp05-tiny"))
    # Chunks that take long are fewer than asked for.
    monkeypatch.setattr(roofline, "_ENOUGH_SECONDS", 0.0)
    stages = profile_bundle(bundle, Device(threads=1), 4, peaks=slow, repeats=10**6)
    step = next(stage for stage in stages if stage.stage == "step")
    assert step.floor == pytest.approx(step.weight_mb * 1e3 - cache / 1e3)
    # The operators share what is read by the size of their weights.
    assert sum(each.floor for each in step.operators if each.weight_mb) == pytest.approx(step.floor)


def test_layout_single_is_one_stage_with_the_sampler_inside(
    exported: Callable[..., Path], split: dict[str, StageProfile], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = 500_000
    monkeypatch.setattr(roofline, "cache_bytes", lambda _: cache)
    bundle = open_bundle(exported("gwp05-tiny", layout="single"))
    slow = Peaks(read_gb_s=1e-3, fp32_gflop_s=1e6)
    (policy,) = profile_bundle(bundle, Device(threads=1), 4, peaks=slow, repeats=1)
    assert policy.stage == "policy"
    # And the prompt, which this layout encodes anew.
    chunk = split["vae"].gflop + split["context"].gflop + 4 * split["step"].gflop
    assert chunk < policy.gflop < 1.5 * chunk
    assert next(each.nodes for each in policy.operators if each.operator == "Scan") == 1
    # The step's weights are read four times; the other nodes' weights once.
    once = policy.weight_mb - 4 * split["step"].weight_mb
    assert policy.floor_memory == pytest.approx(
        4 * (split["step"].weight_mb * 1e3 - cache / 1e3) + once * 1e3 - cache / 1e3
    )


def test_integer_arithmetic_is_held_against_the_faster_rate() -> None:
    from gigaedge_runtime.node_profile import NodeRun
    from gigaedge_runtime.operators import Work

    def made(operator: str, *, float32: bool) -> roofline._Node:
        run = NodeRun(f"step/{operator}", operator, "CPUExecutionProvider", 1.0, 1, (), (), 0)
        return roofline._Node("step", run, 0.5, Work(2e9, 0.0, float32))

    stage = roofline._stage(
        "step", [made("Gemm", float32=True), made("MatMulInteger", float32=False)], PEAKS, 0
    )
    assert {each.operator: each.floor for each in stage.operators} == {
        "Gemm": pytest.approx(20.0),
        "MatMulInteger": pytest.approx(5.0),
    }
    assert stage.floor == pytest.approx(25.0)
    assert stage.time == pytest.approx(1000.0)
    assert stage.reached == pytest.approx(0.025)


def test_a_gpu_has_no_profile(exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gigaedge_runtime.sessions._preload", lambda: "")
    assert profile_bundle(open_bundle(exported("gwp05-tiny")), Device("cuda"), 4, peaks=PEAKS) == ()


def test_a_video_branch_is_no_part_of_a_chunk(video_bundle: Path) -> None:
    stages = profile_bundle(open_bundle(video_bundle), Device(threads=1), 4, peaks=PEAKS, repeats=1)
    assert [stage.stage for stage in stages] == ["vae", "context", "step"]
