"""A robot cell made to be hurt: `gigaedge run` in a process of its own, over simulated arms that keep a log.

The arms live in the harness's process: what they log is what really happened to them, whatever the runtime
believes. They step 200 times a second at a priority above the control loop's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from gigaedge.robot import CAMERA_ROLES, SIDES, Side
from gigaedge.site import Site
from gigaedge_runtime.devices.sim_bus import SimBusServer
from gigaedge_runtime.devices.sim_frames import joint_pair
from gigaedge_runtime.devices.sim_piper import SimulatedPiper
from gigaedge_runtime.scheduling import CONTROL_PRIORITY, raise_priority
from tests.faults.wires import VARIABLE, Ear, Event, WallClock

ROOT = Path(__file__).parents[2]
HOME = (0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03)


def _real_time() -> bool:
    """Whether this process may ask for SCHED_FIFO; asked in a thread of its own, which keeps it to itself."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(raise_priority, CONTROL_PRIORITY).result().startswith("SCHED_FIFO")


REAL_TIME = _real_time()
"""Real-time scheduling is permitted."""
MAX_FEEDBACK_AGE = 0.06 if REAL_TIME else 0.09
"""s; above the default 0.05, because simulated arms share the computer with what they are used by."""

START = 40.0
"""s; from the start of the processes to arms that follow chunks, on a machine that does other things, too."""
END = 25.0
"""s; from a fault to the end of the processes."""

Vector = tuple[float, ...]


class LoggedArm(SimulatedPiper):
    """A simulated arm that notes its motion, its commands and its packets, with times (s, CLOCK_MONOTONIC)."""

    def __init__(self, channel: str, home: Vector = HOME) -> None:
        super().__init__(channel, home)
        self.steps: list[tuple[float, Vector]] = []
        """Joint angles after each period, rad."""
        self.commands: list[tuple[float, Vector]] = []
        """Commanded joint angles, rad: each complete set of 0x155, 0x156 and 0x157."""
        self.packets: list[float] = []
        """When feedback left."""
        self._set: dict[int, Vector] = {}

    def _step(self) -> None:
        super()._step()
        self.steps.append((time.monotonic(), self.joints))

    def _obey(self, identifier: int, data: bytes) -> None:
        super()._obey(identifier, data)
        if 0x155 <= identifier <= 0x157:
            self._set[identifier] = joint_pair(data)
        if identifier == 0x157 and len(self._set) == 3:
            angles = tuple(angle for key in sorted(self._set) for angle in self._set[key])
            self.commands.append((time.monotonic(), angles))
            self._set = {}

    def _transmit(self, server: SimBusServer, frames: bytes | bytearray) -> None:
        super()._transmit(server, frames)
        self.packets.append(time.monotonic())


