"""MuJoCo, imported once and the right way: without a display, and with one clear line where that cannot be.

MuJoCo reads MUJOCO_GL when it is imported. Unless somebody has set it, pictures are drawn by EGL, which needs neither
a display nor a GPU (Mesa's llvmpipe draws on the CPU); `MUJOCO_GL=osmesa` asks for OSMesa instead.
"""

from __future__ import annotations

import os
from typing import Any, Final

from gigaedge.errors import DeviceError, InputError

_PACKAGES: Final = {
    "egl": "libegl1 libegl-mesa0 libgl1-mesa-dri",
    "osmesa": "libosmesa6",
}


def load() -> Any:
    """The module `mujoco`. Raises InputError: it is not installed; DeviceError: its way of drawing is not there."""
    way = os.environ.setdefault("MUJOCO_GL", "egl").strip().lower()
    try:
        import mujoco
    except ModuleNotFoundError as error:
        if error.name != "mujoco":
            raise DeviceError(_no_pictures(way, error)) from error
        raise InputError("mujoco is not installed; run `pip install 'gigaedge[sim]'`") from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise DeviceError(_no_pictures(way, error)) from error
    return mujoco


def open_renderer(model: Any, width: int, height: int) -> Any:
    """A `mujoco.Renderer`, to be used in this thread only. Raises DeviceError: pictures cannot be drawn here."""
    mujoco = load()
    try:
        return mujoco.Renderer(model, height, width)
    # PyOpenGL raises whatever the missing library left it with.
    except Exception as error:
        raise DeviceError(_no_pictures(os.environ["MUJOCO_GL"], error)) from error


def renderer_name() -> str:
    """What draws, in words, once a renderer is open: `EGL, llvmpipe (LLVM 15.0.6, 256 bits)`."""
    from OpenGL import GL

    return f"{os.environ['MUJOCO_GL'].upper()}, {GL.glGetString(GL.GL_RENDERER).decode()}"


def _no_pictures(way: str, error: BaseException) -> str:
    mend = _PACKAGES.get(way)
    advice = f"run `apt-get install {mend}`" if mend else "set MUJOCO_GL to egl or osmesa"
    return f"MuJoCo cannot draw with MUJOCO_GL={way} ({' '.join(str(error).split())[:120]}); {advice}"
