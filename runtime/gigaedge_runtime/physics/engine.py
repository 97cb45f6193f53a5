"""MuJoCo and its OpenGL: without a display, and with one clear line where that cannot be.

Pictures are drawn by EGL, which needs neither a display nor a GPU (Mesa's llvmpipe draws on the CPU), or by OSMesa
where the environment says `MUJOCO_GL=osmesa`.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any, Final

from gigaedge.errors import DeviceError, InputError

_PACKAGES: Final = {
    "egl": "libegl1 libegl-mesa0 libgl1-mesa-dri",
    "osmesa": "libosmesa6",
}
_CONTEXTS: Final = threading.local()


def load() -> Any:
    """The module `mujoco`. Raises InputError: it is not installed; DeviceError: MUJOCO_GL asks for a window."""
    way = _way()
    # MuJoCo looks at it when it is imported.
    os.environ["MUJOCO_GL"] = way
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; run `pip install 'gigaedge[sim]'`") from error
    return mujoco


def gl_context(width: int, height: int) -> Any:
    """This thread's OpenGL context, current from now on: one for all worlds, as opening one costs more than a picture.

    `width` and `height`, px, matter to OSMesa alone. Raises DeviceError: there is none to be had.
    """
    load()
    way = _way()
    context = getattr(_CONTEXTS, "context", None)
    try:
        if context is None:
            # Not `mujoco.GLContext`: that is decided for good by whoever imports mujoco first.
            context = _CONTEXTS.context = import_module(f"mujoco.{way}").GLContext(width, height)
        context.make_current()
    # PyOpenGL raises whatever the missing library left it with.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise DeviceError(
            f"MuJoCo cannot draw with {way.upper()} ({reason}); run `apt-get install {_PACKAGES[way]}`"
        ) from error
    return context


def drawn_by() -> str:
    """What draws this thread's pictures: `EGL, llvmpipe (LLVM 15.0.6, 256 bits)`. Raises DeviceError: nothing does."""
    gl_context(64, 64)
    from OpenGL import GL

    return f"{_way().upper()}, {GL.glGetString(GL.GL_RENDERER).decode()}"


def _way() -> str:
    way = os.environ.get("MUJOCO_GL", "").strip().lower() or "egl"
    if way not in _PACKAGES:
        raise DeviceError(
            f"MUJOCO_GL={way}: the physical cell is drawn without a window; unset it, or set it to egl or osmesa"
        )
    return way
