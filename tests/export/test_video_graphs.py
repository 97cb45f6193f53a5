"""The video branch against recordings of the upstream implementation, and what an export makes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from gigaedge.bundle import VideoInfo, open_bundle
from gigaedge.errors import CheckpointError, InputError
from gigaedge.fidelity import compare
from gigaedge.progress import QUIET
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint, load_decoder
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.graphs import Geometry
from gigaedge_export.layers import KeyValue
from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint
from gigaedge_export.trace import trace
from gigaedge_export.transformer import WorldActionTransformer
from gigaedge_export.video_export import VideoOptions, prepare_video, widen_caches
from gigaedge_export.video_graphs import Flow, VideoGraph
from gigaedge_export.video_vae import VideoVae, load_video_vae, pictures

GEOMETRY = Geometry(view_width=320, view_height=384, chunk=48, prompt_length=64)
CONTEXT_TOKENS = 121


@pytest.fixture(scope="module")
def io(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "io.safetensors")


@pytest.fixture(scope="module")
def model(golden: Path) -> WorldActionTransformer:
    return load_checkpoint(CheckpointPaths.in_directory(golden)).transformer


def recorded_flow(io: dict[str, torch.Tensor], delta: float) -> Flow:
    """The one pair of flow times that upstream was recorded with; its actions are noise as they are."""
    times = io["joint.timestep"][0].numpy()
    return Flow(
        deltas=np.array([delta], np.float32),
        timesteps=times[-1:],
        action_sigmas=np.zeros(1, np.float32),
        action_timesteps=times[CONTEXT_TOKENS : CONTEXT_TOKENS + 1],
    )


@torch.no_grad()
def context(model: WorldActionTransformer, io: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Keys and values that the context and text graphs would have left behind."""
    groups = model.context_groups(io["ref_latents"][0], io["state_normalized"])
    conditions = {name: model.condition(name, torch.zeros(())) for name in model.experts}
    texts = {name: model.text(name, io["prompt_embeds"][0]) for name in model.experts}
    found: dict[str, torch.Tensor] = {}

    def keep(prefix: str, layer: int, pair: KeyValue) -> None:
        found[f"{prefix}.{layer:02d}.key"], found[f"{prefix}.{layer:02d}.value"] = pair

    for layer, block in enumerate(model.blocks):
        at = [conditions[group.expert].layers[layer] for group in groups]
        groups, own = block(groups, at, [texts[group.expert][layer] for group in groups])
        keep("context", layer, own)
        for name in model.experts:
            keep(f"text.{name}", layer, texts[name][layer])
    return found


