"""Checkpoint -> bundle: load strictly, trace, write, prove, and only then put it in place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
import torch

import gigaedge
from gigaedge.bundle import (
    MANIFEST,
    ActionInfo,
    GraphInfo,
    Layout,
    Manifest,
    ModelInfo,
    PrecisionInfo,
    PromptsInfo,
    SamplerInfo,
    ScheduleInfo,
    StateInfo,
    ViewInfo,
    write_manifest,
)
from gigaedge.documents import SourceFile, describe_file
from gigaedge.errors import InputError
from gigaedge.files import atomic_directory, sha256, write_tensors
from gigaedge.findings import FidelityInfo
from gigaedge.progress import QUIET, Progress
from gigaedge.robot import DELTA_MASK, DIM_NAMES, DIM_UNITS
from gigaedge.sampling import SOLVERS
from gigaedge_export.checkpoint import LoadedCheckpoint
from gigaedge_export.fuse import fuse
from gigaedge_export.fuse_vae import fuse_norms
from gigaedge_export.graphs import ContextGraph, Geometry, StepGraph, TextGraph
from gigaedge_export.lower import lower
from gigaedge_export.prompts import load_prompt
from gigaedge_export.ranges import Sample
from gigaedge_export.recipe import Recipe
from gigaedge_export.sampler import Schedule, TimestepRounding, first_rows, schedule
from gigaedge_export.settle import random_sample, require_observations, settle
from gigaedge_export.single import compose_single
from gigaedge_export.trace import signature, trace
from gigaedge_export.video_export import VideoOptions, prepare_video, trace_video
from gigaedge_export.weights import SHARED, save_graphs

PROMPTS_FILE = "prompts.safetensors"


@dataclass(frozen=True)
class ExportOptions:
    """What is chosen at export; defaults are upstream's."""

    steps: tuple[int, ...] = (10,)
    chunk: int = 48
    view_width: int = 320
    view_height: int = 384
    view_layout: Literal["tshape", "horizontal"] = "tshape"
    prompt_length: int = 64
    shift: float = 5.0
    timesteps: TimestepRounding = "bf16"
    rate_hz: float = 30.0
    replan_after: int = 30
    opset: int = 23
    recipe: Recipe = field(default_factory=Recipe)
    layout: Layout = "split"
    video: VideoOptions | None = None
    """None: no video branch."""


def export_bundle(
    checkpoint: LoadedCheckpoint,
    prompts: Mapping[str, Path],
    out: Path,
    options: ExportOptions,
    *,
    samples: Sequence[Sample] = (),
    replace: bool = False,
    progress: Progress = QUIET,
    prove: Callable[[Path], FidelityInfo] | None = None,
) -> list[str]:
    """Write a bundle to `out`, whole or not at all; return notices for the person.

    `samples` are observations on which activations are measured, where the recipe needs that; noise serves for fp16
    when there are none. `prove` compares the finished bundle, before it is put in place, and raises when it is wrong;
    what it returns goes into the manifest. Raises InputError for options that do not fit the checkpoint.
    """
    transformer, vae, stats = checkpoint.transformer, checkpoint.vae, checkpoint.stats
    geometry = _geometry(checkpoint, options)
    require_observations(options.recipe, samples)
    schedules = [
        schedule(steps, options.shift, options.timesteps, solver)
        for solver in SOLVERS
        for steps in options.steps
    ]
    embeddings, notices = _prompts(prompts, options.prompt_length, transformer.config.text_dim)
    with atomic_directory(out, mark=MANIFEST, replace=replace) as folder, torch.no_grad():
        context_tokens = _context_tokens(checkpoint, geometry)
        branch = None
        if options.video is not None:
            branch = prepare_video(
                checkpoint,
                geometry,
                context_tokens,
                options.video,
                timesteps=options.timesteps,
                layout=options.layout,
                progress=progress,
            )
        progress("folding constants")
        graphs = (
            TextGraph(transformer, geometry, video=branch is not None),
            ContextGraph(transformer, vae, stats, geometry),
            StepGraph(transformer, stats, schedules, geometry, context_tokens),
        )
        checkpoint.release()
        models: dict[str, ir.Model] = {}
        for graph in graphs:
            progress(f"tracing the {graph.stage} graph")
            models[graph.stage] = trace(graph, options.opset)
        parameters = _count_weights(models)
        samples = samples or [
            random_sample(checkpoint, geometry, prompt.numpy(), seed)
            for seed, prompt in enumerate(embeddings.values())
        ]
        settled = settle(options.recipe, checkpoint, graphs, models, schedules, samples, progress)
        fuse_norms(models["context"])
        for graph in graphs:
            if settled.recipe.target == "cpu" and not settled.recipe.half:
                fuse(models[graph.stage])
            lower(models[graph.stage], dict(graph.named_parameters()), settled.recipe, settled.ranges.inputs)
        if options.layout == "single":
            first = schedules[0]
            models = {"policy": compose_single(models, np.arange(first.steps), first.coefficients)}
        if branch is not None:
            models |= trace_video(branch, options.opset, models, progress)
        weights = save_graphs(models, folder, progress, checkpoint.release)
        for stage in models:
            onnx.checker.check_model(folder / f"{stage}.onnx", full_check=True)
        write_tensors(folder / PROMPTS_FILE, {name: tensor.numpy() for name, tensor in embeddings.items()})
        progress("writing the manifest")
        manifest = Manifest(
            gigaedge=gigaedge.__version__,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            layout=options.layout,
            opset=options.opset,
            model=ModelInfo(
                generation=transformer.config.generation,
                transformer=_json(checkpoint.paths.transformer / "config.json"),
                vae=_json(checkpoint.paths.vae / "config.json"),
                parameters=parameters,
            ),
            source=tuple(
                SourceFile(name=name, sha256=sha256(path)) for name, path in checkpoint.paths.files().items()
            ),
            graphs={stage: _graph_info(folder, stage, model) for stage, model in models.items()},
            weights=weights,
            sampler=_sampler_info(options, schedules),
            view=ViewInfo(width=options.view_width, height=options.view_height, layout=options.view_layout),
            state=StateInfo(names=DIM_NAMES, units=DIM_UNITS, q01=stats.state_q01, q99=stats.state_q99),
            action=ActionInfo(
                names=DIM_NAMES,
                units=DIM_UNITS,
                q01=stats.action_q01,
                q99=stats.action_q99,
                delta=DELTA_MASK,
                width=transformer.config.in_action_channels,
                chunk=options.chunk,
                rate_hz=options.rate_hz,
                replan_after=min(options.replan_after, options.chunk),
            ),
            prompts=PromptsInfo(
                **describe_file(folder / PROMPTS_FILE),
                names=tuple(embeddings),
                length=options.prompt_length,
                width=transformer.config.text_dim,
            ),
            precision=PrecisionInfo(
                recipe=options.recipe.precision,
                target=options.recipe.target,
                activations="fp16" if options.recipe.half else "fp32",
                kept=settled.recipe.kept_higher(),
                casts=settled.casts,
            ),
            video=branch.info if branch else None,
        )
        write_manifest(folder, manifest)
        if prove is not None:
            progress("comparing with PyTorch")
            write_manifest(folder, manifest.model_copy(update={"fidelity": prove(folder)}))
    return notices


