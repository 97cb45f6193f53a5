"""Arms and cameras of a world that moves only when it is told to: no bus, no driver, no thread, no wall clock.

`LockstepCell.go_on` lets one period of the control loop pass; until then it is always the same instant, however long
anything computes. The arms take a command as it is and report what the world measures. What real ones add - CAN frames,
rounding to their units, delays of feedback and pictures, frames that are lost - is not simulated here; the simulated
arms and cameras of a run in real time have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import JOINTS, SIDES, CameraRole, Side, arm_slice
from gigaedge.site import CameraConfig, Site
from gigaedge_runtime.capture import CameraSet
from gigaedge_runtime.devices import ArmState, Frame, Trouble
from gigaedge_runtime.devices.threaded import owned
from gigaedge_runtime.physics.model import TIMESTEP
from gigaedge_runtime.report import CameraHealth

Array = NDArray[np.float64]

GREY: Final = 127
"""What a blind camera delivers, of 255."""

_WHOLE: Final = 1e-6
"""Steps; so much of one may be missing, by rounding, where it is counted as done."""


class Surroundings(Protocol):
    """What moves and is looked at: `physics.world.PhysicalWorld`, just reset."""

    @property
    def state(self) -> Array:
        """Measured joints and openings, rad and m, shape (14,)."""

    def command(self, targets: NDArray[Any]) -> None:
        """What the servos go to from now on, rad and m, shape (14,)."""

    def advance(self, seconds: float) -> None:
        """Let a whole number of steps of `physics.model.TIMESTEP` pass, s."""

    def picture(self, role: CameraRole) -> NDArray[np.uint8]:
        """What a camera sees now, RGB, shape (height, width, 3)."""


class LockstepCell:
    """A world behind arms and cameras as the runtime's loops take them, on one clock."""

    def __init__(self, world: Surroundings, site: Site, *, blind: bool = False) -> None:
        """Begins at time 0 with the arms where the world has them.

        Args:
            world: just reset; from now on only this object moves it.
            site: gives the rates of control and cameras, and how pictures are turned.
            blind: cameras deliver grey pictures.
        """
        self.world = world
        self.arms = {side: LockstepArm(side, self) for side in SIDES}
        self.cameras = CameraSet([LockstepCamera(camera, self, blind=blind) for camera in site.cameras])
        self.targets: Array = np.array(world.state)
        """What both arms were last told, rad and m, shape (14,)."""
        self.now = 0.0
        """s of simulated time; stands on a tick of control."""
        self.frame = 0
        """Number of the newest exposure."""
        self.exposing = True
        """Whether that is now: all cameras expose together, with the first tick that a frame is due at."""
        self._rate = site.timing.control_rate
        self._frames = min(camera.fps for camera in site.cameras)
        self._ticks = self._steps = 0

    def go_on(self) -> None:
        """Let one period of control pass.

        The world's steps do not divide a tick: after it the world is less than one step (2.1 ms) behind the clock.
        """
        self._ticks += 1
        self.now = self._ticks / self._rate
        steps = int(self.now / TIMESTEP + _WHOLE)
        self.world.command(self.targets)
        self.world.advance((steps - self._steps) * TIMESTEP)
        self._steps = steps
        frame = int(self.now * self._frames + _WHOLE)
        self.exposing = frame != self.frame
        self.frame = frame


class LockstepArm:
    """One arm of a world (`devices.Arm`): never late, never at fault, and a command arrives in the tick it is sent."""

    side: Side

    def __init__(self, side: Side, cell: LockstepCell) -> None:
        self.side = side
        self.sent_at = 0.0
        """s on the cell's clock; 0 before any command."""
        self._cell = cell
        self._enabled = False

    def connect(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do; the last target is held."""

    def reconnect(self) -> None:
        """Nothing to do: feedback is never old."""

    def enable(self) -> None:
        """Take control, holding the measured pose."""
        columns = arm_slice(self.side)
        self._cell.targets[columns] = self._cell.world.state[columns]
        self._enabled = True

    def read(self) -> ArmState:
        """What the world measures now."""
        values = self._cell.world.state[arm_slice(self.side)]
        return ArmState(values[:JOINTS], float(values[JOINTS]), self._cell.now, self._enabled, None)

    def send(self, joints: NDArray[np.float64], gripper: float) -> bool:
        """Command joints (rad, shape (6,)) and gripper (m); always taken."""
        columns = arm_slice(self.side)
        self._cell.targets[columns] = (*joints, gripper)
        self.sent_at = self._cell.now
        return True


class LockstepCamera:
    """One camera of a world (`devices.Camera`): its picture is there in the instant of its exposure.

    A picture is drawn only when it is asked for, and stamped with the time that it shows.
    """

    role: CameraRole
    odd_frames: Mapping[str, int] = {}
    trouble: Trouble | None = None

    def __init__(self, config: CameraConfig, cell: LockstepCell, *, blind: bool) -> None:
        """`blind`: deliver grey instead of what there is to see."""
        self.role = config.role
        self._flip = config.flip
        self._cell = cell
        self._blind = blind
        self._newest: Frame | None = None

    def health(self) -> CameraHealth:
        """Nothing is ever wrong."""
        return CameraHealth(self.role, "lockstep")

    def start(self) -> None:
        """Nothing to do."""

    def latest(self) -> Frame:
        """The newest frame, drawn the first time that it is asked for."""
        cell, newest = self._cell, self._newest
        if newest is None or newest.number != cell.frame:
            image = owned(cell.world.picture(self.role), self._flip)
            if self._blind:
                image = np.full_like(image, GREY)
            newest = Frame(self.role, image, cell.frame, cell.now, cell.now, "global_time")
            self._newest = newest
        return newest

    def stop(self) -> None:
        """Nothing to do."""