def inputs(graph: VideoGraph, io: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    given = {
        "future": io["joint.future_latents"][0],
        "row": torch.zeros(1, dtype=torch.int64),
        "actions": io["noise"][0],
        "noise": torch.full_like(io["noise"][0], 9.0),
        **context(graph.transformer, io),
    }
    return {name: given[name] for name in graph.example()}


def test_the_step_is_upstreams_joint_forward(
    golden: Path, io: dict[str, torch.Tensor], model: WorldActionTransformer
) -> None:
    """Velocity within 1e-4, with two future latent frames; the state moves along it."""
    future = io["joint.future_latents"][0].shape
    graph = VideoGraph(model, GEOMETRY, recorded_flow(io, -0.25), future, CONTEXT_TOKENS)
    given = inputs(graph, io)
    with torch.no_grad():
        following, velocity = graph(*given.values())
    expected = io["joint.video_velocity"][0, :, 1:].numpy()
    assert compare("video", velocity.numpy(), expected, 1e-4).passed
    assert compare("next", following.numpy(), given["future"].numpy() - 0.25 * expected, 1e-4).passed


def test_the_traced_step_is_upstreams_joint_forward(tmp_path: Path) -> None:
    """The same through ONNX Runtime, for GWP-0; `video_bundle` is GWP-0.5's. Also with caches in fp16."""
    golden = Path(__file__).parents[1] / "golden" / "gwp0-tiny"
    io = load_file(golden / "io.safetensors")
    model = load_checkpoint(CheckpointPaths.in_directory(golden)).transformer
    future = io["joint.future_latents"][0].shape
    graph = VideoGraph(model, GEOMETRY, recorded_flow(io, -0.25), future, CONTEXT_TOKENS)
    given = {name: tensor.numpy() for name, tensor in inputs(graph, io).items()}
    expected = io["joint.video_velocity"][0, :, 1:].numpy()
    traced = trace(graph, 23)

    def velocity() -> NDArray[np.float32]:
        ir.save(traced, tmp_path / "video.onnx")
        session = ort.InferenceSession(tmp_path / "video.onnx", providers=["CPUExecutionProvider"])
        return np.asarray(session.run(["velocity"], given)[0])

    assert compare("video", velocity(), expected, 1e-4).passed
    # As it stands in a lossy bundle, whose caches are fp16: nothing but their own rounding is lost.
    caches = [name for name in given if name.startswith(("context.", "text."))]
    halves = [ir.val(name, ir.DataType.FLOAT16, given[name].shape) for name in caches]
    widen_caches(traced, {"context": ir.Model(ir.Graph([], halves, nodes=[]), ir_version=10)})
    given |= {name: given[name].astype(np.float16) for name in caches}
    assert compare("video", velocity(), expected, 2e-3).passed


INFO = VideoInfo(
    offsets=(12, 24, 36, 48),
    shift=5.0,
    actions="clean",
    sigmas=(1.0, 0.75, 0.25, 0.0),
    timesteps=(1000.0, 750.0, 250.0),
)


def test_what_a_step_sees_of_the_actions() -> None:
    clean, noisy = Flow.of(INFO), Flow.of(INFO.model_copy(update={"actions": "same time"}))
    for flow in (clean, noisy):
        np.testing.assert_array_equal(flow.deltas, np.float32([-0.25, -0.5, -0.25]))
        np.testing.assert_array_equal(flow.timesteps, np.float32([1000, 750, 250]))
    assert not clean.action_sigmas.any()
    assert not clean.action_timesteps.any()
    np.testing.assert_array_equal(noisy.action_sigmas, np.float32([1, 0.75, 0.25]))
    np.testing.assert_array_equal(noisy.action_timesteps, noisy.timesteps)


def test_actions_are_mixed_with_the_noise_they_came_from(
    golden: Path, io: dict[str, torch.Tensor], model: WorldActionTransformer
) -> None:
    """At share s: the same as handing over (1 - s) actions + s noise; and the future depends on the actions."""
    future = torch.Size((*io["ref_latents"][0].shape[:1], 1, *io["ref_latents"][0].shape[2:]))
    flow = recorded_flow(io, -0.25)
    plain = VideoGraph(model, GEOMETRY, flow, future, CONTEXT_TOKENS)
    mixing = VideoGraph(
        model, GEOMETRY, replace(flow, action_sigmas=np.array([0.3], np.float32)), future, CONTEXT_TOKENS
    )
    given = inputs(plain, io) | {"future": io["joint.future_latents"][0, :, :1]}
    start = torch.randn(given["noise"].shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = plain(*(given | {"actions": 0.7 * given["actions"] + 0.3 * start}).values())[1]
        found = mixing(*(given | {"noise": start}).values())[1]
        other = mixing(*(given | {"noise": -start}).values())[1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(other, expected, rtol=1e-3, atol=1e-3)


def test_the_manifest_says_what_was_exported(video_bundle: Path) -> None:
    manifest = open_bundle(video_bundle).manifest
    video = manifest.video
    assert video is not None
    assert (video.offsets, video.shift, video.actions, video.steps) == ((12, 24, 36, 48), 2.0, "clean", 5)
    assert video.sigmas[0] == 1
    assert video.sigmas[-1] == 0
    assert manifest.graphs["video"].inputs["future"].shape == (48, 1, 24, 20)
    assert manifest.graphs["decoder"].outputs["frames"].shape == (5, 384, 320, 3)
    assert {"video.onnx", "decoder.onnx"} <= {info.file for info in manifest.files()}


def test_an_export_proves_the_video_graphs(video_bundle: Path) -> None:
    fidelity = open_bundle(video_bundle).manifest.fidelity
    assert fidelity is not None
    errors = {row.stage.split(" (")[0]: row for row in fidelity.stages}
    assert errors["future velocity/5"].relative_l2 < 1e-5
    assert errors["future trajectory/5"].relative_l2 < 1e-5
    assert errors["frames"].max_abs <= 1


def test_weights_that_both_branches_use_are_stored_once(
    video_bundle: Path, exported: Callable[..., Path]
) -> None:
    """What is new is the visual expert's way out, the last layer of it, and the decoder."""
    plain = open_bundle(exported("gwp05-tiny")).manifest
    with_video = open_bundle(video_bundle).manifest
    golden = Path(__file__).parents[1] / "golden" / "gwp05-tiny"
    decoder = sum(
        tensor.numel()
        for name, tensor in load_file(next((golden / "vae").glob("*.safetensors"))).items()
        if name.startswith(("decoder.", "post_quant_conv."))
    )
    video_graph = (video_bundle / "video.onnx").stat().st_size
    growth = with_video.weights.bytes - plain.weights.bytes
    assert 4 * decoder < growth + video_graph < with_video.weights.bytes / 2
    assert with_video.model.parameters >= plain.model.parameters


def test_frames_are_those_of_the_video_vae(video_bundle: Path) -> None:
    """The decoder by itself, on latents of its own, against the modules that training uses."""
    golden = Path(__file__).parents[1] / "golden" / "gwp05-tiny"
    vae = load_video_vae(golden / "vae")
    random = torch.Generator().manual_seed(2)
    clip = torch.randn((1, 48, 2, 24, 20), generator=random)
    with torch.no_grad():
        expected = pictures(vae.decode(vae.denormalise(clip)))[0].numpy()
    session = ort.InferenceSession(video_bundle / "decoder.onnx", providers=["CPUExecutionProvider"])
    latents, future = clip[0, :, :1].numpy(), clip[0, :, 1:].numpy()
    (found,) = session.run(None, {"latents": latents, "future": future})
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.999
    assert found.std() > 10


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GWP-0 of one layer, with a decoder."""
    folder = tmp_path_factory.mktemp("random") / "c"
    write_random_checkpoint(folder, "GWP-0", Sizes(layers=1), decoder=True)
    return folder


@pytest.mark.parametrize(
    ("shift", "found"), [(None, 5.0), (3.0, 3.0)], ids=["as GWP-0 was trained", "as it was asked for"]
)
def test_what_follows_from_the_generation(small: Path, shift: float | None, found: float) -> None:
    loaded = load_checkpoint(CheckpointPaths.in_directory(small))
    geometry = Geometry(view_width=64, view_height=32, chunk=96, prompt_length=8)
    branch = prepare_video(
        loaded,
        geometry,
        3,
        VideoOptions(steps=2, shift=shift),
        timesteps="exact",
        layout="split",
        progress=QUIET,
    )
    assert (branch.info.shift, branch.info.actions) == (found, "same time")
    assert branch.info.offsets == (12, 24, 36, 48, 60, 72, 84, 96)
    assert branch.video.future == branch.decoder.future == (48, 2, 2, 4)
    assert branch.info.timesteps[0] == 1000
    with torch.no_grad():
        frames = branch.decoder(*branch.decoder.example().values())
    assert frames.shape == (9, 32, 64, 3)


def test_caches_that_are_fp32_are_left_alone() -> None:
    value, out = (ir.val(name, ir.DataType.FLOAT, [2]) for name in ("context.00.key", "out"))
    node = ir.node("Identity", [value], outputs=[out])
    video = ir.Model(ir.Graph([value], [out], nodes=[node]), ir_version=10)
    same = ir.val("context.00.key", ir.DataType.FLOAT, [2])
    widen_caches(video, {"context": ir.Model(ir.Graph([], [same], nodes=[]), ir_version=10)})
    assert [node.op_type for node in video.graph] == ["Identity"]
    assert video.graph.inputs[0].dtype == ir.DataType.FLOAT


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ExportOptions(layout="single", video=VideoOptions()),
            "--video: layout single keeps no cache for the future to continue from; use --layout split",
        ),
        (
            ExportOptions(chunk=47, video=VideoOptions()),
            "a chunk of 47 actions has 3 future frames, one every 12; the VAE takes groups of 4, so that --chunk must "
            "be a multiple of 48",
        ),
        (ExportOptions(chunk=8, video=VideoOptions()), "a chunk of 8 actions has 0 future frames"),
    ],
)
def test_options_that_do_not_fit(small: Path, tmp_path: Path, options: ExportOptions, message: str) -> None:
    loaded = load_checkpoint(CheckpointPaths.in_directory(small))
    with pytest.raises(InputError, match=message):
        export_bundle(loaded, {"p": small / PROMPT}, tmp_path / "b", options)
    assert list(tmp_path.iterdir()) == []


def test_a_vae_without_a_decoder(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small / "vae", tmp_path / "vae"))
    (file,) = folder.glob("*.safetensors")
    save_file({n: t for n, t in load_file(file).items() if n.startswith(("encoder.", "quant_conv."))}, file)
    with pytest.raises(CheckpointError, match="has no decoder, only an encoder; --video needs the whole VAE"):
        load_decoder(folder)


def test_a_vae_that_lacks_a_part_of_its_decoder(small: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(small / "vae", tmp_path / "vae"))
    (file,) = folder.glob("*.safetensors")
    save_file({n: t for n, t in load_file(file).items() if n != "decoder.conv_out.bias"}, file)
    with pytest.raises(CheckpointError, match=r"missing tensor decoder\.conv_out\.bias"):
        load_decoder(folder)


def test_a_random_decoder_changes_nothing_else(small: Path, tmp_path: Path) -> None:
    """The whole VAE loads; encoder and transformer are those that are drawn without a decoder."""
    assert isinstance(load_video_vae(small / "vae"), VideoVae)
    write_random_checkpoint(tmp_path / "c", "GWP-0", Sizes(layers=1))
    for part in ("transformer", "vae"):
        with_decoder = tensors(small / part)
        for name, values in tensors(tmp_path / "c" / part).items():
            np.testing.assert_array_equal(values, with_decoder[name])
    config = json.loads((tmp_path / "c" / "vae" / "config.json").read_text())
    assert config == json.loads((small / "vae" / "config.json").read_text())


def tensors(folder: Path) -> dict[str, NDArray[np.float32]]:
    (file,) = folder.glob("*.safetensors")
    return {name: tensor.numpy() for name, tensor in load_file(file).items()}
