"""Episodes on a real robot: every attempt is a run of its own, and a person at the terminal says what came of it.

    the person sets the scene, and confirms     only then anything moves
    run_site, with all its checks and faults    s: it succeeded, f: it failed, q: that was all; else the time limit
    the arms hold, powered                      as after every run, until the next confirmation

There is no other judge, and nothing is put back by itself. A key stops the attempt as Ctrl-C stops a run: the arms slow
down and hold. It is no emergency stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Protocol

from gigaedge.clock import Clock, monotonic
from gigaedge.errors import CheckFailedError, DeviceError
from gigaedge.site import Site
from gigaedge.trials import AttemptInfo, EpisodeInfo
from gigaedge_runtime.children import StopFlag
from gigaedge_runtime.report import RunReport
from gigaedge_runtime.run import run_site
from gigaedge_runtime.supervisor import Progress

SUCCESS: Final = "s"
FAILURE: Final = "f"
QUIT: Final = "q"
CONFIRM: Final = ("\n", "\r", " ")
"""Enter, or the space bar."""

_POLL: Final = 0.05
"""s."""


class Keys(Protocol):
    """Where a person presses keys."""

    def pressed(self, timeout: float) -> str | None:
        """The next key, small letter; None when none was pressed within `timeout`, s."""

    def forget(self) -> None:
        """Keys that were pressed before now count for nothing."""


class Run(Protocol):
    """`run.run_site`."""

    def __call__(
        self, site: Site, *, duration: float, on_progress: Callable[[Progress], None], stop: StopFlag
    ) -> RunReport:
        """Run a site until `duration`, s, is over or `stop` asks for its end."""


class Judge:
    """The person."""

    def __init__(
        self, keys: Keys, say: Callable[[str], None], *, run: Run = run_site, clock: Clock = monotonic
    ) -> None:
        """`say` shows a line; `run` is what an attempt is made with."""
        self._keys = keys
        self._say = say
        self._run = run
        self._clock = clock

    def episode(self, site: Site, title: str, *, attempts: int, limit: float) -> EpisodeInfo | None:
        """One scene, tried up to `attempts` times, `limit` s each; None: the person had enough, and it counts nothing.

        Raises ConfigError, BundleError and the like where no attempt could ever begin.
        """
        done: list[AttemptInfo] = []
        while len(done) < attempts and not (done and done[-1].outcome == "success"):
            which = f"{title}, attempt {len(done) + 1} of {attempts}"
            how = "set the scene" if not done else "reset what the next attempt needs"
            self._say(f"{which}: {how}. Enter: the arms will move. q: end the trials.")
            if not self._confirmed():
                return None
            try:
                ended = self._attempt(site, limit)
            except _NotBegunError as error:
                self._say(f"it did not begin, and counts nothing: {error}")
                continue
            if ended is None:
                return None
            done.append(ended)
            told = f"{ended.outcome} after {ended.seconds:.1f} s; the arms hold"
            self._say(f"{which}: {told}" + (f"; {ended.reason}" if ended.reason else ""))
        return EpisodeInfo(attempts=tuple(done))

    def _confirmed(self) -> bool:
        # A second press of the key before, or an impatient Enter, is no answer to this question.
        self._keys.forget()
        while True:
            key = self._keys.pressed(_POLL)
            if key == QUIT:
                return False
            if key in CONFIRM:
                return True

    def _attempt(self, site: Site, limit: float) -> AttemptInfo | None:
        """One run; None: the person ended it for good. Raises _NotBegunError: no arm was allowed to move."""
        stop, over, verdicts = StopFlag(), threading.Event(), list[str]()
        began: list[float] = []

        def listen() -> None:
            while not over.is_set():
                key = self._keys.pressed(_POLL)
                # What is pressed while bundle and cameras load says nothing of an attempt.
                if key == QUIT or (began and key in (SUCCESS, FAILURE)):
                    verdicts.append(key)
                    stop.ask()
                    return

        def begin(progress: Progress) -> None:
            if not began:
                began.append(self._clock())
                self._say("it runs. s: success. f: failure. q: end the trials.")

        listener = threading.Thread(target=listen, name="verdict", daemon=True)
        listener.start()
        try:
            report = self._run(site, duration=limit, on_progress=begin, stop=stop)
        except (DeviceError, CheckFailedError) as error:
            if not began:
                raise _NotBegunError(str(error)) from error
            return AttemptInfo(outcome="fault", seconds=self._clock() - began[0], reason=str(error))
        finally:
            over.set()
            listener.join()
        if verdicts == [SUCCESS]:
            return AttemptInfo(outcome="success", seconds=report.duration, chunks=report.chunks)
        if verdicts == [FAILURE]:
            return AttemptInfo(outcome="judged", seconds=report.duration, chunks=report.chunks)
        if verdicts == [QUIT] or report.ended_by == "signal":
            return None
        return AttemptInfo(outcome="time", seconds=report.duration, chunks=report.chunks)


class _NotBegunError(Exception):
    """A run ended before the order to move."""
