"""`gigaedge run` and `gigaedge demo` with a real bundle: ONNX Runtime, librealsense and piper_sdk as they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
import yaml

from gigaedge.benchmark import PATH_STAGES
from gigaedge.robot import CAMERA_ROLES
from gigaedge_runtime.devices.sim_realsense import render_scene
from gigaedge_runtime.path_bench import measure_path
from gigaedge_runtime.supervisor import Progress

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).parents[2]
GIGAEDGE = (sys.executable, "-m", "gigaedge")


@pytest.fixture(scope="session")
def bundle(demo_cache: Path) -> Path:
    """The one that is called `demo`: its flow is smooth, so arms can follow it."""
    (manifest,) = demo_cache.glob("gigaedge/*/bundle/manifest.json")
    return manifest.parent


@pytest.fixture
def site(bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        data: dict[str, Any] = {
            "schema": 1,
            "bundle": str(bundle),
            "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
            "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
        }
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump(data | changes))
        return path

    return write


def run(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [*GIGAEDGE, "run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def left_processes() -> list[str]:
    """Command lines of children of this environment's runtime that still live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "gigaedge_runtime." in command and command.startswith(sys.executable):
            found.append(command)
    return found


def test_the_synthetic_cell_runs(bundle: Path, tmp_path: Path) -> None:
    example = ROOT / "examples" / "synthetic.yaml"
    data = yaml.safe_load(example.read_text())
    data |= {"bundle": str(bundle), "simulation": str(example.parent / data["simulation"])}
    # Drawing shares the computer with everything else.
    data["cameras"] = [camera | {"width": 160, "height": 120} for camera in data["cameras"]]
    data["timing"] |= {"max_image_age": 2.0, "max_skew": 1.5, "resume_tolerance": 1.0}
    site = tmp_path / "synthetic.yaml"
    site.write_text(yaml.safe_dump(data))
    result = run(site, "--for", "3s", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["chunks"] >= 2
    assert max(report["control"]["travel_measured"][f"left_joint_{j}"] for j in range(1, 7)) > 0.01


def test_both_arms_move_as_commanded(site: Callable[..., Path]) -> None:
    result = run(site(), "--for", "6s", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    control = report["control"]
    assert report["ended_by"] == "duration"
    assert report["chunks"] >= 5
    assert control["state"] == "stopped"
    assert control["fault"] is None
    assert control["enabled"] == {"left": True, "right": True}
    assert control["failed_sends"] == 0
    for side in ("left", "right"):
        assert max(control["travel_commanded"][f"{side}_joint_{j}"] for j in range(1, 7)) > 0.1
        assert max(control["travel_measured"][f"{side}_joint_{j}"] for j in range(1, 7)) > 0.1
    errors = [abs(error) for name, error in control["end_error"].items() if "joint" in name]
    assert max(errors) < 0.017  # one degree
    assert control["period"]["p50"] == pytest.approx(0.005, abs=0.0005)
    assert tuple(report["policy"]["path"]["stages"]) == PATH_STAGES
    assert set(report["policy"]["path"]["inference"]) == {"context", "steps"}
    assert report["policy"]["ran_on"] == {"CPUExecutionProvider": 0}
    assert set(report["memory"]) == {"supervisor", "control", "policy"}
    assert set(report["policy"]["stages"]) >= {
        "wait",
        "compose",
        "state",
        "context",
        "steps",
        "publish",
        "total",
    }
    assert left_processes() == []


@pytest.mark.parametrize("arms", [1, 2])
def test_the_path_of_a_simulated_cell(bundle: Path, arms: int) -> None:
    seen: list[Progress] = []
    info = measure_path(bundle, arms=arms, seconds=3.0, progress=seen.append)
    assert tuple(info.stages) == PATH_STAGES
    assert info.arms == arms
    assert info.duration_s == pytest.approx(3.0, abs=1.0)
    assert info.chunks >= 3
    assert {stage.count for stage in info.stages.values()} == {info.chunks}
    assert min(stage.min for stage in info.stages.values()) >= 0.0
    assert sum(stage.mean for stage in info.stages.values()) == pytest.approx(info.exposure_to_can.mean)
    means = {name: stage.mean for name, stage in info.stages.items()}
    assert info.host.mean == pytest.approx(sum(means[name] for name in ("state", "compose", "publish")))
    assert info.stages["inference"].min > 0.5, "ms; no network is that quick"
    assert info.tick_period.p50 == pytest.approx(5.0, abs=0.5)
    assert info.tick_work.p50 < 5.0
    assert seen


def test_kill_9_of_the_policy_process(site: Callable[..., Path], tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    process = subprocess.Popen(
        [*GIGAEDGE, "run", str(site()), "--for", "60s", "--report", str(report_file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        pid = wait_for_policy(process.pid)
        time.sleep(4.0)
        os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 3
    assert "was killed by SIGKILL" in errors
    assert "the arms hold" in errors
    control = json.loads(report_file.read_text())["control"]
    assert control["state"] == "fault"
    assert control["enabled"] == {"left": True, "right": True}
    assert control["standstill_after"] < 0.3
    assert left_processes() == []


def wait_for_policy(parent: int, timeout: float = 30.0) -> int:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        listed = subprocess.run(
            ["pgrep", "-P", str(parent), "-f", "policy_process"], capture_output=True, text=True, check=False
        )
        if listed.stdout.strip():
            return int(listed.stdout.split()[0])
        time.sleep(0.1)
    raise TimeoutError("the policy process did not start")


def test_three_recordings_drive_a_run(
    site: Callable[..., Path], record_cameras: Callable[..., dict[str, Path]], tmp_path: Path
) -> None:
    scenes = {role: render_scene(role, 320, 240) for role in CAMERA_ROLES}
    files = record_cameras(tmp_path, lambda role, number: scenes[role][number % len(scenes[role])], 60, 30)
    cameras = [
        {"role": role, "driver": "realsense", "file": str(file), "width": 320, "height": 240}
        for role, file in files.items()
    ]
    result = run(site(cameras=cameras), "--for", "5s", "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["chunks"] >= 3
    assert report["control"]["state"] == "stopped"
    assert report["control"]["sends"] > 0


def test_a_dry_run_commands_nothing(site: Callable[..., Path], tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    result = run(site(), "--for", "2s", "--dry-run", "--json", "--report", page)
    assert result.returncode == 0, result.stderr
    assert "dry run; the arms were only read" in page.read_text()
    control = json.loads(result.stdout)["control"]
    assert control["sends"] == 0
    assert control["enabled"] == {"left": False, "right": False}


def test_ctrl_c_ends_in_order(site: Callable[..., Path], tmp_path: Path) -> None:
    report_file = tmp_path / "report.json"
    command = [*GIGAEDGE, "run", str(site()), "--report", str(report_file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for_policy(process.pid)
        time.sleep(4.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
    control = json.loads(report_file.read_text())["control"]
    assert control["state"] == "stopped"
    assert control["enabled"] == {"left": True, "right": True}
    assert left_processes() == []


def fails(code: int, message: str, *arguments: object) -> None:
    result = run(*arguments)
    assert result.returncode == code, result.stderr
    errors = result.stderr.strip().splitlines()
    assert len(errors) == 1, result.stderr
    assert message in errors[0]
    assert left_processes() == []


def test_a_wrong_site_file(site: Callable[..., Path], tmp_path: Path) -> None:
    fails(2, "no such site file", tmp_path / "none.yaml")
    fails(2, "unknown key `limtis`; did you mean `limits`?", site(limtis={}))
    fails(2, "unknown key `limits.velocty`; did you mean `velocity`?", site(limits={"velocty": 1}))
    fails(2, "`limits`: velocity 9.0 is above the 3.0 rad/s of profile piper", site(limits={"velocity": 9}))
    fails(2, "cameras: need one each of", site(cameras=[]))
    fails(2, "no bundle here", site(bundle="nothing"))
    fails(2, "no prompt 'dance'", site(prompt="dance"))
    fails(2, "expected a time above zero", site(), "--for", "ten")


def test_devices_that_are_not_there(site: Callable[..., Path]) -> None:
    cameras = [{"role": role, "driver": "sim"} for role in CAMERA_ROLES[1:]]
    absent = {"role": "cam_high", "driver": "realsense", "serial": "123"}
    fails(3, "cam_high: no RealSense with serial 123", site(cameras=[absent, *cameras]), "--for", "2s")
    arms = [
        {"side": "left", "driver": "sim"},
        {"side": "right", "driver": "piper", "can": {"channel": "can7"}},
    ]
    fails(3, "can7", site(arms=arms), "--for", "2s")


def test_the_demo(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [*GIGAEDGE, "demo", "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    for words in ("verified against PyTorch", "chunks", "From exposure to CAN, ms", "bundle: ", "film: "):
        assert words in result.stdout
    report = json.loads((out / "report.json").read_text())
    assert report["physics"]["done_after"] > 0, "the block is in the air"
    with av.open(str(out / "demo.mp4")) as film:
        pictures = sum(1 for _ in film.decode(video=0))
        assert pictures > 20
    again = run(out / "site.yaml", "--for", "1s")
    assert again.returncode == 0, again.stderr


def test_the_examples_run(demo_cache: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(demo_cache)}
    command = [*GIGAEDGE, "run", str(ROOT / "examples" / "sim.yaml"), "--for", "2s", "--json"]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=180, check=False, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert list(json.loads(result.stdout)["control"]["enabled"]) == ["left"]
