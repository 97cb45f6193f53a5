"""An earlier report as the measure of a later one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gigaedge.baseline import Conditions, judge, match, notices, read_baseline, require_comparable
from gigaedge.benchmark import BenchReport, to_json
from gigaedge.errors import InputError
from tests.measured_reports import report, row

FILE = Path("base.json")


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    one, other = report(), report(row(30.0, seed=5))
    file = tmp_path / "base.json"
    file.write_text(to_json([one]))
    assert read_baseline(file) == (one,)
    file.write_text(to_json([one, other]))
    assert read_baseline(file) == (one, other)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected schema 'gigaedge.bench/1', found nothing"),
        ("[3]", "expected schema 'gigaedge.bench/1', found None"),
        ('{"schema": "gigaedge.bench/2"}', "found 'gigaedge.bench/2'"),
        ('{"schema": "gigaedge.bench/1"}', "missing key"),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "base.json"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        read_baseline(file)
    message = str(refused.value)
    assert message.startswith(f"--baseline {file}: ")
    assert problem in message
    assert message.endswith("pass a file that `gigaedge bench --out` wrote")
    assert "\n" not in message


def test_a_baseline_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json: no such file"):
        read_baseline(tmp_path / "nowhere.json")


def test_bundles_and_baselines_go_together_in_order() -> None:
    one, other = report(), report(row(30.0, seed=5))
    assert match([one], 2, FILE) == [one, one]
    assert match([one, other], 2, FILE) == [one, other]
    with pytest.raises(InputError, match="reports of 2 bundles and 3 are measured"):
        match([one, other], 3, FILE)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"machine": "Another board"}, "the machine was A board, 4 cores and is Another board"),
        ({"provider": "cuda"}, "the provider was cpu and is cuda"),
        ({"threads": 3}, "the number of threads was 1 and is 3"),
        ({"chunk": 24}, "the chunk's length was 48 and is 24"),
        ({"view": "160x192"}, "the view was 320x384 and is 160x192"),
        ({"rows": ((10, "euler"), (5, "euler"))}, r"it has no row 5 steps euler \(it has 10 steps euler\)"),
    ],
)
def test_other_conditions_are_named(change: dict[str, object], problem: str) -> None:
    now = replace(Conditions.of(report()), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"--baseline base.json: {problem}; measure the baseline anew"):
        require_comparable(now, report(), 5, FILE)


def test_fewer_rows_than_the_baseline_has_are_comparable() -> None:
    both = report(row(), row(steps=5))
    require_comparable(Conditions.of(report()), both, 3, FILE)


def test_too_few_processes_are_refused_on_either_side() -> None:
    now = Conditions.of(report())
    with pytest.raises(InputError, match="this measurement has 2 processes; a comparison needs at least 3"):
        require_comparable(now, report(), 2, FILE)
    few = report()
    few = few.model_copy(update={"settings": few.settings.model_copy(update={"processes": 1})})
    with pytest.raises(InputError, match="it has 1 processes"):
        require_comparable(now, few, 5, FILE)


def other_bundle(**subject: object) -> BenchReport:
    whole = report(row(14.0, seed=77))
    return whole.model_copy(
        update={"subject": whole.subject.model_copy(update={"manifest_sha256": "cd" * 32, **subject})}
    )


def test_a_slower_bundle_fails_and_a_quicker_one_passes() -> None:
    (slower,) = judge(report(row(25.0, seed=3)), report(), 0.05)
    assert (slower.name, slower.passed) == ("baseline 10 steps euler", False)
    assert slower.text.startswith("slower: 1.2")
    (faster,) = judge(report(row(15.0, seed=3)), report(), 0.05)
    assert faster.passed
    assert faster.text.startswith("faster: 0.7")
    (same,) = judge(report(row(seed=3, slowness=1.6)), report(), 0.05)
    assert same.passed


def test_another_bundle_is_compared_and_named() -> None:
    assert judge(other_bundle(), report(), 0.05)[0].text.startswith(
        "another bundle than the baseline's; faster"
    )
    (quantised,) = judge(other_bundle(precision="int8"), report(), 0.05)
    assert quantised.text.startswith("int8 split against the baseline's fp32 split; faster: ")


def test_on_a_gpu_neither_the_yardstick_nor_processor_time_has_a_say() -> None:
    def on_gpu(whole: BenchReport) -> BenchReport:
        return whole.model_copy(update={"settings": whole.settings.model_copy(update={"provider": "cuda"})})

    slow_host = on_gpu(report(row(20.0, seed=3)))
    quick = slow_host.rows[0].model_copy(update={"yardstick": row(seed=3, slowness=0.5).yardstick})
    (verdict,) = judge(on_gpu(report(quick)), on_gpu(report()), 0.05)
    assert verdict.passed
    (verdict,) = judge(on_gpu(report(row(25.0, seed=3, slowness=1.0))), on_gpu(report()), 0.05)
    assert not verdict.passed
    assert "processor time" not in verdict.text


def test_other_versions_are_notices() -> None:
    now = report()
    newer = now.machine.model_copy(update={"versions": {"onnxruntime": "1.32.0", "numpy": "2.4"}})
    now = now.model_copy(update={"machine": newer})
    assert notices(now, report()) == (
        "the baseline was measured with numpy absent, this with 2.4",
        "the baseline was measured with onnxruntime 1.31.1, this with 1.32.0",
    )
    assert notices(report(), report()) == ()
