"""Random chunk sequences against the limit layer, every command checked by arithmetic of its own.

    python tools/fuzz_limits.py --sequences 1000000 --seed 1 --jobs 2

An episode is one limiter with random limits, period, workspace and starting pose (also outside of them); in it, one
sequence follows the other without a pause. What is checked knows nothing of the limiter's code: finite differences of
the commands, links multiplied out, distances of segments from all their candidates. Ends with 1, and with the command
that reproduces it, when a limit is exceeded or anything raises.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "runtime")]

from gigaedge.errors import InputError  # noqa: E402
from gigaedge_runtime.limits import Limiter, Limits  # noqa: E402
from gigaedge_runtime.workspace import Workspace  # noqa: E402

Array = NDArray[np.float64]

PER_EPISODE = 100
"""Sequences that follow each other in one limiter."""

DIM, ARM = 14, 7
JOINT = np.arange(DIM) % ARM < 6
RANGE_LOW = np.array([-2.6179, 0.0, -2.967, -1.745, -1.22, -2.09439, 0.0] * 2)
RANGE_HIGH = np.array([2.6179, 3.14, 0.0, 1.745, 1.22, 2.09439, 0.07] * 2)

KINDS = (
    "smooth",
    "steps",
    "noise",
    "beyond",
    "huge",
    "bad",
    "constant",
    "reversed",
    "approach",
    "hold",
    "edge",
)

# Link length, twist, offset along the axis, joint offset in degrees: PiPER's, from AgileX's SDK.
LINKS = (
    (0.0, 0.0, 0.123, 0.0),
    (0.0, -np.pi / 2, 0.0, -172.22),
    (0.28503, 0.0, 0.0, -102.78),
    (-0.02198, np.pi / 2, 0.25075, 0.0),
    (0.0, -np.pi / 2, 0.0, 0.0),
    (0.0, np.pi / 2, 0.091, 0.0),
)
TIP = 0.1358


@dataclass
class Tally:
    """What a number of episodes came to."""

    sequences: int = 0
    ticks: int = 0
    refused: int = 0
    """Targets that were not finite, refused with an InputError as they must be."""
    worst: dict[str, float] = field(default_factory=dict)
    """The largest share of each limit that a command took; of the workspace, m beyond what was allowed."""
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another one."""
        self.sequences += other.sequences
        self.ticks += other.ticks
        self.refused += other.refused
        for name, value in other.worst.items():
            self.worst[name] = max(self.worst.get(name, -np.inf), value)
        self.failures += other.failures


def random_limits(rng: np.random.Generator) -> Limits:
    """Limits of any cell that a site file could describe, and some that it could not."""
    narrow = rng.uniform(0.0, 0.3, (2, DIM)) * (RANGE_HIGH - RANGE_LOW) * (rng.random() < 0.5)
    lower, upper = RANGE_LOW + narrow[0], RANGE_HIGH - narrow[1]
    if rng.random() < 0.2:
        absent = slice(0, ARM) if rng.random() < 0.5 else slice(ARM, DIM)
        lower[absent] = upper[absent] = rng.uniform(-1, 1, ARM)

    def each(joint: tuple[float, float], gripper: tuple[float, float]) -> Array:
        low, high = np.log(np.where(JOINT[:, None], joint, gripper)).T
        return np.exp(
            rng.uniform(low, high, DIM) if rng.random() < 0.3 else low + rng.random() * (high - low)
        )

    velocity = each((0.05, 3.0), (0.02, 1.0))
    return Limits(
        lower=lower,
        upper=upper,
        velocity=velocity,
        acceleration=each((1.0, 5.0), (0.2, 5.0)),
        jerk=each((10.0, 500.0), (2.0, 200.0)),
        approach=np.minimum(velocity, each((0.05, 1.0), (0.02, 1.0))),
        lead=np.where(JOINT, rng.uniform(0.05, 2.0), np.inf),
        workspace=random_workspace(rng) if rng.random() < 0.25 else None,
    )


