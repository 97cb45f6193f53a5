"""H.264: pictures encoded as an MP4, and several videos joined into one without a loss.

Every video begins with a key frame and has no frame that refers beyond it (no B-frames), so that the episodes of a
LeRobot v3 dataset are joined by copying their packets, as LeRobot does.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CODEC: Final = "h264"
PIXELS: Final = "yuv420p"

_OPTIONS: Final = {"preset": "veryfast", "bf": "0", "g": "10"}
"""Short groups of pictures: training reads frames at random, and decodes from the key frame before."""
_FINE: Final = 18


class VideoWriter:
    """One video of frames that come one by one; it is whole when the `with` block has ended."""

    def __init__(
        self, target: Path | BytesIO, fps: int | Fraction, width: int, height: int, *, quality: int = _FINE
    ) -> None:
        """Begin an MP4.

        Args:
            target: file or memory.
            fps: frames per second.
            width: px; even, as the pixel format that every player knows has colour for 2 x 2 px.
            height: px; even.
            quality: x264's constant rate factor; larger is smaller and coarser.
        """
        import av

        self._av: Any = av
        self._container: Any = av.open(
            target if isinstance(target, BytesIO) else str(target), "w", format="mp4"
        )
        options = {**_OPTIONS, "crf": str(quality)}
        stream: Any = self._container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, PIXELS
        # One thread: the bytes do not depend on the machine, and episodes are encoded side by side anyway.
        stream.codec_context.thread_count = 1
        self._stream = stream

    def write(self, picture: NDArray[np.uint8]) -> None:
        """The next frame, RGB of shape (height, width, 3)."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._container.mux(self._stream.encode())
        self._container.close()


def join_videos(parts: Sequence[Path], target: Path, fps: int) -> None:
    """Write `target`: the frames of all parts, one after another, each 1 / fps s long. Packets are copied."""
    import av

    frame = Fraction(1, fps)
    with av.open(str(target), "w") as container:
        stream: Any = None
        frames = 0
        for part in parts:
            with av.open(str(part)) as source:
                if stream is None:
                    stream = container.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is None:  # the flushing packet at the end
                        continue
                    packet.stream = stream
                    packet.time_base = frame
                    packet.pts = packet.dts = frames
                    packet.duration = 1
                    container.mux(packet)
                    frames += 1
