"""A LeRobot v3 dataset, read strictly and lazily.

    DATASET/meta/info.json                  version, rate, features, where the files lie
    DATASET/meta/episodes/*/*.parquet       per episode: length, tasks, and where its rows and frames are
    DATASET/data/chunk-000/file-000.parquet states and actions, several episodes per file
    DATASET/videos/KEY/chunk-000/file-000.mp4   one camera, several episodes per file
    DATASET/t5_embedding/episode_000000.pt  embedding of the episode's task, as upstream stores it; or .safetensors

Actions are absolute joint targets; what the policy learns, differences to the state, is made from them later.
Only the columns that are needed are read, one data file at a time: 112 bytes per frame of the file at hand.
Anything missing or inconsistent is a DatasetError.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import DatasetError
from gigaedge.lerobot_files import (
    ACTION,
    STATE,
    Info,
    Rows,
    camera_key,
    check_camera,
    check_feature,
    read_info,
    read_rows,
    read_table,
)
from gigaedge.robot import CAMERA_ROLES, DIM_NAMES, CameraRole
from gigaedge.video import VideoReader


@dataclass(frozen=True)
class Motion:
    """What the arms did in one episode; n frames."""

    states: NDArray[np.float32]
    """Measured joints (rad) and grippers (m), (n, 14)."""
    actions: NDArray[np.float32]
    """Commanded absolute targets, rad and m, (n, 14)."""


@dataclass(frozen=True)
class _VideoPart:
    """Where the frames of an episode lie in a video file."""

    path: Path
    begin: float
    """Time of the episode's first frame, s from the beginning of the file."""


@dataclass(frozen=True)
class Episode:
    """One demonstration; rows and frames are read when they are asked for."""

    dataset: Dataset
    index: int
    length: int
    """Frames."""
    task: str
    data: Path
    videos: dict[CameraRole, _VideoPart]

    def motion(self) -> Motion:
        """All states and actions. Raises DatasetError: rows are missing, misshapen or not finite."""
        rows = self.dataset.rows(self.data)
        mine = np.flatnonzero(rows.episode == self.index)
        mine = mine[np.argsort(rows.frame[mine], kind="stable")]
        if not np.array_equal(rows.frame[mine], np.arange(self.length)):
            raise DatasetError(
                f"{self.data}: has {len(mine)} rows of episode {self.index}, which should be frames "
                f"0 to {self.length - 1}; copy the dataset again"
            )
        motion = Motion(rows.states[mine], rows.actions[mine])
        for feature, values in ((STATE, motion.states), (ACTION, motion.actions)):
            bad = np.argwhere(~np.isfinite(values))
            if bad.size:
                frame, dim = bad[0]
                raise DatasetError(
                    f"{self.data}: episode {self.index}, frame {frame}: {feature} {DIM_NAMES[dim]} is "
                    f"{values[frame, dim]}; repair or remove the episode"
                )
        return motion

    def frame(self, role: CameraRole, index: int) -> NDArray[np.uint8]:
        """One frame of one camera, RGB of shape (height, width, 3). Raises DatasetError, IndexError."""
        if not 0 <= index < self.length:
            raise IndexError(f"episode {self.index} has frames 0 to {self.length - 1}; got {index}")
        part = self.videos[role]
        return self.dataset.video(role, part.path).frame(part.begin + index / self.dataset.fps)

    def require_files(self) -> None:
        """Raise DatasetError when its data or a video is not there, before hours are spent on the others."""
        for path in (self.data, *(part.path for part in self.videos.values())):
            if not path.is_file():
                raise DatasetError(
                    f"{path}: no such file; copy the dataset again, or leave out episode {self.index}"
                )

    def embedding(self) -> Path | None:
        """The file with the embedding of its task, .pt or .safetensors, where there is one."""
        stem = self.dataset.root / "t5_embedding" / f"episode_{self.index:06d}"
        candidates = (stem.with_suffix(suffix) for suffix in (".pt", ".safetensors"))
        return next((path for path in candidates if path.is_file()), None)


class Dataset:
    """An opened dataset. Keeps one data file's columns and one video per camera; close it, or use `with`."""

    def __init__(self, root: Path, *, cameras: bool) -> None:
        """Read the metadata; `cameras`: the three videos are needed, too. Raises DatasetError."""
        self.root = root
        info = read_info(root)
        self.fps = info.fps
        """Frames per second."""
        self.notices: list[str] = []
        """What could not be checked, one line each."""
        for feature in (STATE, ACTION):
            self.notices += check_feature(root, feature, info)
        if cameras:
            for role in CAMERA_ROLES:
                check_camera(root, role, info)
        self._widths = {feature: info.features[feature].shape[0] for feature in (STATE, ACTION)}
        self.episodes = _read_episodes(self, info, cameras)
        """In the order of their numbers."""
        self._rows: Rows | None = None
        self._videos: dict[CameraRole, VideoReader] = {}

    def rows(self, path: Path) -> Rows:
        """The columns of a data file; the last one read is kept."""
        if self._rows is None or self._rows.path != path:
            self._rows = None  # never two at a time
            self._rows = read_rows(path, self._widths)
        return self._rows

    def video(self, role: CameraRole, path: Path) -> VideoReader:
        """The open video of a camera; opening another file closes the one before."""
        reader = self._videos.get(role)
        if reader is None or reader.path != path:
            if reader is not None:
                reader.close()
            reader = self._videos[role] = VideoReader(path, self.fps)
        return reader

    def close(self) -> None:
        """Close the videos."""
        for reader in self._videos.values():
            reader.close()
        self._videos.clear()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_episodes(dataset: Dataset, info: Info, cameras: bool) -> tuple[Episode, ...]:
    root = dataset.root
    roles = CAMERA_ROLES if cameras else ()
    columns = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
    for role in roles:
        prefix = f"videos/{camera_key(role)}"
        columns += [f"{prefix}/chunk_index", f"{prefix}/file_index", f"{prefix}/from_timestamp"]
    paths = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    rows = [row for path in paths for row in read_table(path, columns).to_pylist()]
    rows.sort(key=lambda row: row["episode_index"])
    if [row["episode_index"] for row in rows] != list(range(info.total_episodes)):
        raise DatasetError(
            f"{root}: meta/episodes has {len(rows)} episodes, meta/info.json says {info.total_episodes}; "
            "copy the dataset again"
        )
    episodes = []
    for row in rows:
        videos = {}
        for role in roles:
            key = camera_key(role)
            path = _locate(root, info.video_path, row, f"videos/{key}", video_key=key)
            videos[role] = _VideoPart(path, row[f"videos/{key}/from_timestamp"])
        data = _locate(root, info.data_path, row, "data")
        task = row["tasks"][0] if row["tasks"] else ""
        episodes.append(Episode(dataset, row["episode_index"], row["length"], task, data, videos))
    return tuple(episodes)


def _locate(root: Path, pattern: str, row: dict[str, Any], prefix: str, **names: str) -> Path:
    numbers = {name: row[f"{prefix}/{name}"] for name in ("chunk_index", "file_index")}
    try:
        return root / pattern.format(**numbers, **names)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise DatasetError(f"{root}: meta/info.json has the path {pattern!r}, which is no v3 path") from error
