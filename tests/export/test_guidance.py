"""Real-time chunking inside the graphs: what guidance does, what it must not do, and that PyTorch agrees."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.bundle import open_bundle
from gigaedge.errors import BundleError, ObservationError
from gigaedge.robot import DELTA_MASK, ROBOT_DIM
from gigaedge.sampling import guidance_strengths
from gigaedge_export.checkpoint import CheckpointPaths, LoadedCheckpoint, load_checkpoint
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.graphs import GUIDANCE_REACH, STEP_INPUTS
from gigaedge_export.random_checkpoint import NORM_STATS, PROMPT, Sizes, write_random_checkpoint
from gigaedge_export.recipe import Recipe
from gigaedge_export.reference import ReferenceGuidance, reference_chunk
from gigaedge_export.sampler import schedule
from gigaedge_runtime import Observation, Policy
from gigaedge_runtime.rtc import Guidance, soft_mask

UNBOUND = 1e6
SMALL = ExportOptions(view_width=64, view_height=64, prompt_length=8, chunk=20, steps=(3,))
JOINTS = np.array(DELTA_MASK)


def observation(policy: Policy, seed: int = 0) -> Observation:
    random = np.random.default_rng(seed)
    view, action, state = policy.manifest.view, policy.manifest.action, policy.manifest.state
    low, high = np.array(state.q01), np.array(state.q99)
    return Observation(
        random.integers(0, 256, (view.height, view.width, 3), np.uint8),
        (low + (high - low) * random.random(ROBOT_DIM)).astype(np.float32),
        random.standard_normal((action.chunk, action.width), np.float32),
    )


def before(policy: Policy, seen: Observation) -> NDArray[np.float32]:
    """What the policy would do with other noise: a chunk of its own kind that disagrees."""
    random = np.random.default_rng(99)
    noise = random.standard_normal(seen.noise.shape, np.float32)  # type: ignore[union-attr]
    return policy.chunk(Observation(seen.composite, seen.state, noise)).actions


@pytest.mark.parametrize(("solver", "steps"), [("euler", 10), ("euler", 4), ("multistep", 4)])
@pytest.mark.parametrize("layout", ["split", "single"])
def test_full_weight_gives_the_chunk_before(
    exported: Callable[..., Path], golden: Path, layout: str, solver: str, steps: int
) -> None:
    """The sign conventions, re-anchoring and scaling in one: wherever one is wrong, this is far away."""
    policy = Policy.load(exported(golden.name, layout=layout), steps=steps, solver=solver)  # type: ignore[arg-type]
    seen = observation(policy)
    previous = before(policy, seen)
    free = policy.chunk(seen).actions
    guided = policy.chunk(seen, guidance=Guidance(previous, np.ones(48, np.float32), UNBOUND)).actions
    assert np.abs(free - previous).max() > 1.0
    np.testing.assert_allclose(guided, previous, rtol=0, atol=1e-4)
    # The state moves on, the chunk before does not: its absolute targets are what counts, of joints and grippers.
    moved = Observation(seen.composite, seen.state + np.float32(0.05), seen.noise)
    guided = policy.chunk(moved, guidance=Guidance(previous, np.ones(48, np.float32), UNBOUND)).actions
    np.testing.assert_allclose(guided, previous, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", ["split", "single"])
def test_without_weight_or_guidance_nothing_changes(
    exported: Callable[..., Path], golden: Path, layout: str
) -> None:
    policy = Policy.load(exported(golden.name, layout=layout))
    for steps, solver in ((10, "euler"), (4, "multistep")):
        policy.set_sampler(steps, solver)  # type: ignore[arg-type]
        seen = observation(policy)
        free = policy.chunk(seen, intermediate=True)
        previous, full = before(policy, seen), np.ones(48, np.float32)
        guided = policy.chunk(seen, guidance=Guidance(previous, full, UNBOUND))
        assert not np.array_equal(guided.actions, free.actions)
        for weight, limit in ((0 * full, UNBOUND), (full, 0.0)):
            for guidance in (Guidance(previous, weight, limit), None):
                same = policy.chunk(seen, guidance=guidance, intermediate=True)
                assert same.actions.tobytes() == free.actions.tobytes()
                for name, value in free.intermediate.items():
                    assert same.intermediate[name].tobytes() == value.tobytes(), name


def test_the_frozen_part_is_followed_and_the_rest_goes_its_own_way(
    exported: Callable[..., Path], golden: Path
) -> None:
    policy = Policy.load(exported(golden.name))
    seen = observation(policy)
    previous, free = before(policy, seen), policy.chunk(seen).actions
    guided = policy.chunk(seen, guidance=Guidance(previous, soft_mask(48, 8, 30), UNBOUND)).actions
    distance = np.abs(guided - previous).mean(axis=1) / np.abs(free - previous).mean(axis=1)
    assert distance[:8].max() < 1e-4
    assert distance[8] < distance[20] < distance[29]
    assert distance[30:].min() > 0.3, "no weight: near the chunk that was free"


def loaded_random(folder: Path, generation: str, sizes: Sizes) -> LoadedCheckpoint:
    write_random_checkpoint(folder, generation, sizes, smooth=True)  # type: ignore[arg-type]
    return load_checkpoint(CheckpointPaths.in_directory(folder))


@pytest.mark.parametrize(
    ("generation", "sizes", "options"),
    [
        ("GWP-0", Sizes(layers=1, heads=3, head_dim=16, action_channels=16), replace(SMALL, steps=(1, 3))),
        ("GWP-0.5", Sizes(layers=2, heads=2, head_dim=32, action_channels=14), replace(SMALL, opset=20, chunk=48)),
        ("GWP-0.5", Sizes(layers=1, action_channels=40), replace(SMALL, layout="single")),
    ],
)  # fmt: skip
def test_pytorch_agrees(tmp_path: Path, generation: str, sizes: Sizes, options: ExportOptions) -> None:
    loaded = loaded_random(tmp_path / "c", generation, sizes)
    export_bundle(loaded, {"p": tmp_path / "c" / PROMPT}, tmp_path / "b", options)
    policy = Policy.load(tmp_path / "b")
    from gigaedge_export.prompts import load_prompt

    prompt = load_prompt(tmp_path / "c" / PROMPT, length=options.prompt_length, width=sizes.text_dim)[
        0
    ].numpy()
    seen = observation(policy)
    previous = before(policy, seen)
    weight = soft_mask(options.chunk, 5, 15)
    for info in policy.manifest.sampler.schedules:
        policy.set_sampler(info.steps, info.solver)
        for limit in (2.0, UNBOUND):
            found = policy.chunk(seen, guidance=Guidance(previous, weight, limit), intermediate=True)
            expected = reference_chunk(
                loaded,
                schedule(info.steps, 5.0, "bf16", info.solver),
                composite=seen.composite,
                state=seen.state,
                prompt=prompt,
                noise=seen.noise,  # type: ignore[arg-type]
                context=False,
                guidance=ReferenceGuidance(previous, weight, limit),
            )
            np.testing.assert_allclose(found.actions, expected["action"], rtol=0, atol=2e-5)
            for name in ("velocity", "trajectory"):
                scale = np.abs(expected[name]).max()
                np.testing.assert_allclose(
                    found.intermediate[name], expected[name], rtol=0, atol=2e-5 * scale, err_msg=name
                )


LOWERED = [("fp16", "cuda"), ("int8", "cpu"), ("int8", "cuda"), ("int4", "cpu")]


@pytest.mark.parametrize(("precision", "target"), LOWERED)
def test_lowered_graphs_are_guided_in_fp32_and_bear_dimensions_that_never_move(
    tmp_path: Path, precision: str, target: str
) -> None:
    """The right arm is absent: its statistics have no span, and a previous action off by a hair is 1e6 spans away."""
    write_random_checkpoint(tmp_path / "c", "GWP-0.5", Sizes(layers=1), smooth=True)
    stats = json.loads((tmp_path / "c" / NORM_STATS).read_text())
    for column in range(7, ROBOT_DIM):
        action = stats["norm_stats"]["action"]
        action["q01"][column] = action["q99"][column] = 0.0
    (tmp_path / "c" / NORM_STATS).write_text(json.dumps(stats))
    loaded = load_checkpoint(CheckpointPaths.in_directory(tmp_path / "c"))
    recipe = Recipe(precision, target)  # type: ignore[arg-type]
    for layout in ("split", "single"):
        options = replace(SMALL, layout=layout, recipe=recipe)  # type: ignore[arg-type]
        export_bundle(loaded, {"p": tmp_path / "c" / PROMPT}, tmp_path / layout, options)
        policy = Policy.load(tmp_path / layout)
        seen = observation(policy)
        free = policy.chunk(seen, intermediate=True)
        previous = before(policy, seen)
        previous[:, 7:] += np.float32(0.02)
        weight = np.ones(SMALL.chunk, np.float32)
        guided = policy.chunk(seen, guidance=Guidance(previous, weight, UNBOUND), intermediate=True)
        assert all(np.isfinite(value).all() for value in guided.intermediate.values())
        assert np.abs(guided.intermediate["trajectory"]).max() < 2 * GUIDANCE_REACH
        np.testing.assert_allclose(guided.actions[:, :7], previous[:, :7], atol=1e-4)
        assert np.abs(free.actions - previous)[:, :7].max() > 1e-3
        np.testing.assert_allclose(guided.actions[:, 7:], free.actions[:, 7:], atol=1e-6)
        zero = policy.chunk(seen, guidance=Guidance(previous, 0 * weight, UNBOUND), intermediate=True)
        assert zero.actions.tobytes() == free.actions.tobytes()
        assert zero.normalized.tobytes() == free.normalized.tobytes()
    step = open_bundle(tmp_path / "split").manifest.graphs["step"]
    assert {step.inputs[name].dtype for name in ("previous", "weight", "guidance")} == {"float32"}


def test_the_step_graph_names_its_inputs(exported: Callable[..., Path], golden: Path) -> None:
    inputs = open_bundle(exported(golden.name)).manifest.graphs["step"].inputs
    assert list(inputs)[5:STEP_INPUTS] == ["previous", "weight", "guidance"]
    assert [inputs[name].shape for name in ("previous", "weight", "guidance")] == [(48, 14), (48,), (1,)]


def test_the_strength_replaces_the_estimate_whatever_the_schedule() -> None:
    for steps in range(1, 30):
        for solver in ("euler", "multistep"):
            found = schedule(steps, 5.0, "bf16", solver)  # type: ignore[arg-type]
            sigmas, strengths = found.guidance.T
            np.testing.assert_array_equal(sigmas, found.sigmas[:-1])
            np.testing.assert_array_equal(strengths, guidance_strengths(found.sigmas))
            np.testing.assert_allclose(sigmas * strengths, 1.0, rtol=1e-6)


def test_a_bundle_without_the_inputs_still_loads_and_says_what_to_do(
    exported: Callable[..., Path], tmp_path: Path
) -> None:
    old = without_guidance(exported("gwp05-tiny"), tmp_path / "old")
    policy = Policy.load(old)
    assert not policy.takes_guidance
    seen = observation(policy)
    now = Policy.load(exported("gwp05-tiny")).chunk(seen).actions
    assert policy.chunk(seen).actions.tobytes() == now.tobytes()
    with pytest.raises(BundleError, match=r"no inputs for real-time chunking .* export the bundle again"):
        policy.chunk(seen, guidance=Guidance.make_example(48))


def without_guidance(bundle: Path, out: Path) -> Path:
    """The bundle as it was exported before there was guidance: the three inputs are zeros inside the graph."""
    import shutil

    import onnx
    from onnx import numpy_helper

    from gigaedge.bundle import read_manifest, write_manifest
    from gigaedge.documents import describe_file
    from gigaedge.files import sha256

    shutil.copytree(bundle, out)
    model = onnx.load(out / "step.onnx", load_external_data=False)
    kept = [value for value in model.graph.input if value.name not in ("previous", "weight", "guidance")]
    for value in model.graph.input:
        if value not in kept:
            shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
            model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), value.name))
    del model.graph.input[:]
    model.graph.input.extend(kept)
    onnx.save(model, out / "step.onnx")
    manifest = read_manifest(out)
    step = manifest.graphs["step"]
    inputs = {value.name: step.inputs[value.name] for value in kept}
    new = step.model_copy(update={"inputs": inputs, **describe_file(out / "step.onnx")})
    assert new.sha256 == sha256(out / "step.onnx")
    write_manifest(out, manifest.model_copy(update={"graphs": {**manifest.graphs, "step": new}}))
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"previous": np.zeros((47, 14), np.float32)}, r"guidance.previous: expected floating \(48, 14\)"),
        ({"weight": np.zeros((48, 14), np.float32)}, r"guidance.weight: expected floating \(48,\)"),
        ({"weight": np.full(48, 1.5, np.float32)}, "guidance.weight: needs values of 0 to 1"),
        ({"weight": np.full(48, np.nan, np.float32)}, "guidance.weight: needs values of 0 to 1"),
        ({"previous": np.full((48, 14), np.nan, np.float32)}, "guidance: needs finite previous targets"),
        ({"limit": np.inf}, "a finite limit of at least 0"),
    ],
)
def test_wrong_guidance_is_named(
    exported: Callable[..., Path], changes: dict[str, object], message: str
) -> None:
    policy = Policy.load(exported("gwp05-tiny"))
    fields = {"previous": np.zeros((48, 14), np.float32), "weight": np.zeros(48, np.float32), "limit": 5.0}
    with pytest.raises(ObservationError, match=message):
        policy.chunk(observation(policy), guidance=Guidance(**fields | changes))  # type: ignore[arg-type]
