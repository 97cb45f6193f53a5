"""The built wheel in a clean environment, as a robot gets it: without torch and without onnx."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gigaedge.robot import CAMERA_ROLES

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.realtime, pytest.mark.slow]


def run(*command: object, cwd: Path, timeout: float = 600) -> str:
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with `gigaedge[robot,cpu]` from the wheel."""
    folder = tmp_path_factory.mktemp("robot")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    run(binaries / "python", "-m", "pip", "install", "--quiet", f"{wheel}[robot,cpu]", cwd=folder)
    return binaries


def test_a_robot_needs_no_torch_and_no_onnx(robot: Path, tmp_path: Path) -> None:
    script = (
        "import importlib.util as u\n"
        "print([m for m in ('torch', 'onnx', 'onnx_ir', 'onnxscript', 'transformers', 'optimum') if u.find_spec(m)])\n"
        "import gigaedge, gigaedge_runtime, gigaedge_calibration, gigaedge_export\n"
        "print(gigaedge.__file__)"
    )
    absent, where = run(robot / "python", "-c", script, cwd=tmp_path).splitlines()
    assert absent == "[]"
    assert "site-packages" in where


@pytest.mark.parametrize("golden", ["gwp05-tiny"], indirect=True)
def test_it_infers_and_runs_there(
    robot: Path, exported: Callable[..., Path], golden: Path, tmp_path: Path
) -> None:
    bundle = exported(golden.name)
    out = tmp_path / "o.safetensors"
    run(robot / "gigaedge", "infer", bundle, golden / "io.safetensors", "--out", out, cwd=tmp_path)
    assert out.is_file()
    run(robot / "gigaedge", "verify", bundle, "--golden", golden, cwd=tmp_path)
    site = {
        "schema": 1,
        "bundle": str(bundle),
        "cameras": [{"role": role, "driver": "sim", "width": 320, "height": 240} for role in CAMERA_ROLES],
        "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    report = json.loads(run(robot / "gigaedge", "run", "site.yaml", "--for", "3s", "--json", cwd=tmp_path))
    assert report["ended_by"] == "duration"
    assert report["control"]["sends"] > 0


def test_a_text_becomes_a_prompt_there(
    robot: Path,
    exported: Callable[..., Path],
    text_encoder: Callable[[str], Path],
    umt5: Path,
    tmp_path: Path,
) -> None:
    bundle = Path(shutil.copytree(exported("gwp05-tiny"), tmp_path / "bundle"))
    add = (robot / "gigaedge", "prompt", "add", bundle, "towel", "fold the towel", "--text-encoder")
    run(*add, text_encoder("int8"), cwd=tmp_path)
    assert "fold the towel" in run(robot / "gigaedge", "prompt", "list", bundle, cwd=tmp_path)
    result = subprocess.run([*add, umt5, "--force"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "is not installed; run `pip install 'gigaedge[text,robot,cpu]'`" in result.stderr


def test_what_needs_torch_says_so(robot: Path, golden: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [robot / "gigaedge", "export", "--checkpoint", golden, "--prompt", "t=x.pt", "--out", tmp_path / "b"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "is not installed; run `pip install 'gigaedge[export,cpu]'`" in result.stderr
