"""A bundle, loaded: picture and state in, a chunk of absolute joint targets out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import Bundle, Manifest, ViewInfo, open_bundle
from gigaedge.errors import BundleError, ObservationError
from gigaedge.prompts import read_prompts
from gigaedge.robot import DIM_NAMES, ROBOT_DIM
from gigaedge.sampling import Solver
from gigaedge_runtime.executor import Executor, takes_guidance
from gigaedge_runtime.providers import Provider
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.sessions import Buffers, Device
from gigaedge_runtime.single import SingleExecutor
from gigaedge_runtime.split import SplitExecutor


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
    """Seconds per stage. Layout split: `context` (picture to cache), `steps` (all sampler steps); single: `policy`."""
    step_times: tuple[float, ...] = ()
    """Seconds of each run of the step graph; empty in layout single."""
    inputs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """What it was computed from beside picture and state: `noise`, drawn or given, and `Guidance.arrays`."""
    intermediate: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """On request: `ref_latents` (1, C, 1, h, w), `velocity` (steps, chunk, width), `trajectory` (steps + 1, chunk,
    width), and, in layout split, `context.LAYER.key` and `.value` (heads, tokens, head_dim)."""


class Policy:
    """A loaded bundle. Not thread-safe: one thread calls `chunk`."""

    def __init__(self, bundle: Bundle, device: Device, steps: int | None, solver: Solver, seed: int) -> None:
        self.bundle, self.device = bundle, device
        self.manifest: Manifest = bundle.manifest
        self.schedule = self.manifest.schedule(steps, solver)
        # Read now: `gigaedge prompt` may put another file in its place at any time.
        self._prompts = read_prompts(bundle)
        self._random = np.random.default_rng(seed)
        layout = SplitExecutor if self.manifest.layout == "split" else SingleExecutor
        sampling = self.manifest.graphs["step" if self.manifest.layout == "split" else "policy"]
        self.takes_guidance = takes_guidance(sampling)
        """Whether a chunk can be made to continue the one before."""
        self._executor: Executor = layout(bundle, device)
        self._executor.set_schedule(self.schedule)

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

    def set_sampler(self, steps: int | None, solver: Solver = "euler") -> None:
        """Use a step count (None: the bundle's first) and solver from the next chunk on; nothing is loaded again."""
        self.schedule = self.manifest.schedule(steps, solver)
        self._executor.set_schedule(self.schedule)

    def set_prompt(self, name: str) -> None:
        """Use a prompt that the bundle had when it was loaded, from the next chunk on."""
        if name not in self._prompts:
            raise BundleError(f"no prompt {name!r} in the bundle; it has {', '.join(self._prompts)}")
        self.set_prompt_embedding(self._prompts[name].embedding)

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
        self._executor.set_prompt(padded)

    @property
    def cache(self) -> Buffers:
        """What the last chunk left on the device, for graphs that continue from it; empty in layout single."""
        return self._executor.cache

    def chunk(
        self, observation: Observation, *, guidance: Guidance | None = None, intermediate: bool = False
    ) -> Chunk:
        """Decide on one observation, with `guidance` such that the chunk continues the one before.

        Raises ObservationError for a wrong shape, type or non-finite state, and BundleError for guidance that the
        bundle has no inputs for.
        """
        self._check(observation)
        if guidance is not None:
            self._check_guidance(guidance)
        action = self.manifest.action
        noise = observation.noise
        if noise is None:
            noise = self._random.standard_normal((action.chunk, action.width), np.float32)
        sample = self._executor.run(
            observation.composite, observation.state, noise, guidance, intermediate=intermediate
        )
        inputs = {"noise": noise, **(guidance.arrays() if guidance else {})}
        return Chunk(
            sample.targets,
            sample.normalized,
            action.rate_hz,
            sample.timings,
            sample.step_times,
            inputs,
            sample.intermediate,
        )

    def require_guidance(self) -> None:
        """Raise BundleError where the bundle's graphs have no inputs for the chunk before."""
        if not self.takes_guidance:
            raise BundleError(
                f"{self.bundle.path}: its graphs have no inputs for real-time chunking (`previous`, `weight`, "
                "`guidance`); export the bundle again, or set `execution.handover: crossfade` in the site file"
            )

    def _check_guidance(self, guidance: Guidance) -> None:
        self.require_guidance()
        chunk = self.manifest.action.chunk
        _expect("guidance.previous", guidance.previous, np.floating, (chunk, ROBOT_DIM))
        _expect("guidance.weight", guidance.weight, np.floating, (chunk,))
        if not (np.isfinite(guidance.previous).all() and 0 <= guidance.limit < np.inf):
            raise ObservationError("guidance: needs finite previous targets and a finite limit of at least 0")
        if not ((guidance.weight >= 0) & (guidance.weight <= 1)).all():
            raise ObservationError("guidance.weight: needs values of 0 to 1")

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
