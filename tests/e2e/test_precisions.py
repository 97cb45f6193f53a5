"""A field engineer's question, through the command line: which precision, how many steps, and what does it cost?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.files import read_tensors, write_tensors
from tests.command_line import answer, fails, gigaedge

PRECISIONS = ("fp32", "fp16", "int8")
STEPS = (10, 5, 4)


def export(checkpoint: Path, out: Path) -> tuple[object, ...]:
    return (
        "export",
        "--checkpoint",
        checkpoint,
        "--prompt",
        f"task={checkpoint / 'io.safetensors'}",
        "--out",
        out,
    )


@pytest.fixture(scope="module")
def bundles(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for precision in PRECISIONS:
        steps = ",".join(map(str, STEPS))
        answer(*export(golden, folder / precision), "--steps", steps, "--precision", precision)
    return {precision: folder / precision for precision in PRECISIONS}


def test_the_ledger_of_three_precisions_and_three_step_counts(bundles: dict[str, Path], golden: Path) -> None:
    report = answer("compare", *bundles.values(), "--observations", golden, "--repeats", 1)
    rows = {(row["precision"], row["steps"], row["solver"]): row for row in report["rows"]}
    for steps in STEPS:
        worst = [rows[precision, steps, "euler"]["joint_degrees"]["worst"] for precision in PRECISIONS]
        assert all(0 <= value < 90 for value in worst)
    at_ten = [rows[precision, 10, "euler"] for precision in PRECISIONS]
    degrees = [row["joint_degrees"]["p95"] for row in at_ten]
    millimetres = [row["fingertip_millimetres"]["p95"] for row in at_ten]
    assert degrees[0] == millimetres[0] == 0
    assert 0 < degrees[1] < degrees[2]
    assert 0 < millimetres[1] < millimetres[2]
    assert all(row["latency_milliseconds"]["p50"] > 0 for row in rows.values())


@pytest.mark.parametrize("golden", ["gwp05-tiny"], indirect=True)
def test_the_better_solver_is_nearer_to_a_hundred_steps(golden: Path, tmp_path: Path) -> None:
    # PyTorch would need minutes for a hundred steps of the uncached model.
    answer(*export(golden, tmp_path / "b"), "--steps", "100,5", "--no-verify")
    arguments = (tmp_path / "b", "--observations", golden, "--reference-steps", 100, "--repeats", 1)
    rows = {(row["steps"], row["solver"]): row for row in answer("compare", *arguments)["rows"]}
    for kind, statistic in (
        ("joint_degrees", "p50"),
        ("joint_degrees", "p95"),
        ("fingertip_millimetres", "p95"),
    ):
        euler, multistep = (rows[5, solver][kind][statistic] for solver in ("euler", "multistep"))
        assert multistep < euler, (kind, statistic)


def test_each_bundle_says_what_it_costs_and_passes_its_gate(bundles: dict[str, Path], golden: Path) -> None:
    for precision, bundle in bundles.items():
        manifest = answer("inspect", bundle)
        action = next(s for s in manifest["fidelity"]["stages"] if s["stage"].startswith("action/10"))
        assert action["joint_degrees"] > 0
        assert action["fingertip_millimetres"] > 0
        assert sum(manifest["weights"]["by_type"].values()) <= manifest["weights"]["bytes"]
        assert f"{precision} for cpu" in gigaedge("inspect", bundle).stdout
        assert answer("verify", bundle, "--golden", golden)["passed"]
    assert gigaedge("verify", bundles["int8"], "--golden", golden, "--tolerance", 1e-3).returncode == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision", "int8", "--target", "tensorrt"), "pass --calibration"),
        (("--precision", "int4", "--target", "tensorrt"), "TensorRT does not parse"),
        (("--precision", "fp16", "--recipe", "none.yaml"), "none.yaml: no such recipe file"),
        (("--precision", "fp16", "--calibration", "none"), "none: no such file"),
    ],
)
def test_what_cannot_be_is_one_line(
    golden: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    fails(message, *export(golden, tmp_path / "b"), *options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("golden", ["gwp05-tiny"], indirect=True)
def test_calibration_takes_observations(golden: Path, tmp_path: Path) -> None:
    options = ("--precision", "int8", "--target", "tensorrt", "--opset", 20, "--calibration", golden)
    answer(*export(golden, tmp_path / "b"), *options)
    step = answer("verify", tmp_path / "b", "--golden", golden)
    assert step["passed"]
    scales = [name for name in read_tensors(tmp_path / "b" / "weights.safetensors") if name.endswith(".qdq8")]
    assert len(scales) > 20


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("state", np.full(14, np.nan, np.float32), "with NaN or infinite values"),
        (
            "noise",
            np.zeros((3, 32), np.float32),
            r"noise: expected finite float (48, 32), got float32 (3, 32)",
        ),
        ("image.cam_high", np.zeros((4, 4), np.uint8), "cam_high"),
    ],
)
def test_a_bad_calibration_observation_is_named(
    golden: Path, tmp_path: Path, key: str, value: NDArray[Any], message: str
) -> None:
    file = tmp_path / "bad.safetensors"
    write_tensors(file, read_tensors(golden / "io.safetensors") | {key: value})
    done = gigaedge(
        *("export", "--checkpoint", golden, "--prompt", f"task={golden / 'io.safetensors'}"),
        *("--precision", "fp16", "--calibration", file, "--out", tmp_path / "b"),
    )
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert f"{file}: " in done.stderr
    assert message in done.stderr
    assert not (tmp_path / "b").exists()
