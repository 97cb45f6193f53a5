"""What the runtime asks of a camera and of an arm; drivers and their simulated twins lie beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import CameraRole, Side
from gigaedge_runtime.report import CameraHealth
from gigaedge_runtime.states import FaultCode

Stamp = Literal["global_time", "system_time", "arrival"]
"""What says when a frame was exposed: the camera's clock, fitted to the host's; the host's driver, on arrival of the
first bytes; or only this program, on arrival of the frame."""


@dataclass(frozen=True)
class FrameLight:
    """How a frame was exposed, by its own metadata; None where the camera does not tell."""

    exposure: float | None = None
    """s."""
    gain: float | None = None
    """In the camera's own unit."""
    white_balance: float | None = None
    """K."""
    auto_exposure: bool | None = None


@dataclass(frozen=True)
class Frame:
    """One picture, owned by whoever holds it (copied out of the driver's memory)."""

    role: CameraRole
    image: NDArray[np.uint8]
    """RGB, shape (height, width, 3)."""
    number: int
    """The camera's own frame counter; equal numbers are the same picture."""
    captured: float
    """When it was exposed, s on CLOCK_MONOTONIC (the camera's stamp where it can be trusted, else `received`)."""
    received: float
    """When the host took it from the driver, s on CLOCK_MONOTONIC."""
    stamp: Stamp = "arrival"
    """What `captured` rests on."""
    light: FrameLight = FrameLight()


@dataclass(frozen=True)
class Trouble:
    """Why the pictures of a camera must not be used now, though they may be again."""

    reason: Literal["lost", "unlocked"]
    """It is gone; its exposure or white balance is not what the site file says."""
    text: str
    """One line for a person."""


class Camera(Protocol):
    """One camera. Not thread-safe except for `latest`, which any thread may call."""

    role: CameraRole

    @property
    def odd_frames(self) -> Mapping[str, int]:
        """Frames that were not used, or whose stamp was not believed, by what was wrong with them."""

    @property
    def trouble(self) -> Trouble | None:
        """Why its pictures must not be used now; None: they may. Any thread may ask."""

    def health(self) -> CameraHealth:
        """How it has done since `start`."""

    def start(self) -> None:
        """Open the device and begin to capture. Raises CameraError with what is wrong and the mend."""

    def latest(self) -> Frame | None:
        """The newest frame; None before the first one, and while the camera is gone.

        Raises CameraError when there will be none any more.
        """

    def stop(self) -> None:
        """Stop capturing and release the device; may be called at any time, more than once."""


@dataclass(frozen=True)
class ArmState:
    """What an arm reports of itself."""

    joints: NDArray[np.float64]
    """Measured joint angles, rad, shape (6,)."""
    gripper: float
    """Measured opening between the fingers, m."""
    stamp: float
    """When the oldest part of `joints` arrived, s on CLOCK_MONOTONIC."""
    enabled: bool
    """All six motors are powered."""
    fault: str | None
    """Why the arm cannot be commanded (e-stop, teach mode, an error bit), in words; None when it can."""
    code: FaultCode = FaultCode.ARM
    """What kind of fault that is, where there is one."""


class Arm(Protocol):
    """One arm. Every call comes from one thread, the owner's."""

    side: Side

    @property
    def sent_at(self) -> float:
        """When the bus took the first frame of the newest joint command, s on CLOCK_MONOTONIC; 0 before any."""

    def connect(self) -> None:
        """Open the bus and wait for feedback. Raises ArmError: no such interface, no answer."""

    def enable(self) -> None:
        """Power the motors and take CAN control, holding the measured pose. Raises ArmError on time-out."""

    def read(self) -> ArmState:
        """The newest feedback, at once; its age is the caller's to judge by `stamp`."""

    def reconnect(self) -> None:
        """Begin to close and open the bus anew, behind the caller's back, until the arm answers; at once.

        Meanwhile `read` returns what came last. Afterwards the arm is not enabled, whatever it was before.
        """

    def send(self, joints: NDArray[np.float64], gripper: float) -> bool:
        """Command joint angles (rad, shape (6,)) and gripper (m); True when every frame was taken by the bus.

        Raises ArmError, before any frame is sent, for a value that is not finite.
        """

    def close(self) -> None:
        """Stop talking to the arm; it keeps its power and holds its last target."""
