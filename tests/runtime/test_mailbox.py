"""Shared memory: what is written is read, torn or dead writes never are, nothing is left behind."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from gigaedge.errors import InputError, ObservationError, ProcessError
from gigaedge.robot import ROBOT_DIM
from gigaedge_runtime.mailbox import (
    MAX_ACTIONS,
    RING_LENGTH,
    Board,
    ControlStatus,
    Order,
    Phase,
    PlannerStatus,
)
from gigaedge_runtime.seqlock import Block
from gigaedge_runtime.states import Fault, FaultCode, State

pytestmark = pytest.mark.realtime

ACTIONS = np.arange(48 * ROBOT_DIM, dtype=np.float32).reshape(48, ROBOT_DIM) / 100


@pytest.fixture
def fd() -> Iterator[int]:
    fd = Board.create()
    yield fd
    os.close(fd)


@pytest.fixture
def pair(fd: int) -> tuple[Board, Board]:
    return Board(fd), Board(fd)


def test_a_new_board_is_empty(pair: tuple[Board, Board]) -> None:
    _, reader = pair
    assert reader.chunks.newest() is None
    assert reader.states.newest() is None
    assert reader.status.latest() is None
    assert reader.planner.latest() is None
    assert reader.order.latest() is Order.WAIT


def test_a_chunk_is_read_once_and_is_a_copy(pair: tuple[Board, Board]) -> None:
    writer, reader = pair
    writer.chunks.publish(3, 12.5, 30.0, ACTIONS)
    chunk = reader.chunks.newest()
    assert chunk is not None
    assert (chunk.id, chunk.observed, chunk.rate) == (3, 12.5, 30.0)
    assert chunk.actions.dtype == np.float32
    assert reader.chunks.newest() is None
    writer.chunks.publish(4, 13.5, 30.0, ACTIONS[:7] + 1)
    np.testing.assert_array_equal(chunk.actions, ACTIONS)
    newer = reader.chunks.newest()
    assert newer is not None
    np.testing.assert_array_equal(newer.actions, ACTIONS[:7] + 1)


def test_nan_is_passed_on(pair: tuple[Board, Board]) -> None:
    writer, reader = pair
    writer.chunks.publish(1, 0.0, 30.0, np.full((2, ROBOT_DIM), np.nan))
    chunk = reader.chunks.newest()
    assert chunk is not None
    assert np.isnan(chunk.actions).all()


@pytest.mark.parametrize("shape", [(0, ROBOT_DIM), (MAX_ACTIONS + 1, ROBOT_DIM), (48, 7), (ROBOT_DIM,)])
def test_refuses_a_chunk_of_another_shape(pair: tuple[Board, Board], shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"a chunk is \(1\.\.256, 14\) actions; got shape"):
        pair[0].chunks.publish(1, 0.0, 30.0, np.zeros(shape))


def test_status_orders_and_planner(pair: tuple[Board, Board]) -> None:
    writer, reader = pair
    status = ControlStatus(
        1.5, Phase.LOOPING, State.FAULT, Fault(FaultCode.ARM, "left arm: ü"), True, True, 4, 3, 2, 1, 9
    )
    writer.status.publish(status)
    assert reader.status.latest() == status
    writer.status.publish(replace(status, fault=None))
    assert reader.status.latest() == replace(status, fault=None)
    planner = PlannerStatus(2.5, Phase.READY, 7, 1, "x" * 500)
    writer.planner.publish(planner)
    assert reader.planner.latest() == replace(planner, reason="x" * 240)
    for order in Order:
        writer.order.give(order)
        assert reader.order.latest() is order


def test_a_state_between_two_is_interpolated(pair: tuple[Board, Board]) -> None:
    writer, reader = pair
    for k in range(3):
        writer.states.push(1.0 + 0.005 * k, np.full(ROBOT_DIM, 10.0 * k))
    newest = reader.states.newest()
    assert newest is not None
    assert newest[0] == 1.01
    for t, value in ((1.0, 0.0), (1.0025, 5.0), (1.005, 10.0), (1.01, 20.0)):
        np.testing.assert_allclose(reader.states.at(t, max_gap=0.05), value, atol=1e-9)


def test_a_state_outside_the_kept_time_is_refused(pair: tuple[Board, Board]) -> None:
    writer, reader = pair
    with pytest.raises(ObservationError, match="older than every measured state"):
        reader.states.at(0.0, max_gap=0.05)
    for k in range(RING_LENGTH + 10):
        writer.states.push(0.005 * k, np.full(ROBOT_DIM, float(k)))
    newest = 0.005 * (RING_LENGTH + 9)
    with pytest.raises(ObservationError, match=r"newest measured state is 2\.0 ms older than the image"):
        reader.states.at(newest + 0.002, max_gap=0.05)
    oldest = 0.005 * 10
    assert reader.states.at(oldest, max_gap=0.05)[0] == 10.0
    with pytest.raises(ObservationError, match="older than every measured state"):
        reader.states.at(oldest - 0.001, max_gap=0.05)


def test_a_gap_in_the_feedback_is_not_bridged(pair: tuple[Board, Board]) -> None:
    writer, reader = pair
    writer.states.push(1.0, np.zeros(ROBOT_DIM))
    writer.states.push(1.2, np.ones(ROBOT_DIM))
    with pytest.raises(ObservationError, match="silent for 200 ms around the image, more than 50 ms"):
        reader.states.at(1.1, max_gap=0.05)


def test_memory_of_another_layout_is_refused(fd: int) -> None:
    other = os.memfd_create("other")
    os.ftruncate(other, 4096)
    with pytest.raises(ProcessError, match="not of this version"):
        Board(other)
    os.close(other)
    memory = mmap.mmap(fd, 0)
    memory[:8] = b"\1" * 8
    with pytest.raises(ProcessError, match="another version"):
        Board(fd)
    memory.close()


def test_the_memory_cannot_shrink(fd: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 64)


def block_pair() -> tuple[Block, Block, mmap.mmap]:
    memory = mmap.mmap(-1, 4096)
    layout = np.dtype([("a", "<i8"), ("b", "<f8", (100,))])
    return Block(memory, 0, layout), Block(memory, 0, layout), memory


def test_a_half_written_record_is_never_read() -> None:
    writer, reader, memory = block_pair()
    writer.record["a"] = 1
    writer.write()
    whole = bytes(memory[:8])
    memory[:8] = (int.from_bytes(whole, "little") + 1).to_bytes(8, "little")
    assert not reader.read(), "odd: being written, perhaps by a process that was killed"
    memory[:8] = whole
    assert reader.read()
    memory[24:32] = b"\7" * 8
    assert not reader.read(), "the CRC does not match"


def test_stores_seen_in_another_order_are_not_believed() -> None:
    """The new sequence, with the old record and its old, fitting CRC."""
    writer, reader, memory = block_pair()
    writer.write()
    memory[:8] = (int.from_bytes(memory[:8], "little") + 2).to_bytes(8, "little")
    assert not reader.read()


def test_a_writer_that_follows_a_killed_one_continues() -> None:
    writer, reader, memory = block_pair()
    writer.write()
    memory[:8] = (3).to_bytes(8, "little")
    writer.record["a"] = 5
    writer.write()
    assert reader.read()
    assert reader.record["a"][0] == 5


def test_readers_never_see_a_torn_record() -> None:
    writer, reader, _ = block_pair()
    stop = threading.Event()

    def write() -> None:
        k = 0
        while not stop.is_set():
            k += 1
            writer.record["a"] = k
            writer.record["b"] = k
            writer.write()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if reader.read():
            assert (reader.record["b"] == reader.record["a"][0]).all()
            seen.add(int(reader.record["a"][0]))
    stop.set()
    thread.join()
    assert len(seen) > 10


CHILD = """
import sys, time
import numpy as np
from gigaedge_runtime.mailbox import Board
board = Board(int(sys.argv[1]))
k = 0
while True:
    k += 1
    board.chunks.publish(k, float(k), 30.0, np.full((48, 14), float(k), np.float32))
"""


def test_a_writer_in_another_process_may_be_killed_at_any_moment(fd: int) -> None:
    board = Board(fd)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(fd)], pass_fds=[fd])
    try:
        end, seen = time.monotonic() + 20, 0
        while seen < 200 and time.monotonic() < end:
            chunk = board.chunks.newest()
            if chunk is not None:
                assert (chunk.actions == chunk.id).all()
                seen += 1
        assert seen == 200
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    begin = time.monotonic()
    board.chunks.newest()
    assert time.monotonic() - begin < 0.2, "a reader never waits for a dead writer"
