"""The control process as it is, but it tells its changes of state, and its bus can be made to fail. --launch FD"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import can
import numpy as np
from numpy.typing import NDArray

from gigaedge_runtime import control
from gigaedge_runtime.control_process import main
from gigaedge_runtime.devices.piper import PiperArm
from gigaedge_runtime.devices.sim_bus import SimBus
from gigaedge_runtime.states import Machine, Seen, State
from tests.faults.wires import VARIABLE, Mouth, WallClock


class ToldMachine(Machine):
    """Tells each change of state in the tick that makes it."""

    def step(self, seen: Seen) -> State:
        before = self.state
        state = super().step(seen)
        if state is not before:
            reason = self.history[-1].reason if self.history else ""
            mouth.tell("state", state=state.name.lower(), reason=reason)
        return state


class Wire:
    """Stands before every frame that the SDK sends."""

    def __init__(self) -> None:
        self._send = SimBus.send
        self._failing = False
        self._refused = False

    def fail(self) -> None:
        """From now on as with an interface that went down."""
        self._failing = True

    def send(self, bus: SimBus, message: can.Message, timeout: float | None = None) -> None:
        try:
            if self._failing:
                raise can.CanOperationError("Network is down", errno.ENETDOWN)
            self._send(bus, message, timeout)
        except can.CanOperationError:
            if not self._refused:
                self._refused = True
                mouth.tell("refused")
            raise


class Log:
    """Keeps what the loop sends, unrounded, and writes it when the process ends in order."""

    def __init__(self) -> None:
        self._send = PiperArm.send
        self._sent: dict[str, list[NDArray[np.float64]]] = {}

    def send(self, arm: PiperArm, joints: NDArray[np.float64], gripper: float) -> bool:
        self._sent.setdefault(arm.side, []).append(np.array(joints))
        return self._send(arm, joints, gripper)

    def write(self, folder: Path) -> None:
        for side, sent in self._sent.items():
            np.save(folder / f"sent-{side}.npy", np.array(sent))


if __name__ == "__main__":
    WallClock(Path(os.environ[VARIABLE])).install()
    mouth = Mouth("control")
    wire = Wire()
    SimBus.send = lambda bus, message, timeout=None: wire.send(bus, message, timeout)
    control.Machine = ToldMachine
    log = Log()
    PiperArm.send = lambda arm, joints, gripper: log.send(arm, joints, gripper)
    mouth.obey({"fail_sends": wire.fail})
    code = main()
    log.write(Path(os.environ[VARIABLE]))
    sys.exit(code)
