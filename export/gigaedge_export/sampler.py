"""The fixed-step flow sampler's schedules: the noise levels that each solver visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge.sampling import Solver, coefficients, guidance_strengths

TRAIN_TIMESTEPS = 1000
TimestepRounding = Literal["bf16", "exact"]


@dataclass(frozen=True)
class Schedule:
    """Noise levels of one solver and step count."""

    solver: Solver
    sigmas: NDArray[np.float32]
    """Noise level before each step and after the last, shape (steps + 1,), from 1 to 0."""
    timesteps: NDArray[np.float32]
    """What the network is told, shape (steps,), 0..1000."""

    @property
    def steps(self) -> int:
        """Number of network evaluations."""
        return len(self.timesteps)

    @property
    def coefficients(self) -> NDArray[np.float32]:
        """What the solver makes of the velocities, shape (steps, 2)."""
        return coefficients(self.sigmas, self.solver)

    @property
    def guidance(self) -> NDArray[np.float32]:
        """Noise level and guidance strength of each step, shape (steps, 2)."""
        return np.stack((self.sigmas[:-1], guidance_strengths(self.sigmas)), axis=1)


def schedule(steps: int, shift: float, rounding: TimestepRounding, solver: Solver = "euler") -> Schedule:
    """The schedule of `steps` network evaluations.

    `euler` is diffusers' FlowMatchEulerDiscreteScheduler in closed form. The shift is applied twice to the end
    point, as the scheduler does (once when it is built, once in `set_timesteps`), which is why the last level before
    0 is 0.0244 and not 0.005 for shift 5.

    `multistep` visits evenly spaced levels and ends with half a step: with few steps, upstream's levels leave one
    gap of more than half the way (0.60 to 0.02 at 5 steps) over which no extrapolation holds.

    `rounding="bf16"` rounds the timesteps (not the sigmas) to bfloat16: upstream trains and runs in bf16, so
    the network has only ever seen rounded timesteps.
    """
    if solver == "euler":
        lowest = np.float32(_shifted(np.float32(1 / TRAIN_TIMESTEPS), shift))
        linear = np.linspace(TRAIN_TIMESTEPS, float(lowest) * TRAIN_TIMESTEPS, steps) / TRAIN_TIMESTEPS
        sigmas = _shifted(linear, shift).astype(np.float32)
    else:
        sigmas = (1 - np.arange(steps) / (steps - 0.5)).astype(np.float32)
    timesteps = sigmas * np.float32(TRAIN_TIMESTEPS)
    if rounding == "bf16":
        timesteps = round_to_bf16(timesteps)
    return Schedule(solver, sigmas=np.append(sigmas, np.float32(0)), timesteps=timesteps)


def first_rows(schedules: Sequence[Schedule]) -> list[int]:
    """Where each schedule begins in a time table that holds them one after the other."""
    return list(accumulate((s.steps for s in schedules[:-1]), initial=0))


def round_to_bf16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the nearest bfloat16 (ties to even), returned as float32."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def _shifted(sigma: NDArray[np.floating], shift: float) -> NDArray[np.floating]:
    return shift * sigma / (1 + (shift - 1) * sigma)
