"""A slow move to a pose that stands still: planned once by Ruckig, all joints arriving together.

Ruckig (L. Berscheid and T. Kröger, Jerk-limited Real-time Trajectory Generation with Arbitrary Target States, RSS 2021)
finds the quickest trajectory within velocity, acceleration and jerk. The plan is kept while its target stays and the
arm is on it, and made anew otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ruckig import InputParameter, Result, Ruckig, RuckigError, Synchronization, Trajectory

from gigaedge_runtime.stopping import Motion

Array = NDArray[np.float64]


class Journey:
    """Moves to rest at a target, one after the other."""

    def __init__(self, velocity: Array, acceleration: Array, jerk: Array, period: float) -> None:
        """Limits per joint, shape (n,), per s, s^2, s^3; `period` between two steps, s."""
        self._period = period
        self._ruckig = Ruckig(len(velocity))
        self._plan = Trajectory(len(velocity))
        self._input = InputParameter(len(velocity))
        self._input.max_velocity = velocity.tolist()
        self._input.max_acceleration = acceleration.tolist()
        self._input.max_jerk = jerk.tolist()
        self._input.synchronization = Synchronization.Phase
        self._target: Array | None = None
        self._expected: Motion = np.empty((3, len(velocity)))
        self._elapsed = 0.0

    def step(self, motion: Motion, target: Array) -> Motion | None:
        """One period on from `motion` towards rest at `target`, shape (n,); None when Ruckig finds no way."""
        kept = self._target is not None and np.array_equal(target, self._target)
        if not (kept and np.array_equal(motion, self._expected)):
            self._target = None
            self._input.current_position, self._input.current_velocity, self._input.current_acceleration = (
                motion.tolist()
            )
            self._input.target_position = target.tolist()
            try:
                if self._ruckig.calculate(self._input, self._plan) != Result.Working:
                    return None
            except RuckigError:
                return None
            self._target, self._elapsed = target.copy(), 0.0
        self._elapsed += self._period
        self._expected = np.array(self._plan.at_time(self._elapsed))
        return self._expected
