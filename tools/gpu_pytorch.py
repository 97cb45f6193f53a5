"""Our PyTorch modules in bf16, compiled: what an exported bundle has to beat on the same GPU.

The graphs of `gigaedge_export.graphs` run as they are traced: text once, context once per chunk, one step graph per
sampler step on its keys and values. Weights are bf16; autocast gives linear layers, convolutions and attention bf16
and leaves LayerNorm, rotary tables and the residual stream in fp32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gigaedge.errors import InputError
from gigaedge_export.checkpoint import (
    CheckpointPaths,
    LoadedCheckpoint,
    NormStats,
    load_checkpoint,
    load_norm_stats,
)
from gigaedge_export.config import TransformerConfig, load_config
from gigaedge_export.export import ExportOptions
from gigaedge_export.graphs import ContextGraph, Geometry, StepGraph, TextGraph
from gigaedge_export.layers import Conv2d, Linear, Modulation, Rotary
from gigaedge_export.prompts import load_prompt
from gigaedge_export.random_checkpoint import PROMPT
from gigaedge_export.reference import reference_chunk
from gigaedge_export.sampler import Schedule, schedule
from gigaedge_export.transformer import Conditioned
from gigaedge_runtime.policy import Observation

Mode = Literal["eager", "compile", "graph"]
COMPILE_MODE = "max-autotune-no-cudagraphs"
"""CUDA graphs are captured here, as ONNX Runtime captures its own: the cache goes from one graph to the next."""
VARIANTS = 32
"""Shapes of one layer that may be compiled: context, last context, step, and what their strides add."""
DEFAULTS = ExportOptions()


@dataclass(frozen=True)
class Inputs:
    """What a random observation and a prompt have to fit."""

    stats: NormStats
    channels: int
    """Of an action, padding included."""
    prompt: NDArray[np.float32]
    """(length, text_dim)."""


def read_inputs(folder: Path) -> Inputs:
    """Of a checkpoint that `tools/random_checkpoint.py` wrote."""
    paths = CheckpointPaths.in_directory(folder)
    config = load_config(paths.transformer / "config.json", TransformerConfig)
    prompt, _ = load_prompt(folder / PROMPT, length=DEFAULTS.prompt_length, width=config.text_dim)
    return Inputs(load_norm_stats(paths.norm_stats), config.in_action_channels, prompt.numpy())


def reference_velocity(
    folder: Path, observation: Observation, prompt: NDArray[np.float32], steps: int
) -> NDArray[np.float32]:
    """Velocities (steps, chunk, channels) in fp32 on the CPU, everything recomputed at every step."""
    if observation.noise is None:
        raise ValueError("a comparison needs an observation with noise")
    loaded = load_checkpoint(CheckpointPaths.in_directory(folder))
    outputs = reference_chunk(
        loaded,
        euler(steps),
        composite=observation.composite,
        state=observation.state,
        prompt=prompt,
        noise=observation.noise,
    )
    return outputs["velocity"]


def euler(steps: int) -> Schedule:
    """The Euler schedule that an export has by default."""
    return schedule(steps, DEFAULTS.shift, DEFAULTS.timesteps)


@dataclass(frozen=True)
class TimedChunk:
    """What one chunk took, s, and its velocities (steps, chunk, channels)."""

    context_s: float
    steps_s: float
    velocity: NDArray[np.float32]


class Baseline:
    """A checkpoint's action path on one device, for the step counts given."""

    def __init__(
        self, folder: Path, prompt: NDArray[np.float32], steps: Sequence[int], *, device: str, mode: Mode
    ) -> None:
        if mode == "graph" and device != "cuda":
            raise InputError("--mode graph: CUDA graphs need --device cuda")
        self.device, self.mode = torch.device(device), mode
        self.schedules = [euler(count) for count in steps]
        loaded = load_checkpoint(CheckpointPaths.in_directory(folder))
        with torch.no_grad():
            text, self.context, self.step = _graphs(loaded, self.schedules)
        _narrow(text, self.context, self.step)
        for graph in (text, self.context, self.step):
            graph.to(self.device)
        self.context.conditions = {
            name: self._moved(condition) for name, condition in self.context.conditions.items()
        }
        transformer = loaded.transformer
        for name in ("step_rotary", "image_rotary"):
            setattr(transformer, name, self._kept(getattr(transformer, name)))
        if mode != "eager":
            torch._dynamo.config.recompile_limit = VARIANTS
            for module in (*transformer.blocks, loaded.vae.encoder):
                module.compile(mode=COMPILE_MODE, dynamic=False, fullgraph=True)
        with self._computing():
            encoded = text(torch.from_numpy(prompt).to(self.device))
        texts = dict(zip(text.output_names(), map(_narrowed, encoded), strict=True))
        example = self.step.example()
        self._before = [example[name].to(self.device) for name in ("previous", "weight", "guidance")]
        self._context_texts = [texts[name] for name in self.context.example() if name in texts]
        self._step_texts = [texts[name] for name in example if name in texts]

    def prepare(self, observation: Observation, steps: int) -> None:
        """Choose a step count; with mode `graph`, capture the context and the whole sampler."""
        index = [each.steps for each in self.schedules].index(steps)
        first = sum(each.steps for each in self.schedules[:index])
        rows = torch.arange(first, first + steps, device=self.device).unsqueeze(1)
        weights = torch.from_numpy(self.schedules[index].coefficients).to(self.device)
        self._plan = list(zip(rows, weights, strict=True))
        self._picture, self._state, self._noise = (
            torch.from_numpy(array).to(self.device)
            for array in (observation.composite, observation.state, observation.noise)
        )
        self._encode, self._sample = self._run_context, self._run_steps
        if self.mode == "graph":
            self._encode = _captured(self._run_context)
            self._caches = self._encode()
            self._sample = _captured(self._run_steps)

    def chunk(self, observation: Observation) -> TimedChunk:
        """Decide on an observation, from the host's memory and back to it."""
        begin = time.perf_counter()
        self._picture.copy_(torch.from_numpy(observation.composite))
        self._state.copy_(torch.from_numpy(observation.state))
        self._caches = self._encode()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        middle = time.perf_counter()
        self._noise.copy_(torch.from_numpy(observation.noise))
        targets, velocities = self._sample()
        targets.cpu()
        end = time.perf_counter()
        return TimedChunk(middle - begin, end - middle, torch.stack(velocities).float().cpu().numpy())

    def _run_context(self) -> list[Tensor]:
        """Keys and values of state and picture, per layer."""
        with self._computing():
            _, *own = self.context(self._picture, self._state, *self._context_texts)
            return [_narrowed(tensor) for tensor in own]

    def _run_steps(self) -> tuple[Tensor, list[Tensor]]:
        """Targets, and the velocity of every step."""
        actions, velocity = self._noise, torch.zeros_like(self._noise)
        velocities: list[Tensor] = []
        with self._computing():
            for row, weights in self._plan:
                actions, velocity, targets = self.step(
                    actions,
                    velocity,
                    row,
                    weights,
                    self._state,
                    *self._before,
                    *self._caches,
                    *self._step_texts,
                )
                velocities.append(velocity)
        return targets, velocities

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            yield

    def _moved(self, condition: Conditioned) -> Conditioned:
        layers = [Modulation(*(vector.to(self.device) for vector in layer)) for layer in condition.layers]
        return Conditioned(layers, condition.head_shift.to(self.device), condition.head_scale.to(self.device))

    def _kept(self, table: Callable[..., Rotary]) -> Callable[..., Rotary]:
        """A rotary table as the exported graphs have it: a constant, on the device."""

        @cache
        def kept(*where: int, **named: int) -> Rotary:
            return Rotary(*(tensor.to(self.device) for tensor in table(*where, **named)))

        return kept


