from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaedge.files import read_tensors
from gigaedge_export.sampler import round_to_bf16, schedule


def test_equals_the_recorded_schedule(golden: Path) -> None:
    io = read_tensors(golden / "io.safetensors")
    ours = schedule(10, 5.0, "exact")
    np.testing.assert_array_equal(ours.sigmas, io["sigmas"].astype(np.float32))
    np.testing.assert_array_equal(ours.timesteps, io["timesteps"].astype(np.float32))


def test_bf16_rounds_the_timesteps_and_not_the_sigmas() -> None:
    exact, rounded = schedule(10, 5.0, "exact"), schedule(10, 5.0, "bf16")
    np.testing.assert_array_equal(exact.sigmas, rounded.sigmas)
    assert rounded.timesteps[2] == 948.0


@given(st.integers(1, 100), st.floats(0.5, 10))
def test_runs_from_one_to_zero(steps: int, shift: float) -> None:
    s = schedule(steps, shift, "exact")
    assert s.steps == steps
    assert s.sigmas[0] == pytest.approx(1, abs=1e-6)
    assert s.sigmas[-1] == 0
    assert (np.diff(s.sigmas) < 0).all()
    assert np.diff(s.sigmas).sum() == pytest.approx(-1, abs=1e-5)


@given(st.lists(st.floats(0, 1000, width=32), min_size=1))
def test_bf16_is_torchs(values: list[float]) -> None:
    import torch

    ours = round_to_bf16(np.array(values, np.float32))
    np.testing.assert_array_equal(ours, torch.tensor(values).bfloat16().float().numpy())
