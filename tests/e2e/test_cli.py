"""The command line as a person calls it: exit codes, one-line errors, files whole or not at all."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gigaedge.files import read_tensors, write_tensors
from tests.command_line import answer, fails, gigaedge, gigaedge_process, succeeds


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    begin = time.perf_counter()
    assert gigaedge_process("--help").returncode == 0
    assert time.perf_counter() - begin < 5  # generous: the machine may be busy
    script = (
        "import sys; sys.argv = ['gigaedge', '--help']\n"
        "try:\n    from gigaedge.cli import main; main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'torch', 'onnx', 'onnxruntime', 'matplotlib', 'cv2', 'pyrealsense2', 'piper_sdk'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_a_library_makes_an_error_of_keeps_its_code(number: signal.Signals, code: int) -> None:
    script = (
        "import signal\nfrom gigaedge import cli\n"
        "def app():\n"
        f"    try: signal.raise_signal({number:d})\n"
        "    except BaseException: raise AttributeError\n"
        "cli.app = app; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_every_command_explains_itself() -> None:
    for command in (
        ["export"],
        ["inspect"],
        ["infer"],
        ["verify"],
        ["compare"],
        ["run"],
        ["demo"],
        ["calibrate", "cameras"],
    ):
        result = gigaedge(*command, "--help")
        assert result.returncode == 0, result.stderr
        assert "Example" in result.stdout, command


def test_export_verify_infer_inspect(golden: Path, tmp_path: Path) -> None:
    bundle, out = tmp_path / "b", tmp_path / "o.safetensors"
    recording = golden / "io.safetensors"
    export = ("export", "--checkpoint", golden, "--prompt", f"task={recording}", "--timesteps", "exact")
    assert "verified against PyTorch" in succeeds(*export, "--out", bundle).stdout
    report = answer("verify", bundle, "--golden", golden)
    assert report["passed"]
    assert max(stage["relative_l2"] for stage in report["stages"]) < 1e-4
    succeeds("infer", bundle, recording, "--out", out, "--intermediate")
    chunk, io = read_tensors(out), read_tensors(recording)
    assert {name: value.shape for name, value in chunk.items()} == {
        "composite": (384, 320, 3),
        "action_normalized": (1, 48, 32),
        "action": (48, 14),
        "ref_latents": (1, 48, 1, 24, 20),
        "velocity": (10, 48, 32),
        "trajectory": (11, 48, 32),
    }
    np.testing.assert_allclose(chunk["action"], io["action"], atol=1e-4)
    fails("exists already", *export, "--out", bundle)
    assert answer("inspect", bundle)["action"]["chunk"] == 48
    assert gigaedge("verify", bundle, "--golden", golden, "--tolerance", 1e-12).returncode == 1


def test_layout_single_through_the_command_line(golden: Path, tmp_path: Path) -> None:
    bundle, out = tmp_path / "b", tmp_path / "o.safetensors"
    recording = golden / "io.safetensors"
    export = ("export", "--checkpoint", golden, "--prompt", f"task={recording}", "--timesteps", "exact")
    assert "verified against PyTorch" in succeeds(*export, "--layout", "single", "--out", bundle).stdout
    assert {file.name for file in bundle.glob("*.onnx")} == {"policy.onnx"}
    assert gigaedge("verify", bundle, "--golden", golden).returncode == 0
    assert gigaedge("infer", bundle, recording, "--out", out).returncode == 0
    np.testing.assert_allclose(read_tensors(out)["action"], read_tensors(recording)["action"], atol=1e-4)
    inspected = answer("inspect", bundle, "--load")
    assert inspected["layout"] == "single"
    memory = inspected["memory"]
    assert memory["weights"] == inspected["weights"]["bytes"]
    assert memory["ratio"] == memory["first_chunk"] / (4 * inspected["model"]["parameters"])
    assert "memory: after a chunk" in gigaedge("inspect", bundle, "--load").stdout


@pytest.fixture
def bundle(exported: Callable[..., Path]) -> Path:
    return exported("gwp05-tiny")


@pytest.fixture
def recording() -> Path:
    return Path(__file__).parents[1] / "golden" / "gwp05-tiny" / "io.safetensors"


def test_bad_exports(recording: Path, tmp_path: Path) -> None:
    checkpoint, out = recording.parent, tmp_path / "b"
    base = ("export", "--checkpoint", checkpoint, "--out", out)
    fails("needs at least one --prompt", *base)
    fails("expected NAME=VALUE", *base, "--prompt", recording)
    fails("no such file", *base, "--prompt", "task=nothing.pt")
    fails("expected WIDTHxHEIGHT", *base, "--prompt", f"t={recording}", "--view-size", "320")
    for steps in ("10,0", "1001", "5,5"):
        fails("step counts must be from 1 to 1000", *base, "--prompt", f"t={recording}", "--steps", steps)
    for option in ("--rate", "--shift"):
        assert gigaedge(*base, "--prompt", f"t={recording}", option, "inf").returncode == 2
    fails(
        "no such folder",
        "export",
        "--checkpoint",
        tmp_path / "none",
        "--out",
        out,
        "--prompt",
        f"t={recording}",
    )
    result = gigaedge(*base, "--prompt", f"t={recording}", "--timesteps", "fp8")
    assert result.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_long_prompt_is_cut_with_a_notice(recording: Path, tmp_path: Path) -> None:
    result = gigaedge(
        *("export", "--checkpoint", recording.parent, "--out", tmp_path / "b"),
        *("--prompt", f"t={recording}", "--prompt-length", 8, "--steps", 1),
    )
    assert result.returncode == 0, result.stderr
    assert "64 tokens cut to 8" in result.stderr


def test_bad_observations(bundle: Path, recording: Path, tmp_path: Path) -> None:
    good = read_tensors(recording)
    observation, out = tmp_path / "obs.safetensors", tmp_path / "o.safetensors"

    def refused(message: str, **changes: np.ndarray) -> None:
        write_tensors(observation, good | {name.replace("__", "."): value for name, value in changes.items()})
        fails(message, "infer", bundle, observation, "--out", out)
        assert not out.exists()

    image = good["image.cam_high"]
    refused("cam_high: expected an RGB picture", image__cam_high=image.astype(np.float32))
    refused("cam_high: expected an RGB picture", image__cam_high=image[..., :1])
    refused("state: expected floating (14,), got float32 (13,)", state=good["state"][:13])
    refused("left_joint_1 is nan", state=np.full(14, np.nan, np.float32))
    refused("expected finite (tokens, 64)", prompt_embeds=np.zeros((1, 64, 65), np.float32))
    write_tensors(observation, {"state": good["state"]})
    fails("key image.cam_high is missing", "infer", bundle, observation, "--out", out)
    fails("no such file", "infer", bundle, tmp_path / "none", "--out", out)
    fails("no prompt 'dance'", "infer", bundle, recording, "--out", out, "--prompt", "dance")
    fails("no euler table for 7 steps", "infer", bundle, recording, "--out", out, "--steps", 7)


def test_a_provider_that_does_not_run_fails(bundle: Path, recording: Path, tmp_path: Path) -> None:
    result = gigaedge_process("infer", bundle, recording, "--out", tmp_path / "o", "--provider", "cuda")
    assert result.returncode == 3
    assert "provider cuda: " in result.stderr
    assert not (tmp_path / "o").exists()


def test_the_bundles_prompt_wins_when_named(bundle: Path, recording: Path, tmp_path: Path) -> None:
    other = tmp_path / "obs.safetensors"
    tensors = read_tensors(recording)
    write_tensors(other, tensors | {"prompt_embeds": tensors["prompt_embeds"] + 1})
    answers = []
    for arguments in ((recording,), (other,), (other, "--prompt", "task")):
        out = tmp_path / "o.safetensors"
        assert gigaedge("infer", bundle, *arguments, "--out", out).returncode == 0
        answers.append(read_tensors(out)["action"])
    assert not np.array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_bad_bundles(bundle: Path, recording: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "b"))
    weights = bytearray((copy / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(weights)
    fails("weights.safetensors was altered", "inspect", copy)
    fails("weights.safetensors was altered", "verify", copy, "--golden", recording.parent)
    fails("no bundle here", "inspect", tmp_path)
    fails("needs either --golden", "verify", bundle)
    tensors = read_tensors(recording)
    for key in ("composite", "timesteps", "trajectory_bf16_timesteps"):
        write_tensors(tmp_path / "io.safetensors", {k: v for k, v in tensors.items() if k != key})
        fails(f"key {key} is missing; this is no golden recording", "verify", bundle, "--golden", tmp_path)
