"""The race: who is asked for, what is claimed, how ratios are made, and one race of the smallest size."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import race
import race_contestants
from gigaedge.errors import InputError, ProcessError
from race_contestants import GIGAEDGE, NAMES, OPENVINO, PYTORCH, Lap, able, bundle_of, chosen
from race_course import Course
from race_process import Racer
from race_result import (
    GATES,
    Gate,
    RaceReport,
    judge,
    parse_gate,
    ratio_of_medians,
    transformer_times,
)

ROOT = Path(__file__).parents[2]
HAS_OPENVINO = find_spec("openvino") is not None


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "race.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """GWP-0.5, three contestants, a gate that holds and one that cannot."""
    folder = tmp_path_factory.mktemp("race")
    names = ["gigaedge-fp32", "gigaedge-int8-single", *(["openvino"] if HAS_OPENVINO else [])]
    result = run(
        *("--size", "tiny", "--generation", "GWP-0.5", "--contestants", ",".join(names)),
        *("--threads", 1, "--rounds", 3, "--work", folder / "work"),
        *("--json", folder / "race.json", "--markdown", folder / "race.md", "--html", folder / "race.html"),
        *("--require", "eager/gigaedge-fp32>=0", "--require", "eager/gigaedge-fp32>=1000"),
    )
    return folder, result


def report(folder: Path) -> RaceReport:
    return RaceReport.model_validate_json((folder / "race.json").read_text())


@pytest.mark.slow
def test_a_gate_that_does_not_hold_ends_with_1(raced: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, result = raced
    assert result.returncode == 1, result.stdout + result.stderr
    assert re.search(
        r"^error: 1 of 2 gates do not hold; first: GWP-0.5: eager/gigaedge-fp32>=1000: \d+\.\d\d, DOES NOT HOLD$",
        result.stderr,
        re.MULTILINE,
    )
    assert [gate.passed for gate in report(folder).gates] == [True, False]


@pytest.mark.slow
def test_everybody_computes_the_same_actions(raced: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    (generation,) = report(raced[0]).generations
    found = {each.name: each for each in generation.contestants}
    assert found["eager"].fidelity.normalized == 0
    assert found["gigaedge-fp32"].fidelity.normalized < 1e-4
    assert found["gigaedge-fp32"].fidelity.joint_degrees < 1e-3
    assert 1e-5 < found["gigaedge-int8-single"].fidelity.normalized < 0.1
    if HAS_OPENVINO:
        assert found["openvino"].fidelity.normalized < 1e-4


@pytest.mark.slow
def test_times_add_up(raced: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    (generation,) = report(raced[0]).generations
    assert generation.steps == 10
    for each in generation.contestants:
        assert len(each.transformer_laps_ms) == 3
        assert 0 < each.transformer_ms < each.chunk_ms
        assert each.load_s > 0
        assert each.first_s > 0
        assert each.rss_mib > 10
        if each.name != "eager":
            assert each.transformer_ms == pytest.approx(each.chunk_ms - each.vae_ms)
    for ratio in generation.ratios:
        assert ratio.low <= ratio.ratio <= ratio.high


@pytest.mark.slow
def test_a_kept_course_is_used_again_and_the_tables_are_written(
    raced: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, result = raced
    assert "drawing the checkpoint" in result.stderr
    bundle = folder / "work" / "GWP-0.5-tiny" / "fp32-split"
    assert (bundle / "manifest.json").is_file()
    lines = (folder / "race.md").read_text().splitlines()
    assert any(line.startswith("| gigaedge-fp32 | ") for line in lines)
    text = (folder / "race.html").read_text()
    assert "<svg" in text
    assert "gigaedge-int8-single" in text
    made = (bundle / "manifest.json").read_bytes()
    again = run(
        *("--size", "tiny", "--generation", "GWP-0.5", "--contestants", "gigaedge-fp32", "--threads", 1),
        *("--rounds", 1, "--warmup", 0, "--work", folder / "work", "--json", folder / "again.json"),
    )
    assert again.returncode == 0, again.stderr
    assert "drawing" not in again.stderr
    assert "exporting" not in again.stderr
    assert (bundle / "manifest.json").read_bytes() == made
    assert json.loads((folder / "again.json").read_text())["gates"] == []


@pytest.mark.slow
def test_a_contestant_that_dies_is_named(raced: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    racer = Racer(Course(raced[0] / "work" / "GWP-0.5-tiny", "GWP-0.5", "tiny"), "gigaedge-fp32", 1)
    assert racer.lap().chunk > 0
    racer._process.kill()
    racer._process.join()
    with pytest.raises(ProcessError, match=r"^gigaedge-fp32: its process ended \(exit code -9\)$"):
        racer.lap()
    racer.close()


def test_a_contestant_that_does_not_load_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"^gigaedge-fp32: did not load: \w+: .*no-course.*"):
        Racer(Course(tmp_path / "no-course", "GWP-0", "tiny"), "gigaedge-fp32", 1)


def test_gates_are_read() -> None:
    assert parse_gate("gigaedge-int8/eager>=8") == Gate("gigaedge-int8", "eager", 8.0)
    assert parse_gate("GWP-0.5: gigaedge-fp32 / openvino >= 1.05") == Gate(
        "gigaedge-fp32", "openvino", 1.05, "GWP-0.5"
    )
    assert [parse_gate(str(gate)) for gate in GATES] == list(GATES)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gigaedge-int8>8", "expected [GENERATION:]FAST/SLOW>=RATIO, as gigaedge-int8/eager>=8"),
        ("gigaedge-int9/eager>=8", "'gigaedge-int9' is none of eager, "),
        ("GWP-1:gigaedge-int8/eager>=8", "expected [GENERATION:]FAST/SLOW>=RATIO"),
    ],
)
def test_a_wrong_gate_is_named(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"--require {text!r}: {problem}")):
        parse_gate(text)


def test_a_gate_counts_medians_in_its_generation() -> None:
    times = {"eager": np.array([4.0, 4.0, 40.0]), "compile": np.array([2.0, 2.0, 2.0])}
    found = judge(Gate("compile", "eager", 2.0), "GWP-0", times)
    assert found is not None
    assert (found.ratio, found.passed) == (2.0, True)
    beyond = judge(Gate("compile", "eager", 2.01), "GWP-0", times)
    assert beyond is not None
    assert not beyond.passed
    assert judge(Gate("compile", "eager", 2.0, "GWP-0.5"), "GWP-0", times) is None


def test_a_gate_on_somebody_who_does_not_race_is_refused_at_once() -> None:
    result = run("--size", "tiny", "--contestants", "gigaedge-fp32", "--gates")
    assert result.returncode == 2
    assert result.stderr == (
        "error: gate GWP-0:gigaedge-fp32/compile>=3.5: compile does not race; add it to --contestants\n"
    )


def test_a_folder_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(
        InputError, match=re.escape(f"--json {missing}/r.json: no folder {missing}; make it first")
    ):
        race.main(size="tiny", contestants="gigaedge-fp32", json=missing / "r.json", require=[])


def test_a_ratio_has_an_interval_that_knows_its_noise() -> None:
    random = np.random.default_rng(1)
    fast = random.normal(1.0, 0.05, 40)
    slow = random.normal(3.0, 0.15, 40)
    ratio, low, high = ratio_of_medians(slow, fast)
    assert low < 3.0 < high
    assert low < ratio < high
    assert high - low < 0.3
    few = ratio_of_medians(slow[:5], fast[:5])
    assert few[2] - few[1] > high - low


def test_a_disturbance_of_whole_rounds_does_not_move_the_ratio() -> None:
    busy = np.array([1.0, 1.0, 5.0, 1.0, 3.0, 1.0, 1.0, 2.0, 1.0])
    ratio, low, high = ratio_of_medians(8 * busy, busy)
    assert (ratio, low, high) == (8.0, 8.0, 8.0)


def test_laps_of_different_rounds_are_not_compared() -> None:
    with pytest.raises(
        ValueError, match=re.escape("laps of shapes (2,) and (3,) are not of the same rounds")
    ):
        ratio_of_medians(np.ones(2), np.ones(3))


def test_what_is_taken_off_for_the_vae_is_the_least() -> None:
    laps = [Lap(chunk=1.0, vae=0.3, cpu=1.0), Lap(chunk=1.2, vae=0.1, cpu=1.0)]
    assert transformer_times(laps, vae_inside=True) == pytest.approx([0.9, 1.1])
    assert transformer_times(laps, vae_inside=False) == pytest.approx([0.7, 1.1])


def test_contestants_are_chosen_by_name() -> None:
    assert chosen("gigaedge-int4,gigaedge-fp32") == ["eager", "gigaedge-fp32", "gigaedge-int4"]
    with pytest.raises(InputError, match=r"^--contestants 'tensorrt': 'tensorrt' is none of eager, "):
        chosen("tensorrt")
    assert [bundle_of(name) for name in ("openvino", "gigaedge-int8", "gigaedge-int4-single")] == [
        ("fp32", "split"),
        ("int8", "split"),
        ("int4", "single"),
    ]


def test_who_cannot_start_is_told_with_the_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(race_contestants, "find_spec", lambda name: None)
    with pytest.raises(
        InputError,
        match=r"openvino cannot start: openvino is not installed; run `pip install 'gigaedge\[race\]'`$",
    ):
        chosen("openvino")
    old = tmp_path / "cpuinfo"
    old.write_text("flags\t\t: fpu avx2 fma\n")
    ready, missing = able(cpuinfo=old)
    assert ready == [name for name in NAMES if name not in OPENVINO and not name.endswith("-bf16")]
    assert missing["eager-bf16"] == "this processor has no bf16 arithmetic"
    assert set(PYTORCH) | set(OPENVINO) | set(GIGAEDGE) == set(NAMES)
