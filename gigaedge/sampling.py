"""The fixed-step solvers of the flow dx/dsigma = v, as numbers: two coefficients per step.

    x <- x + c0 * v + c1 * previous v

so that one graph serves every solver, and a solver is data. The network predicts v = noise - data.
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
