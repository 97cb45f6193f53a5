"""Packets: what they carry, and that a sender never waits."""

from __future__ import annotations

import os
import socket
import time

import numpy as np
import pytest

from gigaedge_runtime import flight_packets
from gigaedge_runtime.flight_packets import (
    HEAD,
    MAX_PACKET,
    MAX_TEXT,
    TICK,
    Kind,
    Level,
    Receiver,
    Sender,
    make_socket,
)
from gigaedge_runtime.mailbox import ChunkMailbox

pytestmark = pytest.mark.realtime


def pair() -> tuple[Receiver, Sender]:
    receiver, sender = make_socket()
    return Receiver(receiver), Sender(sender)


def test_what_is_sent_arrives_in_order_and_whole() -> None:
    receiver, sender = pair()
    picture = np.random.default_rng(0).integers(0, 255, 400_000, np.uint8).tobytes()
    assert sender.send_text(Kind.EVENT, Level.WARNING, 2.5, "größer")
    assert sender.send_file(7, 3.5, picture)
    chunk = np.zeros(1, ChunkMailbox.layout)
    chunk["id"], chunk["observed"], chunk["actions"] = 9, 1 / 3, np.nan
    assert sender.send_taken(9, 4.5, chunk)
    sender.end(11, 5.5)
    event, planned, taken, end = (receiver.receive() for _ in range(4))
    assert event is not None
    assert (event.kind, event.small, event.time, event.text) == (Kind.EVENT, Level.WARNING, 2.5, "größer")
    assert planned is not None
    assert (planned.kind, planned.large, planned.file) == (Kind.PLANNED, 7, picture)
    assert taken is not None
    assert taken.data == chunk.tobytes()
    assert end is not None
    assert (end.kind, end.small, end.large) == (Kind.END, 0, 11)
    assert receiver.receive() is None, "the sender has closed"
    receiver.close()


def test_every_packet_fits() -> None:
    assert HEAD.size + max(TICK.itemsize, ChunkMailbox.layout.itemsize, MAX_TEXT) < MAX_PACKET
    receiver, sender = pair()
    sender.send_text(Kind.EVENT, Level.INFO, 0.0, "x" * 10 * MAX_TEXT)
    packet = receiver.receive()
    assert packet is not None
    assert len(packet.text) == MAX_TEXT
    sender.end(0, 0.0)
    receiver.close()


def test_nobody_reads_and_the_sender_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight_packets, "BUFFER", 1 << 16)
    receiver, sender = pair()
    record = np.zeros(1, TICK)
    record["kind"] = Kind.TICK
    tick = record.view(np.uint8).data
    sent, begin = 0, time.monotonic()
    while sender.send(tick):
        sent += 1
    for _ in range(10):
        assert not sender.send(tick)
        assert not sender.send_file(1, 0.0, b"x")
    assert time.monotonic() - begin < 10, "it fills a buffer, and waits for nothing"
    assert sender.dropped == 21
    assert 50 <= sent <= 1000, "bounded"
    assert receiver.receive() is not None
    assert sender.send(tick), "there is room again"
    receiver.close()
    sender.end(0, 0.0)


def test_a_recorder_that_is_gone_costs_drops_only() -> None:
    receiver, sender = pair()
    receiver.close()
    assert not sender.send(b"x" * HEAD.size)
    assert not sender.send_text(Kind.EVENT, Level.INFO, 0.0, "anybody?")
    assert not sender.send_file(1, 0.0, b"x")
    assert sender.dropped == 3
    sender.end(3, 0.0)


def test_a_sender_without_descriptors_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver, sender = pair()

    def none_left(name: str, flags: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", none_left)
    assert not sender.send_file(1, 0.0, b"x")
    assert sender.dropped == 1
    sender.end(1, 0.0)
    receiver.close()


def test_a_buffer_as_large_as_an_ordinary_user_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = socket.socket.setsockopt

    class Limited(socket.socket):
        def setsockopt(self, level: int, option: int, value: int) -> None:  # type: ignore[override]
            asked.append(option)
            if option == 32:
                raise PermissionError(1, "Operation not permitted")
            real(self, level, option, value)

    def socketpair(family: int, kind: int) -> tuple[socket.socket, socket.socket]:
        a, b = real_pair(family, kind)
        return Limited(fileno=a.detach()), Limited(fileno=b.detach())

    real_pair = socket.socketpair
    monkeypatch.setattr(socket, "socketpair", socketpair)
    for fd in make_socket():
        os.close(fd)
    assert asked == [32, socket.SO_SNDBUF]
