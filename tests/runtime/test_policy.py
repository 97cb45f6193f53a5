from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gigaedge.errors import BundleError, DeviceError, ObservationError
from gigaedge.prompts import Prompt, add_prompts, remove_prompt
from gigaedge_runtime import Observation, Policy


@pytest.fixture(scope="module")
def policy(exported: Callable[..., Path]) -> Policy:
    return Policy.load(exported("gwp05-tiny"), seed=1)


def observation(policy: Policy, seed: int = 0) -> Observation:
    random = np.random.default_rng(seed)
    view, action = policy.manifest.view, policy.manifest.action
    return Observation(
        random.integers(0, 256, (view.height, view.width, 3), np.uint8),
        random.normal(size=14).astype(np.float32),
        random.standard_normal((action.chunk, action.width), np.float32),
    )


def test_the_same_observation_gives_the_same_chunk(policy: Policy) -> None:
    first = policy.chunk(observation(policy))
    policy.chunk(observation(policy, seed=1))
    again = policy.chunk(observation(policy))
    np.testing.assert_array_equal(first.actions, again.actions)
    assert first.actions.shape == (48, 14)
    assert first.actions.dtype == np.float32
    assert set(first.timings) == {"context", "steps"}


def test_a_chunk_is_not_overwritten_by_the_next(policy: Policy) -> None:
    first = policy.chunk(observation(policy))
    kept = first.actions.copy()
    policy.chunk(observation(policy, seed=1))
    np.testing.assert_array_equal(first.actions, kept)


def test_joints_are_relative_to_the_state_and_grippers_are_not(policy: Policy) -> None:
    """Same normalised input, other ranges: the joint targets move with the state, the grippers stay."""
    base = observation(policy)
    chunk = policy.chunk(base)
    action = policy.manifest.action
    low, high = np.array(action.q01), np.array(action.q99)
    decoded = (chunk.normalized[:, :14] + 1) / 2 * (high - low) + low
    np.testing.assert_allclose(chunk.actions, decoded + base.state * np.array(action.delta), atol=1e-5)


def test_noise_is_drawn_from_the_seed(exported: Callable[..., Path]) -> None:
    chunks = []
    for seed in (1, 1, 2):
        policy = Policy.load(exported("gwp05-tiny"), seed=seed)
        seen = observation(policy)
        chunks.append(policy.chunk(Observation(seen.composite, seen.state)).actions)
    np.testing.assert_array_equal(chunks[0], chunks[1])
    assert not np.array_equal(chunks[0], chunks[2])


def test_steps_are_chosen_at_run_time(exported: Callable[..., Path]) -> None:
    few = Policy.load(exported("gwp05-tiny"), steps=4)
    chunk = few.chunk(observation(few), intermediate=True)
    assert chunk.intermediate["velocity"].shape == (4, 48, 32)
    assert chunk.intermediate["trajectory"].shape == (5, 48, 32)
    np.testing.assert_array_equal(chunk.intermediate["trajectory"][-1], chunk.normalized)


def test_the_sampler_changes_without_loading(exported: Callable[..., Path]) -> None:
    switched = Policy.load(exported("gwp05-tiny"), steps=4)
    for steps, solver in ((10, "euler"), (4, "multistep"), (4, "euler"), (10, "euler")):
        loaded = Policy.load(exported("gwp05-tiny"), steps=steps, solver=solver)  # type: ignore[arg-type]
        switched.set_sampler(steps, solver)  # type: ignore[arg-type]
        assert switched.schedule == loaded.schedule
        seen = observation(loaded)
        np.testing.assert_array_equal(switched.chunk(seen).actions, loaded.chunk(seen).actions)
    with pytest.raises(BundleError, match="no euler table for 7 steps"):
        switched.set_sampler(7)
    assert switched.schedule.steps == 10


