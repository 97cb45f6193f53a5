"""A CAN bus without CAN: python-can interface `gigaedge-sim`, in one process or between several.

A simulated arm serves a channel with `SimBusServer`; everybody else opens
`can.Bus(interface="gigaedge-sim", channel=NAME)` and gets a `SimBus`. Opening a channel that no arm serves
fails, as opening a CAN interface that does not exist does.

The wire is an AF_UNIX SOCK_SEQPACKET socket in Linux' abstract namespace: nothing on disk, gone with the
process that served it. A packet is a time stamp and any number of frames, so that a server that sends once
in 5 ms costs a few hundred system calls a second and not thousands. Queues are the kernel's socket buffers:
about 0.3 s of commands to the arm, after which `send` raises, and about 0.8 s of feedback to a client, after
which frames to this client are lost (as in a receive queue that nobody reads).

Who hears a frame: the arm, and every other client, unless the sender opened its bus with
`local_loopback=False` (piper_sdk does): then the arm only. Nobody hears himself.

Not simulated: arbitration, bit timing, error frames, acknowledge, CAN FD. The abstract namespace has no
permissions: any local user may open a channel.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import can

INTERFACE: Final = "gigaedge-sim"
"""The interface name under which python-can finds `SimBus` (entry point group `can.interface`)."""

STAMP: Final = struct.Struct(">d")
"""Head of a packet to a client: when its last frame crossed the wire, s since the epoch (as socketcan)."""

FRAME: Final = struct.Struct(">IB3x8s")
"""One frame: identifier with the flags below, length, eight data bytes."""

FRAME_TIME: Final = 125e-6
"""s; what a frame of eight bytes takes at 1 Mbit/s, stuffing included."""

_EXTENDED: Final = 0x80000000
_REMOTE: Final = 0x40000000
_ERROR: Final = 0x20000000
_ID_MASK: Final = 0x1FFFFFFF

_PACKET_LIMIT: Final = 1 << 16
_ADDRESS_LIMIT: Final = 107
"""Bytes of a socket name in the abstract namespace (sun_path less its leading zero)."""


def _address(channel: str) -> bytes:
    name = f"\0{INTERFACE}.{channel}".encode()
    if len(name) > _ADDRESS_LIMIT:
        raise can.CanInitializationError(f"channel {channel!r} is too long for interface {INTERFACE}")
    return name


class SimBus(can.BusABC):  # type: ignore[misc]  # python-can is optional, so its types are not followed
    """A client of a simulated arm's bus. `recv` from one thread, `send` from one thread."""

    def __init__(
        self,
        channel: str,
        can_filters: Any = None,
        receive_own_messages: bool = False,
        local_loopback: bool = True,
        **kwargs: object,
    ) -> None:
        """Open a channel.

        Other arguments, such as the `bitrate` that piper_sdk passes, mean nothing here and are taken.
        Raises can.CanInitializationError: no simulated arm serves the channel, or `receive_own_messages`.
        """
        if receive_own_messages:
            raise can.CanInitializationError(f"{INTERFACE} has no echo; open it without receive_own_messages")
        self.channel_info = f"{INTERFACE} channel {channel}"
        self._channel = str(channel)
        self._accepted: dict[int, bool] = {}
        self._pending: deque[tuple[float, int, int, bytes]] = deque()
        self._hung_up = threading.Event()
        self._closing = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.setblocking(False)
            self._socket.connect(_address(self._channel))
            self._socket.send(b"\x01" if local_loopback else b"\x00")
        except OSError as error:
            self._socket.close()
            raise can.CanInitializationError(
                f"no simulated arm serves channel {channel!r} of interface {INTERFACE}; start it first"
            ) from error
        except can.CanInitializationError:
            self._socket.close()
            raise
        self._readable = select.poll()
        self._readable.register(self._socket, select.POLLIN)
        super().__init__(channel, can_filters=can_filters, **kwargs)

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Hand a frame to the bus; wait up to `timeout` s for room (None: not at all, as socketcan).

        Raises can.CanOperationError: the queue is full, the arm is gone, or the bus was shut down.
        """
        flags = (
            (_EXTENDED if msg.is_extended_id else 0)
            | (_REMOTE if msg.is_remote_frame else 0)
            | (_ERROR if msg.is_error_frame else 0)
        )
        if msg.is_fd or msg.dlc > 8:
            raise can.CanOperationError(f"{self.channel_info}: classic CAN only, at most 8 bytes")
        packet = FRAME.pack(msg.arbitration_id | flags, msg.dlc, bytes(msg.data))
        try:
            self._socket.send(packet)
        except BlockingIOError as error:
            if timeout and self._wait_for_room(timeout):
                return self.send(msg)
            raise can.CanOperationError(f"{self.channel_info}: transmit queue full", error.errno) from error
        except OSError as error:
            raise can.CanOperationError(f"{self.channel_info}: the arm is gone", error.errno) from error

    def shutdown(self) -> None:
        """Close the bus, waking a `recv` in another thread; may be called more than once."""
        if self._is_shutdown:
            return
        super().shutdown()
        self._closing.set()
        self._hung_up.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        if not self._pending:
            self._fill(timeout)
        if not self._pending:
            return None, False
        stamp, identifier, length, data = self._pending.popleft()
        message = can.Message(
            timestamp=stamp,
            arbitration_id=identifier & _ID_MASK,
            is_extended_id=bool(identifier & _EXTENDED),
            is_remote_frame=bool(identifier & _REMOTE),
            is_error_frame=bool(identifier & _ERROR),
            dlc=length,
            data=None if identifier & _REMOTE else data[:length],
            channel=self._channel,
        )
        return message, True

    def _fill(self, timeout: float | None) -> None:
        """Queue the frames of the next packet that pass the filters, waiting up to `timeout` s for it.

        When the arm goes, the first call raises and later ones only wait, as on an interface whose adapter
        was pulled: a reader that retries does not spin.
        """
        if self._hung_up.is_set():
            if self._closing.wait(timeout):
                raise can.CanOperationError(f"{self.channel_info} is shut down")
            return
        try:
            if not self._readable.poll(None if timeout is None else timeout * 1000):
                return
            packet = self._socket.recv(_PACKET_LIMIT)
        except BlockingIOError:
            return
        except OSError as error:
            self._hung_up.set()
            raise can.CanOperationError(f"{self.channel_info}: {error.strerror}", error.errno) from error
        if not packet:
            self._hung_up.set()
            raise can.CanOperationError(f"{self.channel_info}: the arm is gone")
        (stamp,) = STAMP.unpack_from(packet)
        body = memoryview(packet)[STAMP.size :]
        stamp -= FRAME_TIME * (len(body) // FRAME.size)
        for identifier, length, data in FRAME.iter_unpack(body):
            stamp += FRAME_TIME
            if self._filters is None or self._accepts(identifier):
                self._pending.append((stamp, identifier, length, data))

    def _apply_filters(self, filters: Any) -> None:
        self._accepted = {}

    def _accepts(self, identifier: int) -> bool:
        """Whether a frame passes the filters; decided once for each identifier."""
        accepted = self._accepted.get(identifier)
        if accepted is None:
            frame = can.Message(
                arbitration_id=identifier & _ID_MASK, is_extended_id=bool(identifier & _EXTENDED)
            )
            accepted = self._accepted[identifier] = bool(self._matches_filters(frame))
        return accepted

    def _wait_for_room(self, timeout: float) -> bool:
        writable = select.poll()
        writable.register(self._socket, select.POLLOUT)
        return bool(writable.poll(timeout * 1000))


class SimBusServer:
    """The arm's end of a channel, for one thread; it never blocks."""

    def __init__(self, channel: str) -> None:
        """Serve a channel. Raises can.CanInitializationError when it is served already."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._listener.setblocking(False)
            self._listener.bind(_address(channel))
            self._listener.listen(16)
        except OSError as error:
            self._listener.close()
            raise can.CanInitializationError(
                f"channel {channel!r} of interface {INTERFACE} is served already; choose another"
            ) from error
        except can.CanInitializationError:
            self._listener.close()
            raise
        self._clients: dict[int, socket.socket] = {}
        self._loopback: dict[int, bool] = {}
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    def receive(self) -> list[tuple[int, bytes]]:
        """Take what arrived: (identifier, data) of every standard data frame of eight bytes, in order.

        Accepts new clients, forgets those that left, and passes frames on to the other clients.
        """
        frames: list[tuple[int, bytes]] = []
        for number, _ in self._poll.poll(0):
            if number == self._listener.fileno():
                self._accept()
                continue
            for packet in self._drain(number):
                identifier, length, data = FRAME.unpack(packet)
                if identifier <= 0x7FF and length == 8:
                    frames.append((identifier, data))
                if self._loopback[number]:
                    self._deliver(STAMP.pack(time.time()) + packet, (n for n in self._clients if n != number))
        return frames

    def broadcast(self, frames: bytes | bytearray) -> None:
        """Send frames (`FRAME` records, one after the other) to every client, stamped now.

        A client whose queue is full loses them.
        """
        self._deliver(STAMP.pack(time.time()) + frames, self._clients)

    def close(self) -> None:
        """Stop serving; clients see the arm go."""
        for connection in self._clients.values():
            connection.close()
        self._clients.clear()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                number = connection.fileno()
                self._clients[number] = connection
                self._loopback[number] = True
                self._poll.register(connection, select.POLLIN)

    def _drain(self, number: int) -> list[bytes]:
        """Packets of one frame each that a client has sent; its one-byte greeting is taken in here."""
        connection = self._clients[number]
        packets: list[bytes] = []
        try:
            while packet := connection.recv(_PACKET_LIMIT):
                if len(packet) == FRAME.size:
                    packets.append(packet)
                else:
                    self._loopback[number] = packet != b"\x00"
        except BlockingIOError:
            return packets
        except ConnectionError:
            pass
        self._poll.unregister(connection)
        del self._clients[number]
        connection.close()
        return packets

    def _deliver(self, packet: bytes, numbers: Iterable[int]) -> None:
        for number in numbers:
            # A full queue loses the packet; a client that has left is noticed by the next `receive`.
            with contextlib.suppress(BlockingIOError, ConnectionError):
                self._clients[number].send(packet)
