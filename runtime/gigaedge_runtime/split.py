"""Layout split: context once, then one run of the step graph per sampler step on bound buffers."""

from __future__ import annotations

from operator import sub
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import Bundle, ScheduleInfo
from gigaedge.sampling import Solver, coefficients
from gigaedge_runtime.executor import GuidanceInputs, Sample
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.sessions import Binding, BoundGraph, Buffers, Device, to_numpy


class SplitExecutor:
    """See `executor.Executor`.

    Actions and velocity go to and fro between two buffers each, and every step has constants of its own in place:
    nothing is copied from one step to the next. The first step's `previous_velocity` stays zero, so that no chunk can
    leave anything to the next.
    """

    def __init__(self, bundle: Bundle, device: Device) -> None:
        self._bundle, self._device = bundle, device
        graphs = bundle.manifest.graphs
        self._text = {name: device.zeros(info) for name, info in graphs["text"].outputs.items()}
        self._context = BoundGraph(device, bundle, "context", self._text)
        self._encode = self._context.bind()
        shared = {**self._text, **self._context.buffers}
        self._step = BoundGraph(device, bundle, "step", shared, capture=True)
        self._before = GuidanceInputs(self._step)
        own = self._step.buffers
        self._still = device.zeros(graphs["step"].inputs["previous_velocity"])
        self._actions = (own["actions"], own["next_actions"])
        self._velocities = (own["previous_velocity"], own["velocity"])
        self._prepared: dict[tuple[Solver, int], list[Binding]] = {}
        self._steps: list[Binding] = []
        self._done: list[float] = []

    @property
    def cache(self) -> Buffers:
        """Latents, and keys and values of context and text; the next run overwrites them."""
        return {**self._text, **self._context.buffers}

    def set_schedule(self, schedule: ScheduleInfo) -> None:
        """Use a solver and step count; those used before are kept ready."""
        key = (schedule.solver, schedule.steps)
        if key not in self._prepared:
            weights = coefficients(np.array(schedule.sigmas, np.float32), schedule.solver)
            self._prepared[key] = [
                self._bind_step(index, schedule.first_row + index, weights[index])
                for index in range(schedule.steps)
            ]
        self._steps = self._prepared[key]
        self._done = [0.0] * (schedule.steps + 1)

    def _bind_step(self, index: int, row: int, weights: NDArray[np.float32]) -> Binding:
        now, following = index % 2, (index + 1) % 2
        return self._step.bind(
            {
                "actions": self._actions[now],
                "next_actions": self._actions[following],
                "previous_velocity": self._velocities[now] if index else self._still,
                "velocity": self._velocities[following],
                "row": self._device.place(np.array([row], np.int64)),
                "coefficients": self._device.place(weights),
            }
        )

    def set_prompt(self, embedding: NDArray[np.float32]) -> None:
        """Encode a prompt embedding (length, width)."""
        # Needed once per prompt: its session, with its copy of the weights, is not kept.
        buffers = {**self._text, "prompt_embeds": self._device.place(embedding)}
        text = BoundGraph(self._device, self._bundle, "text", buffers)
        text.run(text.bind())

    def run(
        self,
        composite: NDArray[np.uint8],
        state: NDArray[Any],
        noise: NDArray[Any],
        guidance: Guidance | None,
        *,
        intermediate: bool,
    ) -> Sample:
        """Encode the observation and take all steps. Timings: `context`, `steps`."""
        begin = perf_counter()
        self._context.buffers["composite"].update_inplace(np.ascontiguousarray(composite))
        self._context.buffers["state"].update_inplace(np.ascontiguousarray(state, np.float32))
        self._before.update(guidance)
        self._context.run(self._encode)
        middle = perf_counter()
        self._actions[0].update_inplace(np.ascontiguousarray(noise, np.float32))
        recorded: dict[str, list[NDArray[np.float32]]] = {"velocity": [], "trajectory": []}
        if intermediate:
            recorded["trajectory"].append(to_numpy(self._actions[0]))
        self._done[0] = perf_counter()
        for index, binding in enumerate(self._steps, start=1):
            self._step.run(binding)
            self._done[index] = perf_counter()
            if intermediate:
                recorded["velocity"].append(to_numpy(self._velocities[index % 2]))
                recorded["trajectory"].append(to_numpy(self._actions[index % 2]))
        targets = to_numpy(self._step.buffers["targets"])
        end = perf_counter()
        return Sample(
            targets=targets,
            normalized=to_numpy(self._actions[len(self._steps) % 2]),
            timings={"context": middle - begin, "steps": end - middle},
            step_times=tuple(map(sub, self._done[1:], self._done)),
            intermediate=self._intermediate(recorded) if intermediate else {},
        )

    def _intermediate(self, recorded: dict[str, list[NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
        names = self._bundle.manifest.graphs["context"].outputs
        outputs = {name: to_numpy(self._context.buffers[name]) for name in names}
        latents = outputs.pop("latents")
        steps = {name: np.stack(arrays) for name, arrays in recorded.items()}
        return {"ref_latents": latents[np.newaxis], **steps, **outputs}
