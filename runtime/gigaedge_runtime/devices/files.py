"""Video files and folders of images as cameras."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.clock import Clock, Deadlines, monotonic
from gigaedge.errors import CameraError
from gigaedge.site import CameraConfig
from gigaedge_runtime.devices import Frame
from gigaedge_runtime.devices.threaded import ThreadedCamera, owned

IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


class VideoCamera(ThreadedCamera):
    """Plays `config.file` in a loop at `config.fps`: a video, or a folder of images in order of name.

    Pictures keep the size they have in the file. Lossy formats (mp4, JPEG) change pixels, PNG
    and FFV1 do not.
    """

    def __init__(self, config: CameraConfig, *, clock: Clock = monotonic) -> None:
        """Opens nothing yet; `clock` is CLOCK_MONOTONIC, s."""
        super().__init__(config)
        self._clock = clock
        self._pictures: Iterator[NDArray[np.uint8]] = iter(())
        self._release: Callable[[], None] | None = None
        self._deadlines: Deadlines | None = None
        self._number = 0

    def _open(self) -> None:
        path = self.config.file
        if path is None or not path.exists():
            raise CameraError(f"{self.role}: no such video or image folder: {path}; correct `file`")
        if path.is_dir():
            self._pictures = _folder(self.role, path)
        else:
            capture = cv2.VideoCapture(str(path))
            self._release = capture.release
            self._pictures = _video(self.role, path, capture)
        # The first picture is decoded here, so that a file of the wrong kind fails at the start.
        self._pictures = itertools.chain([next(self._pictures)], self._pictures)
        self._deadlines = Deadlines(1 / self.config.fps, self._clock, self._pause)

    def _read(self) -> Frame | None:
        if self._deadlines is None:
            return None
        self._deadlines.wait()
        if self._stopping.is_set():
            return None
        captured = self._clock()
        image = owned(next(self._pictures), self.config.flip)
        self._number += 1
        return Frame(self.role, image, self._number, captured=captured, received=self._clock())

    def _close(self) -> None:
        if self._release is not None:
            self._release()
        self._release, self._deadlines, self._pictures = None, None, iter(())


def _folder(role: str, path: Path) -> Iterator[NDArray[np.uint8]]:
    """RGB pictures of a folder, without end. Raises CameraError: no images, or one that cannot be decoded."""
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise CameraError(f"{role}: no images in {path}; expected files with {', '.join(IMAGE_SUFFIXES)}")
    for file in itertools.cycle(files):
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            raise CameraError(f"{role}: cannot decode {file}; remove or replace it")
        yield _rgb(image)


def _video(role: str, path: Path, capture: Any) -> Iterator[NDArray[np.uint8]]:
    """RGB pictures of a video, without end. Raises CameraError when it cannot be decoded."""
    while True:
        decoded, image = capture.read()
        if not decoded:
            raise CameraError(
                f"{role}: cannot decode {path}; convert it, for example to FFV1 in .mkv, or to PNG files"
            )
        while decoded:
            yield _rgb(image)
            decoded, image = capture.read()
        # Opened again rather than sought: not every container can seek.
        capture.open(str(path))


def _rgb(image: Any) -> NDArray[np.uint8]:
    """RGB from OpenCV's BGR."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
