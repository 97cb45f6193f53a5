"""Who plays along in the host benchmarks: cameras of noise, a policy that infers nothing, a recorder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gigaedge.clock import monotonic
from gigaedge.robot import ROBOT_DIM, CameraRole
from gigaedge_runtime.devices import Frame, Trouble
from gigaedge_runtime.devices.threaded import owned
from gigaedge_runtime.flight_packets import Receiver, Sender, make_socket
from gigaedge_runtime.policy_process import Planner
from gigaedge_runtime.report import CameraHealth
from gigaedge_runtime.rtc import Guidance

CHUNK_ACTIONS, CHUNK_RATE = 48, 30.0
SWING = 0.2
"""rad; how far the chunks swing."""


def swing(begin: float) -> NDArray[np.float32]:
    """A chunk whose joints swing about the home of the example's arms, each at a pace of its own."""
    times = begin + np.arange(CHUNK_ACTIONS)[:, np.newaxis] / CHUNK_RATE
    home = np.tile([0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03], 2)
    swing = np.tile([1.0, 0.5, 0.5, 1.0, 0.5, 1.0, 0.0], 2) * SWING
    return (home + swing * np.sin(times * (0.5 + 0.1 * np.arange(ROBOT_DIM)))).astype(np.float32)


@contextmanager
def recorder() -> Iterator[Sender]:
    """A sender whose recorder, a process of its own, takes everything and keeps nothing."""
    theirs, ours = make_socket()
    child = os.fork()
    if child == 0:
        os.close(ours)
        receiver = Receiver(theirs)
        while receiver.receive() is not None:
            pass
        os._exit(0)
    os.close(theirs)
    sender = Sender(ours)
    try:
        yield sender
    finally:
        sender.end(0, monotonic())
        os.waitpid(child, 0)


class NoiseCamera:
    """Noise of a camera's size; a new frame whenever one is asked for by `expose`."""

    def __init__(self, role: CameraRole, seed: int) -> None:
        self.role = role
        self.odd_frames: dict[str, int] = {}
        self.trouble: Trouble | None = None
        self._image = np.random.default_rng(seed).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        self._number = 0
        self._frame: Frame | None = None

    def expose(self) -> None:
        """As a driver's thread does: the picture is copied out of its memory."""
        now = monotonic()
        self._number += 1
        self._frame = Frame(self.role, owned(self._image, "none"), self._number, now, now, "global_time")

    def latest(self) -> Frame | None:
        """The newest frame."""
        return self._frame

    def health(self) -> CameraHealth:
        """Nothing is counted."""
        return CameraHealth(self.role, "noise")

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class _Planned:
    actions: NDArray[np.float32]
    inputs: dict[str, NDArray[np.float32]]
    rate_hz: float = CHUNK_RATE
    timings: dict[str, float] = field(default_factory=dict)


def make_planner(around: Callable[[str, Any], Any]) -> Planner:
    """Bound buffers that are filled and read as a policy's are, timed by `around`; nothing is inferred."""
    width, height = 320, 384
    shapes = {
        "composite": np.zeros((height, width, 3), np.uint8),
        "state": np.zeros(ROBOT_DIM, np.float32),
        "noise": np.zeros((CHUNK_ACTIONS, ROBOT_DIM), np.float32),
        "previous": np.zeros((CHUNK_ACTIONS, ROBOT_DIM), np.float32),
        "weight": np.zeros(CHUNK_ACTIONS, np.float32),
        "limit": np.zeros(1, np.float32),
        "targets": swing(0.0),
    }
    buffers = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in shapes.items()}
    random = np.random.default_rng(0)

    def plan(
        composite: NDArray[np.uint8], state: NDArray[np.float32], guidance: Guidance | None = None
    ) -> Any:
        noise = random.standard_normal((CHUNK_ACTIONS, ROBOT_DIM), np.float32)
        inputs = {"noise": noise, **(guidance.arrays() if guidance else {})}
        for name, values in {"composite": composite, "state": state, **inputs}.items():
            buffers[name].update_inplace(np.ascontiguousarray(values))
        return _Planned(np.array(buffers["targets"].numpy(), np.float32), inputs)

    timed = around("buffers", plan)
    return Planner((width, height), "tshape", timed, timed)
