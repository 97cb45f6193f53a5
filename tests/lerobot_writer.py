"""Writes tiny LeRobot v3 datasets: real parquet files and real videos, whose frames tell their number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gigaedge.robot import CAMERA_ROLES, DIM_NAMES, ROBOT_DIM

WIDTH, HEIGHT = 64, 48
BITS = 8


@dataclass
class DatasetWriter:
    """Two episodes share the first data and video files; the others have files of their own."""

    root: Path
    lengths: Sequence[int] = (20, 31, 25)
    fps: int = 30
    codec: str = "libx264"
    version: str = "v3.0"
    names: Any = DIM_NAMES
    extra_dims: int = 0
    states: list[NDArray[np.float32]] = field(default_factory=list)
    actions: list[NDArray[np.float32]] = field(default_factory=list)

    def write(self) -> DatasetWriter:
        random = np.random.default_rng(5)
        width = ROBOT_DIM + self.extra_dims
        for length in self.lengths:
            walk = np.cumsum(random.normal(0, 0.02, (length + 1, width)), axis=0).astype(np.float32)
            self.states.append(walk[:-1])
            self.actions.append(walk[1:] + np.float32(0.001))
        self.write_info()
        self.write_data()
        self.write_episodes()
        for role in CAMERA_ROLES:
            self.write_videos(role)
        return self

    def file_of(self, episode: int) -> int:
        return max(0, episode - 1)

    def write_info(self, **changes: Any) -> None:
        names = (
            None
            if self.names is None
            else list(self.names)
            if not isinstance(self.names, dict)
            else self.names
        )
        vector = {"dtype": "float32", "shape": [ROBOT_DIM + self.extra_dims], "names": names}
        video = {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]}
        info = {
            "codebase_version": self.version,
            "robot_type": "agilex",
            "total_episodes": len(self.lengths),
            "total_frames": sum(self.lengths),
            "fps": self.fps,
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
            "features": {
                "observation.state": vector,
                "action": vector,
                **{f"observation.images.{role}": video for role in CAMERA_ROLES},
            },
        }
        path = self.root / "meta" / "info.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**info, **changes}))

    def write_data(self, without: str = "") -> None:
        for number in {self.file_of(episode) for episode in range(len(self.lengths))}:
            mine = [e for e in range(len(self.lengths)) if self.file_of(e) == number]
            columns = {
                "observation.state": pa.array([row.tolist() for e in mine for row in self.states[e]]),
                "action": pa.array([row.tolist() for e in mine for row in self.actions[e]]),
                "timestamp": pa.array([i / self.fps for e in mine for i in range(self.lengths[e])]),
                "frame_index": pa.array([i for e in mine for i in range(self.lengths[e])]),
                "episode_index": pa.array([e for e in mine for _ in range(self.lengths[e])]),
            }
            columns.pop(without, None)
            path = self.root / f"data/chunk-000/file-{number:03d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(columns), path)

    def write_episodes(self) -> None:
        rows = []
        for episode, length in enumerate(self.lengths):
            begin = self.lengths[0] / self.fps if episode == 1 else 0.0
            row: dict[str, Any] = {
                "episode_index": episode,
                "tasks": [f"task {episode}"],
                "length": length,
                "data/chunk_index": 0,
                "data/file_index": self.file_of(episode),
            }
            for role in CAMERA_ROLES:
                prefix = f"videos/observation.images.{role}"
                row[f"{prefix}/chunk_index"] = 0
                row[f"{prefix}/file_index"] = self.file_of(episode)
                row[f"{prefix}/from_timestamp"] = begin
                row[f"{prefix}/to_timestamp"] = begin + length / self.fps
            rows.append(row)
        path = self.root / "meta/episodes/chunk-000/file-000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
        tasks = {"task_index": list(range(len(rows))), "task": [row["tasks"][0] for row in rows]}
        pq.write_table(pa.table(tasks), self.root / "meta/tasks.parquet")

    def write_videos(self, role: str) -> None:
        for number in {self.file_of(episode) for episode in range(len(self.lengths))}:
            path = self.root / f"videos/observation.images.{role}/chunk-000/file-{number:03d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            pictures = [
                picture(role, episode, frame)
                for episode in range(len(self.lengths))
                if self.file_of(episode) == number
                for frame in range(self.lengths[episode])
            ]
            write_video(path, pictures, self.fps, self.codec)


def picture(role: str, episode: int, frame: int) -> NDArray[np.uint8]:
    """Grey bars: camera (2 bits), episode (2 bits) and frame number, in binary."""
    number = (CAMERA_ROLES.index(role) << 2 | episode) << BITS | frame  # type: ignore[arg-type]
    bits = [number >> bit & 1 for bit in range(BITS + 4)]
    columns = np.repeat(np.array(bits, np.uint8) * 180 + 40, WIDTH // len(bits))
    full = np.pad(columns, (0, WIDTH - len(columns)), constant_values=40)
    return np.broadcast_to(full[np.newaxis, :, np.newaxis], (HEIGHT, WIDTH, 3)).copy()


def read_picture(image: NDArray[np.uint8]) -> tuple[str, int, int]:
    """Camera, episode and frame number that a decoded picture shows."""
    step = WIDTH // (BITS + 4)
    bars = [image[:, bit * step + 1 : (bit + 1) * step - 1].mean() > 128 for bit in range(BITS + 4)]
    number = sum(int(bit) << place for place, bit in enumerate(bars))
    return CAMERA_ROLES[number >> BITS + 2], number >> BITS & 3, number & (1 << BITS) - 1


def write_video(path: Path, pictures: Sequence[NDArray[np.uint8]], fps: int, codec: str) -> None:
    options = {"preset": "8"} if codec == "libsvtav1" else {"bf": "3"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"g": "10", "crf": "18", **options})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def read_video(path: Path) -> list[NDArray[np.uint8]]:
    """All frames of a video, in one pass."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
