"""MuJoCo, imported once and the right way: without a display, and with one clear line where that cannot be.

MuJoCo reads MUJOCO_GL when it is imported. Unless somebody has set it, pictures are drawn by EGL, which needs neither
a display nor a GPU (Mesa's llvmpipe draws on the CPU); `MUJOCO_GL=osmesa` asks for OSMesa instead.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Final

from gigaedge.errors import DeviceError, InputError

_PACKAGES: Final = {
    "egl": "libegl1 libegl-mesa0 libgl1-mesa-dri",
    "osmesa": "libosmesa6",
}
_CONTEXTS: Final = threading.local()


def load() -> Any:
    """The module `mujoco`. Raises InputError: it is not installed; DeviceError: what it is to draw with is not."""
    way = os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco
    except ModuleNotFoundError as error:
        if error.name != "mujoco":
            raise _no_pictures(way, error) from error
        raise InputError("mujoco is not installed; run `pip install 'gigaedge[sim]'`") from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise _no_pictures(way, error) from error
    return mujoco


def gl_context(width: int, height: int) -> Any:
    """This thread's OpenGL context, current from now on: one for all worlds, as opening one costs more than a picture.

    `width` and `height`, px, matter to OSMesa alone. Raises DeviceError: there is none to be had.
    """
    mujoco = load()
    context = getattr(_CONTEXTS, "context", None)
    try:
        if context is None:
            context = _CONTEXTS.context = mujoco.GLContext(width, height)
        context.make_current()
    # PyOpenGL raises whatever the missing library left it with.
    except Exception as error:
        raise _no_pictures(os.environ["MUJOCO_GL"], error) from error
    return context


def drawn_by() -> str:
    """What draws this thread's pictures: `EGL, llvmpipe (LLVM 15.0.6, 256 bits)`. Raises DeviceError: nothing does."""
    gl_context(64, 64)
    from OpenGL import GL

    return f"{os.environ['MUJOCO_GL'].upper()}, {GL.glGetString(GL.GL_RENDERER).decode()}"


def _no_pictures(way: str, error: BaseException) -> DeviceError:
    mend = _PACKAGES.get(way.strip().lower())
    advice = f"run `apt-get install {mend}`" if mend else "set MUJOCO_GL to egl or osmesa"
    reason = " ".join(str(error).split())[:120]
    return DeviceError(f"MuJoCo cannot draw with MUJOCO_GL={way} ({reason}); {advice}")
