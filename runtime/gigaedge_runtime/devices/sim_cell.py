"""The synthetic cell while it runs: where its arms are, by listening on their simulated buses, and what cameras see.

An arm may live in any process: what is drawn is what its feedback said at the moment of the exposure.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

import can
import numpy as np
from numpy.typing import NDArray

from gigaedge.lens import Lens
from gigaedge.robot import JOINTS, ROBOT_DIM, CameraRole, Side, arm_slice
from gigaedge.simulation import World, load_cell
from gigaedge.site import ArmConfig, CanConfig, Site
from gigaedge_runtime.devices.sim_bus import INTERFACE
from gigaedge_runtime.devices.sim_world import Renderer
from gigaedge_runtime.hosting import SIM_HOME

Array = NDArray[np.float64]

KEPT: Final = 400
"""Sets of feedback that are kept: 2 s at 200 Hz, more than any latency."""
DISCOVERY: Final = 0.3
"""s between two attempts to hear an arm that is not there."""

PATIENCE: Final = 0.03
"""s; six reports of an arm."""

_POLL: Final = 0.001
_JOINTS_AT: Final = {0x2A5: 0, 0x2A6: 2, 0x2A7: 4}
_GRIPPER: Final = 0x2A8
_PAIR: Final = struct.Struct(">ii")
_SHARP: Final = 2
"""Rays per pixel and axis once nothing moves any more."""


class ArmListener:
    """Hears one simulated arm, wherever it runs, without ever sending; a thread of its own while it is started."""

    def __init__(self, config: CanConfig, home: Sequence[float]) -> None:
        """`home`: 7 values, rad and m, that hold before anything was heard."""
        self._config = config
        self._values = np.array(home, dtype=np.float64)
        self._history: deque[tuple[float, Array]] = deque(maxlen=KEPT)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen; an arm that is not there yet is heard as soon as it is."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"hear-{self._config.channel}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; may be called more than once."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def at(self, wall: float) -> Array:
        """What the arm reported at a moment, s since 1970: six joints, rad, and gripper, m; shape (7,).

        Waits a little for the report that follows the moment.
        """
        patience = time.monotonic() + PATIENCE
        while self._history and self._history[-1][0] < wall and time.monotonic() < patience:
            time.sleep(_POLL)
        history = list(self._history)
        if not history:
            return np.asarray(self._values.copy())
        times = [stamp for stamp, _ in history]
        after = int(np.searchsorted(times, wall))
        if after in (0, len(history)):
            return history[min(after, len(history) - 1)][1]
        (t0, before), (t1, later) = history[after - 1], history[after]
        return before + (later - before) * ((wall - t0) / (t1 - t0))

    def _run(self) -> None:
        filters = [
            {"can_id": identifier, "can_mask": 0x7FF, "extended": False}
            for identifier in (*_JOINTS_AT, _GRIPPER)
        ]
        while not self._stopping.is_set():
            try:
                bus = can.Bus(interface=INTERFACE, channel=self._config.channel, can_filters=filters)
            except can.CanInitializationError:
                self._stopping.wait(DISCOVERY)
                continue
            # An arm that goes is looked for again.
            with contextlib.suppress(can.CanOperationError), bus:
                self._listen(bus)

    def _listen(self, bus: Any) -> None:
        stamp = 0.0
        while not self._stopping.is_set():
            message = bus.recv(0.1)
            if message is None:
                continue
            if message.arbitration_id == _GRIPPER:
                self._values[JOINTS] = int.from_bytes(message.data[:4], "big", signed=True) * 1e-6
                continue
            first = _JOINTS_AT[message.arbitration_id]
            if first == 0:
                # As the runtime does: a set of joints is as old as its first frame.
                stamp = float(message.timestamp)
            self._values[first : first + 2] = np.radians(np.array(_PAIR.unpack(message.data)) * 1e-3)
            if first == 4:
                self._history.append((stamp, self._values.copy()))


class View(Protocol):
    """One camera's pictures of a cell; one thread opens it, takes them and closes it."""

    def open(self) -> None:
        """Prepare what pictures are drawn with: the first one is to be no later than the others."""

    def take(self, number: int, wall: float) -> NDArray[np.uint8]:
        """The picture that is stamped `wall`, s since 1970: RGB, shape (height, width, 3)."""

    def close(self) -> None:
        """Free it again."""

    @property
    def factory(self) -> Lens:
        """What the camera says of its lens."""

    @property
    def usb(self) -> str:
        """USB type."""