def random_workspace(rng: np.random.Generator) -> Workspace:
    """Boxes around parts of the reach, and two arms that can touch each other."""
    low = rng.uniform([-0.3, -0.6, -0.2], [0.0, -0.1, 0.1], (2, 3))
    high = rng.uniform([0.2, 0.1, 0.3], [0.6, 0.6, 0.9], (2, 3))
    if rng.random() < 0.2:
        low[:], high[:] = -np.inf, np.inf
    if rng.random() < 0.4:
        return Workspace(low, high)
    base = np.array([[0.0, 0.3, 0.0, 0.0], [0.0, -0.3, 0.0, 0.0]]) + rng.uniform(-0.15, 0.15, (2, 4))
    return Workspace(low, high, clearance=float(rng.uniform(0.02, 0.3)), base=base)


def sequence(rng: np.random.Generator, kind: str, ticks: int, limits: Limits, last: Array) -> Array:
    """Targets of one sequence, shape (ticks, 14)."""
    low, high = np.maximum(limits.lower, -3.0), np.minimum(limits.upper, 3.0)
    point = rng.uniform(low, high)
    when = np.arange(ticks)[:, np.newaxis] / max(ticks, 2)
    if kind in ("constant", "approach", "hold"):
        return np.repeat(point[np.newaxis], ticks, axis=0)
    if kind == "edge":
        edge = np.where(rng.random(DIM) < 0.5, limits.lower, limits.upper)
        return np.repeat((edge + rng.choice([-1e-3, -1e-9, 0.0, 1e-9, 1e-3], DIM))[np.newaxis], ticks, axis=0)
    if kind == "steps":
        return rng.uniform(low, high, (ticks, DIM))[np.sort(rng.integers(0, ticks, ticks))]
    if kind == "noise":
        return last + rng.normal(0.0, 10.0 ** rng.uniform(-5, 0), (ticks, DIM))
    if kind == "beyond":
        return point + (high - low + 1.0) * rng.uniform(-3, 3, DIM) * when
    if kind == "huge":
        return rng.choice([-1.7e308, -1e30, -1e5, 1e5, 1e30, 1.7e308, 0.0], (ticks, DIM))
    smooth = last + (point - last) * np.sin(rng.uniform(0.2, 6.0, DIM) * when)
    if kind == "bad":
        smooth[rng.random((ticks, DIM)) < 0.05] = rng.choice([np.nan, np.inf, -np.inf])
    return smooth[::-1] if kind == "reversed" else smooth


def episode(seed: int, number: int, sequences: int) -> Tally:
    """Run and check one episode; all that happens in it follows from `seed` and `number`."""
    rng = np.random.default_rng([seed, number])
    limits, period = random_limits(rng), float(rng.choice([0.002, 0.005, 0.005, 0.005, 0.02]))
    limiter = Limiter(limits, period)
    start = rng.uniform(limits.lower, limits.upper)
    if rng.random() < 0.2:
        start = start + rng.uniform(-0.5, 0.5, DIM) * (rng.random(DIM) < 0.3)
    commands = [limiter.reset(start).copy()]
    measured, blocked = start.copy(), np.zeros(DIM, dtype=bool)
    tally = Tally()
    previous: Array = start[np.newaxis]
    for _ in range(sequences):
        kind = str(rng.choice(KINDS))
        ticks = int(min(rng.geometric(1 / 12), 200))
        targets = (
            previous[::-1] if kind == "reversed" else sequence(rng, kind, ticks, limits, limiter.position)
        )
        fast = rng.choice([0.0, 1.0, 100.0])
        speed = np.zeros_like(targets)
        if fast and kind in ("smooth", "noise", "steps"):
            speed = fast * rng.normal(0.0, 1.0) * np.gradient(targets, axis=0) if len(targets) > 1 else speed
        if rng.random() < 0.1:
            blocked = rng.random(DIM) < 0.3
        for target, velocity in zip(targets, speed, strict=True):
            measured = np.where(blocked, measured, measured + 0.2 * (limiter.position - measured))
            if kind == "bad" and rng.random() < 0.05:
                measured = np.full(DIM, np.nan)
            before = limiter.position.copy()
            try:
                if kind == "hold":
                    command = limiter.decelerate()
                elif kind == "approach":
                    command = limiter.approach(target, measured)
                else:
                    command = limiter.track(target, velocity, velocity, measured)
                commands.append(command.copy())
            except InputError:
                tally.refused += 1
                if np.isfinite(target).all() or not (limiter.position == before).all():
                    tally.failures.append("a finite target was refused, or a refused one changed the command")
            measured = np.where(np.isfinite(measured), measured, limiter.position)
        previous = targets
        tally.sequences += 1
    tally.ticks = len(commands) - 1
    worst = check(np.array(commands), limits, period)
    tally.worst = worst
    tally.failures += [
        f"{name}: {value:.9g}"
        for name, value in worst.items()
        if not value <= (1 + 1e-6 if "/" in name else 1e-9)
    ]
    return tally


