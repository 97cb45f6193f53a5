"""How a simulated joint moves: lag, speed and acceleration limits, and the fall of a joint without power.

Pure arithmetic on one axis at a fixed time step; nothing here knows of CAN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Axis:
    """One position-controlled axis; angles in rad (a gripper: m), times in s."""

    position: float
    low: float
    high: float
    """Mechanical stops; targets beyond them end there."""
    max_velocity: float = 3.0
    max_acceleration: float = 10.0
    lag: float = 0.03
    """Time constant with which the target is followed, s."""
    rest: float | None = None
    """Where the axis falls without power; None: it stays (no weight on it)."""
    velocity: float = 0.0
    target: float = 0.0
    powered: bool = False
    propped: bool = True
    """Held by a stand: without power it stays where it is."""
    _followed: float = 0.0

    def __post_init__(self) -> None:
        self.target = self._followed = self.position

    def follow(self, dt: float, speed: float = 1.0) -> None:
        """One step under power towards `target`; `speed` scales the velocity limit, 0..1."""
        goal = min(max(self.target, self.low), self.high)
        rate = (goal - self._followed) / self.lag
        self._followed += (goal - self._followed) * -math.expm1(-dt / self.lag)
        self._drive(rate + self._approach(self._followed - self.position), self.max_velocity * speed, dt)

    def descend(self, dt: float, speed: float) -> None:
        """One step of a damped descent to `rest` at `speed` (rad/s), as in an emergency stop."""
        goal = self.position if self.rest is None else self.rest
        self._followed = self.position
        self._drive(self._approach(goal - self.position), speed, dt)

    def fall(self, dt: float) -> None:
        """One step without power: to `rest` as fast as the limits let it, or to a stop."""
        if self.propped:
            return
        self.descend(dt, self.max_velocity)

    def halt(self) -> None:
        """Stand still where it is (teach mode, gravity compensated); the last target stays."""
        self.velocity = 0.0
        self._followed = self.position

    def _approach(self, error: float) -> float:
        """Velocity that ends a distance of `error` without overshoot at the acceleration limit.

        Proportional near the goal (1/lag), the square-root braking law further out, smooth in between.
        """
        distance = abs(error)
        linear = self.max_acceleration * self.lag * self.lag
        if distance <= linear:
            return error / self.lag
        return math.copysign(math.sqrt(2.0 * self.max_acceleration * (distance - linear / 2.0)), error)

    def _drive(self, wanted: float, limit: float, dt: float) -> None:
        wanted = min(max(wanted, -limit), limit)
        change = self.max_acceleration * dt
        self.velocity += min(max(wanted - self.velocity, -change), change)
        self.position += self.velocity * dt
