"""What every run must hold to, whatever the fault: judged by the logs of the simulated arms alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import Side
from gigaedge.site import LimitsConfig
from tests.faults.cell import STANDING, Cell, LoggedArm

EXACT = 1.01
"""Factor; sums of differences of floating-point numbers are not exact."""
ROUNDED = 4e-5
"""rad; two commands are rounded to 0.001 deg each."""
STILL = 2e-3
"""rad; an arm within this of where it ends stands."""
STOPS_WITHIN = 0.4
"""s; from the first tick that acts to arms that stand: braking from full speed, and the arm's lag."""


def moving(arm: LoggedArm, moment: float) -> bool:
    """Whether a joint moved faster than 0.1 rad/s in the 50 ms before a moment."""
    angles = np.array([q for t, q in arm.steps if moment - 0.05 <= t <= moment])
    return len(angles) > 1 and float(np.abs(angles[-1] - angles[0]).max()) > 0.1 * 0.05


def stands_after(arm: LoggedArm, moment: float, until: float = np.inf) -> float:
    """How long after a moment, and before another, a joint was last away from where it ends then, s."""
    steps = [(t, q) for t, q in arm.steps if moment < t <= until]
    if not steps:
        return 0.0
    times, angles = np.array([t for t, _ in steps]), np.array([q for _, q in steps])
    away = np.flatnonzero(np.abs(angles - angles[-1]).max(axis=1) > STILL)
    return float(times[away[-1]] - moment) if len(away) else 0.0


def violations(cell: Cell, watched: tuple[Side, ...], power_cuts: int = 0) -> Iterator[str]:
    """What went beyond the limits, fell, or does not stand; `watched` are the arms that still obey at the end."""
    limits, period = cell.site.limits, 1.0 / cell.site.timing.control_rate
    for side, arm in cell.arms.items():
        yield from _commanded(side, arm, limits, period)
        if (sent := cell.sent(side)) is not None:
            yield from _smooth(side, sent, limits, period)
        if side not in watched:
            continue
        if arm.power_cuts != power_cuts:
            yield f"the {side} arm lost its power"
        measured = np.array([q for _, q in arm.steps])
        low, high = np.array(limits.position_min), np.array(limits.position_max)
        if ((measured < low - STILL) | (measured > high + STILL)).any():
            yield f"the {side} arm moved beyond its position limits"
        end = arm.steps[-1][0]
        if stands_after(arm, end - STANDING / 2) > 0.0:
            yield f"the {side} arm still moves at the end"


def _commanded(side: Side, arm: LoggedArm, limits: LimitsConfig, period: float) -> Iterator[str]:
    """Position and speed of the commands as they reached the arm."""
    if not arm.commands:
        return
    commands = np.array([angles for _, angles in arm.commands])
    low, high = np.array(limits.position_min), np.array(limits.position_max)
    if not ((commands >= low - ROUNDED) & (commands <= high + ROUNDED)).all():
        yield f"the {side} arm was commanded beyond its position limits"
    fastest = float(np.abs(np.diff(commands, axis=0)).max(initial=0.0))
    if fastest > limits.velocity * period * 1.001 + ROUNDED:
        yield f"the {side} arm was commanded {fastest / period:.2f} rad/s, more than {limits.velocity:g}"


def _smooth(side: Side, sent: NDArray[np.float64], limits: LimitsConfig, period: float) -> Iterator[str]:
    """Acceleration and jerk of the sent commands, from one to the next."""
    for order, what, limit in ((2, "an acceleration", limits.acceleration), (3, "a jerk", limits.jerk)):
        largest = float(np.abs(np.diff(sent, order, axis=0)).max(initial=0.0)) / period**order
        if largest > limit * EXACT:
            yield f"the {side} arm was sent {what} of {largest:.1f}, more than {limit:g}"