def check(commands: Array, limits: Limits, period: float) -> dict[str, float]:
    """The largest share of each limit, of commands (m, 14); names with "/" are ratios, the others distances."""
    low = np.minimum(limits.lower, commands[:-1])
    high = np.maximum(limits.upper, commands[:-1])
    beyond = np.maximum(low - commands[1:], commands[1:] - high)
    worst = {"position": float(beyond.max(initial=0.0))}
    # It stood still before: three more of the first make every difference, the first included, a full one.
    moved = np.concatenate((np.repeat(commands[:1], 3, axis=0), commands))
    rounding = 16 * np.finfo(float).eps * np.abs(moved).max()
    for order, (name, limit) in enumerate(
        (("velocity", limits.velocity), ("acceleration", limits.acceleration), ("jerk", limits.jerk)), start=1
    ):
        rate = np.maximum(np.abs(np.diff(moved, order, axis=0)) - rounding, 0.0) / period**order
        worst[f"{name} / limit"] = float((rate / limit).max())
    if limits.workspace is not None:
        worst |= check_workspace(commands, limits.workspace)
    return worst


def check_workspace(commands: Array, workspace: Workspace) -> dict[str, float]:
    """How far, m, points went further outside than they were, and arms nearer than they were."""
    arms = [chain(commands[:, :6]), chain(commands[:, ARM : ARM + 6])]
    out = np.stack(
        [
            np.maximum(workspace.low[side] - points, points - workspace.high[side])
            for side, points in enumerate(arms)
        ]
    )
    grown = out[:, 1:] - np.maximum(out[:, :-1], 0.0)
    worst = {"box, m": float(grown.max(initial=-np.inf))}
    if workspace.base is not None:
        placed = []
        for points, (x, y, z, yaw) in zip(arms, workspace.base, strict=True):
            turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
            placed.append(points @ turn.T + np.array([x, y, z]))
        pairs = [(i, j) for i in (0, 1) for j in (0, 1)]
        gap = np.min([between(placed[0][:, i : i + 2], placed[1][:, j : j + 2]) for i, j in pairs], axis=0)
        short = workspace.clearance - gap
        worst["clearance, m"] = float((short[1:] - np.maximum(short[:-1], 0.0)).max(initial=-np.inf))
    return worst