def _graphs(loaded: LoadedCheckpoint, schedules: list[Schedule]) -> tuple[TextGraph, ContextGraph, StepGraph]:
    transformer, vae, stats = loaded.transformer, loaded.vae, loaded.stats
    geometry = Geometry(DEFAULTS.view_width, DEFAULTS.view_height, DEFAULTS.chunk, DEFAULTS.prompt_length)
    factor, (_, high, wide) = vae.config.spatial_factor, transformer.config.patch_size
    patches = (geometry.view_height // factor // high) * (geometry.view_width // factor // wide)
    return (
        TextGraph(transformer, geometry),
        ContextGraph(transformer, vae, stats, geometry),
        StepGraph(transformer, stats, schedules, geometry, 1 + patches),
    )


def _narrow(*graphs: nn.Module) -> None:
    """bf16 weights, and PyTorch's own layers in place of ours, which compute in fp32 whatever they hold.

    RMSNorm takes its input's type: its fused kernel wants both alike, and sums in fp32 all the same.
    """
    for graph in graphs:
        for module in graph.modules():
            if isinstance(module, Linear):
                module.__class__ = nn.Linear  # type: ignore[assignment]
            elif isinstance(module, Conv2d):
                module.__class__ = nn.Conv2d  # type: ignore[assignment]
            if isinstance(module, nn.Linear | nn.Conv2d | nn.RMSNorm):
                module.to(torch.bfloat16)


def _narrowed(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16)


Result = TypeVar("Result")


def _captured(call: Callable[[], Result]) -> Callable[[], Result]:
    """A call as a CUDA graph: it replays on the same memory and gives the same tensors each time."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()

    def replay() -> Result:
        graph.replay()
        return result

    return replay
