"""The last step before the wire: pure arithmetic that no command gets around.

Why no command breaks a limit: the limiter always holds a stop (`stopping.Stop`) that leads from its last command to
rest and was found to be within every limit at every tick. A new command is taken only if the stop from there is so,
too, and that stop is then the one held; otherwise the next command is the next tick of the stop already held. So
whatever the targets are, there is always a checked way on. `decelerate` follows it and computes nothing that could
fail.

Joints are checked one by one for position, velocity, acceleration and jerk, so that one joint at its limit does not
brake the others; arms for their boxes; both together for their clearance. The results are of type `Command`, which
nothing else makes and the control loop alone may send. These are software limits of one process: no certified safety
function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import InputError
from gigaedge.robot import ARM_DIM, DELTA_MASK, DIM_NAMES, ROBOT_DIM, SIDES, arm_slice
from gigaedge.site import Site
from gigaedge_runtime.journey import Journey
from gigaedge_runtime.pursuit import ROUNDING, Pursuit
from gigaedge_runtime.stopping import Motion, Stop, coasting
from gigaedge_runtime.workspace import Workspace

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

Command = NewType("Command", NDArray[np.float64])
"""A limited command of both arms, rad and m, shape (14,). Made by `Limiter` only."""

SLACK = 1e-9
"""A velocity, acceleration or jerk so much beyond its limit (relative) was made exactly as large, and rounded."""

HAIR = 1e-12
"""rad or m; likewise for positions. Commands are cut to the range itself, so that this cannot add up."""

_JOINTS = np.array(DELTA_MASK)


@dataclass(frozen=True)
class Limits:
    """What both arms may be told; every array has shape (14,), joints in rad, grippers in m."""

    lower: Array
    upper: Array
    velocity: Array
    """Per second."""
    acceleration: Array
    """Per second squared."""
    jerk: Array
    """Per second cubed."""
    approach: Array
    """Speed of the approach, per second; at most `velocity`."""
    lead: Array
    """How far a target may be from the measured pose; inf for grippers, which close on things."""
    workspace: Workspace | None = None
    """None: the whole reach of both arms."""

    @classmethod
    def of(cls, site: Site) -> Limits:
        """The limits of a site. An absent arm may stand at its pose and nowhere else."""
        config = site.limits
        lower, upper = np.empty(ROBOT_DIM), np.empty(ROBOT_DIM)
        for side in SIDES:
            columns, arm = arm_slice(side), site.arm(side)
            lower[columns] = arm.pose or (*config.position_min, config.gripper_min)
            upper[columns] = arm.pose or (*config.position_max, config.gripper_max)
        return cls(
            lower=lower,
            upper=upper,
            velocity=np.where(_JOINTS, config.velocity, config.gripper_velocity),
            acceleration=np.where(_JOINTS, config.acceleration, config.gripper_acceleration),
            jerk=np.where(_JOINTS, config.jerk, config.gripper_jerk),
            approach=np.where(
                _JOINTS, min(config.approach_velocity, config.velocity), config.gripper_velocity
            ),
            lead=np.where(_JOINTS, config.measured_lead, np.inf),
            workspace=Workspace.of(site),
        )


class Clamps:
    """How often each limit held back a target, since the start. Rounding counts for nothing."""

    def __init__(self) -> None:
        self.position = np.zeros(ROBOT_DIM, dtype=np.int64)
        """A target outside the range, or a motion that could not have stopped within it, shape (14,)."""
        self.velocity = np.zeros(ROBOT_DIM, dtype=np.int64)
        """Shape (14,); likewise the next three."""
        self.acceleration = np.zeros(ROBOT_DIM, dtype=np.int64)
        self.jerk = np.zeros(ROBOT_DIM, dtype=np.int64)
        self.lead = np.zeros(ROBOT_DIM, dtype=np.int64)
        """A target too far from the measured pose."""
        self.workspace = np.zeros(len(SIDES), dtype=np.int64)
        """A motion that could not have stopped within the arm's box, shape (2,): left, right."""
        self.clearance = 0
        """A motion after which the arms could not have stopped clear of each other."""


