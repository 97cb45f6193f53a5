"""One process per contestant: it loads, takes a first chunk, and then sleeps until it is told to take another."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Final

from gigaedge.errors import ProcessError
from race_contestants import Lap, Outcome, contestant, import_packages
from race_course import Course

LOAD_S: Final = 1800.0
"""Compiling every block of a medium model takes minutes on two slow cores."""
LAP_S: Final = 300.0
STOP_S: Final = 5.0


@dataclass(frozen=True)
class Ready:
    """A contestant stands at the line."""

    load_s: float
    first: Lap
    outcome: Outcome
    rss_mib: float
    vae_inside: bool


class Racer:
    """A contestant in a process of its own. Raises ProcessError when it dies or does not answer."""

    def __init__(self, course: Course, name: str, threads: int) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, course, name, threads), daemon=True)
        # OpenMP reads it when PyTorch is loaded, in the new process.
        with _environment(OMP_NUM_THREADS=str(threads)), _without_interrupts():
            self._process.start()
        theirs.close()
        try:
            ready = self._receive(LOAD_S)
            if not isinstance(ready, Ready):
                raise ProcessError(f"{name}: did not load: {ready}")
        except BaseException:
            self.close()
            raise
        self.ready = ready

    def lap(self) -> Lap:
        """One chunk."""
        lap = self._receive(LAP_S, ask=True)
        if not isinstance(lap, Lap):
            raise ProcessError(f"{self.name}: failed: {lap}")
        return lap

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self, patience: float, *, ask: bool = False) -> object:
        try:
            if ask:
                self._pipe.send(None)
            if self._pipe.poll(patience):
                answer: object = self._pipe.recv()
                return answer
        except (EOFError, ConnectionError) as error:
            self._process.join(STOP_S)
            raise ProcessError(
                f"{self.name}: its process ended (exit code {self._process.exitcode})"
            ) from error
        raise ProcessError(f"{self.name}: no answer within {patience:g} s")


@contextmanager
def line_up(course: Course, names: Sequence[str], threads: int) -> Iterator[Iterator[Racer]]:
    """Start contestants one after the other, as the iterator is drawn; all of them live until the end."""
    with ExitStack() as stack:

        def started() -> Iterator[Racer]:
            for name in names:
                racer = Racer(course, name, threads)
                stack.callback(racer.close)
                yield racer

        yield started()


def _serve(pipe: Connection, course: Course, name: str, threads: int) -> None:
    """The process: answer every message with a lap, until the pipe is closed."""
    try:
        import_packages(name)
        begin = perf_counter()
        racer = contestant(course, name, threads)
        load_s = perf_counter() - begin
        first, outcome = racer.lap()
        pipe.send(Ready(load_s, first, outcome, _resident_mib(), racer.vae_inside))
        while True:
            pipe.recv()
            pipe.send(racer.lap()[0])
    except (EOFError, ConnectionError):
        return
    except Exception as error:  # noqa: BLE001 - whatever a peer's library raises is told in one line
        pipe.send(f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process that starts meanwhile ignores Ctrl-C: it belongs to the race, which closes the pipe."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
