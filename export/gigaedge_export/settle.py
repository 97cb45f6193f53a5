"""What the checkpoint and its activations allow: the recipe, with everything that must stay fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import Tensor

from gigaedge.bundle import CastInfo
from gigaedge.errors import InputError
from gigaedge.progress import Progress
from gigaedge.robot import ROBOT_DIM
from gigaedge_export.checkpoint import LoadedCheckpoint
from gigaedge_export.graphs import ContextGraph, Geometry, StepGraph, TextGraph
from gigaedge_export.lower import WEIGHTED, place_of
from gigaedge_export.quantize import half_fit
from gigaedge_export.ranges import Ranges, Sample, measure
from gigaedge_export.recipe import Recipe
from gigaedge_export.sampler import Schedule, first_rows

ENOUGH_STEPS = 4
"""Steps of the flow over which activations are measured, where the bundle has such a schedule."""


@dataclass(frozen=True)
class Settled:
    """A recipe that the checkpoint can follow."""

    recipe: Recipe
    ranges: Ranges
    casts: tuple[CastInfo, ...]


def settle(
    recipe: Recipe,
    checkpoint: LoadedCheckpoint,
    graphs: tuple[TextGraph, ContextGraph, StepGraph],
    models: Mapping[str, ir.Model],
    schedules: Sequence[Schedule],
    samples: Sequence[Sample],
    progress: Progress,
) -> Settled:
    """Find the weights that fp16 cannot hold and the activations that overflow in it.

    Raises InputError for a rule that nothing follows.
    """
    weights = {name: tensor for graph in graphs for name, tensor in graph.named_parameters()}
    places = _weight_places(models, weights)
    recipe.check(set(places))
    # TensorRT's int8 has its scales, and what goes in and out, in fp16.
    narrow = ("fp16", "int8") if recipe.target == "tensorrt" else ("fp16",)
    halves = {where: name for where, name in places.items() if recipe.half or recipe.of(where) in narrow}
    if not halves:
        return Settled(recipe, Ranges(), ())
    casts, kept = _fit(halves, weights, checkpoint, progress)
    chosen = min(
        range(len(schedules)),
        key=lambda i: (schedules[i].steps < ENOUGH_STEPS, schedules[i].steps, schedules[i].solver),
    )
    stages = {where.partition("/")[0] for where in halves}
    ranges = measure(
        checkpoint, graphs, schedules[chosen], first_rows(schedules)[chosen], samples, stages, progress
    )
    overflowing = {
        where: reason for where, reason in ranges.overflowing().items() if where in halves or "/" not in where
    }
    both = {where: f"{kept[where]}; {overflowing[where]}" for where in kept.keys() & overflowing.keys()}
    return Settled(replace(recipe, kept=recipe.kept | kept | overflowing | both), ranges, casts)


def random_sample(
    checkpoint: LoadedCheckpoint, geometry: Geometry, prompt: NDArray[np.float32], seed: int
) -> Sample:
    """Noise for a picture, and a state within the statistics: for weights, rather than data, to show what they do."""
    random = np.random.default_rng(seed)
    low, high = np.array(checkpoint.stats.state_q01), np.array(checkpoint.stats.state_q99)
    width = checkpoint.transformer.config.in_action_channels
    return Sample(
        state=(low + (high - low) * random.random(ROBOT_DIM)).astype(np.float32),
        composite=random.integers(0, 256, (geometry.view_height, geometry.view_width, 3), np.uint8),
        prompt=prompt,
        noise=random.standard_normal((geometry.chunk, width), np.float32),
    )


def require_observations(recipe: Recipe, samples: Sequence[Sample]) -> None:
    """Raise InputError where scales of activations must come from real observations and there are none."""
    used = {recipe.precision, *(rule.precision for rule in recipe.rules)}
    if recipe.target == "tensorrt" and "int8" in used and not samples:
        raise InputError(
            "int8 for TensorRT needs scales of real activations; "
            "pass --calibration FILE_OR_DIR with observations as `gigaedge infer` reads them"
        )


def _weight_places(models: Mapping[str, ir.Model], weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Name of the weight at every place that has one."""
    return {
        place_of(node): str(node.inputs[1].name)
        for model in models.values()
        for node in model.graph
        if node.op_type in WEIGHTED and node.inputs[1] is not None and node.inputs[1].name in weights
    }


def _fit(
    places: Mapping[str, str],
    weights: Mapping[str, Tensor],
    checkpoint: LoadedCheckpoint,
    progress: Progress,
) -> tuple[tuple[CastInfo, ...], dict[str, str]]:
    """What each weight loses in fp16, and the places whose weight does not fit."""
    names = dict.fromkeys(places.values())
    progress("checking weights for fp16", sum(weights[name].nbytes for name in names))
    casts, unfit = [], {}
    for name in names:
        fit = half_fit(weights[name])
        if fit.overflows or fit.flushed:
            casts.append(
                CastInfo(name=name, overflows=fit.overflows, flushed=fit.flushed, relative_l2=fit.relative_l2)
            )
        if not fit.fits:
            unfit[name] = (
                f"{fit.overflows} weights beyond fp16"
                if fit.overflows
                else f"weights lose {fit.relative_l2:.1e} in fp16"
            )
        checkpoint.release()
        progress.advance(weights[name].nbytes)
    return tuple(casts), {where: unfit[name] for where, name in places.items() if name in unfit}
