"""The fixed-step solvers of the flow dx/dsigma = v, as numbers: two coefficients per step.

    x <- x + c0 * v + c1 * previous v

so that one graph serves every solver, and a solver is data. The network predicts v = noise - data. At noise level sigma
the sample is x = (1 - sigma) * data + sigma * noise, so that x - sigma * v estimates the data.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Solver = Literal["euler", "multistep"]
SOLVERS: Final[tuple[Solver, ...]] = ("euler", "multistep")


def coefficients(sigmas: NDArray[np.float32], solver: Solver) -> NDArray[np.float32]:
    """Coefficients (steps, 2) of `v` and of the step before's `v`, for noise levels `sigmas` (steps + 1,).

    `euler` is upstream's. `multistep` is the two-step Adams-Bashforth method for unequal steps (Hairer, Norsett and
    Wanner, Solving Ordinary Differential Equations I, section III.5): it extrapolates the velocity linearly over the
    step and needs no further network calls; its first step is Euler's.
    """
    deltas = np.diff(sigmas)
    table = np.zeros((len(deltas), 2), np.float32)
    table[:, 0] = deltas
    if solver == "multistep":
        extrapolation = deltas[1:] ** 2 / (2 * deltas[:-1])
        table[1:, 0] += extrapolation
        table[1:, 1] = -extrapolation
    return table


def guidance_strengths(sigmas: NDArray[np.float32]) -> NDArray[np.float32]:
    """How strongly each step is drawn towards the chunk before, (steps,), for noise levels `sigmas` (steps + 1,).

    With strength w, and weight W in 0..1 per action, a step's velocity becomes

        v - w * W * (previous - (x - sigma * v))

    whose own estimate of the data lies the share sigma * w * W of the way from the network's to the previous chunk.

    1 / sigma puts it exactly at the weighted average of the two, whatever the number of steps; with W = 1 the chunk
    ends where the one before was. Real-time chunking (Black, Galliker and Levine, arXiv 2506.07339) has
    ((1 - sigma)^2 + sigma^2) / (sigma * (1 - sigma)), bounded by 5, times the Jacobian of the estimate. A forward-only
    graph has no Jacobian, and without it that strength draws the estimate far beyond the previous chunk near pure noise
    and short of it at the end; docs/decisions/0009 has figures.
    """
    return np.reciprocal(sigmas[:-1])
