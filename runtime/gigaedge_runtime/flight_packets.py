"""How records travel from the loops to the recorder: packed packets on a socket that never makes a sender wait.

A packet that the socket does not take at once is dropped and counted. Every packet begins with a `HEAD`; those
that come with every tick are fixed numpy layouts, so that a tick fills them without allocating. Pictures go as an
anonymous file whose descriptor rides along: a packet has no size limit then, and nothing is copied through the
socket. Both ends are of one run and one version. Times are s on CLOCK_MONOTONIC.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import ARM_DIM, ROBOT_DIM, SIDES

SENDERS = ("supervisor", "control", "policy")
"""Who sends, each on a socket of its own."""

BUFFER = 8 << 20
"""Bytes of the socket's buffer that are asked for: a minute of ticks. Without privileges Linux grants about one
second's, or what `net.core.wmem_max` says; the recorder's own queue comes after it."""

MAX_PACKET = 1 << 16
MAX_TEXT = 2000
"""Bytes of a text; longer ones are cut."""

HEAD = struct.Struct("<IIqd")
"""Kind, a small number, a large number, time: what the numbers are is said at each `Kind`."""

_SO_SNDBUFFORCE = 32
_FINAL_WAIT = 0.5
"""s; so long the very last packet may wait for room, when no loop runs any more."""


class Kind(IntEnum):
    """What a packet holds after its head."""

    TICK = 1
    """`TICK`: packets dropped so far, number of the tick, its time."""
    READ = 2
    """`READ`: an arm was read once more within a tick. Index of the side, number of the tick, time of the clock."""
    TEXT = 3
    """A text that ticks refer to: its number, 0, time."""
    EVENT = 4
    """A line for people: `Level`, 0, time."""
    TAKEN = 5
    """`ChunkMailbox.layout`, as control took it: 0, the chunk's number, time."""
    PLANNED = 6
    """A chunk as the policy made it, in the file that rides along: packets dropped so far, its number, time."""
    END = 7
    """The sender ends in order: packets dropped, ticks or chunks there were, time."""


class Level(IntEnum):
    """Weight of an event, as Foxglove counts it."""

    INFO = 2
    WARNING = 3
    ERROR = 4


class Reading(IntEnum):
    """What reading an arm gave."""

    NONE = 0
    STATE = 1
    ERROR = 2


class Sending(IntEnum):
    """What became of a command."""

    NONE = 0
    """None was given."""
    TAKEN = 1
    REFUSED = 2
    ERROR = 3


_HEAD_FIELDS = [("kind", "<u4"), ("small", "<u4"), ("large", "<i8"), ("time", "<f8")]
_ARM_FIELDS = [
    ("reading", "<i4"),
    ("enabled", "<i4"),
    ("text", "<i4"),
    ("reads", "<i2"),
    ("code", "<i2"),
    ("stamp", "<f8"),
    ("values", "<f8", (ARM_DIM,)),
]
_SENT_FIELDS = [("sending", "<i4"), ("send_text", "<i4"), ("sent", "<f8", (ARM_DIM,))]

READ = np.dtype([*_HEAD_FIELDS, ("arm", np.dtype(_ARM_FIELDS))])
"""One reading of one arm. `text` numbers its fault or error, 0 is none."""

TICK = np.dtype(
    [
        *_HEAD_FIELDS,
        ("done", "<f8"),
        ("order", "<i4"),
        ("policy_alive", "<i4"),
        ("supervisor_alive", "<i4"),
        ("stop_asked", "<i4"),
        ("state", "<i4"),
        ("fault", "<i4"),
        ("chunk", "<i8"),
        ("taken", "<i8"),
        ("has_target", "<i8"),
        ("target", "<f8", (ROBOT_DIM,)),
        ("arms", np.dtype([*_ARM_FIELDS, *_SENT_FIELDS]), (len(SIDES),)),
    ]
)
"""All that one tick of control took in and gave out; `done` is when it was over."""


@dataclass(frozen=True)
class Packet:
    """One packet as it arrived."""

    kind: Kind
    small: int
    large: int
    time: float
    data: bytes
    """Without the head for all but TICK and READ, whose layouts hold it."""
    file: bytes = b""
    """Content of the file that rode along."""

    @property
    def text(self) -> str:
        """Of TEXT and EVENT."""
        return self.data.decode(errors="replace")


def make_socket() -> tuple[int, int]:
    """Descriptors of the recorder's and of a sender's end, close-on-exec; the buffer as large as permitted."""
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sender.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER)
    except PermissionError:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return receiver.detach(), sender.detach()


class Sender:
    """A sender's end. `send` and its sisters return at once and never raise; False is a drop."""

    def __init__(self, fd: int) -> None:
        """Take over `fd`, of `make_socket`."""
        self._socket = socket.socket(fileno=fd)
        self.dropped = 0
        """Packets that were not taken."""

    def send(self, packet: bytes | memoryview) -> bool:
        """Send one packet."""
        try:
            self._socket.send(packet, socket.MSG_DONTWAIT)
        except OSError:
            self.dropped += 1
            return False
        return True

    def send_text(self, kind: Kind, number: int, time: float, text: str) -> bool:
        """Send a TEXT or EVENT."""
        return self.send(HEAD.pack(kind, number, 0, time) + text.encode(errors="replace")[:MAX_TEXT])

    def send_taken(self, number: int, time: float, record: NDArray[np.void]) -> bool:
        """Send a chunk as it lay in the mailbox, shape (1,)."""
        return self.send(HEAD.pack(Kind.TAKEN, 0, number, time) + record.tobytes())

    def send_file(self, number: int, time: float, content: bytes) -> bool:
        """Send a PLANNED chunk."""
        head = HEAD.pack(Kind.PLANNED, self.dropped, number, time)
        try:
            fd = os.memfd_create("gigaedge-record", os.MFD_CLOEXEC)
        except OSError:
            self.dropped += 1
            return False
        try:
            os.write(fd, content)
            # Not socket.send_fds, which forgets its flags and would wait.
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))
            self._socket.sendmsg([head], [rights], socket.MSG_DONTWAIT)
        except OSError:
            self.dropped += 1
            return False
        finally:
            os.close(fd)
        return True

    def end(self, number: int, time: float) -> None:
        """Say how many ticks or chunks there were, and close. May wait half a second: call it after the loop."""
        try:
            self._socket.settimeout(_FINAL_WAIT)
            self._socket.send(HEAD.pack(Kind.END, self.dropped, number, time))
        except OSError:
            pass
        finally:
            self._socket.close()


class Receiver:
    """The recorder's end of one sender."""

    def __init__(self, fd: int) -> None:
        """Take over `fd`, of `make_socket`."""
        self._socket = socket.socket(fileno=fd)

    def fileno(self) -> int:
        """For polling."""
        return self._socket.fileno()

    def receive(self) -> Packet | None:
        """Wait for a packet; None when the sender has closed or was killed."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, MAX_PACKET, 1)
        except ConnectionError:
            return None
        if not data:
            return None
        file = b"".join(_read_all(fd) for fd in fds)
        kind, small, large, time = HEAD.unpack_from(data)
        whole = kind in (Kind.TICK, Kind.READ)
        return Packet(Kind(kind), small, large, time, data if whole else data[HEAD.size :], file)

    def close(self) -> None:
        """Close this end: senders find nobody there and count what they would have sent."""
        self._socket.close()


def _read_all(fd: int) -> bytes:
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)