def chain(joints: Array) -> Array:
    """Elbow, wrist, fingertip, m, shape (m, 3, 3), by multiplying the links out."""
    pose = np.broadcast_to(np.eye(4), (len(joints), 4, 4))
    points = []
    for number, (length, twist, offset, zero) in enumerate(LINKS):
        angle = joints[:, number] + np.radians(zero)
        cos, sin, none = np.cos(angle), np.sin(angle), np.zeros(len(joints))
        turn = np.array(
            [[cos, -sin, none, none], [sin, cos, none, none], [none, none, none + 1, none + offset]]
        )
        turn = np.moveaxis(np.concatenate((turn, [[none, none, none, none + 1]])), -1, 0)
        tilt = np.array([[1, 0, 0, length], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]])
        tilt[1:3, 1:3] = [[np.cos(twist), -np.sin(twist)], [np.sin(twist), np.cos(twist)]]
        pose = pose @ tilt @ turn
        if number in (2, 4):
            points.append(pose[:, :3, 3])
    return np.stack([*points, pose[:, :3, 3] + TIP * pose[:, :3, 2]], axis=1)


def between(a: Array, b: Array) -> Array:
    """Distance of segments (m, 2, 3): the least of the four ends' and, where it is inside both, of the lines'."""
    ends = [to_segment(a[:, end], b) for end in (0, 1)] + [to_segment(b[:, end], a) for end in (0, 1)]
    u, v, w = a[:, 1] - a[:, 0], b[:, 1] - b[:, 0], a[:, 0] - b[:, 0]
    normal = np.cross(u, v)
    size = (normal**2).sum(1)
    safe = np.where(size > 1e-18, size, 1.0)
    s, t = (np.cross(v, w) * normal).sum(1) / safe, (np.cross(u, w) * normal).sum(1) / safe
    cross = (size > 1e-18) & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
    lines = np.where(cross, np.abs((w * normal).sum(1)) / np.sqrt(safe), np.inf)
    return np.asarray(np.min([*ends, lines], axis=0))


def to_segment(point: Array, segment: Array) -> Array:
    """Distance of points (m, 3) from segments (m, 2, 3)."""
    along = segment[:, 1] - segment[:, 0]
    share = np.clip(((point - segment[:, 0]) * along).sum(1) / (along**2).sum(1), 0, 1)
    return np.asarray(np.linalg.norm(segment[:, 0] + share[:, np.newaxis] * along - point, axis=1))


def attempt(task: tuple[int, int, int]) -> tuple[int, Tally]:
    """`episode`, anything it raises being a failure."""
    seed, number, sequences = task
    try:
        with np.errstate(invalid="raise", divide="raise", over="raise"):
            return number, episode(seed, number, sequences)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the fuzz looks for
        return number, Tally(failures=[f"{type(error).__name__}: {error}"])


def run(tasks: list[tuple[int, int, int]], jobs: int) -> Iterator[tuple[int, Tally]]:
    """All tasks, in any order."""
    if jobs == 1:
        yield from map(attempt, tasks)
        return
    with get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(attempt, tasks, chunksize=4)


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--episode", type=int, help="this one alone")
    options = parser.parse_args(arguments)
    count = -(-options.sequences // PER_EPISODE)
    sizes = [min(PER_EPISODE, options.sequences - PER_EPISODE * number) for number in range(count)]
    tasks = [(options.seed, number, size) for number, size in enumerate(sizes)]
    if options.episode is not None:
        tasks = [(options.seed, options.episode, PER_EPISODE)]
    total, begin = Tally(), time.monotonic()
    for number, tally in track(run(tasks, options.jobs), "sequences", total=len(tasks)):
        total.add(tally)
        for failure in tally.failures:
            print(f"FAILED {failure}\n  python tools/fuzz_limits.py --seed {options.seed} --episode {number}")
    seconds = time.monotonic() - begin
    print(
        f"seed {options.seed}: {total.sequences} sequences, {total.ticks} commands, {len(tasks)} limiters, "
        f"{total.refused} targets refused as not finite, {len(total.failures)} failures; "
        f"{seconds:.0f} s, {total.ticks / seconds:.0f} commands/s"
    )
    for name, value in total.worst.items():
        print(f"  worst {name}: {value:.9f}")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
