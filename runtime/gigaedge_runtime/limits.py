"""The last step before the wire: pure arithmetic that no command gets around.

`Limiter` keeps the last command of both arms (14 values, see gigaedge.robot) and lets the next one differ
from it only as far as the limits allow. Its results are of type `Command`, which nothing else makes and the
control loop alone may send. These are software limits of one process: no certified safety function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import InputError
from gigaedge.robot import DELTA_MASK, DIM_NAMES, ROBOT_DIM, SIDES, arm_slice
from gigaedge.site import Site

Array = NDArray[np.float64]

Command = NewType("Command", NDArray[np.float64])
"""A limited command of both arms, rad and m, shape (14,). Made by `Limiter` only."""

ROUNDING = 1e-6
"""rad or m; a target less than this beyond a limit is float32 rounding: clamped, but not counted."""


@dataclass(frozen=True)
class Limits:
    """What both arms may be told; every array has shape (14,), joints in rad, grippers in m."""

    lower: Array
    upper: Array
    velocity: Array
    """Per second."""
    acceleration: Array
    """Per second squared; used to stop, and in the approach."""
    approach: Array
    """Speed of the approach, per second; at most `velocity`."""

    @classmethod
    def of(cls, site: Site) -> Limits:
        """The limits of a site. An absent arm may stand at its pose and nowhere else."""
        profile = site.limits
        joints = np.array(DELTA_MASK)
        lower, upper = np.empty(ROBOT_DIM), np.empty(ROBOT_DIM)
        for side in SIDES:
            columns, arm = arm_slice(side), site.arm(side)
            lower[columns] = arm.pose or (*profile.position_min, profile.gripper_min)
            upper[columns] = arm.pose or (*profile.position_max, profile.gripper_max)
        return cls(
            lower=lower,
            upper=upper,
            velocity=np.where(joints, profile.velocity, profile.gripper_velocity),
            acceleration=np.where(joints, profile.acceleration, profile.gripper_acceleration),
            approach=np.where(
                joints, min(profile.approach_velocity, profile.velocity), profile.gripper_velocity
            ),
        )


class Limiter:
    """The commanded pose, and the only ways to change it: `track`, `approach`, `decelerate`.

    Always: a command lies within the position limits, or, when the arm was found outside them, nowhere
    further outside than the command before; and it differs from that one by at most velocity times period.
    """

    def __init__(self, limits: Limits, period: float) -> None:
        """Begin without a pose (`reset` gives one); `period` is the time between two commands, s."""
        self.limits = limits
        self._period = period
        self._reach = limits.velocity * period
        self._brake = limits.acceleration * period
        self._position = np.full(ROBOT_DIM, np.nan)
        self._velocity = np.zeros(ROBOT_DIM)
        self._next = np.empty(ROBOT_DIM)
        self._low, self._high = np.empty(ROBOT_DIM), np.empty(ROBOT_DIM)
        self._mask = np.empty(ROBOT_DIM, dtype=bool)
        self.position_clamps = np.zeros(ROBOT_DIM, dtype=np.int64)
        """How often a target of `track` lay outside the position limits, shape (14,)."""
        self.velocity_clamps = np.zeros(ROBOT_DIM, dtype=np.int64)
        """How often a target of `track` was further away than a period's reach, shape (14,)."""

    @property
    def position(self) -> Array:
        """The last command, rad and m, shape (14,); NaN before `reset`."""
        return self._position

    @property
    def at_rest(self) -> bool:
        """True when the last command was the same as the one before."""
        return not self._velocity.any()

    def reset(self, measured: Array) -> Command:
        """Begin at the measured pose (rad, m; shape (14,)), at rest. Raises InputError when not finite."""
        _check_finite(measured, "measured pose")
        self._position[:] = measured
        self._velocity[:] = 0.0
        return Command(self._position)

    def track(self, target: Array) -> Command:
        """Go towards `target` (rad, m; shape (14,)) as fast as the velocity limit allows; count every clamp.

        Raises InputError, and changes nothing, when the target holds NaN or infinity.
        """
        _check_finite(target, "target")
        self._clip_to_range(target)
        np.abs(np.subtract(self._next, target, out=self._low), out=self._low)
        self.position_clamps += np.greater(self._low, ROUNDING, out=self._mask)
        np.subtract(self._next, self._position, out=self._next)
        np.abs(self._next, out=self._low)
        np.subtract(self._low, self._reach, out=self._low)
        self.velocity_clamps += np.greater(self._low, ROUNDING, out=self._mask)
        np.clip(self._next, -self._reach, self._reach, out=self._next)
        return self._move()

    def approach(self, target: Array) -> Command:
        """Go towards `target` slowly, speeding up and slowing down within the acceleration limit.

        Raises InputError, and changes nothing, when the target holds NaN or infinity.
        """
        _check_finite(target, "target")
        self._clip_to_range(target)
        np.subtract(self._next, self._position, out=self._next)
        # Fast enough to be there in one period, slow enough to stop there: v^2 = 2 a d.
        speed = np.minimum(np.sqrt(2.0 * self.limits.acceleration * np.abs(self._next)), self.limits.approach)
        wanted = np.clip(self._next / self._period, -speed, speed)
        np.clip(wanted, self._velocity - self._brake, self._velocity + self._brake, out=wanted)
        np.multiply(wanted, self._period, out=self._next)
        np.clip(self._next, -self._reach, self._reach, out=self._next)
        return self._move()

    def decelerate(self) -> Command:
        """Slow every joint down by its acceleration limit, then stay; repeat it once a period.

        Raises InputError before the first `reset`.
        """
        _check_finite(self._position, "commanded pose")
        np.abs(self._velocity, out=self._next)
        np.subtract(self._next, self._brake, out=self._next)
        np.maximum(self._next, 0.0, out=self._next)
        np.copysign(self._next, self._velocity, out=self._next)
        np.multiply(self._next, self._period, out=self._next)
        return self._move()

    def _clip_to_range(self, target: Array) -> None:
        np.clip(target, self.limits.lower, self.limits.upper, out=self._next)

    def _move(self) -> Command:
        """Add the step in `_next` to the position, never leaving the limits nor getting further outside."""
        np.minimum(self.limits.lower, self._position, out=self._low)
        np.maximum(self.limits.upper, self._position, out=self._high)
        np.add(self._position, self._next, out=self._next)
        np.clip(self._next, self._low, self._high, out=self._next)
        np.subtract(self._next, self._position, out=self._velocity)
        np.divide(self._velocity, self._period, out=self._velocity)
        self._position[:] = self._next
        return Command(self._position)


def _check_finite(values: Array, what: str) -> None:
    if not np.isfinite(values).all():
        where = ", ".join(
            name for name, value in zip(DIM_NAMES, values, strict=True) if not np.isfinite(value)
        )
        raise InputError(f"the {what} is not finite at {where}; nothing was commanded")
