"""A control loop on scripted arms in fake time whose every tick is recorded, without processes."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from mcap.reader import make_reader
from mcap.writer import Writer
from numpy.typing import NDArray

from gigaedge.errors import ArmError
from gigaedge.robot import CAMERA_ROLES, SIDES, Side
from gigaedge.site import Site
from gigaedge_runtime.control import ControlLoop
from gigaedge_runtime.devices import ArmState
from gigaedge_runtime.flight_packets import Level, Receiver, Sender, make_socket
from gigaedge_runtime.flight_taps import ControlTap
from gigaedge_runtime.flight_writer import FlightWriter
from gigaedge_runtime.mailbox import Board, Order
from gigaedge_runtime.states import State

PERIOD = 0.005
HOME = np.array([0.1, 1.0, -1.0, 0.1, 0.2, -0.1, 0.03])
START = np.tile(HOME, 2)


@dataclass
class ScriptedArm:
    """Reaches 30 % of what is left to its target per tick, a little differently each time it is read."""

    side: Side
    now: Callable[[], float]
    random: np.random.Generator
    pose: NDArray[np.float64] = field(default_factory=HOME.copy)
    target: NDArray[np.float64] | None = None
    enabled: bool = False
    fault: str | None = None
    read_error: str | None = None
    send_error: str | None = None
    refuse: int = 0
    sent_at: float = 0.0

    def connect(self) -> None:
        raise AssertionError("the loop gets connected arms")

    def close(self) -> None:
        raise AssertionError("the loop does not close arms")

    def enable(self) -> None:
        self.enabled = True
        self.target = self.pose.copy()

    def read(self) -> ArmState:
        if self.read_error is not None:
            raise ArmError(self.read_error)
        if self.target is not None:
            self.pose = self.pose + 0.3 * (self.target - self.pose)
        seen = self.pose + 1e-4 * self.random.standard_normal(7)
        stamp = self.now() - 0.002 * self.random.random()
        return ArmState(seen[:6], float(seen[6]), stamp, self.enabled, self.fault)

    def send(self, joints: NDArray[np.float64], gripper: float) -> bool:
        if self.send_error is not None:
            raise ArmError(self.send_error)
        if self.refuse:
            self.refuse -= 1
            return False
        self.target = np.r_[joints, gripper]
        self.sent_at = self.now()
        return True


def two_arms(**sections: object) -> Site:
    return Site.model_validate(
        {
            "bundle": Path("bundle"),
            "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
            "arms": [{"side": side, "driver": "sim"} for side in SIDES],
            **sections,
        }
    )


class FlightCell:
    """A context manager: inside, tick and script; after it, `path` is complete."""

    def __init__(self, path: Path, *, site: Site | None = None, dry_run: bool = False) -> None:
        self.path = path
        self.site = site or two_arms()
        self.now = 1000.0
        self.policy = self.supervisor = True
        self.signal = False
        self.chunks = 0
        self.writing = True
        self.commands: list[NDArray[np.float64]] = []
        self._fd = Board.create()
        self.board, board = Board(self._fd), Board(self._fd)
        random = np.random.default_rng(5)
        present = [side for side in SIDES if self.site.arm(side).driver != "absent"]
        self.arms = {side: ScriptedArm(side, self.clock, random) for side in present}
        receiver, sender = make_socket()
        self._receiver = Receiver(receiver)
        self.sender = Sender(sender)
        self.tap = ControlTap(self.sender, board, self.clock)
        self._file = path.open("wb")
        about = {
            "gigaedge": "test",
            "machine": "test",
            "started": "2026-01-01T00:00:00Z",
            "site": self.site.model_dump_json(by_alias=True),
            "dry_run": "true" if dry_run else "false",
        }
        self.writer = FlightWriter(self._file, about)
        self.loop: ControlLoop = self.tap.loop(
            self.site,
            self.arms,
            board,
            policy_alive=lambda: self.policy,
            supervisor_alive=lambda: self.supervisor,
            stop_asked=lambda: self.signal,
            dry_run=dry_run,
        )

    def __enter__(self) -> FlightCell:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tap.end()
        self.drain()
        self.writer.finish()
        self._file.close()
        self._receiver.close()
        os.close(self._fd)

    @property
    def state(self) -> State:
        return self.loop.machine.state

    def clock(self) -> float:
        """Time goes on a little whenever somebody looks at it."""
        self.now += 2e-6
        return self.now

    def publish(self, target: NDArray[np.floating] = START, *, actions: int = 48, slope: float = 0.0) -> None:
        """A chunk at `target` that leaves it with `slope` rad/s on every left joint."""
        self.chunks += 1
        chunk = np.tile(target, (actions, 1)).astype(np.float32)
        chunk[:, :6] += slope * np.arange(actions)[:, None] / 30
        self.board.chunks.publish(self.chunks, self.now - 0.05, 30.0, chunk)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / PERIOD)):
            self.now += PERIOD
            self.loop.tick(self.now)
            self.commands.append(self.loop.limiter.position.copy())
            if self.writing:
                self.drain()

    def start(self) -> None:
        """Armed and running."""
        self.run(0.05)
        self.board.order.give(Order.RUN)
        self.publish()
        self.run(0.1)
        assert self.state is State.RUNNING

    def drain(self) -> None:
        poll = select.poll()
        poll.register(self._receiver.fileno(), select.POLLIN)
        while poll.poll(0):
            packet = self._receiver.receive()
            if packet is None:
                break
            self.writer.take(packet, "control")

    def story(self) -> None:
        """Approach, running, hold, running again, a refused command, and an arm's own fault."""
        self.start()
        self.publish(START + 0.2, slope=0.3)
        self.run(1.0)
        self.publish(START + 0.2, slope=-0.3, actions=8)
        self.run(0.8)
        assert self.state is State.HOLD
        self.publish(START - 0.3)
        self.run(0.5)
        assert self.state is State.APPROACH
        self.arms["left"].refuse = 1
        self.publish(START - 0.3)
        self.run(1.5)
        assert self.state is State.RUNNING
        self.tap.event(Level.INFO, "nearly there")
        self.publish(START - 0.3, slope=0.5)
        self.run(0.3)
        self.arms["right"].fault = "emergency stop"
        self.run(0.4)
        assert self.state is State.FAULT


Change = Callable[[str, int, dict[str, Any]], dict[str, Any] | None]
"""From topic, sequence and content of a message to its new content, or None to leave it out."""


def rewrite(source: Path, target: Path, change: Change) -> Path:
    """Copy an MCAP file with other contents."""
    with source.open("rb") as file, target.open("wb") as output:
        reader, writer = make_reader(file), Writer(output)
        writer.start("test")
        metadata = {each.name: each.metadata for each in reader.iter_metadata()}
        writer.add_metadata("gigaedge-flight", metadata["gigaedge-flight"])
        channels: dict[str, int] = {}
        for schema, channel, message in reader.iter_messages(log_time_order=False):
            assert schema is not None
            if channel.topic not in channels:
                schema_id = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(channel.topic, "json", schema_id)
            content = change(channel.topic, message.sequence, json.loads(message.data))
            if content is not None:
                data = json.dumps(content).encode()
                channel_id = channels[channel.topic]
                writer.add_message(channel_id, message.log_time, data, message.publish_time, message.sequence)
        if "gigaedge-summary" in metadata:
            writer.add_metadata("gigaedge-summary", metadata["gigaedge-summary"])
        writer.finish()
    return target
