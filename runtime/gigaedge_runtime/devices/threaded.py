"""What every camera driver shares: a thread that reads, and a slot that holds the newest frame."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import CameraError
from gigaedge.site import CameraConfig
from gigaedge_runtime.devices import Frame, Trouble
from gigaedge_runtime.devices.health import HealthLog
from gigaedge_runtime.report import CameraHealth

MAX_WAIT: Final = 0.1
"""s; the longest a driver may block in one read, and so about the longest that `stop` takes."""


class ThreadedCamera(ABC):
    """A `Camera` whose driver can open, read one frame and close.

    `_open` and `_close` run in the thread that starts and stops, never while the reader runs; or in the reader.
    """

    def __init__(self, config: CameraConfig) -> None:
        """Opens nothing yet."""
        self.config = config
        self.role = config.role
        self._log = HealthLog(self.role, self.config.driver)
        self._newest: Frame | None = None
        self._trouble: Trouble | None = None
        self._lost: CameraError | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lifecycle = threading.Lock()

    @property
    def odd_frames(self) -> Mapping[str, int]:
        """Frames that were not used, or not as they say, by what was wrong with them."""
        return self._log.odd_frames

    @property
    def trouble(self) -> Trouble | None:
        """Why its pictures must not be used now; None: they may. Any thread may ask."""
        return self._trouble

    def health(self) -> CameraHealth:
        """How it has done since `start`."""
        return self._log.snapshot()

    def start(self) -> None:
        """Open the device and begin to capture; a camera that was lost may be started again.

        Raises CameraError with what is wrong and the mend; nothing is left open then.
        """
        self.stop()
        with self._lifecycle:
            self._stopping.clear()
            self._newest, self._lost, self._trouble = None, None, None
            self._log = HealthLog(self.role, self.config.driver)
            try:
                self._open()
            except BaseException:
                self._close()
                raise
            self._thread = threading.Thread(target=self._run, name=f"camera-{self.role}", daemon=True)
            self._thread.start()

    def latest(self) -> Frame | None:
        """The newest frame, or None before the first one, while it is gone and after `stop`; any thread may ask.

        Raises CameraError when the stream was lost: the camera is gone or the recording has ended.
        """
        lost = self._lost
        if lost is not None:
            raise CameraError(str(lost)) from lost
        return self._newest

    def stop(self) -> None:
        """Stop the reader, wait for it (about MAX_WAIT) and release the device; may be called again."""
        self._stopping.set()
        with self._lifecycle:
            if self._thread is not None:
                self._thread.join()
                self._thread = None
                self._close()
            self._newest = None

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                frame = self._read()
                if frame is not None:
                    self._log.took(frame)
                    self._newest = frame
        except CameraError as error:
            self._lost = error
        finally:
            if self._lost is None and not self._stopping.is_set():
                self._lost = CameraError(f"{self.role}: its reader broke off; see the traceback, start again")

    def _suspend(self, text: str) -> None:
        """The camera is gone: no picture of it is shown until there is one that was taken afterwards."""
        self._trouble = Trouble("lost", f"{self.role}: {text}")
        self._newest = None

    def _pause(self, seconds: float) -> None:
        """Sleep, but wake as soon as `stop` is called."""
        self._stopping.wait(seconds)

    @abstractmethod
    def _open(self) -> None:
        """Open the device. Raises CameraError."""

    @abstractmethod
    def _read(self) -> Frame | None:
        """The next frame, or None when none came within MAX_WAIT.

        Raises CameraError when there will be none any more.
        """

    @abstractmethod
    def _close(self) -> None:
        """Release whatever `_open` got hold of, also when it failed half way."""


def owned(image: NDArray[np.uint8], flip: str) -> NDArray[np.uint8]:
    """A contiguous copy of a picture of shape (height, width, 3), mirrored as `CameraConfig.flip` says."""
    rows = slice(None, None, -1 if flip in ("vertical", "both") else 1)
    columns = slice(None, None, -1 if flip in ("horizontal", "both") else 1)
    return np.array(image[rows, columns], order="C", copy=True)
