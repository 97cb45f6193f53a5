"""A LeRobot v3 dataset, written episode by episode: several to a file, as `gigaedge.lerobot` and LeRobot read it.

Frames come as finished videos, one per episode and camera, and are copied without being encoded again. The tables are
a function of what is added: the same episodes, the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.lerobot import Motion
from gigaedge.lerobot_files import ACTION, STATE, camera_key
from gigaedge.lerobot_stats import Summary, merged, summarize
from gigaedge.robot import CAMERA_ROLES, DIM_NAMES, ROBOT_DIM, CameraRole
from gigaedge.video_writer import CODEC, PIXELS, join_videos

EPISODES_PER_FILE: Final = 50
FILES_PER_CHUNK: Final = 1000

_DATA: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES: Final = "meta/episodes/chunk-000/file-000.parquet"
_COUNTERS: Final = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Recording:
    """One episode as it was recorded; n frames."""

    task: str
    """What was asked for, in plain English."""
    motion: Motion
    videos: Mapping[CameraRole, Path]
    """Of each camera, a file by `gigaedge.video_writer.VideoWriter` of n frames."""
    pictures: Mapping[CameraRole, Summary]
    """Of each camera's red, green and blue, 0 to 1."""
    embedding: NDArray[np.float32] | None = None
    """Of the task, as the policy is to be prompted, (tokens, width)."""


class DatasetWriter:
    """Writes into an existing empty folder; the dataset is whole after `finish`."""

    def __init__(self, root: Path, fps: int, width: int, height: int) -> None:
        """Frames per second, and the size of every camera's pictures, px."""
        self._root = root
        self._fps = fps
        self._size = (width, height)
        self._waiting: list[Recording] = []
        """Of the file that is filled at present."""
        self._rows: list[dict[str, Any]] = []
        """meta/episodes."""
        self._tasks: dict[str, int] = {}
        self._summaries: dict[str, list[Summary]] = {}
        self._frames = 0

    def add(self, recording: Recording) -> None:
        """Append an episode. Its videos are read at the latest by `finish`."""
        number = len(self._rows)
        file = number // EPISODES_PER_FILE
        if file and number % EPISODES_PER_FILE == 0:
            self._write_file()
        self._tasks.setdefault(recording.task, len(self._tasks))
        length = len(recording.motion.states)
        begin = sum(len(other.motion.states) for other in self._waiting)
        place = dict(zip(("chunk_index", "file_index"), divmod(file, FILES_PER_CHUNK), strict=True))
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [recording.task],
            "length": length,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            **{f"data/{name}": value for name, value in place.items()},
        }
        for role in CAMERA_ROLES:
            video = f"videos/{camera_key(role)}"
            row |= {f"{video}/{name}": value for name, value in place.items()}
            row[f"{video}/from_timestamp"] = begin / self._fps
            row[f"{video}/to_timestamp"] = (begin + length) / self._fps
        summaries = {STATE: summarize(recording.motion.states), ACTION: summarize(recording.motion.actions)}
        summaries |= {camera_key(role): recording.pictures[role] for role in CAMERA_ROLES}
        for feature, summary in summaries.items():
            self._summaries.setdefault(feature, []).append(summary)
            entries = summary.entries(picture=feature not in (STATE, ACTION))
            row |= {f"stats/{feature}/{name}": value for name, value in entries.items()}
        if recording.embedding is not None:
            self._write_embedding(number, recording.embedding)
        self._rows.append(row)
        self._waiting.append(recording)
        self._frames += length

    def finish(self) -> None:
        """Write what is still to be written. Raises ValueError: no episode was added."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._rows:
            raise ValueError("a dataset has at least one episode")
        self._write_file()
        path = self._path(_EPISODES)
        pq.write_table(pa.Table.from_pylist(self._rows), path)
        pq.write_table(_tasks_table(self._tasks), self._root / "meta" / "tasks.parquet")
        stats = {
            feature: merged(parts).entries(picture=feature not in (STATE, ACTION))
            for feature, parts in self._summaries.items()
        }
        self._write_json("meta/stats.json", stats)
        self._write_json("meta/info.json", self._info())

    def _write_file(self) -> None:
        """Data and videos of the waiting episodes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        first = len(self._rows) - len(self._waiting)
        chunk, file = divmod(first // EPISODES_PER_FILE, FILES_PER_CHUNK)
        lengths = [len(recording.motion.states) for recording in self._waiting]
        begin = self._rows[first]["dataset_from_index"]
        frames = np.concatenate([np.arange(length) for length in lengths])
        tasks = [self._tasks[recording.task] for recording in self._waiting]
        counters = (
            frames,
            np.repeat(np.arange(first, len(self._rows)), lengths),
            begin + np.arange(len(frames)),
            np.repeat(tasks, lengths),
        )
        columns = {
            STATE: _vectors([recording.motion.states for recording in self._waiting]),
            ACTION: _vectors([recording.motion.actions for recording in self._waiting]),
            "timestamp": pa.array((frames / self._fps).astype(np.float32)),
            **{
                name: pa.array(values.astype(np.int64))
                for name, values in zip(_COUNTERS, counters, strict=True)
            },
        }
        names = {"chunk_index": chunk, "file_index": file}
        pq.write_table(pa.table(columns), self._path(_DATA.format(**names)))
        for role in CAMERA_ROLES:
            target = self._path(_VIDEO.format(video_key=camera_key(role), **names))
            join_videos([recording.videos[role] for recording in self._waiting], target, self._fps)
        self._waiting = []

    def _write_embedding(self, number: int, embedding: NDArray[np.float32]) -> None:
        from safetensors.numpy import save_file

        path = self._path(f"t5_embedding/episode_{number:06d}.safetensors")
        save_file({"t5_embedding": np.ascontiguousarray(embedding)}, path)

    def _info(self) -> dict[str, Any]:
        width, height = self._size
        vector = {"dtype": "float32", "shape": [ROBOT_DIM], "names": list(DIM_NAMES)}
        video = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": CODEC,
                "video.pix_fmt": PIXELS,
                "video.is_depth_map": False,
                "video.fps": self._fps,
                "video.channels": 3,
                "has_audio": False,
            },
        }
        counter = {"dtype": "int64", "shape": [1], "names": None}
        return {
            "codebase_version": "v3.0",
            "robot_type": "agilex",
            "total_episodes": len(self._rows),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": _DATA,
            "video_path": _VIDEO,
            "features": {
                STATE: vector,
                ACTION: vector,
                **{camera_key(role): video for role in CAMERA_ROLES},
                "timestamp": {"dtype": "float32", "shape": [1], "names": None},
                **dict.fromkeys(_COUNTERS, counter),
            },
        }

    def _path(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _write_json(self, name: str, content: Any) -> None:
        self._path(name).write_text(json.dumps(content, indent=4, allow_nan=False) + "\n", encoding="utf-8")


def _vectors(parts: list[NDArray[np.float32]]) -> Any:
    """Rows of 14 values, a pyarrow array."""
    import pyarrow as pa

    rows = np.concatenate(parts).astype(np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), ROBOT_DIM)


def _tasks_table(tasks: Mapping[str, int]) -> Any:
    """meta/tasks.parquet: what pandas reads as a table of numbers whose index is the task's text."""
    import pyarrow as pa

    table = pa.table(
        {"task_index": pa.array(tasks.values(), pa.int64()), "task": pa.array(tasks.keys(), pa.string())}
    )
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_kind, "metadata": None}
        for name, kind, numpy_kind in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
