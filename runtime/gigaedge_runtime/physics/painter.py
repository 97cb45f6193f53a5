"""Pictures of a MuJoCo model as its cameras see it: one way of drawing, for training, trials and the running cell.

No antialiasing and no shadows: on a CPU they cost several times the picture itself, and what a policy is trained on
must be what it is deployed on.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge_runtime.physics import engine

Image = NDArray[np.uint8]

_ROOM: Final = 2000
"""Shapes in a picture, at most."""


class Painter:
    """Draws one model. One thread uses it, from its first picture to `close`."""

    def __init__(self, model: Any, width: int, height: int) -> None:
        """Prepares pictures of `width` x `height` px. Raises DeviceError: pictures cannot be drawn here."""
        self._mujoco = mujoco = engine.load()
        self._model = model
        self._size = (width, height)
        engine.gl_context(width, height)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        self._scene = mujoco.MjvScene(model, maxgeom=_ROOM)
        self._option = mujoco.MjvOption()
        self._cameras = {role: self._camera(role) for role in CAMERA_ROLES}

    def picture(self, data: Any, role: CameraRole) -> Image:
        """What a camera sees of the model in the state `data`, RGB, shape (height, width, 3)."""
        mujoco, (width, height) = self._mujoco, self._size
        # The context is shared with other worlds of this thread, and may be another library's at the moment.
        engine.gl_context(width, height)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._cameras[role], everything, self._scene
        )
        place = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(place, self._scene, self._context)
        drawn = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(drawn, None, place, self._context)
        # OpenGL counts rows from below.
        return np.ascontiguousarray(drawn[::-1])

    def close(self) -> None:
        """Free the pictures' memory; may be called more than once."""
        if self._context is not None:
            engine.gl_context(*self._size)
            self._context.free()
            self._context = None

    def _camera(self, role: CameraRole) -> Any:
        camera = self._mujoco.MjvCamera()
        camera.type = self._mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = self._model.camera(role).id
        return camera
