"""How the supervisor and its children find each other: what a child is handed, and what it hands back.

A child gets everything as file descriptors and needs no name in the file system: its launch record as JSON
in a memfd, the shared memory, its lifelines, and a memfd for its outcome. A lifeline is a pipe that nobody
writes to: it breaks in the moment the only process that holds its write end is gone, however it went.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import BaseModel, ConfigDict

from gigaedge import errors
from gigaedge.errors import GigaedgeError, ProcessError
from gigaedge.robot import Side
from gigaedge.site import Site
from gigaedge_runtime.memory import resident

POLICY_NICENESS = 5
"""Of the policy process: on a small computer the cameras' and the network's threads give way to control."""

ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""numpy's and OpenCV's own threads would only contend with control; ONNX Runtime has its own setting."""


class Launch(BaseModel):
    """What a child process is handed. Numbers are inherited file descriptors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: Site
    """Without simulated arms: the supervisor hosts those and names their CAN channels here."""
    board: int
    """Shared memory (`mailbox.Board`)."""
    supervisor: int
    """Read end of the supervisor's lifeline."""
    policy: int
    """The policy process's lifeline: the write end for itself, the read end for control."""
    outcome: int
    """Where the child leaves its report or its error, as JSON."""
    dry_run: bool = False
    hosted: tuple[Side, ...] = ()
    """Arms that the supervisor simulates: they come fresh with each run, and leave no latch."""
    record: tuple[int, ...] = ()
    """Sockets of the flight record: its end for control or policy, every other end for the recorder."""
    record_to: Path | None = None
    """The file that the recorder writes."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that are inherited."""
        return (self.board, self.supervisor, self.policy, self.outcome, *self.record)


class StopFlag:
    """Set by SIGINT and SIGTERM, or by whoever calls `ask`: end in order."""

    def __init__(self) -> None:
        self.requested = False
        self.times = 0
        """How often it was asked: who asks twice does not want to wait."""

    def install(self) -> None:
        """Take both signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._set)

    def ask(self) -> None:
        """As a signal does; from any thread."""
        self.requested = True
        self.times += 1

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.ask()


@contextmanager
def stop_on_signals(flag: StopFlag) -> Iterator[None]:
    """Take SIGINT and SIGTERM inside the block; the former handlers are put back after it."""
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    flag.install()
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Lifeline:
    """The read end of a pipe whose write end another process holds for as long as it lives."""

    def __init__(self, fd: int) -> None:
        self._poll = select.poll()
        # No event is asked for: a hang-up is always reported.
        self._poll.register(fd, 0)
        self._intact = True

    def intact(self) -> bool:
        """False once the other process is gone; one system call, never blocks."""
        if self._intact and self._poll.poll(0):
            self._intact = False
        return self._intact


def memory_file(name: str, content: bytes = b"") -> int:
    """An anonymous file that vanishes with its last descriptor; positioned at its end, close-on-exec."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.write(fd, content)
    return fd


def read_memory_file(fd: int) -> bytes:
    """Everything in an anonymous file, wherever it is positioned."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


class Child:
    """A child process, seen from the supervisor."""

    def __init__(self, name: str, command: Sequence[str], launch: Launch) -> None:
        """Start `command --launch FD` in a session of its own: Ctrl-C in the terminal does not reach it.

        `launch.outcome` is owned by this object. Raises ProcessError when the program cannot be started.
        """
        self.name = name
        self.forced = False
        """It did not end when it was time to, and was made to."""
        self._outcome = launch.outcome
        orders = memory_file(f"gigaedge-{name}", launch.model_dump_json(by_alias=True).encode())
        try:
            self._process = subprocess.Popen(
                [*command, "--launch", str(orders)],
                stdin=subprocess.DEVNULL,
                env={**dict.fromkeys(ONE_THREAD, "1"), **os.environ},
                pass_fds=(orders, *launch.descriptors),
                start_new_session=True,
            )
        except OSError as error:
            os.close(launch.outcome)
            raise ProcessError(f"the {name} process could not be started: {error}") from error
        finally:
            os.close(orders)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    def report(self) -> dict[str, Any] | None:
        """What the ended child reported; None when it was killed or failed."""
        report = self._read().get("report")
        return report if isinstance(report, dict) else None

    def peak_memory(self) -> int | None:
        """The most resident memory that the ended child had, bytes; None when it was killed or crashed."""
        peak = self._read().get("peak_memory")
        return peak if isinstance(peak, int) else None

    def error(self) -> GigaedgeError | None:
        """Why the child has ended, None when it is running or ended well.

        The child's own error, of the class it had there; ProcessError when it was killed or crashed.
        """
        code = self._process.poll()
        if code is None or code == 0:
            return None
        told = self._read().get("error")
        if isinstance(told, dict):
            return error_of(str(told.get("class")), str(told.get("message")))
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ProcessError(f"the {self.name} process (pid {self.pid}) {how}")

    def join(self, timeout: float) -> bool:
        """Wait at most `timeout` s for its end; then SIGTERM, then SIGKILL. True when it ended by itself."""
        for ask in (None, self._process.terminate, self._process.kill):
            if ask is not None:
                self.forced = True
                ask()
            try:
                self._process.wait(timeout if ask is None else 2.0)
            except subprocess.TimeoutExpired:
                continue
            break
        self._process.wait()
        return not self.forced

    def close(self) -> None:
        """Kill it if it still runs, and give its outcome's descriptor back."""
        if self.running:
            self._process.kill()
            self._process.wait()
        os.close(self._outcome)

    def _read(self) -> dict[str, Any]:
        try:
            outcome = json.loads(read_memory_file(self._outcome) or b"{}")
        except ValueError:
            return {}
        return outcome if isinstance(outcome, dict) else {}


def child_main(
    name: str, argv: Sequence[str] | None, body: Callable[[Launch, StopFlag], Mapping[str, Any]]
) -> int:
    """`main` of a child: read the launch, run `body`, leave its report or error; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=name, description="A child process of `gigaedge run`; not to be started by hand."
    )
    parser.add_argument("--launch", type=int, required=True, help="inherited descriptor of the launch record")
    fd = parser.parse_args(argv).launch
    launch = Launch.model_validate_json(read_memory_file(fd))
    os.close(fd)
    for inherited in launch.descriptors:
        os.set_inheritable(inherited, False)
    stop = StopFlag()
    stop.install()
    try:
        outcome: dict[str, Any] = {"report": dict(body(launch, stop))}
        code = 0
    except GigaedgeError as error:
        outcome, code = _failure(error), error.exit_code
    except MemoryError:
        mend = "close other programs or take a smaller bundle"
        outcome = _failure(ProcessError(f"the {name} process ran out of memory; {mend}"))
        code = ProcessError.exit_code
    outcome["peak_memory"] = resident("VmHWM")
    os.write(launch.outcome, json.dumps(outcome).encode())
    return code


def _failure(error: GigaedgeError) -> dict[str, Any]:
    """An outcome that `Child.error` reads."""
    return {"error": {"class": type(error).__name__, "message": str(error)}}


def error_of(name: str, message: str) -> GigaedgeError:
    """An error of the class called `name`; ProcessError when there is none such."""
    kind = getattr(errors, name, ProcessError)
    if not (isinstance(kind, type) and issubclass(kind, GigaedgeError)):
        kind = ProcessError
    return kind(message)


def python_module(module: str) -> tuple[str, ...]:
    """The command that runs a module with this interpreter."""
    return (sys.executable, "-m", module)


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.005) -> bool:
    """Poll until the condition holds (True) or `timeout` s are over (False)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True
