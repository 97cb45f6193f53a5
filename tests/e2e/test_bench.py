"""`gigaedge bench` as a person calls it, and as a pipeline does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gigaedge.baseline import read_baseline
from gigaedge.benchmark import BenchReport, to_json
from gigaedge.cli import bench
from tests.command_line import Result, fails, gigaedge

QUICK = ("--steps", "4", "--warmup", 1, "--repeats", 3, "--processes", 3, "--no-path", "--no-profile")


@pytest.fixture(scope="module")
def bundle(exported: Callable[..., Path]) -> Path:
    return exported("gwp05-tiny")


@pytest.fixture(scope="module")
def measured(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """A measurement with two generous budgets: how it ended, and the folder with its files."""
    folder = tmp_path_factory.mktemp("bench")
    files = ("--out", folder / "b.json", "--junit", folder / "b.xml", "--report", folder / "b.html")
    budgets = ("--budget-ms", "60000", "--budget-ms", "load=60000")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "STEADY", 0.3)
        return gigaedge("bench", bundle, *QUICK, *budgets, *files, "--json"), folder


def test_the_document_is_printed_and_written(measured: tuple[Result, Path], bundle: Path) -> None:
    result, folder = measured
    assert result.returncode == 0, result.stderr
    assert (folder / "b.json").read_text() == result.stdout
    report = BenchReport.model_validate_json(result.stdout)
    (row,) = report.rows
    assert (row.steps, row.solver, row.chunk.count) == (4, "euler", 9)
    assert [*map(len, row.samples)] == [*map(len, row.yardstick)] == [*map(len, row.work)] == [3, 3, 3]
    assert row.stages["step"].count == 9 * 4
    assert row.stages["context"].p50 + row.stages["steps"].p50 < row.chunk.max
    assert report.ran_on == {"CPUExecutionProvider": 0}
    assert report.board is not None
    assert report.board.gauges
    assert [verdict.name for verdict in report.verdicts] == ["provider", "budget chunk", "budget load"]
    assert report.passed
    assert report.subject.path == str(bundle)


def test_the_page_and_the_junit_document_are_written(measured: tuple[Result, Path]) -> None:
    _, folder = measured
    (suite,) = ElementTree.parse(folder / "b.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "0")
    assert (folder / "b.html").read_text().startswith("<!DOCTYPE html>")


def quicker(report: BenchReport, factor: float) -> BenchReport:
    """A baseline in which the chunks took a fraction of their time."""

    def scale(groups: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(factor * time for time in group) for group in groups)

    rows = tuple(
        row.model_copy(update={"samples": scale(row.samples), "work": scale(row.work)}) for row in report.rows
    )
    return report.model_copy(update={"rows": rows})


def test_what_does_not_hold_is_an_exit_code_after_everything_is_written(
    measured: tuple[Result, Path], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "STEADY", 0.1)
    before = BenchReport.model_validate_json(measured[0].stdout)
    baseline, junit = tmp_path / "base.json", tmp_path / "b.xml"
    baseline.write_text(to_json([quicker(before, 0.1)]))
    result = gigaedge(
        *("bench", bundle, *QUICK, "--baseline", baseline, "--budget-ms", "0.01", "--junit", junit)
    )
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: budget chunk: chunk takes ")
    assert line.endswith("beyond its budget of 0.01 ms (and 1 more)")
    (suite,) = ElementTree.parse(junit).getroot()
    assert [case.get("name") for case in suite.iter("testcase") if len(case)] == [
        "budget chunk",
        "baseline 4 steps euler",
    ]
    assert "passed  provider: every node ran on CPUExecutionProvider" in result.stdout
    assert "FAILED  baseline 4 steps euler: slower: " in result.stdout
    assert "4 steps euler: chunk" in result.stdout


def test_a_measurement_is_no_regression_of_itself(
    measured: tuple[Result, Path], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "STEADY", 0.1)
    result = gigaedge("bench", bundle, *QUICK, "--baseline", measured[1] / "b.json")
    assert result.returncode == 0, result.stderr
    assert "passed  baseline 4 steps euler: " in result.stdout
    assert "would have been seen" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget-ms", "vea=3"), "no stage 'vea'; there are chunk, context"),
        (("--budget-ms", "policy=3"), "layout split has no such stage"),
        (("--budget-ms", "send=3", "--no-path"), "drop --no-path"),
        (("--steps", "7"), "no euler table for 7 steps (it has 10, 4)"),
        (("--prompt", "wave"), "no prompt 'wave' in the bundle; it has task"),
        (("--soak", "long"), "--soak 'long': expected a time above zero"),
        (("--baseline", "nowhere.json"), "--baseline nowhere.json: no such file"),
    ],
)
def test_bad_input_is_told_before_anything_is_measured(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr("gigaedge_runtime.bench.run_job", None)
    fails(message, "bench", bundle, *arguments)


def test_a_baseline_of_other_conditions_is_refused(measured: tuple[Result, Path], bundle: Path) -> None:
    baseline = measured[1] / "b.json"
    message = "the number of threads was "
    before = BenchReport.model_validate_json(measured[0].stdout)
    other = before.settings.threads + 1
    fails(message, "bench", bundle, *QUICK, "--baseline", baseline, "--threads", other)
    fails(
        "it has no row 10 steps euler (it has 4 steps euler)",
        *("bench", bundle, *QUICK, "--baseline", baseline, "--steps", "10"),
    )


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_does_not_run_fails_rather_than_falling_back(bundle: Path, provider: str) -> None:
    fails(f"provider {provider}: ", "bench", bundle, *QUICK, "--provider", provider, code=3)


def test_several_bundles_are_a_list(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "STEADY", 0.1)
    once = ("--steps", "4", "--warmup", 0, "--repeats", 1, "--processes", 1, "--no-path", "--no-profile")
    out = tmp_path / "b.json"
    result = gigaedge("bench", bundle, bundle, *once, "--json", "--out", out)
    assert result.returncode == 0, result.stderr
    assert [report["rows"][0]["steps"] for report in json.loads(result.stdout)] == [4, 4]
    assert [report.subject.path for report in read_baseline(out)] == [str(bundle)] * 2


def test_ctrl_c_ends_the_measuring_process_and_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    command = [
        sys.executable,
        "-m",
        "gigaedge",
        "bench",
        str(bundle),
        "--repeats",
        "100000",
        "--out",
        str(out),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while not (found := children.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in complaint
    assert list(tmp_path.iterdir()) == []
    # One that was just being started is told nothing any more, and ends a moment later.
    while any(Path(f"/proc/{child}").exists() for child in found):
        assert time.monotonic() < deadline + 60
        time.sleep(0.05)
