"""tools/compare_stages.py on a tiny bundle."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "compare_stages.py"


def test_times_and_operators_of_each_bundle(
    exported: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = str(exported("gwp05-tiny"))
    runpy.run_path(str(TOOL))["main"](["step", bundle, "--runs", "2"])
    printed = capsys.readouterr().out
    assert "step, 1 threads, 2 runs, ms: median" in printed
    assert "RotaryEmbedding" in printed
