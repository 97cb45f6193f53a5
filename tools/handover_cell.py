"""A robot cell in fake time, in which only the policy is real: for comparing ways of handing over between chunks.

Arms follow with lag (`sim_motion.Axis`), pictures come from a recording, a chunk arrives a chosen delay after its
observation. Nothing depends on how fast this machine is, so two runs give the same numbers. There is no limit layer:
what is measured is what it would be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import DELTA_MASK, ROBOT_DIM, SIDES, arm_slice
from gigaedge.site import ExecutionConfig, LimitsConfig
from gigaedge_runtime.devices.sim_motion import Axis
from gigaedge_runtime.policy import Observation, Policy
from gigaedge_runtime.rtc import Continuity, guide
from gigaedge_runtime.schedule import Schedule
from gigaedge_runtime.seam import JOINTS, jumps
from gigaedge_runtime.trajectory import Trajectory

Array = NDArray[np.float64]
TICK = 1 / 200
"""s between two commands."""
_LIMITS = LimitsConfig()
_JOINT_AXIS = np.array(DELTA_MASK)
ACCELERATION = np.where(_JOINT_AXIS, _LIMITS.acceleration, _LIMITS.gripper_acceleration)
JERK = np.where(_JOINT_AXIS, _LIMITS.jerk, _LIMITS.gripper_jerk)
"""What a fade may ask of the arms, (14,)."""


@dataclass(frozen=True)
class Scene:
    """Where observations come from."""

    name: str
    start: NDArray[np.float32]
    """Where the arms stand at first, rad and m, (14,)."""
    picture: Callable[[float, Array], NDArray[np.uint8]]
    """The composite at a time (s) and a state (14,)."""
    state: Callable[[float], NDArray[np.float32]] | None = None
    """The recorded state at a time (s); None: arms follow their chunk exactly."""
    duration: float = np.inf
    """s of the recording."""


@dataclass(frozen=True)
class Timing:
    """When chunks are made and arrive."""

    delay: float
    """From an observation to its chunk, s, at least; up to a fifth more, drawn from the seed."""
    replan: int
    """Actions of a chunk until the next takes over."""
    seconds: float
    """How long the simulated cell runs."""
    seed: int = 0
    late: float = 0.0
    """s by which every fifth chunk comes later than that."""


@dataclass
class Outcome:
    """What a run of the cell showed."""

    seams: list[tuple[float, float, float]] = field(default_factory=list)
    """Jump of position, velocity and acceleration at every hand-over but the first."""
    targets: list[Array] = field(default_factory=list)
    """Commanded targets, one a tick, (14,)."""
    intents: list[Array] = field(default_factory=list)
    """What the newest chunk alone asked for at that tick, (14,)."""
    changes: list[float] = field(default_factory=list)
    """Root mean square over the joints by which guidance changed the executed part of a chunk, rad."""

    def figures(self) -> dict[str, float]:
        """Of the whole run, by name with the unit."""
        seams = np.array(self.seams)
        targets, intents = np.array(self.targets)[:, JOINTS], np.array(self.intents)[:, JOINTS]
        jerk = np.diff(targets, 3, axis=0) / TICK**3
        acceleration = np.abs(np.diff(targets, 2, axis=0)).max(axis=1) / TICK**2
        found = {"hand-overs": float(len(seams))}
        for column, (name, unit) in enumerate(
            (("position", "rad"), ("velocity", "rad/s"), ("accel", "rad/s2"))
        ):
            for share in (50, 95):
                found[f"seam {name} p{share} {unit}"] = float(np.percentile(seams[:, column], share))
        found["command accel p99 rad/s2"] = float(np.percentile(acceleration, 99))
        found["command jerk rms rad/s3"] = _rms(jerk)
        found["from intent rms rad"] = _rms(targets - intents)
        found["changed rms rad"] = float(np.mean(self.changes)) if self.changes else 0.0
        return found


def closed_loop(policy: Policy, scene: Scene, execution: ExecutionConfig, timing: Timing) -> Outcome:
    """Run the cell; every way of handing over sees the same noise and delays."""
    action = policy.manifest.action
    random = np.random.default_rng(timing.seed)
    schedule = Schedule(ACCELERATION, JERK, execution.fade, execution.decay)
    continuity = Continuity(execution.guidance, TICK)
    arms, outcome = _arms(scene.start), Outcome()
    position, velocity, acceleration = (
        scene.start.astype(np.float64),
        np.zeros(ROBOT_DIM),
        np.zeros(ROBOT_DIM),
    )
    intent = np.zeros(ROBOT_DIM)
    following: Trajectory | None = None
    underway: tuple[float, Trajectory] | None = None
    due = 0.0
    for tick in range(int(timing.seconds / TICK)):
        now = tick * TICK
        if underway is None and now >= due:
            measured = np.array([axis.position for axis in arms])
            delay = timing.delay * (1 + 0.2 * random.random())
            number = following.chunk + 1 if following else 1
            delay += timing.late if number % 5 == 0 else 0.0
            noise = random.standard_normal((action.chunk, action.width), np.float32)
            seen = Observation(scene.picture(now, measured), measured.astype(np.float32), noise)
            guidance = None
            if execution.handover == "rtc" and following is not None:
                guidance = continuity.guidance(now, now, following.chunk)
            chunk = policy.chunk(seen, guidance=guidance).actions
            if guidance is not None:
                executed = slice(0, timing.replan + int(delay * action.rate_hz))
                free = policy.chunk(seen).actions
                outcome.changes.append(_rms((chunk - free)[executed][:, JOINTS]))
            trajectory = Trajectory(chunk, now, action.rate_hz, number)
            continuity.published(trajectory, delay)
            underway = (now + delay, trajectory)
        if underway is not None and now >= underway[0]:
            before, following, underway = following, underway[1], None
            schedule.accept(following)
            if before is None:
                schedule.restart(now, position)
            else:
                outcome.seams.append(jumps(now, before, following))
                schedule.align(now, position)
            due = following.start + timing.replan / action.rate_hz - 1.2 * timing.delay
        if following is None:
            continue
        schedule.sample(now, position, velocity, acceleration)
        following.position(now, intent)
        for axis, target in zip(arms, position, strict=True):
            axis.target = float(target)
            axis.follow(TICK)
        if outcome.seams:
            outcome.targets.append(position.copy())
            outcome.intents.append(intent.copy())
    return outcome


def recorded(
    policy: Policy, scene: Scene, limit: float, timing: Timing
) -> Iterator[tuple[tuple[float, float, float], tuple[float, float, float], float]]:
    """Pairs of chunks on recorded observations: seam without and with guidance, and how far the chunk changed (rad).

    The second observation lies as far behind the first as replanning would put it.
    """
    action = policy.manifest.action
    random = np.random.default_rng(timing.seed)
    apart = timing.replan / action.rate_hz - timing.delay
    pairs = int(min(timing.seconds, scene.duration - apart) / apart)
    for pair in range(pairs):
        first = pair * apart
        second = first + apart
        state = scene.state(first) if scene.state else scene.start
        noises = random.standard_normal((2, action.chunk, action.width), np.float32)
        chunk = policy.chunk(Observation(scene.picture(first, state.astype(np.float64)), state, noises[0]))
        before = Trajectory(chunk.actions, first, action.rate_hz)
        reached = before.position(second, np.zeros(ROBOT_DIM))
        state = scene.state(second) if scene.state else reached.astype(np.float32)
        seen = Observation(scene.picture(second, state.astype(np.float64)), state, noises[1])
        guidance = guide(before, second, timing.delay, action.chunk, action.rate_hz, limit)
        free, guided = policy.chunk(seen).actions, policy.chunk(seen, guidance=guidance).actions
        handover = second + timing.delay
        off, on = (
            jumps(handover, before, Trajectory(each, second, action.rate_hz)) for each in (free, guided)
        )
        yield off, on, _rms((guided - free)[: timing.replan][:, JOINTS])


def _arms(start: NDArray[np.float32]) -> list[Axis]:
    limits = LimitsConfig()
    axes: list[Axis] = []
    for side in SIDES:
        pose = start[arm_slice(side)]
        lows, highs = (*limits.position_min, 0.0), (*limits.position_max, limits.gripper_max)
        axes += [
            Axis(float(np.clip(value, low, high)), low, high, powered=True)
            for value, low, high in zip(pose, lows, highs, strict=True)
        ]
    return axes


def _rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
