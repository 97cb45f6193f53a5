"""The memory of a loaded policy, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gigaedge.errors import ProcessError
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint
from gigaedge_runtime.memory import measure_memory

LIMIT = 2.3
"""In units of the weights at fp32: GWP-0's two sessions share nearly all weights and pack a copy each."""


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["split", "single"])
def test_a_gwp0_policy_takes_little_more_than_two_copies_of_its_weights(tmp_path: Path, layout: str) -> None:
    sizes = Sizes(layers=5, heads=8, head_dim=64, ffn=2048, text_dim=256)
    write_random_checkpoint(tmp_path / "c", "GWP-0", sizes)
    loaded = load_checkpoint(CheckpointPaths.in_directory(tmp_path / "c"))
    options = ExportOptions(steps=(2,), layout=layout)  # type: ignore[arg-type]
    export_bundle(loaded, {"p": tmp_path / "c" / PROMPT}, tmp_path / "b", options)
    use = measure_memory(tmp_path / "b")
    assert use.weights_fp32 > 60e6
    assert use.weights == pytest.approx(use.weights_fp32, rel=0.02)
    assert 0.9 < use.ratio < LIMIT
    assert 0 < use.loaded <= use.first_chunk <= use.peak
    assert use.peak < LIMIT * use.weights_fp32


def test_a_bundle_that_does_not_load_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"ended with 1: .*no bundle here"):
        measure_memory(tmp_path)
