"""What an episode looked like: the three views as the policy gets them, ten times a second, as a small MP4."""

from __future__ import annotations

from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.compose import Compositor
from gigaedge.robot import CAMERA_ROLES
from gigaedge.video_writer import VideoWriter
from gigaedge_runtime.lockstep_devices import LockstepCell

RATE: Final = 10
"""Pictures per second."""
SIZE: Final = (320, 384)
"""Width and height, px."""
LONGEST: Final = 40.0
"""s; what comes later is not filmed."""

_QUALITY: Final = 30
"""x264's constant rate factor: about 10 kB per second of a scene that hardly moves."""


class Film:
    """Takes pictures of a cell. The blind see nothing, their films do: they show the world."""

    def __init__(self, cell: LockstepCell) -> None:
        """Nothing is filmed yet."""
        self._cell = cell
        self._compositor = Compositor(SIZE)
        self._pictures: list[NDArray[np.uint8]] = []
        self._begin = cell.now

    def expose(self) -> None:
        """Take a picture if it is time."""
        due = self._begin + len(self._pictures) / RATE
        if self._cell.now >= due and due - self._begin < LONGEST:
            views = {role: self._cell.world.picture(role) for role in CAMERA_ROLES}
            self._pictures.append(self._compositor.compose(views).copy())

    def encode(self) -> bytes:
        """H.264 in MP4, at the speed of the simulated world. Needs `av`. Raises ValueError before the first picture."""
        if not self._pictures:
            raise ValueError("nothing was filmed")
        target = BytesIO()
        with VideoWriter(target, RATE, *SIZE, quality=_QUALITY) as film:
            for picture in self._pictures:
                film.write(picture)
        return target.getvalue()
