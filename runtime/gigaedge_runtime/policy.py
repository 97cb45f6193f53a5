"""A bundle, loaded: picture and state in, a chunk of absolute joint targets out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gigaedge.bundle import Bundle, Manifest, ViewInfo, open_bundle
from gigaedge.errors import BundleError, ObservationError
from gigaedge.files import read_tensors
from gigaedge.robot import DIM_NAMES, ROBOT_DIM
from gigaedge.sampling import Solver, coefficients
from gigaedge_runtime.sessions import BoundGraph, Device, Provider


@dataclass(frozen=True)
class Observation:
    """What the policy decides on."""

    composite: NDArray[np.uint8]
    """RGB picture of the three views, (height, width, 3)."""
    state: NDArray[np.float32]
    """Measured joints (rad) and grippers (m) when the picture was taken, (14,)."""
    noise: NDArray[np.float32] | None = None
    """Start of the sampler, (chunk, width); drawn by the policy when None."""

    @classmethod
    def make_example(cls, view: ViewInfo) -> Observation:
        """A grey picture and arms at zero, for warming up."""
        grey = np.full((view.height, view.width, 3), 127, np.uint8)
        return cls(grey, np.zeros(ROBOT_DIM, np.float32))


@dataclass(frozen=True)
class Chunk:
    """What the policy wants to do. Action k is due k / rate_hz after the observation."""

    actions: NDArray[np.float32]
    """Absolute targets, (chunk, 14): joints rad, grippers m."""
    normalized: NDArray[np.float32]
    """The sampler's last state, (chunk, width), before scaling."""
    rate_hz: float
    timings: dict[str, float]
    """Seconds per stage: `context` (picture to cache), `steps` (all sampler steps)."""
    intermediate: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """On request: `ref_latents` (1, C, 1, h, w), `velocity` (steps, chunk, width), `trajectory` (steps + 1, chunk,
    width), and `context.LAYER.key` and `.value` (heads, tokens, head_dim)."""


