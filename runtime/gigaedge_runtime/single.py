"""Layout single: one graph from observation to targets, the sampler inside."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gigaedge.bundle import STEPS, Bundle, ScheduleInfo
from gigaedge.sampling import coefficients
from gigaedge_runtime.executor import GuidanceInputs, Sample
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.sessions import Binding, BoundGraph, Buffers, Device, to_numpy


class SingleExecutor:
    """See `executor.Executor`. The prompt is encoded anew with every chunk, and no CUDA graph can hold the sampler."""

    def __init__(self, bundle: Bundle, device: Device) -> None:
        self._info, self._device = bundle.manifest.graphs["policy"], device
        self._policy = BoundGraph(device, bundle, "policy", {})
        self._before = GuidanceInputs(self._policy)
        self._records: dict[str, ort.OrtValue] = {}
        self._binding: Binding

    @property
    def cache(self) -> Buffers:
        """Nothing: the graph keeps its context to itself."""
        return {}

    def set_schedule(self, schedule: ScheduleInfo) -> None:
        """Use a solver and step count: new buffers of that length."""
        rows = schedule.first_row + np.arange(schedule.steps, dtype=np.int64)
        weights = coefficients(np.array(schedule.sigmas, np.float32), schedule.solver)
        self._records = {
            name: self._device.zeros(info, schedule.steps)
            for name, info in self._info.outputs.items()
            if STEPS in info.shape
        }
        choice = {"rows": self._device.place(rows), "coefficients": self._device.place(weights)}
        self._binding = self._policy.bind(self._records | choice)

    def set_prompt(self, embedding: NDArray[np.float32]) -> None:
        """Use a prompt embedding (length, width)."""
        self._policy.buffers["prompt_embeds"].update_inplace(embedding)

    def run(
        self,
        composite: NDArray[np.uint8],
        state: NDArray[Any],
        noise: NDArray[Any],
        guidance: Guidance | None,
        *,
        intermediate: bool,
    ) -> Sample:
        """One run of the graph. Timings: `policy`. It keeps no context keys and values to look at."""
        begin = perf_counter()
        buffers = self._policy.buffers
        start = np.ascontiguousarray(noise, np.float32)
        buffers["composite"].update_inplace(np.ascontiguousarray(composite))
        buffers["state"].update_inplace(np.ascontiguousarray(state, np.float32))
        buffers["noise"].update_inplace(start)
        self._before.update(guidance)
        self._policy.run(self._binding)
        targets = to_numpy(buffers["targets"])
        seconds = perf_counter() - begin
        seen: dict[str, NDArray[np.float32]] = {}
        if intermediate:
            visited = to_numpy(self._records["trajectory"])
            seen = {
                "ref_latents": to_numpy(buffers["latents"])[np.newaxis],
                "velocity": to_numpy(self._records["velocity"]),
                "trajectory": np.concatenate((start[np.newaxis], visited)),
            }
        return Sample(targets, to_numpy(buffers["actions"]), {"policy": seconds}, intermediate=seen)