class SeenCell(Protocol):
    """What simulated cameras look at: the synthetic cell, or the physical one."""

    def start(self) -> None:
        """Begin to follow what moves."""

    def stop(self) -> None:
        """Follow it no more; may be called more than once."""

    def view(self, role: CameraRole, width: int, height: int) -> View:
        """What one camera sees. Raises ConfigError: a stream that this camera has not."""


def cell_of(site: Site) -> SeenCell | None:
    """The cell of a site's `simulation`; None: it has none. Raises ConfigError."""
    if site.simulation is None:
        return None
    loaded = load_cell(site.simulation)
    if isinstance(loaded, World):
        return SimulatedCell(loaded, site.arms)
    from gigaedge_runtime.physics.watching import WatchedCell  # MuJoCo is an extra

    return WatchedCell(loaded, site.arms)


class SimulatedCell:
    """A world with arms that move in it."""

    def __init__(self, world: World, arms: Sequence[ArmConfig] = ()) -> None:
        """Listens to nothing yet. An arm without a simulated bus stands at its pose or home."""
        self.world = world
        self._still = np.array([*SIM_HOME, *SIM_HOME], dtype=np.float64)
        self._listeners: dict[Side, ArmListener] = {}
        for arm in arms:
            home = arm.pose or arm.home or SIM_HOME
            self._still[arm_slice(arm.side)] = home
            if arm.driver == "piper" and arm.can.interface == INTERFACE:
                self._listeners[arm.side] = ArmListener(arm.can, home)
        self._views: dict[tuple[CameraRole, int, int], Renderer] = {}

    def start(self) -> None:
        """Begin to follow the arms."""
        for listener in self._listeners.values():
            listener.start()

    def stop(self) -> None:
        """Follow them no more; may be called more than once."""
        for listener in self._listeners.values():
            listener.stop()

    def state(self, wall: float) -> Array:
        """What both arms reported at a moment, s since 1970; shape (14,)."""
        state = np.empty(ROBOT_DIM)
        for side in ("left", "right"):
            listener = self._listeners.get(side)
            values = self._still[arm_slice(side)] if listener is None else listener.at(wall)
            state[arm_slice(side)] = values
        return state

    def view(self, role: CameraRole, width: int, height: int) -> WorldView:
        """What one camera sees. Raises ConfigError: a stream of another shape than its lens."""
        return WorldView(self, Renderer(self.world, role, width, height, sharpen=_SHARP))


class WorldView:
    """One camera's pictures of a cell."""

    def __init__(self, cell: SimulatedCell, renderer: Renderer) -> None:
        """Draws nothing yet."""
        self._cell = cell
        self._renderer = renderer

    def take(self, number: int, wall: float) -> NDArray[np.uint8]:
        """The picture that is stamped `wall`, s since 1970: RGB, shape (height, width, 3)."""
        moment = wall - self._renderer.camera.latency
        return self._renderer.render(self._cell.state(moment), moment, number)

    def open(self) -> None:
        """There is nothing to be prepared."""

    def close(self) -> None:
        """There is nothing to be freed."""

    @property
    def factory(self) -> Lens:
        """What the camera says of its lens."""
        return self._renderer.factory

    @property
    def usb(self) -> str:
        """USB type."""
        return self._renderer.camera.usb
