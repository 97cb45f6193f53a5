"""Imagining continues from a chunk and changes no chunk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from gigaedge.bundle import Manifest, open_bundle, read_manifest
from gigaedge.errors import BundleError, CheckFailedError, ObservationError
from gigaedge_runtime.imagine import Imagination
from gigaedge_runtime.policy import Observation, Policy
from gigaedge_runtime.rtc import Guidance


def observation(seed: int, *, noise: bool = True) -> Observation:
    random = np.random.default_rng(seed)
    return Observation(
        random.integers(0, 256, (384, 320, 3), np.uint8),
        random.normal(size=14).astype(np.float32),
        random.standard_normal((48, 32), np.float32) if noise else None,
    )


@pytest.fixture(scope="module")
def plain(exported: Callable[..., Path]) -> Path:
    """The same checkpoint, exported without a video branch."""
    return exported("gwp05-tiny")


@pytest.fixture(scope="module")
def imagination(video_bundle: Path) -> Imagination:
    return Imagination(Policy.load(video_bundle))


def test_actions_are_bit_identical_with_a_video_branch_in_the_bundle(plain: Path, video_bundle: Path) -> None:
    without, with_video = Policy.load(plain, seed=3), Policy.load(video_bundle, seed=3)
    for steps, solver in ((10, "euler"), (4, "multistep")):
        for policy in (without, with_video):
            policy.set_sampler(steps, solver)  # type: ignore[arg-type]
        for seed in range(2):
            given = observation(seed, noise=False)
            np.testing.assert_array_equal(without.chunk(given).actions, with_video.chunk(given).actions)


def test_the_graphs_of_a_chunk_are_the_same_graphs(plain: Path, video_bundle: Path) -> None:
    """Node for node; and what an answer goes through is the same after a prompt, too: `text` only adds to it."""

    def nodes(bundle: Path, graph: str) -> list[bytes]:
        model = onnx.load(bundle / f"{graph}.onnx", load_external_data=False)
        return [node.SerializeToString() for node in model.graph.node]

    for graph in ("context", "step"):
        assert nodes(plain, graph) == nodes(video_bundle, graph)
    extra = set(open_bundle(video_bundle).manifest.graphs["text"].outputs) - set(
        open_bundle(plain).manifest.graphs["text"].outputs
    )
    assert extra == {"text.visual.02.key", "text.visual.02.value"}


def test_actions_are_bit_identical_with_and_without_imagining(video_bundle: Path) -> None:
    """Of the observation that is imagined from, and of those after it, whose noise the policy draws itself."""
    quiet, imagining = Policy.load(video_bundle, seed=7), Policy.load(video_bundle, seed=7)
    imagination = Imagination(imagining)
    observations = [observation(seed, noise=False) for seed in range(4)]
    expected = [quiet.chunk(given) for given in observations]
    found = [
        imagination.imagine(given).chunk if index % 2 else imagining.chunk(given)
        for index, given in enumerate(observations)
    ]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.normalized, other.normalized)


def test_frames_and_when_they_are_due(imagination: Imagination) -> None:
    imagined = imagination.imagine(observation(0), intermediate=True)
    assert imagined.seconds == (0.0, 0.4, 0.8, 1.2, 1.6)
    assert imagined.frames.shape == (5, 384, 320, 3)
    assert imagined.frames.dtype == np.uint8
    assert set(imagined.timings) == {"video", "decoder"}
    assert imagined.intermediate["velocity"].shape == (5, 48, 1, 24, 20)
    assert imagined.intermediate["trajectory"].shape == (6, 48, 1, 24, 20)
    np.testing.assert_array_equal(imagined.intermediate["trajectory"][0], imagined.noise)


def test_the_future_depends_on_what_is_seen_planned_and_drawn(imagination: Imagination) -> None:
    given, noise = observation(0), np.random.default_rng(1).standard_normal((48, 1, 24, 20), np.float32)
    first = imagination.imagine(given, noise=noise)
    kept = first.frames.copy()
    brighter = Observation(given.composite // 2 + np.uint8(99), given.state, given.noise)
    assert given.noise is not None
    other_plan = Observation(given.composite, given.state, -given.noise)
    for changed, start in ((brighter, noise), (other_plan, noise), (given, -noise)):
        assert not np.array_equal(imagination.imagine(changed, noise=start).frames[1:], kept[1:])
    np.testing.assert_array_equal(first.frames, kept)  # no run overwrites an earlier answer
    np.testing.assert_array_equal(imagination.imagine(given, noise=noise).frames, kept)


def test_the_first_frame_is_the_observation_alone(imagination: Imagination) -> None:
    given = observation(0)
    one, other = imagination.imagine(given), imagination.imagine(given)
    np.testing.assert_array_equal(one.frames[0], other.frames[0])
    assert not np.array_equal(one.frames[1:], other.frames[1:])  # another noise


def test_the_seed_decides_the_futures_noise(video_bundle: Path) -> None:
    policy = Policy.load(video_bundle)
    drawn = [Imagination(policy, seed=seed).imagine(observation(0)).noise for seed in (5, 5, 6)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert abs(float(drawn[0].std()) - 1) < 0.05


def test_a_guided_chunk_is_imagined_as_it_is_guided(imagination: Imagination) -> None:
    given, noise = observation(0), np.zeros((48, 1, 24, 20), np.float32)
    free = imagination.imagine(given, noise=noise)
    weight = np.ones(48, np.float32)
    guidance = Guidance(free.chunk.actions + np.float32(0.05), weight, 5.0)
    guided = imagination.imagine(given, noise=noise, guidance=guidance)
    assert not np.array_equal(guided.chunk.actions, free.chunk.actions)
    assert not np.array_equal(guided.frames[1:], free.frames[1:])


def test_what_cannot_be_imagined(plain: Path, imagination: Imagination) -> None:
    with pytest.raises(BundleError, match="cannot say what it expects to see; export it again with --video"):
        Imagination(Policy.load(plain))
    with pytest.raises(
        ObservationError, match=r"noise of the future: expected float \(48, 1, 24, 20\), got float32"
    ):
        imagination.imagine(observation(0), noise=np.zeros((48, 2, 24, 20), np.float32))
    endless = np.full((48, 1, 24, 20), np.inf, np.float32)
    with pytest.raises(CheckFailedError, match="answered with values that are not finite"):
        imagination.imagine(observation(0), noise=endless)


def test_a_manifest_of_before_is_still_read(plain: Path, video_bundle: Path) -> None:
    old = read_manifest(plain).model_dump(mode="json", by_alias=True)
    del old["video"]
    assert Manifest.model_validate(old) == read_manifest(plain)
    half = read_manifest(video_bundle).model_dump(mode="json", by_alias=True)
    del half["graphs"]["decoder"]
    with pytest.raises(
        ValueError, match="layout split with the video branch needs text, context, step, video, decoder"
    ):
        Manifest.model_validate(half)
    with pytest.raises(ValueError, match="layout split needs text, context, step"):
        Manifest.model_validate({**half, "video": None})
    short = read_manifest(video_bundle).model_dump(mode="json", by_alias=True)
    short["video"]["sigmas"] = short["video"]["sigmas"][1:]
    with pytest.raises(ValueError, match="needs one sigma more than timesteps"):
        Manifest.model_validate(short)
