"""What cameras see of the running physical cell: each asks where everything was, and draws its own picture of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import ConfigError
from gigaedge.lens import Lens
from gigaedge.robot import CameraRole
from gigaedge.simulation import PhysicalCell
from gigaedge.site import ArmConfig
from gigaedge_runtime.devices.sim_bus import INTERFACE
from gigaedge_runtime.physics.cameras import lens
from gigaedge_runtime.physics.link import WorldLink, world_channel
from gigaedge_runtime.physics.model import LARGEST_PICTURE
from gigaedge_runtime.physics.scene import Scene
from gigaedge_runtime.physics.world import PICTURE, PhysicalWorld


def task_scene(cell: PhysicalCell) -> Scene:
    """The scene of a cell's task and seed. Raises ConfigError: no such task."""
    from gigaedge_runtime.tasks import TASKS

    if cell.task not in TASKS:
        raise ConfigError(f"simulation: no task {cell.task!r}; there are {', '.join(TASKS)}")
    return TASKS[cell.task].scene(cell.seed)


class WatchedCell:
    """A physical cell as its cameras see it, while it runs in this or in another process."""

    def __init__(self, cell: PhysicalCell, arms: Sequence[ArmConfig]) -> None:
        """Asks nobody yet; where no arm of `arms` is on a simulated bus, everything stands as it begins.

        Raises ConfigError: no such task.
        """
        self._scene = task_scene(cell)
        channels = {arm.side: arm.can.channel for arm in arms if arm.can.interface == INTERFACE}
        self._channel = world_channel(channels["left"]) if "left" in channels else None

    def start(self) -> None:
        """Every view asks for itself."""

    def stop(self) -> None:
        """Every view hangs up by itself."""

    def view(self, role: CameraRole, width: int, height: int) -> WatchedView:
        """What one camera sees. Raises ConfigError: a stream of another shape, or one that is too large."""
        if width * PICTURE[1] != height * PICTURE[0] or width > LARGEST_PICTURE[0]:
            raise ConfigError(
                f"{role}: the physical cell has pictures of {PICTURE[0]}x{PICTURE[1]} px, or of that shape up to "
                f"{LARGEST_PICTURE[0]}x{LARGEST_PICTURE[1]}; got {width}x{height}"
            )
        world = PhysicalWorld(self._scene, (width, height))
        return WatchedView(world, role, None if self._channel is None else WorldLink(self._channel))


class WatchedView:
    """One camera's pictures; one thread opens it, takes them and closes it."""

    def __init__(self, world: PhysicalWorld, role: CameraRole, link: WorldLink | None) -> None:
        """Draws nothing yet."""
        self._world = world
        self._role = role
        self._link = link

    def open(self) -> None:
        """Draw a first picture: that one takes many times as long as those that follow."""
        self._world.picture(self._role)

    def take(self, number: int, wall: float) -> NDArray[np.uint8]:
        """The picture that is stamped `wall`, s since 1970: RGB, shape (height, width, 3)."""
        seen = None if self._link is None else self._link.at(wall)
        if seen is not None:
            self._world.place(seen.configuration)
        return self._world.picture(self._role)

    def close(self) -> None:
        """Free what pictures are drawn with."""
        self._world.close()
        if self._link is not None:
            self._link.close()

    @property
    def factory(self) -> Lens:
        """What the camera says of its lens: the truth."""
        return lens(self._role, *self._world.picture_size)

    @property
    def usb(self) -> str:
        """USB type."""
        return "3.2"