class Cell:
    """One run, from the arms' power switch to the report; a context manager."""

    def __init__(
        self,
        timing: Mapping[str, Any] = MappingProxyType({}),
        homes: Mapping[Side, Vector] = MappingProxyType({}),
        parks: Mapping[Side, Vector] = MappingProxyType({}),
    ) -> None:
        """`timing` is added to the site's section of this name; see `Case` for the others."""
        self._folder = tempfile.TemporaryDirectory(prefix="gigaedge-faults-")
        self.folder = Path(self._folder.name)
        self.ear = Ear(self.folder)
        self.clock = WallClock(self.folder)
        self.arms: dict[Side, LoggedArm] = {
            side: LoggedArm(f"{self.folder.name}-{side}", homes.get(side, HOME)) for side in SIDES
        }
        self.data = self._site(timing, parks)
        self.site = Site.model_validate(self.data)
        self._process: subprocess.Popen[str] | None = None

    @property
    def left(self) -> LoggedArm:
        return self.arms["left"]

    @property
    def right(self) -> LoggedArm:
        return self.arms["right"]

    def __enter__(self) -> Cell:
        self.clock.install()
        for arm in self.arms.values():
            arm.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for event in self.heard("hello"):
            # A killed supervisor's children end by themselves, a stopped one's do not.
            if event.who != "supervisor" and _lives(event.values["pid"]):
                os.kill(event.values["pid"], signal.SIGKILL)
        for arm in self.arms.values():
            arm.stop()
        self.clock.remove()
        self.ear.close()
        self._folder.cleanup()

    def start(self, *, record: bool = False) -> None:
        """Call `gigaedge run`, with a flight record if asked for."""
        site = self.folder / "site.yaml"
        site.write_text(yaml.safe_dump(self.data))
        command = [sys.executable, "-m", "tests.faults.supervisor", "run", str(site)]
        if record:
            command += ["--record", str(self.folder / "run.mcap")]
        environment = {
            VARIABLE: str(self.folder),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            # What outlives a run is not to outlive this one.
            "XDG_STATE_HOME": str(self.folder),
        }
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            self._process = subprocess.Popen(
                [*command, "--report", str(self.folder / "report.json")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **environment},
                cwd=ROOT,
                text=True,
                start_new_session=True,
            )

    def pid(self, who: str) -> int:
        """Process id of `control` or `policy`."""
        return next(int(event.values["pid"]) for event in self.heard("hello") if event.who == who)

    def heard(self, what: str, after: float = 0.0) -> list[Event]:
        """Events of one kind since a moment, oldest first."""
        return [event for event in self.ear.events if event.what == what and event.time >= after]

    def await_event(self, wanted: Callable[[Event], bool], after: float, timeout: float) -> Event | None:
        """The first such event since a moment; None when none came in time, or the run ended without one."""
        deadline = time.monotonic() + timeout
        ended = False
        while True:
            for event in self.ear.events:
                if event.time >= after and wanted(event):
                    return event
            if ended or time.monotonic() > deadline:
                return None
            if not self.ear.listen(0.05):
                # What was told before the end is in the socket by now.
                ended = self._process is None or self._process.poll() is not None

    def await_state(self, *states: str, after: float = 0.0, timeout: float = START) -> Event | None:
        """Control's first change to one of these states, or None."""
        return self.await_event(
            lambda event: event.what == "state" and event.values["state"] in states, after, timeout
        )

    def watch(self, seconds: float) -> None:
        """Let time pass, hearing what is told."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.ear.listen(left)

    def interrupt(self) -> None:
        """Ctrl-C."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)

    def end(self) -> int | None:
        """Wait for the end, and for the arms to be looked at a while longer; the exit code, None: no end."""
        if self._process is None:
            return None
        deadline = time.monotonic() + END
        while self._process.poll() is None and time.monotonic() < deadline:
            self.ear.listen(0.05)
        code = self._process.poll()
        self.watch(STANDING)
        return code

    def printed(self, stream: str) -> str:
        """What the command wrote to `out` or `err`."""
        return (self.folder / stream).read_text()

    def report(self) -> dict[str, Any]:
        """The report it left; empty when it left none."""
        file = self.folder / "report.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def sent(self, side: Side) -> NDArray[np.float64] | None:
        """What control sent to an arm, rad, shape (n, 6), unrounded; None: it did not end in order."""
        file = self.folder / f"sent-{side}.npy"
        return np.load(file) if file.exists() else None

    def _site(self, timing: Mapping[str, Any], parks: Mapping[Side, Vector]) -> dict[str, Any]:
        return {
            "schema": 1,
            "bundle": "none",
            "cameras": [
                {"role": role, "driver": "sim", "width": 160, "height": 120, "exposure": 0.01}
                for role in CAMERA_ROLES
            ],
            "arms": [
                {
                    "side": side,
                    "driver": "piper",
                    "can": {"interface": "gigaedge-sim", "channel": arm.channel},
                    "park": list(parks[side]) if side in parks else None,
                }
                for side, arm in self.arms.items()
            ],
            "timing": {"replan_after": 8, "max_feedback_age": MAX_FEEDBACK_AGE, **timing},
        }


STANDING = 0.4
"""s; so long the arms are watched after the end of a run."""


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