class Limiter:
    """The commanded motion, and the only ways to change it: `track`, `approach`, `decelerate`.

    Always: a command lies within range, boxes and clearance, or, where the arm was found outside of them, nowhere
    further outside than the command before; and velocity, acceleration and jerk of the commands keep to their limits.
    """

    def __init__(self, limits: Limits, period: float) -> None:
        """Begin without a pose (`reset` gives one); `period` is the time between two commands, s."""
        self.limits = limits
        self.clamps = Clamps()
        self._period = period
        self._pursuit = Pursuit(
            limits.lower, limits.upper, limits.velocity, limits.acceleration, limits.jerk, period
        )
        self._journey = Journey(limits.approach, limits.acceleration, limits.jerk, period)
        # An absent arm has no room to move in, and no target has a speed there.
        self._fixed = limits.lower == limits.upper
        self._motion = np.zeros((3, ROBOT_DIM))
        self._motion[0] = np.nan
        self._take(self._motion, self._stop_from(self._motion))
        self._still = True

    @property
    def position(self) -> Array:
        """The last command, rad and m, shape (14,); NaN before `reset`."""
        position: Array = self._motion[0]
        return position

    @property
    def velocity(self) -> Array:
        """Of the last command, rad/s and m/s, shape (14,)."""
        velocity: Array = self._motion[1]
        return velocity

    @property
    def acceleration(self) -> Array:
        """Of the last command, rad/s^2 and m/s^2, shape (14,)."""
        acceleration: Array = self._motion[2]
        return acceleration

    @property
    def at_rest(self) -> bool:
        """True when the last command was the same as the one before."""
        return self._still

    def reset(self, measured: Array) -> Command:
        """Begin at the measured pose (rad, m; shape (14,)), at rest. Raises InputError when not finite."""
        _check_finite(measured, "measured pose")
        motion = np.zeros((3, ROBOT_DIM))
        motion[0] = measured
        self._take(motion, self._stop_from(motion))
        self._still = True
        return Command(self._motion[0])

    def track(self, target: Array, velocity: Array, acceleration: Array, measured: Array) -> Command:
        """Go after a moving target, as near to it as the limits allow; count every one that held it back.

        Args:
            target: where to be now, rad and m, shape (14,).
            velocity: of the target, per second, shape (14,); zeros if unknown, at the price of a lag.
            acceleration: of the target, per second squared, shape (14,); zeros if unknown.
            measured: where the arms are, rad and m, shape (14,); when not finite, this is `decelerate`.

        Raises:
            InputError: no pose yet, or a target that holds NaN or infinity; nothing was changed.
        """
        self._check(target)
        _check_finite(velocity, "target's velocity")
        _check_finite(acceleration, "target's acceleration")
        if not np.isfinite(measured).all():
            return self.decelerate()
        aim = self._aim(target, measured)
        moving = (aim == target) & ~self._fixed
        limits = self.limits
        proposal = self._pursuit.step(
            self._motion,
            aim,
            np.where(moving, _cut(velocity, limits.velocity), 0.0),
            np.where(moving, _cut(acceleration, limits.acceleration), 0.0),
        )
        self.clamps.velocity += proposal.velocity_bound | (np.abs(velocity) > limits.velocity + ROUNDING)
        self.clamps.acceleration += proposal.acceleration_bound
        self.clamps.jerk += proposal.jerk_bound
        return self._consider(proposal.motion)

    def approach(self, target: Array, measured: Array) -> Command:
        """Go to a target that stands still and come to rest there, slowly, all joints arriving together.

        Arguments and errors are those of `track`; a target that moves is planned for anew each time.
        """
        self._check(target)
        if not np.isfinite(measured).all():
            return self.decelerate()
        motion = self._journey.step(self._motion, self._aim(target, measured))
        return self.decelerate() if motion is None else self._consider(motion)

    def decelerate(self) -> Command:
        """Come to rest as quickly as the limits allow, then stay; repeat it once a period.

        Raises InputError before the first `reset`.
        """
        _check_finite(self._motion[0], "commanded pose")
        self._elapsed += self._period
        motion = self._stop.after(self._elapsed)
        self._keep_in_range(motion)
        self._move(motion)
        return Command(self._motion[0])

    def _check(self, target: Array) -> None:
        _check_finite(self._motion[0], "commanded pose")
        _check_finite(target, "target")

    def _aim(self, target: Array, measured: Array) -> Array:
        """The target within range and, of that, within `lead` of the measured pose."""
        limits = self.limits
        within = np.minimum(np.maximum(target, limits.lower), limits.upper)
        self.clamps.position += np.abs(within - target) > ROUNDING
        near = np.minimum(np.maximum(within, measured - limits.lead), measured + limits.lead)
        self.clamps.lead += np.abs(near - within) > ROUNDING
        # Near a pose measured far outside is outside, too.
        return np.asarray(np.minimum(np.maximum(near, limits.lower), limits.upper))

    def _consider(self, motion: Motion) -> Command:
        """Take `motion` as the next one where its stop is within all limits, else the next tick of the stop held."""
        self._keep_in_range(motion)
        stop = self._stop_from(motion)
        good = self._reachable(motion)
        inside = self._stays_in_range(motion, stop)
        self.clamps.position += good & ~inside
        good &= inside
        if not good.all():
            motion = self._replaced(motion, ~good)
            stop = self._stop_from(motion)
        if self.limits.workspace is not None:
            held = self._held_back(self.limits.workspace, motion, stop)
            if held.any():
                motion = self._replaced(motion, held)
                stop = self._stop_from(motion)
        self._take(motion, stop)
        return Command(self._motion[0])

    def _stop_from(self, motion: Motion) -> Stop:
        return Stop(motion, self.limits.acceleration, self.limits.jerk)

    def _replaced(self, motion: Motion, held: Bools) -> Motion:
        """`motion`, but the joints in `held` on the next tick of the stop held."""
        motion = np.where(held, self._stop.after(self._elapsed + self._period), motion)
        self._keep_in_range(motion)
        return motion

    def _reachable(self, motion: Motion) -> Bools:
        """Which joints get from the last command to `motion` in a period within velocity, acceleration and jerk.

        Written so that NaN is not reachable.
        """
        limits, period = self.limits, self._period
        _, velocity, acceleration = self._motion
        gained = motion[2] - acceleration
        straight = self._motion[0] + period * (velocity + period * (acceleration / 2 + gained / 6))
        # What is left of a Ruckig step, whose jerk may change within the tick, once the mean jerk is accounted for.
        bend = limits.jerk * period**3
        good: Bools = np.abs(gained) <= limits.jerk * period * (1 + SLACK)
        good &= np.abs(motion[0] - straight) <= bend
        good &= np.abs(motion[2]) <= limits.acceleration * (1 + SLACK)
        # Fastest where the acceleration passes through zero, within the tick or, at the latest, when it is led there.
        turns = acceleration * motion[2] < 0
        rise = np.zeros_like(velocity)
        np.divide(period * acceleration * acceleration, -2 * gained, out=rise, where=turns)
        most = np.maximum(np.abs(velocity + rise), np.abs(coasting(motion, limits.jerk)))
        good &= most <= limits.velocity * (1 + SLACK)
        return good

    def _stays_in_range(self, motion: Motion, stop: Stop) -> Bools:
        """Which joints can come to rest within their range from `motion`; outside of it, without going further out."""
        limits, position = self.limits, self._motion[0]
        least, greatest = stop.extrema()
        left = coasting(motion, limits.jerk)
        below, above = position < limits.lower, position > limits.upper
        good: Bools = least >= np.minimum(limits.lower, position) - HAIR
        good &= greatest <= np.maximum(limits.upper, position) + HAIR
        good &= ~below | (np.minimum(motion[1], left) >= -SLACK)
        good &= ~above | (np.maximum(motion[1], left) <= SLACK)
        return good

    def _held_back(self, workspace: Workspace, motion: Motion, stop: Stop) -> Bools:
        """The joints, shape (14,), that must follow the stop held for the arms to keep to their workspace."""
        path = self._path(stop, motion)
        points = workspace.points(path)
        leaves = ~workspace.boxes_hold(points)
        self.clamps.workspace += leaves
        held: Bools = np.repeat(leaves, ARM_DIM) & _JOINTS
        if held.any():
            path[:, held] = self._stop_held(len(path))[:, held]
            points = workspace.points(path)
        if not workspace.clearance_holds(points):
            self.clamps.clearance += 1
            held = _JOINTS
        return held

    def _path(self, stop: Stop, motion: Motion) -> Array:
        """The last command, `motion`, and the way to rest from there, tick by tick, shape (m, 14)."""
        remaining = max(stop.durations[_JOINTS].max(), self._stop.durations[_JOINTS].max() - self._elapsed)
        ticks = math.ceil(max(remaining, 0.0) / self._period) + 1
        path = np.empty((ticks + 2, ROBOT_DIM))
        path[0] = self._motion[0]
        path[1] = motion[0]
        path[2:] = stop.positions(self._period * np.arange(1.0, ticks + 1))
        return path

    def _stop_held(self, rows: int) -> Array:
        """The last command and the next ones of the stop held, shape (rows, 14)."""
        path = self._stop.positions(self._elapsed + self._period * np.arange(float(rows)))
        path[0] = self._motion[0]
        return path

    def _keep_in_range(self, motion: Motion) -> None:
        """Cut off what rounding put beyond the range, or further out than the last command."""
        position = self._motion[0]
        # fmin, fmax: before the first pose, the last command is NaN and bounds nothing.
        np.maximum(motion[0], np.fmin(self.limits.lower, position), out=motion[0])
        np.minimum(motion[0], np.fmax(self.limits.upper, position), out=motion[0])

    def _take(self, motion: Motion, stop: Stop) -> None:
        """Make `motion` the last command, and `stop` the way to rest from it."""
        self._move(motion)
        self._stop = stop
        self._elapsed = 0.0

    def _move(self, motion: Motion) -> None:
        self._still = bool((motion[0] == self._motion[0]).all())
        self._motion = motion


def _cut(values: Array, limit: Array) -> Array:
    return np.asarray(np.minimum(np.maximum(values, -limit), limit))


def _check_finite(values: Array, what: str) -> None:
    if not np.isfinite(values).all():
        where = ", ".join(
            name for name, value in zip(DIM_NAMES, values, strict=True) if not np.isfinite(value)
        )
        raise InputError(f"the {what} is not finite at {where}; nothing was commanded")