class Policy:
    """A loaded bundle. Not thread-safe: one thread calls `chunk`."""

    def __init__(self, bundle: Bundle, device: Device, steps: int | None, solver: Solver, seed: int) -> None:
        self.manifest: Manifest = bundle.manifest
        self.schedule = self.manifest.schedule(steps, solver)
        self._bundle = bundle
        self._device = device
        self._random = np.random.default_rng(seed)
        graphs = self.manifest.graphs
        text_buffers = {name: device.zeros(info) for name, info in graphs["text"].outputs.items()}
        self._text = text_buffers
        self._context = BoundGraph(device, bundle.file(graphs["context"]), graphs["context"], text_buffers)
        shared = {**text_buffers, **self._context.buffers}
        self._step = BoundGraph(device, bundle.file(graphs["step"]), graphs["step"], shared)
        # Actions and velocity go to and fro between two buffers each, and every step has constants of its own in
        # place: nothing is copied from one step to the next. The first step's `previous_velocity` stays zero, so that
        # no chunk can leave anything to the next.
        own = self._step.buffers
        self._still = device.zeros(graphs["step"].inputs["previous_velocity"])
        self._actions = (own["actions"], own["next_actions"])
        self._velocities = (own["previous_velocity"], own["velocity"])
        self._bindings = [self._bind_step(index) for index in range(self.schedule.steps)]

    def _bind_step(self, index: int) -> ort.IOBinding:
        now, following = index % 2, (index + 1) % 2
        sigmas = np.array(self.schedule.sigmas, np.float32)
        row = np.array([self.schedule.first_row + index], np.int64)
        return self._step.bind(
            {
                "actions": self._actions[now],
                "next_actions": self._actions[following],
                "previous_velocity": self._velocities[now] if index else self._still,
                "velocity": self._velocities[following],
                "row": self._device.place(row),
                "coefficients": self._device.place(coefficients(sigmas, self.schedule.solver)[index]),
            }
        )

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        prompt: str | None = None,
        steps: int | None = None,
        solver: Solver = "euler",
        provider: Provider = "cpu",
        threads: int = 0,
        seed: int = 0,
    ) -> Policy:
        """Open a bundle, verify it, load its graphs and prepare a prompt (the first one by default).

        Raises BundleError (a damaged bundle, a step count, solver or prompt it has not) or DeviceError (the provider).
        """
        policy = cls(open_bundle(Path(path)), Device(provider, threads), steps, solver, seed)
        policy.set_prompt(prompt or policy.manifest.prompts.names[0])
        return policy

    def set_prompt(self, name: str) -> None:
        """Use a prompt of the bundle from the next chunk on."""
        names = self.manifest.prompts.names
        if name not in names:
            raise BundleError(f"no prompt {name!r} in the bundle; it has {', '.join(names)}")
        self.set_prompt_embedding(read_tensors(self._bundle.file(self.manifest.prompts))[name])

    def set_prompt_embedding(self, embedding: NDArray[Any]) -> None:
        """Use a prompt embedding, (tokens, width) or (1, tokens, width); cut or zero-padded to the bundle's length."""
        info = self.manifest.prompts
        tokens = embedding[0] if embedding.ndim == 3 and embedding.shape[0] == 1 else embedding
        if tokens.ndim != 2 or tokens.shape[1] != info.width or not np.isfinite(tokens).all():
            raise ObservationError(
                f"prompt embedding: expected finite (tokens, {info.width}); got {tuple(embedding.shape)}"
            )
        padded = np.zeros((info.length, info.width), np.float32)
        padded[: len(tokens)] = tokens[: info.length]
        # Needed once per prompt: its session, with its copy of the weights, is not kept.
        graph = self.manifest.graphs["text"]
        text = BoundGraph(
            self._device,
            self._bundle.file(graph),
            graph,
            {**self._text, "prompt_embeds": self._device.place(padded)},
        )
        text.run()

    def chunk(self, observation: Observation, *, intermediate: bool = False) -> Chunk:
        """Decide on one observation. Raises ObservationError for a wrong shape, type or non-finite state."""
        self._check(observation)
        action = self.manifest.action
        noise = observation.noise
        if noise is None:
            noise = self._random.standard_normal((action.chunk, action.width), np.float32)
        begin = perf_counter()
        self._context.buffers["composite"].update_inplace(np.ascontiguousarray(observation.composite))
        state = np.ascontiguousarray(observation.state, np.float32)
        self._context.buffers["state"].update_inplace(state)
        self._context.run()
        middle = perf_counter()
        self._actions[0].update_inplace(np.ascontiguousarray(noise, np.float32))
        recorded: dict[str, list[NDArray[np.float32]]] = {"velocity": [], "trajectory": []}
        if intermediate:
            recorded["trajectory"].append(_copy(self._actions[0]))
        for index, binding in enumerate(self._bindings, start=1):
            self._step.run(binding)
            if intermediate:
                recorded["velocity"].append(_copy(self._velocities[index % 2]))
                recorded["trajectory"].append(_copy(self._actions[index % 2]))
        actions = _copy(self._step.buffers["targets"])
        end = perf_counter()
        return Chunk(
            actions=actions,
            normalized=_copy(self._actions[self.schedule.steps % 2]),
            rate_hz=action.rate_hz,
            timings={"context": middle - begin, "steps": end - middle},
            intermediate=self._intermediate(recorded) if intermediate else {},
        )

    def _intermediate(self, recorded: dict[str, list[NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
        buffers = self._context.buffers
        outputs = {name: _copy(buffers[name]) for name in self.manifest.graphs["context"].outputs}
        latents = outputs.pop("latents")
        steps = {name: np.stack(arrays) for name, arrays in recorded.items()}
        return {"ref_latents": latents[np.newaxis], **steps, **outputs}

    def _check(self, observation: Observation) -> None:
        view, action = self.manifest.view, self.manifest.action
        _expect("composite", observation.composite, np.uint8, (view.height, view.width, 3))
        _expect("state", observation.state, np.floating, (ROBOT_DIM,))
        bad = np.flatnonzero(~np.isfinite(observation.state))
        if bad.size:
            raise ObservationError(
                f"state: {DIM_NAMES[bad[0]]} is {observation.state[bad[0]]}; need finite values"
            )
        if observation.noise is not None:
            _expect("noise", observation.noise, np.floating, (action.chunk, action.width))


def _expect(name: str, array: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if not np.issubdtype(array.dtype, dtype) or array.shape != shape:
        raise ObservationError(
            f"{name}: expected {dtype.__name__} {shape}, got {array.dtype} {tuple(array.shape)}"
        )


def _copy(value: ort.OrtValue) -> NDArray[np.float32]:
    return np.array(value.numpy(), np.float32)
