"""From a chunk's cache on to the frames that the policy expects to see. No arm moves by it, and no chunk changes.

imagination = Imagination(Policy.load("bundle"))      # a bundle that was exported with --video
imagined = imagination.imagine(observation)           # imagined.chunk is what policy.chunk would have given
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import BundleError, CheckFailedError, ObservationError
from gigaedge_runtime.policy import Chunk, Observation, Policy
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.sessions import BoundGraph, to_numpy


@dataclass(frozen=True)
class Imagined:
    """What the policy wants to do, and what it expects to see while that is done."""

    chunk: Chunk
    frames: NDArray[np.uint8]
    """RGB composites (1 + n, H, W, 3). The first is the observation's as the VAE keeps it; those after it are
    expected."""
    seconds: tuple[float, ...]
    """When each frame is due, s after the observation; the first at 0."""
    noise: NDArray[np.float32]
    """What the future latents were sampled from, (C, f, h, w)."""
    timings: dict[str, float]
    """Seconds per stage, beside the chunk's own: `video` (all steps), `decoder`."""
    intermediate: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """On request: `velocity` (steps, C, f, h, w) and `trajectory` (steps + 1, C, f, h, w)."""


class Imagination:
    """A policy's video graphs, loaded beside it. Not thread-safe; and the policy's chunks must not come between."""

    def __init__(self, policy: Policy, *, seed: int = 0) -> None:
        """`seed`: of the future's noise, drawn apart from the actions'. Raises BundleError: no video graphs."""
        video = policy.manifest.video
        if video is None:
            raise BundleError(
                f"{policy.bundle.path}: cannot say what it expects to see; export it again with --video"
            )
        self._policy = policy
        self.seconds = tuple(offset / policy.manifest.action.rate_hz for offset in (0, *video.offsets))
        """When each frame is due, s after the observation; the first at 0."""
        self._random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
        device, bundle = policy.device, policy.bundle
        self._video = BoundGraph(device, bundle, "video", policy.cache)
        own = self._video.buffers
        self._futures = (own["future"], own["next_future"])
        self._shape = tuple(map(int, policy.manifest.graphs["video"].inputs["future"].shape))
        self._steps = [
            self._video.bind(
                {
                    "future": self._futures[row % 2],
                    "next_future": self._futures[(row + 1) % 2],
                    "row": device.place(np.array([row], np.int64)),
                }
            )
            for row in range(video.steps)
        ]
        self._decoder = BoundGraph(device, bundle, "decoder", policy.cache)
        self._decode = self._decoder.bind({"future": self._futures[video.steps % 2]})

    def imagine(
        self,
        observation: Observation,
        *,
        noise: NDArray[np.float32] | None = None,
        guidance: Guidance | None = None,
        intermediate: bool = False,
    ) -> Imagined:
        """Decide on an observation, and continue from there to the frames that are expected.

        `noise` (C, f, h, w) is drawn when None. Raises what `Policy.chunk` does, ObservationError for noise of another
        shape, and CheckFailedError when the network's answer is not finite.
        """
        if noise is None:
            noise = self._random.standard_normal(self._shape, np.float32)
        if noise.shape != self._shape or not np.issubdtype(noise.dtype, np.floating):
            raise ObservationError(
                f"noise of the future: expected float {self._shape}, got {noise.dtype} {noise.shape}"
            )
        chunk = self._policy.chunk(observation, guidance=guidance, intermediate=intermediate)
        begin = perf_counter()
        buffers = self._video.buffers
        self._futures[0].update_inplace(np.ascontiguousarray(noise, np.float32))
        buffers["actions"].update_inplace(chunk.normalized)
        buffers["noise"].update_inplace(np.ascontiguousarray(chunk.inputs["noise"], np.float32))
        visited, velocities = [noise], []
        for index, step in enumerate(self._steps, start=1):
            self._video.run(step)
            if intermediate:
                velocities.append(to_numpy(buffers["velocity"]))
                visited.append(to_numpy(self._futures[index % 2]))
        future = to_numpy(self._futures[len(self._steps) % 2])
        if not (np.isfinite(chunk.actions).all() and np.isfinite(future).all()):
            raise CheckFailedError(
                f"{self._policy.bundle.path}: the policy answered with values that are not finite"
            )
        middle = perf_counter()
        self._decoder.run(self._decode)
        frames = np.array(self._decoder.buffers["frames"].numpy(), np.uint8)
        return Imagined(
            chunk,
            frames,
            self.seconds,
            noise,
            {"video": middle - begin, "decoder": perf_counter() - middle},
            {"velocity": np.stack(velocities), "trajectory": np.stack(visited)} if intermediate else {},
        )