@pytest.mark.parametrize("steps", [10, 4])
@pytest.mark.parametrize("solver", ["euler", "multistep"])
def test_both_layouts_give_the_same_chunk(
    exported: Callable[..., Path], golden: Path, steps: int, solver: str
) -> None:
    split, single = (
        Policy.load(exported(golden.name, layout=layout), steps=steps, solver=solver)  # type: ignore[arg-type]
        for layout in ("split", "single")
    )
    for seed in (0, 1):
        seen = observation(split, seed)
        expected, found = (policy.chunk(seen, intermediate=True) for policy in (split, single))
        np.testing.assert_allclose(found.actions, expected.actions, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.normalized, expected.normalized, rtol=0, atol=1e-5)
        assert found.intermediate.keys() == {"ref_latents", "velocity", "trajectory"}
        for name, value in found.intermediate.items():
            assert value.shape == expected.intermediate[name].shape
            np.testing.assert_allclose(value, expected.intermediate[name], rtol=0, atol=1e-5, err_msg=name)
    assert set(found.timings) == {"policy"}


def test_a_single_graph_follows_prompt_and_sampler(exported: Callable[..., Path]) -> None:
    policy = Policy.load(exported("gwp05-tiny", layout="single"))
    seen = observation(policy)
    first = policy.chunk(seen)
    policy.set_prompt_embedding(np.ones((3, 64), np.float32))
    policy.set_sampler(4, "multistep")
    other = policy.chunk(seen, intermediate=True)
    assert other.intermediate["velocity"].shape == (4, 48, 32)
    assert not np.array_equal(first.actions, other.actions)
    policy.set_prompt("task")
    policy.set_sampler(None)
    np.testing.assert_array_equal(policy.chunk(seen).actions, first.actions)


def test_the_prompt_matters(policy: Policy) -> None:
    before = policy.chunk(observation(policy)).actions
    policy.set_prompt_embedding(np.ones((3, 64), np.float32))
    other = policy.chunk(observation(policy)).actions
    policy.set_prompt("task")
    np.testing.assert_array_equal(policy.chunk(observation(policy)).actions, before)
    assert not np.array_equal(before, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"composite": np.zeros((384, 320, 3), np.float32)}, "composite: expected uint8"),
        ({"composite": np.zeros((320, 384, 3), np.uint8)}, r"composite: expected uint8 \(384, 320, 3\), got"),
        ({"state": np.zeros(13, np.float32)}, r"state: expected floating \(14,\), got float32 \(13,\)"),
        ({"state": np.full(14, np.nan, np.float32)}, "state: left_joint_1 is nan"),
        ({"noise": np.zeros((48, 14), np.float32)}, r"noise: expected floating \(48, 32\)"),
    ],
)
def test_a_wrong_observation_is_named(policy: Policy, changes: dict[str, np.ndarray], message: str) -> None:
    good = observation(policy)
    fields = {"composite": good.composite, "state": good.state, "noise": good.noise} | changes
    with pytest.raises(ObservationError, match=message):
        policy.chunk(Observation(**fields))


def test_an_unknown_prompt_says_what_there_is(exported: Callable[..., Path]) -> None:
    with pytest.raises(BundleError, match="no prompt 'dance' in the bundle; it has task"):
        Policy.load(exported("gwp05-tiny"), prompt="dance")


def test_a_loaded_policy_keeps_its_prompts_while_the_bundle_is_edited(
    exported: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(exported("gwp05-tiny"), tmp_path / "b"))
    policy = Policy.load(bundle)
    before = policy.chunk(observation(policy)).actions
    add_prompts(bundle, {"towel": Prompt(np.ones((64, 64), np.float32))})
    remove_prompt(bundle, "task")
    policy.set_prompt_embedding(np.ones((3, 64), np.float32))
    policy.set_prompt("task")
    np.testing.assert_array_equal(policy.chunk(observation(policy)).actions, before)
    with pytest.raises(BundleError, match="no prompt 'towel' in the bundle; it has task"):
        policy.set_prompt("towel")


def test_a_prompt_of_the_wrong_width_is_refused(policy: Policy) -> None:
    with pytest.raises(ObservationError, match=r"expected finite \(tokens, 64\); got \(3, 65\)"):
        policy.set_prompt_embedding(np.ones((3, 65), np.float32))


def test_a_provider_that_does_not_run_is_an_error(exported: Callable[..., Path]) -> None:
    with pytest.raises(DeviceError, match="provider cuda: "):
        Policy.load(exported("gwp05-tiny"), provider="cuda")
