"""`gigaedge compare` as a person calls it, on bundles of a golden checkpoint."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigaedge.bundle import Manifest, PrecisionInfo, open_bundle, read_manifest
from gigaedge.cli import comparison
from gigaedge.cli.observations import KEYS
from gigaedge.errors import CheckFailedError, InputError
from gigaedge.files import read_tensors, write_tensors
from gigaedge.kinematics import fingertips
from gigaedge.robot import DELTA_MASK
from gigaedge.sampling import SOLVERS
from gigaedge_runtime.policy import Observation, Policy
from tests.command_line import answer, fails, gigaedge, succeeds

GOLDEN = Path(__file__).parents[1] / "golden" / "gwp05-tiny"
QUICK = ("--repeats", 1)
ROWS = [(steps, solver) for solver in SOLVERS for steps in (10, 4)]
"""What each bundle of the `exported` fixture has."""


@pytest.fixture(scope="module")
def bundles(exported: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Copies that may be written to; their constants, so their actions, differ a little."""
    folder = tmp_path_factory.mktemp("compare")
    exact, rounded = (
        Path(shutil.copytree(exported(GOLDEN.name, timesteps), folder / timesteps))
        for timesteps in ("exact", "bf16")
    )
    return exact, rounded


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An observation without noise or prompt."""
    io = read_tensors(GOLDEN / "io.safetensors")
    file = tmp_path_factory.mktemp("observations") / "bare.safetensors"
    write_tensors(file, {name: io[name] for name in KEYS})
    return file


def recorded_chunk(bundle: Path, steps: int) -> np.ndarray:
    io = read_tensors(GOLDEN / "io.safetensors")
    policy = Policy.load(bundle, steps=steps)
    policy.set_prompt_embedding(io["prompt_embeds"])
    return policy.chunk(Observation(io["composite"], io["state"], io["noise"][0])).actions.astype(np.float64)


def test_the_numbers_are_those_of_the_chunks(bundles: tuple[Path, Path]) -> None:
    report = answer("compare", *bundles, "--observations", GOLDEN, *QUICK)
    rows = report["rows"]
    assert [(row["bundle"], row["steps"], row["solver"]) for row in rows] == [
        (bundle.name, *way) for bundle in bundles for way in ROWS
    ]
    assert report["reference"] == "exact (fp32), 10 steps, euler"
    assert (report["observations"], report["chunks"], report["passed"]) == (1, 1, True)
    assert "CPUExecutionProvider, ONNX Runtime" in report["machine"]
    assert rows[0]["joint_degrees"] == rows[0]["fingertip_millimetres"] == {"p50": 0, "p95": 0, "worst": 0}
    expected = recorded_chunk(bundles[0], 10)
    joints = np.array(DELTA_MASK)
    for bundle, steps in ((bundles[0], 4), (bundles[1], 10), (bundles[1], 4)):
        found = recorded_chunk(bundle, steps)
        row = next(row for row in rows if (row["bundle"], row["steps"]) == (bundle.name, steps))
        degrees = np.degrees(np.abs(found - expected)[:, joints])
        opening = np.abs(found - expected)[:, ~joints] * 1e3
        distance = np.linalg.norm(fingertips(found) - fingertips(expected), axis=-1) * 1e3
        for key, errors in (
            ("joint_degrees", degrees),
            ("gripper_millimetres", opening),
            ("fingertip_millimetres", distance),
        ):
            p50, p95 = np.percentile(errors, (50, 95))
            assert row[key] == pytest.approx({"p50": p50, "p95": p95, "worst": errors.max()}, rel=1e-3)
        assert row["fingertip_millimetres"]["worst"] > 1
        assert row["per_joint_degrees"]["right_joint_3"]["worst"] == pytest.approx(
            degrees[:, 8].max(), rel=1e-3
        )
        assert len(row["over_time_millimetres_p95"]) == 48
    for row in rows:
        latency = row["latency_milliseconds"]
        assert 0 < latency["context_p50"] + latency["steps_p50"] <= latency["p50"] * 1.001
        assert latency["p50"] <= latency["p95"]


def test_drawn_noise_is_the_same_for_all_and_follows_the_seed(bundles: tuple[Path, Path], bare: Path) -> None:
    arguments = (bundles[0], "--observations", bare, "--observations", bare, "--noises", 2, *QUICK)
    first, again, other = (answer("compare", *arguments, "--seed", seed) for seed in (1, 1, 2))
    assert (first["observations"], first["chunks"]) == (2, 4)
    errors = [[row["joint_degrees"] for row in report["rows"]] for report in (first, again, other)]
    assert errors[0] == errors[1]
    assert errors[0][1] != errors[2][1]
    assert errors[0][0]["worst"] == 0


def test_another_reference_need_not_be_in_the_table(bundles: tuple[Path, Path]) -> None:
    report = answer(
        "compare",
        bundles[1],
        *("--reference", bundles[0], "--reference-steps", 4, "--observations", GOLDEN / "io.safetensors"),
        *QUICK,
    )
    assert report["reference"] == "exact (fp32), 4 steps, euler"
    assert [(row["bundle"], row["steps"], row["solver"]) for row in report["rows"]] == [
        ("bf16", *way) for way in ROWS
    ]
    assert all(row["joint_degrees"]["worst"] > 0 for row in report["rows"])


def test_the_ledger_is_kept_shown_and_printed(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    html = tmp_path / "ledger.html"
    before = {bundle: read_manifest(bundle) for bundle in bundles}
    table = succeeds(
        *("compare", *bundles, "--observations", GOLDEN, "--html", html, "--write", *QUICK),
        *("--gate-mm", 1e6, "--gate-deg", 1e6),
    ).stdout
    assert "Errors against exact (fp32), 10 steps, euler" in table
    assert table.count("reference") == 1
    assert "4 multistep" in table
    assert str(html) in table
    assert html.read_text(encoding="utf-8").count("<svg") == 3
    for bundle in bundles:
        manifest = open_bundle(bundle).manifest
        assert manifest.model_copy(update={"ledger": None}) == before[bundle]
        assert manifest.ledger is not None
        assert [(row.steps, row.solver) for row in manifest.ledger.rows] == ROWS
        assert (manifest.ledger.gate_degrees, manifest.ledger.gate_millimetres) == (1e6, 1e6)
        assert not [file for file in bundle.iterdir() if file.name.startswith(".")]
    inspect = gigaedge("inspect", bundles[1])
    assert (
        "against exact (fp32), 10 steps, euler, 1 chunks; gates at p95: 1e+06 deg, 1e+06 mm" in inspect.stdout
    )
    assert "ledger: 4 steps, multistep" in inspect.stdout


def test_a_row_beyond_a_gate_ends_with_1(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    html = tmp_path / "ledger.html"
    base = ("compare", bundles[0], "--observations", GOLDEN, *QUICK)
    message = "exact (fp32), 4 steps, euler: the p95 fingertip error of"
    fails(message, *base, "--gate-mm", 1, "--html", html, code=1)
    assert html.is_file()
    result = gigaedge(*base, "--gate-deg", 0.01, "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert (report["passed"], report["gate_degrees"], report["gate_millimetres"]) == (False, 0.01, None)
    assert "the p95 joint error of" in result.stderr


def test_layout_single_has_one_time(
    bundles: tuple[Path, Path], exported: Callable[..., Path], tmp_path: Path
) -> None:
    single = Path(shutil.copytree(exported(GOLDEN.name, layout="single"), tmp_path / "single"))
    arguments = ("compare", bundles[1], single, "--observations", GOLDEN, "--write", *QUICK)
    rows = answer(*arguments)["rows"]
    for split, one in zip(rows[: len(ROWS)], rows[len(ROWS) :], strict=True):
        assert one["latency_milliseconds"]["p50"] > 0
        assert one["latency_milliseconds"]["context_p50"] is None
        assert split["latency_milliseconds"]["steps_p50"] > 0
        assert one["joint_degrees"]["worst"] == pytest.approx(split["joint_degrees"]["worst"], abs=1e-2)
    assert "ledger: 4 steps" in succeeds("inspect", single).stdout
    assert " ms" in succeeds(*arguments).stdout


def test_bad_input_is_one_line(bundles: tuple[Path, Path], bare: Path, tmp_path: Path) -> None:
    exact, _ = bundles
    observed = ("--observations", bare)
    fails("no bundle here", "compare", tmp_path, *observed)
    fails("no euler table for 7 steps (it has 10, 4)", "compare", exact, *observed, "--reference-steps", 7)
    fails("no .safetensors file in this folder", "compare", exact, "--observations", tmp_path)
    fails("no prompt 'cup' in the reference", "compare", exact, *observed, "--prompt", "cup")
    tensors = read_tensors(bare)
    broken = tmp_path / "broken.safetensors"
    write_tensors(broken, {name: value for name, value in tensors.items() if name != "state"})
    fails("broken.safetensors: key state is missing", "compare", exact, "--observations", broken)
    write_tensors(broken, {**tensors, "state": np.zeros(7, np.float32)})
    fails("broken.safetensors: state: expected floating (14,)", "compare", exact, "--observations", broken)
    write_tensors(broken, {**tensors, "image.cam_high": np.zeros((4, 4), np.uint8)})
    fails("broken.safetensors: ", "compare", exact, "--observations", broken)


def test_bundles_that_cannot_be_compared(
    bundles: tuple[Path, Path], exported: Callable[..., Path], tmp_path: Path
) -> None:
    exact, _ = bundles
    observed = ("--observations", GOLDEN)
    fails("compare bundles of one checkpoint", "compare", exact, exported("gwp0-tiny"), *observed)
    other = Path(shutil.copytree(exact, tmp_path / "other"))
    file = other / "manifest.json"
    manifest = json.loads(file.read_text())
    for part, changes, message in (
        ("action", {"chunk": 24}, "the chunk is 24 actions at 30 Hz, that of the reference"),
        ("action", {"width": 16}, "the action width is 16, that of the reference"),
        ("view", {"width": 256}, "the view is 256x384 tshape"),
    ):
        file.write_text(json.dumps({**manifest, part: {**manifest[part], **changes}}))
        fails(message, "compare", exact, other, *observed)


def test_no_fp32_bundle_is_no_reference(bundles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def quantised(path: Path) -> Manifest:
        precision = PrecisionInfo.model_construct(recipe="int8")  # type: ignore[arg-type]
        return read_manifest(path).model_copy(update={"precision": precision})

    monkeypatch.setattr(comparison, "read_manifest", quantised)
    with pytest.raises(InputError, match=r"no bundle among those given is fp32 \(found: int8\)"):
        comparison.make_plan(bundles, None, 10)
    plan = comparison.make_plan(bundles, bundles[1], 4)
    assert plan.reference.name == "bf16 (int8), 4 steps, euler"


def test_folders_of_one_name_are_told_apart(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    twin = Path(shutil.copytree(bundles[0], tmp_path / "exact"))
    plan = comparison.make_plan([bundles[0], twin, bundles[1]], None, 10)
    assert list(plan.bundles) == [str(bundles[0]), str(twin), "bf16"]


def test_an_answer_that_is_not_finite_is_an_error(
    bundles: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = comparison.make_plan(bundles[:1], None, 10)
    files = [GOLDEN / "io.safetensors"]
    samples = comparison.read_samples(files, plan, prompt=None, noises=1, seed=0)
    real = Policy.chunk

    def poisoned(self: Policy, observation: Observation) -> Any:
        chunk = real(self, observation)
        chunk.actions[3, 4] = np.nan
        return chunk

    monkeypatch.setattr(Policy, "chunk", poisoned)
    with pytest.raises(CheckFailedError, match=r"exact \(fp32\), 10 steps, euler: .* not finite"):
        comparison.run_plan(plan, samples, provider="cpu", repeats=1, begin=lambda what: None)


def test_progress_announces_every_chunk_and_repeats_are_timed(bundles: tuple[Path, Path], bare: Path) -> None:
    plan = comparison.make_plan(bundles[:1], None, 10)
    samples = comparison.read_samples([bare], plan, prompt=None, noises=2, seed=0)
    announced: list[str] = []
    comparison.run_plan(plan, samples, provider="cpu", repeats=3, begin=announced.append)
    assert len(announced) == comparison.count_chunks(plan, samples, 3) == len(ROWS) * 4
    assert announced[0] == "exact (fp32), 10 steps, euler: bare.safetensors"


def test_ctrl_c_leaves_nothing_behind(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    before = (bundles[0] / "manifest.json").read_bytes()
    command = [sys.executable, "-m", "gigaedge", "compare", str(bundles[0]), "--observations", str(GOLDEN)]
    command += ["--repeats", "1000000", "--write", "--html", str(tmp_path / "ledger.html")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        maps = Path("/proc") / str(process.pid) / "maps"
        while "onnxruntime" not in maps.read_text():
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
    assert (bundles[0] / "manifest.json").read_bytes() == before
