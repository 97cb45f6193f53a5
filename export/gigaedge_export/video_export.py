"""The video branch of an export: what is chosen, what follows from the checkpoint, and the two graphs of it.

Its weights are fp32 whatever the bundle's are: it is looked at, and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
import torch

from gigaedge.bundle import Layout, VideoInfo
from gigaedge.errors import InputError
from gigaedge.progress import Progress
from gigaedge_export.checkpoint import LoadedCheckpoint, load_decoder
from gigaedge_export.config import TRAINED_FUTURE
from gigaedge_export.graphs import Geometry
from gigaedge_export.sampler import TimestepRounding, schedule
from gigaedge_export.trace import trace
from gigaedge_export.video_graphs import DecoderGraph, Flow, VideoGraph


@dataclass(frozen=True)
class VideoOptions:
    """What is chosen for the video branch at export; defaults are upstream's."""

    steps: int = 10
    shift: float | None = None
    """None: the one that the checkpoint's generation was trained with."""
    stride: int = 12
    """Actions from one future frame to the next."""


@dataclass(frozen=True)
class VideoBranch:
    """The graphs of a bundle's video branch, to be traced, and what its manifest says of them."""

    info: VideoInfo
    video: VideoGraph
    decoder: DecoderGraph


def prepare_video(
    checkpoint: LoadedCheckpoint,
    geometry: Geometry,
    context_tokens: int,
    options: VideoOptions,
    *,
    timesteps: TimestepRounding,
    layout: Layout,
    progress: Progress,
) -> VideoBranch:
    """Load the decoder and fold constants.

    Raises InputError (another layout than split, a chunk with no whole group of future frames) or CheckpointError (no
    decoder).
    """
    if layout != "split":
        raise InputError(
            f"--video: layout {layout} keeps no cache for the future to continue from; use --layout split"
        )
    vae = load_decoder(checkpoint.paths.vae, progress)
    offsets = tuple(range(options.stride, geometry.chunk + 1, options.stride))
    group = vae.config.temporal_factor
    if not offsets or len(offsets) % group:
        raise InputError(
            f"--video: a chunk of {geometry.chunk} actions has {len(offsets)} future frames, one every "
            f"{options.stride}; the VAE takes groups of {group}, so that --chunk must be a multiple of "
            f"{options.stride * group}"
        )
    transformer = checkpoint.transformer
    trained = TRAINED_FUTURE[transformer.config.generation]
    shift = options.shift or trained.shift
    steps = schedule(options.steps, shift, timesteps)
    info = VideoInfo(
        offsets=offsets,
        shift=shift,
        actions=trained.actions,
        sigmas=tuple(map(float, steps.sigmas)),
        timesteps=tuple(map(float, steps.timesteps)),
    )
    cell = vae.config.spatial_factor
    future = torch.Size(
        (
            vae.config.z_dim,
            len(offsets) // group,
            geometry.view_height // cell,
            geometry.view_width // cell,
        )
    )
    video = VideoGraph(transformer, geometry, Flow.of(info), future, context_tokens)
    return VideoBranch(info, video, DecoderGraph(vae, future))


def trace_video(
    branch: VideoBranch, opset: int, models: Mapping[str, ir.Model], progress: Progress
) -> dict[str, ir.Model]:
    """Both graphs, fp32, taking caches in the precision that the other `models` hand them over in."""
    traced = {}
    for graph in (branch.video, branch.decoder):
        progress(f"tracing the {graph.stage} graph")
        traced[graph.stage] = trace(graph, opset)
    widen_caches(traced["video"], models)
    return traced


def widen_caches(video: ir.Model, models: Mapping[str, ir.Model]) -> None:
    """Let a graph take in fp16 what `models` put out in it, and widen it at once."""
    halves = {
        value.name
        for model in models.values()
        for value in model.graph.outputs
        if value.dtype == ir.DataType.FLOAT16
    }
    for value in [value for value in video.graph.inputs if value.name in halves]:
        cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=f"video/Cast_{value.name}")
        wide = cast.outputs[0]
        wide.name, wide.shape, wide.type = f"{value.name}.fp32", value.shape, ir.TensorType(ir.DataType.FLOAT)
        for node, index in value.uses():
            if node is not cast:
                node.replace_input_with(index, wide)
        video.graph.insert_before(video.graph[0], cast)
        value.type = ir.TensorType(ir.DataType.FLOAT16)
