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
from gigaedge_runtime.pursuit import ROUNDING, Proposal, Pursuit
from gigaedge_runtime.room import Room
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
        # Joint by joint in plain numbers, for what is done in every tick.
        self._range = list(
            zip(limits.lower.tolist(), limits.upper.tolist(), limits.lead.tolist(), strict=True)
        )
        self._speeds: list[float] = limits.velocity.tolist()
        self._pulls: list[float] = limits.acceleration.tolist()
        self._jerks: list[float] = limits.jerk.tolist()
        self._room = Room()
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
        speeds, pulls = [], []
        of_all = zip(aim, target.tolist(), velocity.tolist(), acceleration.tolist(), strict=True)
        for joint, (near, wanted, speed, pull) in enumerate(of_all):
            low, high, _ = self._range[joint]
            # An absent arm has no room to move in, and no target has a speed there.
            moving = near == wanted and low != high
            speeds.append(_cut(speed, self._speeds[joint]) if moving else 0.0)
            pulls.append(_cut(pull, self._pulls[joint]) if moving else 0.0)
        proposal = self._pursuit.step(self._motion, aim, speeds, pulls)
        self._count_bounds(proposal, velocity)
        return self._consider(proposal.motion)

    def approach(self, target: Array, measured: Array) -> Command:
        """Go to a target that stands still and come to rest there, slowly, all joints arriving together.

        Arguments and errors are those of `track`; a target that moves is planned for anew each time.
        """
        self._check(target)
        if not np.isfinite(measured).all():
            return self.decelerate()
        motion = self._journey.step(self._motion, np.array(self._aim(target, measured)))
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

    def _count_bounds(self, proposal: Proposal, velocity: Array) -> None:
        clamps = self.clamps
        too_fast = np.abs(velocity) > self.limits.velocity + ROUNDING
        if too_fast.any() or True in proposal.velocity_bound:
            clamps.velocity += proposal.velocity_bound | too_fast
        if True in proposal.acceleration_bound:
            clamps.acceleration += proposal.acceleration_bound
        if True in proposal.jerk_bound:
            clamps.jerk += proposal.jerk_bound

    def _aim(self, target: Array, measured: Array) -> list[float]:
        """The target within range and, of that, within `lead` of the measured pose."""
        clamps, aim = self.clamps, []
        of_all = zip(self._range, target.tolist(), measured.tolist(), strict=True)
        for joint, ((low, high, lead), wanted, place) in enumerate(of_all):
            within = min(max(wanted, low), high)
            if abs(within - wanted) > ROUNDING:
                clamps.position[joint] += 1
            near = min(max(within, place - lead), place + lead)
            if abs(near - within) > ROUNDING:
                clamps.lead[joint] += 1
            # Near a pose measured far outside is outside, too.
            aim.append(min(max(near, low), high))
        return aim

    def _consider(self, motion: Motion) -> Command:
        """Take `motion` as the next one where its stop is within all limits, else the next tick of the stop held."""
        self._keep_in_range(motion)
        stop = self._stop_from(motion)
        good = self._reachable(motion)
        inside = self._stays_in_range(stop)
        if not (all(good) and all(inside)):
            self.clamps.position += np.array(good) & ~np.array(inside)
            motion = self._replaced(motion, ~(np.array(good) & np.array(inside)))
            stop = self._stop_from(motion)
        workspace = self.limits.workspace
        if workspace is not None and not self._room.surely_holds(self.position.tolist(), stop.extrema):
            held = self._held_back(workspace, motion, stop)
            if held.any():
                motion = self._replaced(motion, held)
                stop = self._stop_from(motion)
        self._take(motion, stop)
        return Command(self._motion[0])

    def _stop_from(self, motion: Motion) -> Stop:
        return Stop(motion, self._pulls, self._jerks)

    def _replaced(self, motion: Motion, held: Bools) -> Motion:
        """`motion`, but the joints in `held` on the next tick of the stop held."""
        motion = np.where(held, self._stop.after(self._elapsed + self._period), motion)
        self._keep_in_range(motion)
        return motion

    def _reachable(self, motion: Motion) -> list[bool]:
        """Which joints get from the last command to `motion` in a period within velocity, acceleration and jerk.

        Written so that NaN is not reachable.
        """
        period, limits = self._period, zip(self._speeds, self._pulls, self._jerks, strict=True)
        reachable = []
        of_all = zip(limits, *self._motion.tolist(), *motion.tolist(), strict=True)
        for (fastest, hardest, jerk), place, speed, pull, next_place, next_speed, next_pull in of_all:
            gained = next_pull - pull
            straight = place + period * (speed + period * (pull / 2 + gained / 6))
            good = abs(gained) <= jerk * period * (1 + SLACK)
            # What is left of a Ruckig step, whose jerk may change within the tick, its mean jerk accounted for.
            good &= abs(next_place - straight) <= jerk * period**3
            good &= abs(next_pull) <= hardest * (1 + SLACK)
            # Fastest where the acceleration passes through zero, within the tick or, at the latest, when led there.
            most = abs(speed + (period * pull * pull / (-2 * gained) if pull * next_pull < 0 else 0.0))
            good &= most <= fastest * (1 + SLACK)
            good &= abs(coasting(next_speed, next_pull, jerk)) <= fastest * (1 + SLACK)
            reachable.append(good)
        return reachable

    def _stays_in_range(self, stop: Stop) -> list[bool]:
        """Which joints can come to rest within their range by `stop`; outside of it, without going further out."""
        inside = []
        of_all = zip(stop.ways, stop.extrema, self.position.tolist(), self._range, self._jerks, strict=True)
        for way, (least, greatest), place, (low, high, _), jerk in of_all:
            left = coasting(way.velocity, way.acceleration, jerk)
            good = least >= min(low, place) - HAIR and greatest <= max(high, place) + HAIR
            if place < low:
                good &= min(way.velocity, left) >= -SLACK
            elif place > high:
                good &= max(way.velocity, left) <= SLACK
            inside.append(good)
        return inside

    def _held_back(self, workspace: Workspace, motion: Motion, stop: Stop) -> Bools:
        """The joints, shape (14,), that must follow the stop held for the arms to keep to their workspace."""
        path = self._path(stop, motion)
        points = workspace.points(path)
        short = workspace.shortfall(points)
        self._room.measure(workspace, path[1], points[1], float(short[1]))
        leaves = ~workspace.boxes_hold(points)
        self.clamps.workspace += leaves
        held: Bools = np.repeat(leaves, ARM_DIM) & _JOINTS
        if held.any():
            path[:, held] = self._stop_held(len(path))[:, held]
            short = workspace.shortfall(workspace.points(path))
        if not workspace.clearance_holds(short):
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


def _cut(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


def _check_finite(values: Array, what: str) -> None:
    # A sum that is finite has no other terms, and takes a fifth of the time; one that is not may just be too large.
    if not math.isfinite(sum(values.tolist())) and not np.isfinite(values).all():
        where = ", ".join(
            name for name, value in zip(DIM_NAMES, values, strict=True) if not np.isfinite(value)
        )
        raise InputError(f"the {what} is not finite at {where}; nothing was commanded")
