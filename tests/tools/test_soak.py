"""What a soak calls growth, and a short soak of a whole cell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import soak
from soak import Growth, Sample, growth, problems

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).resolve().parents[2]
CALM = {"control": {"late": {"queued": 2}, "failed_sends": 0}}
STILL = Growth(anonymous=100.0, growth=0.5, resident=150.0, descriptors=0, threads=0)


def samples(slope: float, seconds: float = 600.0) -> list[Sample]:
    """An hour-hand of memory: a jump while it warms up, then `slope` MB/s."""
    times = [i * 0.5 for i in range(int(seconds / 0.5) + 8)]
    return [Sample(t, (40.0 if t < 50 else 100.0) + slope * t, 150.0, 9 + (t > seconds), 4) for t in times]


def test_the_warm_up_and_the_end_of_the_run_are_no_growth() -> None:
    assert growth(samples(0.0), 600.0) == Growth(100.0, 0.0, 150.0, 0.0, 0.0)


def test_a_leak_is_measured_between_the_first_and_the_last_fifth() -> None:
    assert growth(samples(0.01), 600.0).growth == pytest.approx(0.01 * 540 * 0.8, rel=0.01)


@pytest.mark.parametrize(
    ("control", "grown", "words"),
    [
        ({}, {"growth": 5.5}, "memory grew by 6.0 MB, more than 5 MB"),
        ({}, {"descriptors": 2.0}, "policy holds 2 more descriptors than at the beginning"),
        ({}, {"threads": 1.0}, "policy holds 1 more threads than at the beginning"),
        ({"late": {"blocked": 3}}, {}, "3 ticks were late while the control thread was blocked"),
        ({"failed_sends": 7}, {}, "7 commands were not taken by the bus"),
    ],
)
def test_what_a_soak_must_not_show(control: dict[str, object], grown: dict[str, float], words: str) -> None:
    report = {"control": {**CALM["control"], **control}}
    policy = Growth(
        **{"anonymous": 1.0, "growth": 0.0, "resident": 1.0, "descriptors": 0, "threads": 0, **grown}
    )
    (found,) = problems(report, {"control": STILL, "policy": policy})
    assert words in found


def test_dropped_records_are_a_problem() -> None:
    (found,) = problems({**CALM, "recording": {"packets_dropped": 4}}, {"control": STILL})
    assert found == "4 records were dropped"


def test_a_calm_run_passes() -> None:
    assert not problems({**CALM, "recording": None}, {"control": STILL, "policy": STILL})


@pytest.mark.slow
def test_a_short_soak_tells_of_all_three_processes(
    tmp_path: Path, private_home: Path, demo_cache: Path
) -> None:
    report = tmp_path / "soak.json"
    command = [sys.executable, str(ROOT / "tools" / "soak.py"), "--for", "8s", "--report", str(report)]
    environment = os.environ | {"XDG_CACHE_HOME": str(demo_cache)}
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    # Eight seconds are all warm-up, so that it may well complain of growth; it must not fail otherwise.
    assert run.returncode in (0, 1), run.stderr
    told = json.loads(report.read_text())
    assert set(told["processes"]) == {"supervisor", "control", "policy"}
    assert told["run"]["control"]["ticks"] > 500
    assert "control period" in run.stdout


def test_the_tool_names_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, soak.__file__, str(tmp_path / "none.yaml"), "--for", "2s"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 3
    assert "no such site file" in run.stderr
    assert "the run ended with exit code 2" in run.stderr
