"""The PyTorch that gigaedge races against computes what upstream recorded, and what gigaedge's own reference does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from gigaedge.fidelity import compare, compare_actions
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
from gigaedge_export.random_checkpoint import Sizes, write_random_checkpoint
from gigaedge_export.reference import reference_chunk
from gigaedge_export.sampler import TimestepRounding, schedule
from upstream_eager import UpstreamDense, UpstreamMixture, load_upstream
from upstream_ways import normalized_state, targets, use_onednn

LATENTS = (24, 20)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Layers this small are not worth a second thread, which would spin beside other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sampled(
    golden: Path, rounding: TimestepRounding, *, dtype: torch.dtype = torch.float32, onednn: bool = False
) -> NDArray[np.float32]:
    """The last state of ten steps on a recording's observation, (48, channels)."""
    io = load_file(golden / "io.safetensors")
    model = load_upstream(golden / "transformer", latent_size=LATENTS, chunk=48, dtype=dtype)
    if onednn:
        model = use_onednn(model)
    steps = schedule(10, 5.0, rounding)
    actions: NDArray[np.float32] = model.sample(
        io["ref_latents"][0],
        io["state_normalized"],
        io["prompt_embeds"][0],
        io["noise"][0],
        steps.sigmas.tolist(),
        steps.timesteps.tolist(),
    ).numpy()
    return actions


@pytest.mark.parametrize(
    ("rounding", "key"), [("exact", "trajectory"), ("bf16", "trajectory_bf16_timesteps")]
)
def test_a_chunk_is_the_recorded_one(golden: Path, rounding: TimestepRounding, key: str) -> None:
    expected = load_file(golden / "io.safetensors")[key][-1].numpy()
    assert compare("actions", sampled(golden, rounding), expected, 1e-5).passed


def test_the_other_matrix_product_changes_nothing_else(golden: Path) -> None:
    assert compare("actions", sampled(golden, "bf16", onednn=True), sampled(golden, "bf16"), 1e-5).passed


def test_bf16_is_near_and_not_the_same(golden: Path) -> None:
    check = compare("actions", sampled(golden, "bf16", dtype=torch.bfloat16), sampled(golden, "bf16"), 1e-2)
    assert check.passed
    assert check.row.max_abs > 0


@pytest.mark.parametrize(("generation", "kind"), [("GWP-0", UpstreamDense), ("GWP-0.5", UpstreamMixture)])
def test_targets_are_those_of_the_reference(tmp_path: Path, generation: str, kind: type) -> None:
    write_random_checkpoint(tmp_path / "c", generation, Sizes(layers=2), seed=3)  # type: ignore[arg-type]
    loaded = load_checkpoint(CheckpointPaths.in_directory(tmp_path / "c"))
    random = np.random.default_rng(5)
    composite = random.integers(0, 256, (64, 96, 3), np.uint8)
    state = random.uniform(-0.5, 0.5, 14).astype(np.float32)
    prompt = random.standard_normal((8, 64), np.float32)
    noise = random.standard_normal((6, 32), np.float32)
    steps = schedule(4, 5.0, "bf16")
    expected = reference_chunk(
        loaded, steps, composite=composite, state=state, prompt=prompt, noise=noise, context=False
    )

    model = load_upstream(tmp_path / "c" / "transformer", latent_size=(4, 6), chunk=6)
    raw = torch.from_numpy(state)
    found = model.sample(
        torch.from_numpy(expected["ref_latents"][0]),
        normalized_state(loaded.stats, raw, 32),
        torch.from_numpy(prompt),
        torch.from_numpy(noise),
        steps.sigmas.tolist(),
        steps.timesteps.tolist(),
    )

    assert type(model) is kind
    assert compare("normalised", found.numpy(), expected["trajectory"][-1]).passed
    assert compare_actions("targets", targets(loaded.stats, raw, found).numpy(), expected["action"]).passed
