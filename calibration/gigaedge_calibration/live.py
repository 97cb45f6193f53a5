"""What calibration asks of a live cell; `gigaedge_runtime.cell` has it, for real and for simulated devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import CameraRole, Side


class Picture(Protocol):
    """One frame of one camera."""

    @property
    def role(self) -> CameraRole:
        """Which camera."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """RGB, shape (height, width, 3), after the site's `flip`."""

    @property
    def number(self) -> int:
        """Equal numbers are the same picture."""

    @property
    def captured(self) -> float:
        """s on CLOCK_MONOTONIC."""


class LiveCell(Protocol):
    """Cameras that run and arms that are read; one thread calls it, and another may call `pictures` meanwhile."""

    def pictures(self) -> Mapping[CameraRole, Picture]:
        """The newest picture of every camera, at once; of those without one yet, none.

        Raises CameraError when a camera was lost.
        """

    def next_pictures(self, timeout: float = 2.0) -> Mapping[CameraRole, Picture]:
        """A picture of every camera that was exposed after this call. Raises CameraError: none within `timeout`, s."""

    def joints(self, side: Side) -> NDArray[np.float64]:
        """Measured joint angles now, rad, shape (6,). Raises ArmError: stale, or no such arm in this cell."""

    def state(self) -> NDArray[np.float64]:
        """Measured state of both arms, 14 values (gigaedge.robot). Raises ArmError as `joints` does."""

    def joints_at(self, side: Side, time: float) -> NDArray[np.float64]:
        """Joint angles at `time`, s on CLOCK_MONOTONIC within the last seconds, interpolated, rad, shape (6,)."""

    def history(self, side: Side) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The last half minute of feedback: stamps, s on CLOCK_MONOTONIC, (n,), and joint angles, rad, (n, 6)."""

    def move(self, side: Side, joints: NDArray[np.float64]) -> None:
        """Move one arm slowly, through the limits, to joint angles, rad, shape (6,); return when it stands there.

        The other arm holds. Raises ArmError: refused, at fault, blocked; InputError: beyond the site's limits.
        """
