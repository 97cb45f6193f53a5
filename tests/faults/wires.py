"""What joins the harness to the processes under test: datagrams both ways, and a wall clock that can be stepped.

Names come from the environment variable `GIGAEDGE_FAULTS`, which children inherit. Times are s on
CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "GIGAEDGE_FAULTS"
"""Environment variable: a folder of this run; its name is unique, too."""

_OFFSET = struct.Struct("d")
_PACKET = 1 << 16


@dataclass(frozen=True)
class Event:
    """Something that a process under test told."""

    who: str
    """`supervisor`, `control` or `policy`."""
    what: str
    time: float
    """When it happened, s on CLOCK_MONOTONIC."""
    values: Mapping[str, Any]


class Ear:
    """The harness's end: hears events, gives commands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.events: list[Event] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_address(folder, "harness"))

    def listen(self, timeout: float) -> bool:
        """Take in the next event; False when none came within `timeout` s."""
        self._socket.settimeout(max(timeout, 1e-3))
        try:
            told = json.loads(self._socket.recv(_PACKET))
        except TimeoutError:
            return False
        self.events.append(Event(told.pop("who"), told.pop("what"), told.pop("time"), told))
        return True

    def command(self, who: str, do: str, **values: Any) -> None:
        """Have a process under test do something to itself."""
        self._socket.sendto(json.dumps({"do": do, "values": values}).encode(), _address(self._folder, who))

    def close(self) -> None:
        self._socket.close()


class Mouth:
    """The end of a process under test."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._folder = Path(os.environ[VARIABLE])
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_address(self._folder, who))
        self._socket.setblocking(False)

    def tell(self, what: str, **values: Any) -> None:
        """Send an event, stamped now; never blocks."""
        told = {"who": self._who, "what": what, "time": time.monotonic(), **values}
        with contextlib.suppress(OSError):
            self._socket.sendto(json.dumps(told).encode(), _address(self._folder, "harness"))

    def obey(self, actions: Mapping[str, Callable[..., None]]) -> None:
        """Carry out commands from now on, in a thread; say `hello` to the harness."""

        def listen() -> None:
            waiting = self._socket.dup()
            waiting.setblocking(True)
            while True:
                order = json.loads(waiting.recv(_PACKET))
                actions[order["do"]](**order["values"])

        threading.Thread(target=listen, daemon=True).start()
        self.tell("hello", pid=os.getpid())


class WallClock:
    """`time.time` of every process of a run, moved by the same amount at the same moment."""

    def __init__(self, folder: Path) -> None:
        file = folder / "clock"
        if not file.exists():
            file.write_bytes(_OFFSET.pack(0.0))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), _OFFSET.size)
        self._real = time.time

    def install(self) -> None:
        """Put this clock in the place of `time.time` in this process."""
        time.time = lambda: self._real() + _OFFSET.unpack(self._shared)[0]

    def step(self, seconds: float) -> None:
        """Set the clock forward (back when negative), in every process that installed it."""
        self._shared[:] = _OFFSET.pack(seconds)

    def remove(self) -> None:
        """Give `time.time` back."""
        time.time = self._real
        self._shared.close()


def _address(folder: Path, who: str) -> bytes:
    return f"\0gigaedge-faults.{folder.name}.{who}".encode()