def _geometry(checkpoint: LoadedCheckpoint, options: ExportOptions) -> Geometry:
    config = checkpoint.transformer.config
    for name, size, patch in (
        ("width", options.view_width, config.patch_size[2]),
        ("height", options.view_height, config.patch_size[1]),
    ):
        unit = checkpoint.vae.config.spatial_factor * patch
        if size <= 0 or size % unit:
            raise InputError(f"--view-size: {name} {size} is not a multiple of {unit} (VAE factor x patch)")
    if options.chunk + 1 > config.rope_max_seq_len:
        raise InputError(
            f"--chunk {options.chunk}: the checkpoint's rotary table ends at {config.rope_max_seq_len}"
        )
    return Geometry(options.view_width, options.view_height, options.chunk, options.prompt_length)


def _context_tokens(checkpoint: LoadedCheckpoint, geometry: Geometry) -> int:
    """The state token and the reference image's patches."""
    factor, (_, high, wide) = checkpoint.vae.config.spatial_factor, checkpoint.transformer.config.patch_size
    return 1 + (geometry.view_height // factor // high) * (geometry.view_width // factor // wide)


def _prompts(
    prompts: Mapping[str, Path], length: int, width: int
) -> tuple[dict[str, torch.Tensor], list[str]]:
    if not prompts:
        raise InputError("a bundle needs at least one --prompt NAME=FILE (a .pt or .safetensors embedding)")
    embeddings, notices = {}, []
    for name, path in prompts.items():
        embeddings[name], notice = load_prompt(path, length=length, width=width)
        notices += [notice] if notice else []
    return embeddings, notices


def _count_weights(models: Mapping[str, ir.Model]) -> int:
    """Number of the checkpoint's weights that the graphs use, each counted once."""
    sizes = {
        name: value.const_value.size
        for model in models.values()
        for name, value in model.graph.initializers.items()
        if name.startswith(SHARED) and value.const_value is not None
    }
    return sum(sizes.values())


def _graph_info(folder: Path, stage: str, model: Any) -> GraphInfo:
    inputs, outputs = signature(model)
    return GraphInfo(**describe_file(folder / f"{stage}.onnx"), inputs=inputs, outputs=outputs)


def _sampler_info(options: ExportOptions, schedules: list[Schedule]) -> SamplerInfo:
    return SamplerInfo(
        shift=options.shift,
        timestep_rounding=options.timesteps,
        schedules=tuple(
            ScheduleInfo(
                solver=s.solver,
                steps=s.steps,
                first_row=row,
                sigmas=tuple(map(float, s.sigmas)),
                timesteps=tuple(map(float, s.timesteps)),
            )
            for s, row in zip(schedules, first_rows(schedules), strict=True)
        ),
    )


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
