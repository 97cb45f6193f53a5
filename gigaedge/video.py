"""Frames of a video file by their time, decoded with PyAV: exact at any time, cheap when times ascend.

OpenCV's wheels cannot decode AV1, LeRobot's default codec; PyAV's bring dav1d.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import DatasetError


class VideoReader:
    """One video file, kept open between frames. Not thread-safe."""

    def __init__(self, path: Path, fps: float) -> None:
        """`fps`: frames per second. Raises DatasetError: no such file, or no video in it."""
        import av

        if not path.is_file():
            raise DatasetError(f"{path}: no such video; copy the dataset again, with its videos")
        self.path = path
        self._tolerance = 0.5 / fps
        try:
            self._container = av.open(str(path))
            self._stream: Any = self._container.streams.video[0]
        except (av.FFmpegError, IndexError) as error:
            raise DatasetError(f"{path}: not a readable video ({error}); copy it again") from error
        self._stream.thread_type = "AUTO"
        self._frames: Iterator[Any] = iter(())
        self._position = -np.inf
        """Time of the last decoded frame, s."""

    def frame(self, time: float) -> NDArray[np.uint8]:
        """The frame shown at `time` (s from the beginning of the file), RGB of shape (height, width, 3).

        Raises DatasetError when no frame is within half a frame of it, or when the file is damaged.
        """
        import av

        try:
            if self._seek_pays(time):
                self._container.seek(round(time / self._stream.time_base), stream=self._stream)
                self._frames = self._container.decode(self._stream)
            for frame in self._frames:
                self._position = frame.time
                if frame.time >= time - self._tolerance:
                    break
            else:
                self._position = np.inf
                raise DatasetError(
                    f"{self.path}: ends before {time:.3f} s, where the dataset has a frame; copy the video again"
                )
        except av.FFmpegError as error:
            raise DatasetError(
                f"{self.path}: cannot be decoded at {time:.3f} s ({error}); copy the video again"
            ) from error
        if frame.time > time + self._tolerance:
            raise DatasetError(
                f"{self.path}: has no frame at {time:.3f} s (the next is at {frame.time:.3f} s); "
                "the video and the dataset's timestamps do not belong together"
            )
        return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)

    def close(self) -> None:
        """Close the file."""
        self._frames = iter(())
        self._container.close()

    def _seek_pays(self, time: float) -> bool:
        """Whether a jump saves decoding: back in time, or to a key frame that is not the very next frame."""
        if time - self._tolerance <= self._position:
            return True
        index = self._stream.index_entries
        key = index.search_timestamp(round(time / self._stream.time_base), backward=True, any_frame=False)
        next_frame = self._position + 3 * self._tolerance
        return bool(key >= 0 and index[key].timestamp * self._stream.time_base > next_frame)
