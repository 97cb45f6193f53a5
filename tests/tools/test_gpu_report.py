"""The GPU report, rehearsed on the CPU with tiny checkpoints, and its set-up of a bare machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpu_report
from gigaedge.errors import InputError
from gpu_rows import HEADER, Row, floor_ms, weight_reads

ROOT = Path(__file__).parents[2]
QUICK = (
    *("--generation", "GWP-0.5", "--sizes", "tiny", "--layers", 1, "--check-layers", 1),
    *("--steps", "4,2", "--repeats", 2, "--warmup", 1),
)


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    program = ["sh"] if script.endswith(".sh") else [sys.executable]
    command = [*program, str(ROOT / "tools" / script), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of one generation in fp16 on the CPU."""
    out = tmp_path_factory.mktemp("gpu") / "report"
    result = run(
        *(
            "gpu_report.py",
            "--out",
            out,
            "--provider",
            "cpu",
            "--precision",
            "fp16",
            "--pytorch",
            "eager",
            *QUICK,
        )
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "GWP-0.5 fp16 single" in result.stdout
    return out


@pytest.mark.slow
def test_every_combination_is_measured_and_checked(rehearsed: Path) -> None:
    rows = [Row.model_validate(row) for row in read(rehearsed)["rows"]]
    found = {(row.kind, row.variant, row.steps) for row in rows}
    assert found == {
        *((kind, layout, 4) for kind in ("policy", "check") for layout in ("split", "single")),
        *(("policy", layout, 2) for layout in ("split", "single")),
        *((kind, "eager", steps) for kind in ("pytorch", "check") for steps in (4, 2)),
    }
    for row in rows:
        assert row.problem == ""
        if row.kind == "check":
            assert row.relative_l2 is not None
            assert row.relative_l2 < 1e-2
        if row.kind == "policy":
            assert row.ran_on == {"CPUExecutionProvider": 0}
            assert row.chunk_ms is not None
            assert row.floor_ms is not None
            assert 0 < row.floor_ms < row.chunk_ms.p50
            assert row.chunk_ms.p50 <= row.chunk_ms.p95 <= row.chunk_ms.p99
            assert (row.context_ms is not None) == (row.variant == "split")


@pytest.mark.slow
def test_a_rows_last_command_makes_its_figures_again(rehearsed: Path) -> None:
    row = next(
        row for row in read(rehearsed)["rows"] if row["kind"] == "check" and row["variant"] == "single"
    )
    result = subprocess.run(shlex.split(row["commands"][-1]), capture_output=True, text=True, check=True)
    again = json.loads(result.stdout.splitlines()[-1])
    assert [each["relative_l2"] for each in again] == [row["relative_l2"]]


@pytest.mark.slow
def test_the_page_needs_nothing_else(rehearsed: Path) -> None:
    html = (rehearsed / "report.html").read_text()
    assert "<svg" in html
    assert "wam.cpp" in html
    assert "://" not in html.replace("http://www.w3.org", "")


@pytest.mark.slow
def test_a_combination_that_fails_is_a_row_and_earlier_rows_stay(rehearsed: Path) -> None:
    earlier = read(rehearsed)["rows"]
    arguments = ("--precision", "fp16", "--layout", "split", "--pytorch", "none", *QUICK)
    result = run("gpu_report.py", "--out", rehearsed, "--provider", "cuda,cpu", *arguments)
    assert result.returncode == 1
    rows = read(rehearsed)["rows"]
    assert rows[: len(earlier)] == earlier
    assert [row["kind"] for row in rows[len(earlier) :]] == ["policy", "check"]
    for row in rows[len(earlier) :]:
        assert row["error"].startswith("error: provider cuda: ")
        assert "\n" not in row["error"]
    assert "FAILED policy: GWP-0.5 fp16 split, cuda, 1 layers: error: provider cuda" in result.stderr


def row(**fields: Any) -> Row:
    identity = {"kind": "check", "generation": "GWP-0", "precision": "fp16", "variant": "split"}
    return Row.model_validate({**identity, "provider": "cuda", "layers": 2, "commands": ("true",), **fields})


def test_a_velocity_beyond_its_gate_is_a_problem() -> None:
    assert row(relative_l2=1e-2, gate=1e-2).problem == ""
    assert row(relative_l2=1.1e-2, gate=1e-2).problem == "velocity beyond its gate of 0.01"
    assert row(relative_l2=0.2, gate=None).problem == ""
    assert row(error="no GPU").problem == "no GPU"
    assert len(row(steps=4, ran_on={"CUDAExecutionProvider": 7}).cells()) == len(HEADER)


def test_tensorrt_is_asked_for_what_it_parses() -> None:
    found = gpu_report.cases("GWP-0", ["fp16", "int8", "int4"], ["split"], ["cuda", "tensorrt"])
    assert [(case.provider, case.precision) for case in found] == [
        *(("cuda", precision) for precision in ("fp16", "int8", "int4")),
        *(("tensorrt", precision) for precision in ("fp16", "int8")),
    ]


def test_an_unknown_choice_is_named() -> None:
    assert gpu_report.chosen("--precision", "int8,fp16", gpu_report.PRECISIONS) == ["int8", "fp16"]
    with pytest.raises(InputError, match=r"--precision 'int8,fp8': 'fp8' is none of fp16, int8, int4, fp32"):
        gpu_report.chosen("--precision", "int8,fp8", gpu_report.PRECISIONS)


def test_both_layouts_read_the_same_weights(exported: Callable[..., Path]) -> None:
    split, single = (exported("gwp05-tiny", layout=layout) for layout in ("split", "single"))
    context, inside = weight_reads(split / "context.onnx")
    assert inside == 0
    step, _ = weight_reads(split / "step.onnx")
    text, _ = weight_reads(split / "text.onnx")
    once, per_step = weight_reads(single / "policy.onnx")
    # Constants of a few numbers differ.
    assert per_step == pytest.approx(step, rel=0.02)
    assert once == pytest.approx(context + text, rel=0.02)
    assert floor_ms(split, 10, 1e9) == pytest.approx((context + 10 * step) / 1e6)


@pytest.mark.slow
def test_a_wheel_in_pieces_is_joined_and_installed(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    pieces = tmp_path / "pieces"
    assert run("gpu_setup.sh", "split", wheel, pieces, PIECE_BYTES="300").returncode == 0
    assert len(list(pieces.glob("*.part*"))) > 1
    place = {"PYTHON": sys.executable, "VENV": str(tmp_path / "venv")}
    result = run("gpu_setup.sh", pieces, "--help", **place)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "onnxruntime: " in result.stdout
    assert "--check-layers" in result.stdout
    python = tmp_path / "venv" / "bin" / "python"
    assert subprocess.run([python, "-c", "import gigaedge_probe"], check=False).returncode == 0
    next(pieces.glob("*.part00")).write_bytes(b"damaged")
    result = run("gpu_setup.sh", pieces, "--help", **place)
    assert result.returncode == 2
    assert "a piece is missing or damaged" in result.stderr


def make_wheel(folder: Path) -> Path:
    """The smallest wheel there is."""
    info = "gigaedge_probe-1.0.dist-info"
    files = {
        "gigaedge_probe.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: gigaedge-probe\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(text)}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    wheel = folder / "gigaedge_probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel
