"""The supervisor's side of a recording: sockets, the recorder process, and what became of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gigaedge.clock import monotonic
from gigaedge.errors import InputError
from gigaedge.site import Site
from gigaedge_runtime.children import Child
from gigaedge_runtime.flight_packets import SENDERS, Kind, Level, Sender, make_socket
from gigaedge_runtime.report import RecordingReport

WAIT = 30.0
"""s; how long the recorder may take to write what it still holds."""

StartRecorder = Callable[[Site, tuple[int, ...], Path], Child]
"""From the site, the receiving ends and the file to the recorder."""


def partial_path(target: Path) -> Path:
    """Where a recording lies until it is complete: `run.partial.mcap` for `run.mcap`."""
    return target.with_name(f"{target.stem}.partial{target.suffix}")


class Recording:
    """One recording, from before the first child starts until after the last has ended."""

    def __init__(self, target: Path, site: Site) -> None:
        """`site` as a person wrote it. Raises InputError: `target` cannot be written."""
        self._target = target.absolute()
        self._site = site
        self._child: Child | None = None
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            partial_path(self._target).open("wb").close()
        except OSError as error:
            raise InputError(
                f"{target}: cannot be written ({error.strerror}); choose another --record"
            ) from error
        sockets = {name: make_socket() for name in SENDERS}
        self._receivers = tuple(receiver for receiver, _ in sockets.values())
        self._ends = {name: sender for name, (_, sender) in sockets.items()}
        self._sender = Sender(self._ends.pop("supervisor"))

    def start(self, start: StartRecorder) -> None:
        """Start the recorder."""
        self._child = start(self._site, self._receivers, self._target)
        self._drop_receivers()

    def ends(self, name: str) -> tuple[int, ...]:
        """What the child of that name is to inherit."""
        return (self._ends[name],)

    def hand_over(self, name: str) -> None:
        """The child of that name has its end: close it here, so that the recorder sees that child end."""
        os.close(self._ends.pop(name))

    def say(self, text: str, level: Level = Level.INFO) -> None:
        """A line for people."""
        self._sender.send_text(Kind.EVENT, level, monotonic(), text)

    def finish(self) -> RecordingReport:
        """Wait until everything is written, once the other children have ended."""
        self.close()
        partial = str(partial_path(self._target))
        if self._child is None:
            return RecordingReport(partial, stopped="recording stopped: the recorder did not start")
        self._child.join(WAIT)
        report = self._child.report()
        if report is not None:
            return RecordingReport(**report)
        return RecordingReport(partial, stopped=f"recording stopped: {self._child.error()}")

    def close(self) -> None:
        """Give back every descriptor; may be called more than once. The recorder ends when it has written."""
        self._sender.end(0, monotonic())
        for name in tuple(self._ends):
            self.hand_over(name)
        self._drop_receivers()

    def release(self) -> None:
        """After `close`: end the recorder, if it still runs."""
        self.close()
        if self._child is not None:
            self._child.close()

    def _drop_receivers(self) -> None:
        for fd in self._receivers:
            os.close(fd)
        self._receivers = ()
