"""What the host adds to the network, held against like work that the same computer does in the same seconds.

Milliseconds would judge the computer and whatever else it is doing. A yardstick (`benchmarks/host.py`) is slowed down
as the measured work is, so that their ratio stays; a disturbance within one attempt makes it try again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.realtime

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "host.py"
ATTEMPTS = 3


def ratios(*arguments: str) -> tuple[float, float]:
    """CPU time of the whole, median and p99, in units of the yardstick's median."""
    command = [sys.executable, str(BENCHMARK), *arguments, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    result = json.loads(run.stdout)
    whole, unit = result["stages"][-1], result["yardstick"]["cpu_p50"]
    return whole["cpu_p50"] / unit, whole["cpu_p99"] / unit


def best(*arguments: str, median: float, p99: float) -> tuple[float, float]:
    """The first attempt within both bounds, or the last one."""
    for _ in range(ATTEMPTS):
        found = ratios(*arguments)
        if found[0] <= median and found[1] <= p99:
            break
    return found


def test_a_tick_of_two_arms() -> None:
    """Boxes and clearance watched. It was 21 and 28 when every path was checked and the SDK's getters were asked."""
    median, p99 = best("tick", "--for", "2", median=16.0, p99=24.0)
    assert median <= 16.0
    assert p99 <= 24.0


def test_a_chunk_without_its_inference() -> None:
    """One plain Pillow resize is the unit; 6 ms are 4.4 of it on the computer of docs/host.md.

    Three pictures scaled whole, all three in memory, made the median 3.7.
    """
    median, p99 = best("chunk", "--count", "100", median=3.4, p99=4.4)
    assert median <= 3.4
    assert p99 <= 4.4


def test_a_limit_that_is_exceeded_ends_with_one() -> None:
    """No computer resizes three pictures in a microsecond: the gate is moved, not the work."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import host\n"
        "host.CHUNK_LIMIT = 1e-6\n"
        "host.chunk(count=100, record=False, as_json=True, require=True)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(BENCHMARK.parent)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 1
    assert "CheckFailedError" in run.stderr
    assert "p99 is" in run.stderr
