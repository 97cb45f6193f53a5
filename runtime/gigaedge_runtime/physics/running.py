"""The physical cell in real time: MuJoCo's servos behind the simulated arms, on a thread that keeps up with the clock.

The arms' own threads decide where their servos are sent, as the firmware would; this one sends them there, lets time
pass and writes back what the joints then do. A computer that is too slow makes it fall behind: it catches up, a little
at a time, and what it had to leave out is counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gigaedge.clock import Deadlines, monotonic
from gigaedge.robot import Side, arm_slice
from gigaedge_runtime.devices.sim_motion import Axis
from gigaedge_runtime.physics.link import Snapshot, WorldServer
from gigaedge_runtime.physics.model import TIMESTEP
from gigaedge_runtime.physics.world import PhysicalWorld
from gigaedge_runtime.report import PhysicsReport, Spread
from gigaedge_runtime.scheduling import HARDWARE_PRIORITY, raise_priority
from gigaedge_runtime.tasks import Task

PERIOD: Final = 0.005
"""s; as often as the arms report."""
CATCH_UP: Final = 0.1
"""s; simulated time that is made up at once. What is missing beyond that is left out."""

_KEPT: Final = 400
"""Snapshots: 2 s."""


@dataclass
class Motor(Axis):
    """An axis whose joint is in MuJoCo: `position` and `velocity` are measured there.

    Powered, its servo is sent towards `target`, as fast as the axis may; without power, or in an e-stop, down to rest
    as `Axis` has it. In between the servo holds, or, let go of, stays where the joint is.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.command = self.position

    def follow(self, dt: float, speed: float = 1.0) -> None:
        """One step under power towards `target`; `speed` scales the velocity limit, 0..1."""
        self._send(min(max(self.target, self.low), self.high), self.max_velocity * speed * dt)

    def descend(self, dt: float, speed: float) -> None:
        """One step of a damped descent to `rest` at `speed`, rad/s."""
        if self.rest is not None:
            self._send(self.rest, speed * dt)

    def halt(self) -> None:
        """Let go: stand still where it is."""
        self.command = self.position

    def _send(self, goal: float, most: float) -> None:
        self.command += min(max(goal - self.command, -most), most)


class RunningWorld:
    """A world that runs between `start` and `stop`."""

    def __init__(self, world: PhysicalWorld, task: Task, seed: int) -> None:
        """`task` judges the world; `seed` is what its scene was drawn from."""
        self._world = world
        self._task = task
        self._seed = seed
        self._motors: dict[Side, Sequence[Motor]] = {}
        self._history: deque[Snapshot] = deque(maxlen=_KEPT)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._server: WorldServer | None = None
        self._lags: deque[float] = deque(maxlen=100_000)
        self._skipped = 0.0
        self._done = float("nan")
        self._remember(time.time(), 0.0)

    def home(self, side: Side) -> tuple[float, ...]:
        """Where an arm begins: six joints, rad, and the opening, m."""
        return self._world.scene.start[arm_slice(side)]

    def start(self, axes: Mapping[Side, Sequence[Axis]], channel: str) -> None:
        """Let time pass for arms with these seven axes each, and answer questions on `channel`.

        Only an axis that is a `Motor` moves anything. Raises DeviceError: the channel is served already.
        """
        self._motors = {
            side: [axis for axis in seven if isinstance(axis, Motor)] for side, seven in axes.items()
        }
        self._server = WorldServer(channel, self.at)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="physical-cell", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let time stand still; may be called more than once."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._server is not None:
            self._server.close()
            self._server = None

    def at(self, wall: float) -> Snapshot:
        """The snapshot nearest to a moment, s since 1970."""
        history = list(self._history)
        times = np.array([snapshot.wall for snapshot in history])
        return history[int(np.abs(times - wall).argmin())]

    def report(self) -> PhysicsReport:
        """What there is to say of it so far."""
        done = self._done
        return PhysicsReport(
            task=self._task.name,
            seed=self._seed,
            simulated=self._world.time,
            lag=Spread.of(list(self._lags)),
            skipped=self._skipped,
            done_after=None if np.isnan(done) else done,
        )

    def _run(self) -> None:
        raise_priority(HARDWARE_PRIORITY)
        deadlines = Deadlines(PERIOD, sleep=self._pause)
        begin = monotonic() - self._world.time
        while not self._stopping.is_set():
            deadlines.wait()
            missing = monotonic() - begin - self._world.time
            lag = max(0.0, missing - PERIOD)
            self._lags.append(lag)
            if missing > CATCH_UP:
                self._skipped += missing - CATCH_UP
                begin += missing - CATCH_UP
                missing = CATCH_UP
            self._step(int(missing / TIMESTEP) * TIMESTEP)
            self._remember(time.time(), lag)

    def _pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def _step(self, seconds: float) -> None:
        targets = self._world.state
        for side, motors in self._motors.items():
            targets[arm_slice(side)] = [motor.command for motor in motors]
        self._world.command(targets)
        self._world.advance(seconds)
        state, velocity = self._world.state, self._world.velocity
        for side, motors in self._motors.items():
            place = arm_slice(side)
            for motor, position, speed in zip(
                motors, state[place].tolist(), velocity[place].tolist(), strict=True
            ):
                motor.position, motor.velocity = position, speed
        if np.isnan(self._done) and self._task.succeeded(self._world):
            self._done = self._world.time

    def _remember(self, wall: float, lag: float) -> None:
        self._history.append(Snapshot(wall, self._world.time, lag, self._done, self._world.configuration))
