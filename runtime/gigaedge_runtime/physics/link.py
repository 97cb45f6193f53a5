"""How other processes see the running cell: they ask where everything was at a moment, and draw it themselves.

A Unix socket in Linux' abstract namespace, as the simulated CAN bus is: nothing on disk, gone with the process that
served it. A question is a time; the answer is the snapshot nearest to it.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import DeviceError

_QUESTION: Final = struct.Struct(">d")
_HEAD: Final = struct.Struct(">dddd")
_LARGEST: Final = 1 << 16
_PATIENCE: Final = 0.5
"""s; an answer that takes longer does not come."""


@dataclass(frozen=True)
class Snapshot:
    """Where everything was at one moment."""

    wall: float
    """s since 1970."""
    time: float
    """Simulated time, s."""
    lag: float
    """How far simulated time was behind the clock before the last step, s."""
    done: float
    """Simulated time at which the task was done, s; NaN: it is not."""
    configuration: NDArray[np.float64]
    """As `PhysicalWorld.place` takes it."""


class WorldServer:
    """Answers questions from a thread of its own."""

    def __init__(self, channel: str, at: Callable[[float], Snapshot]) -> None:
        """Serve `channel`; `at` gives the snapshot nearest to a time. Raises DeviceError: served already."""
        self._at = at
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._listener.bind(_address(channel))
        except OSError as error:
            self._listener.close()
            raise DeviceError(
                f"physical cell {channel}: served already ({error.strerror}); end the other run"
            ) from error
        self._listener.listen(16)
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="physical-cell-link", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more; whoever asks sees the cell go."""
        self._wake.close()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        clients: dict[int, socket.socket] = {}
        poll = select.poll()
        for watched in (self._listener, self._woken):
            poll.register(watched, select.POLLIN)
        while True:
            for number, _ in poll.poll():
                if number == self._woken.fileno():
                    for client in clients.values():
                        client.close()
                    self._woken.close()
                    return
                if number == self._listener.fileno():
                    connection, _ = self._listener.accept()
                    connection.setblocking(False)
                    clients[connection.fileno()] = connection
                    poll.register(connection, select.POLLIN)
                elif not self._answer(clients[number]):
                    poll.unregister(number)
                    clients.pop(number).close()

    def _answer(self, client: socket.socket) -> bool:
        """Whether the client is still there."""
        try:
            question = client.recv(_LARGEST)
            if len(question) != _QUESTION.size:
                return False
            seen = self._at(*_QUESTION.unpack(question))
            head = _HEAD.pack(seen.wall, seen.time, seen.lag, seen.done)
            client.send(head + seen.configuration.astype(np.float64).tobytes())
        except OSError:
            return False
        return True


class WorldLink:
    """Asks a running cell, as soon as there is one. One thread uses it."""

    def __init__(self, channel: str) -> None:
        """Connects when first asked."""
        self._channel = channel
        self._socket: socket.socket | None = None

    def at(self, wall: float) -> Snapshot | None:
        """The snapshot nearest to a moment, s since 1970; None: no cell answers."""
        try:
            if self._socket is None:
                self._connect()
            if self._socket is None:
                return None
            self._socket.send(_QUESTION.pack(wall))
            answer = self._socket.recv(_LARGEST)
        except OSError:
            answer = b""
        if len(answer) < _HEAD.size:
            self.close()
            return None
        seen, time, lag, done = _HEAD.unpack_from(answer)
        return Snapshot(seen, time, lag, done, np.frombuffer(answer, np.float64, offset=_HEAD.size))

    def close(self) -> None:
        """Hang up; the next question connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(_address(self._channel))
        except OSError:
            connection.close()
            return
        self._socket = connection


def world_channel(arm_channel: str) -> str:
    """Where the cell is asked whose left arm is on a simulated bus of this name."""
    return f"{arm_channel}.world"


def _address(channel: str) -> bytes:
    return f"\0gigaedge-physics.{channel}".encode()
