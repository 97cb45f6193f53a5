"""The simulated CAN bus, driven as python-can users drive any bus."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator

import can
import pytest

from gigaedge_runtime.devices.sim_bus import FRAME, FRAME_TIME, INTERFACE, SimBus, SimBusServer

pytestmark = pytest.mark.realtime

_numbers = itertools.count()


@pytest.fixture
def channel() -> str:
    return f"bus-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def server(channel: str) -> Iterator[SimBusServer]:
    server = SimBusServer(channel)
    yield server
    server.close()


@pytest.fixture
def connect(server: SimBusServer, channel: str) -> Iterator[Callable[..., can.BusABC]]:
    buses: list[can.BusABC] = []

    def connect(**options: object) -> can.BusABC:
        bus = can.Bus(interface=INTERFACE, channel=channel, **options)
        buses.append(bus)
        server.receive()  # takes the new client in
        return bus

    yield connect
    for bus in buses:
        bus.shutdown()


def frame(identifier: int, data: bytes = bytes(8)) -> bytes:
    return FRAME.pack(identifier, len(data), data)


def test_python_can_finds_the_interface_by_name(connect: Callable[..., can.BusABC]) -> None:
    assert isinstance(connect(), SimBus)


def test_a_channel_that_no_arm_serves_does_not_open(channel: str) -> None:
    with pytest.raises(can.CanInitializationError, match=f"no simulated arm serves channel '{channel}'"):
        can.Bus(interface=INTERFACE, channel=channel)


def test_a_channel_is_served_once(server: SimBusServer, channel: str) -> None:
    with pytest.raises(can.CanInitializationError, match="served already; choose another"):
        SimBusServer(channel)


def test_a_channel_can_be_served_again_after_close(channel: str) -> None:
    SimBusServer(channel).close()
    SimBusServer(channel).close()


@pytest.mark.parametrize("open_it", [SimBus, SimBusServer])
def test_a_channel_name_has_a_limit(open_it: type) -> None:
    with pytest.raises(can.CanInitializationError, match="too long"):
        open_it("x" * 200)


def test_own_messages_are_refused(server: SimBusServer, channel: str) -> None:
    with pytest.raises(can.CanInitializationError, match="has no echo"):
        can.Bus(interface=INTERFACE, channel=channel, receive_own_messages=True)


def test_the_arm_hears_clients_in_order(server: SimBusServer, connect: Callable[..., can.BusABC]) -> None:
    bus = connect()
    for number in range(20):
        bus.send(can.Message(arbitration_id=0x155, data=bytes([number] * 8), is_extended_id=False))
    assert server.receive() == [(0x155, bytes([number] * 8)) for number in range(20)]


def test_a_packet_arrives_as_frames_with_a_stamp_each(
    server: SimBusServer, connect: Callable[..., can.BusABC]
) -> None:
    bus = connect()
    before = time.time()
    server.broadcast(frame(0x2A5, b"12345678") + frame(0x2A6, b"abc"))
    first, second = bus.recv(1), bus.recv(1)
    assert (first.arbitration_id, bytes(first.data), first.dlc) == (0x2A5, b"12345678", 8)
    assert (second.arbitration_id, bytes(second.data), second.dlc) == (0x2A6, b"abc", 3)
    assert not first.is_extended_id
    assert not first.is_error_frame
    assert second.timestamp - first.timestamp == pytest.approx(FRAME_TIME, abs=1e-6)
    assert before <= second.timestamp <= time.time()


def test_nobody_hears_himself_but_others_do(connect: Callable[..., can.BusABC], server: SimBusServer) -> None:
    sender, listener = connect(), connect()
    sender.send(can.Message(arbitration_id=0x12345, is_extended_id=True, data=b"hi"))
    sender.send(can.Message(arbitration_id=0x20, is_extended_id=False, is_remote_frame=True, dlc=4))
    sender.send(can.Message(arbitration_id=0x40, is_extended_id=False, is_error_frame=True, data=bytes(8)))
    server.receive()
    extended, remote, error = (listener.recv(1) for _ in range(3))
    assert (extended.arbitration_id, extended.is_extended_id, bytes(extended.data)) == (0x12345, True, b"hi")
    assert (remote.arbitration_id, remote.is_remote_frame, remote.dlc) == (0x20, True, 4)
    assert (error.arbitration_id, error.is_error_frame) == (0x40, True)
    assert sender.recv(0) is None


def test_without_loopback_only_the_arm_hears(
    server: SimBusServer, connect: Callable[..., can.BusABC]
) -> None:
    sender, listener = connect(local_loopback=False), connect()
    sender.send(can.Message(arbitration_id=0x151, data=bytes(8), is_extended_id=False))
    assert [identifier for identifier, _ in server.receive()] == [0x151]
    assert listener.recv(0) is None


def test_what_is_no_standard_frame_of_eight_bytes_does_not_reach_the_arm(
    server: SimBusServer, connect: Callable[..., can.BusABC]
) -> None:
    bus = connect()
    bus.send(can.Message(arbitration_id=0x155, data=bytes(3), is_extended_id=False))
    bus.send(can.Message(arbitration_id=0x155, data=bytes(8), is_extended_id=True))
    assert server.receive() == []


def test_recv_waits_no_longer_than_its_timeout(connect: Callable[..., can.BusABC]) -> None:
    bus = connect()
    start = time.monotonic()
    assert bus.recv(0.05) is None
    assert 0.045 <= time.monotonic() - start < 1.0


def test_filters_pass_what_they_name(server: SimBusServer, connect: Callable[..., can.BusABC]) -> None:
    bus = connect(can_filters=[{"can_id": 0x2A5, "can_mask": 0x7FF, "extended": False}])
    server.broadcast(frame(0x2A4) + frame(0x2A5) + frame(0x2A6))
    assert bus.recv(1).arbitration_id == 0x2A5
    assert bus.recv(0) is None
    bus.set_filters(None)
    server.broadcast(frame(0x2A4))
    assert bus.recv(1).arbitration_id == 0x2A4


def test_shutdown_wakes_a_waiting_reader(connect: Callable[..., can.BusABC]) -> None:
    bus = connect()
    outcome: list[str] = []

    def read() -> None:
        try:
            bus.recv(30)
        except can.CanOperationError as error:
            outcome.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)
    bus.shutdown()
    reader.join(5)
    assert not reader.is_alive()
    assert len(outcome) == 1
    bus.shutdown()
    with pytest.raises(can.CanOperationError):
        bus.send(can.Message(arbitration_id=1, is_extended_id=False))
    with pytest.raises(can.CanOperationError, match="is shut down"):
        bus.recv(0.01)


def test_an_arm_that_goes_is_an_error_once_and_then_silence(
    server: SimBusServer, connect: Callable[..., can.BusABC]
) -> None:
    bus = connect()
    server.close()
    with pytest.raises(can.CanOperationError, match="the arm is gone"):
        bus.send(can.Message(arbitration_id=1, is_extended_id=False))
    with pytest.raises(can.CanOperationError, match="the arm is gone"):
        bus.recv(1)
    start = time.monotonic()
    assert bus.recv(0.05) is None
    assert time.monotonic() - start >= 0.045


def test_a_full_queue_refuses_frames_until_the_arm_reads(
    server: SimBusServer, connect: Callable[..., can.BusABC]
) -> None:
    bus = connect()
    message = can.Message(arbitration_id=0x155, data=bytes(8), is_extended_id=False)
    for _ in range(50):
        bus.send(message)

    def send_many() -> None:
        for _ in range(5_000):
            bus.send(message)

    with pytest.raises(can.CanOperationError, match="transmit queue full"):
        send_many()
    with pytest.raises(can.CanOperationError, match="transmit queue full"):
        bus.send(message, timeout=0.02)
    reader = threading.Timer(0.05, server.receive)
    reader.start()
    bus.send(message, timeout=5)
    reader.join()


def test_a_client_that_never_reads_harms_nobody(
    server: SimBusServer, connect: Callable[..., can.BusABC]
) -> None:
    connect()
    reader = connect()
    for number in range(3_000):
        server.broadcast(frame(0x2A5, number.to_bytes(8, "big")))
        assert int.from_bytes(reader.recv(1).data, "big") == number


def test_a_client_that_leaves_is_forgotten(server: SimBusServer, connect: Callable[..., can.BusABC]) -> None:
    bus = connect()
    assert server.clients == 1
    bus.send(can.Message(arbitration_id=0x151, data=bytes(8), is_extended_id=False))
    bus.shutdown()
    assert len(server.receive()) == 1
    assert server.clients == 0
    server.broadcast(frame(0x2A5))


@pytest.mark.parametrize(
    "message",
    [
        can.Message(arbitration_id=1, is_extended_id=False, is_fd=True, data=bytes(8)),
        can.Message(arbitration_id=1, is_extended_id=False, is_fd=True, data=bytes(12), dlc=12),
    ],
)
def test_only_classic_can(connect: Callable[..., can.BusABC], message: can.Message) -> None:
    with pytest.raises(can.CanOperationError, match="classic CAN only"):
        connect().send(message)
