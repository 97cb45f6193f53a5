"""The files of a LeRobot v3 dataset: meta/info.json and the parquet tables, read strictly.

Only the columns that are asked for are read. Anything missing or inconsistent is a DatasetError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from gigaedge.errors import DatasetError
from gigaedge.robot import ARM_DIM, DIM_NAMES, ROBOT_DIM, SIDES, CameraRole
from gigaedge.validation import first_problem

STATE: Final = "observation.state"
ACTION: Final = "action"

_ORDER: Final = "left joints 1-6, left gripper, right joints 1-6, right gripper"


@dataclass(frozen=True)
class Rows:
    """The needed columns of one data file, n rows."""

    path: Path
    episode: NDArray[np.int64]
    frame: NDArray[np.int64]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]


class _Feature(BaseModel):
    dtype: str
    shape: tuple[int, ...]
    names: Any = None


class Info(BaseModel):
    """meta/info.json; the keys that are not needed here are not checked."""

    fps: float = Field(gt=0)
    total_episodes: int = Field(ge=1)
    features: dict[str, _Feature]
    data_path: str = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    video_path: str = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def camera_key(role: CameraRole) -> str:
    """The feature that holds a camera's frames."""
    return f"observation.images.{role}"


def check_order(names: Sequence[str]) -> bool:
    """Whether the names of 14 dimensions are in the robot's order; False where they do not tell.

    A name tells its place with `left` or `right`, and with `gripper` or, beside the side, a number counted from
    0 or 1 (joint 7 is the gripper). Raises ValueError for a name that contradicts its place.
    """
    sides = [re.search("left|right", name.lower()) for name in names[:ROBOT_DIM]]
    numbers = [_last_number(name) for name in names[:ROBOT_DIM]]
    first = 0 if 0 in numbers else 1
    told = 0
    for dim, (name, side, number) in enumerate(zip(names, sides, numbers, strict=False)):
        joint = None
        if "gripper" in name.lower():
            joint = ARM_DIM
        elif side and number is not None:
            joint = number - first + 1
        if (side and side.group() != SIDES[dim // ARM_DIM]) or joint not in (None, dim % ARM_DIM + 1):
            raise ValueError(f"{name!r} stands where {DIM_NAMES[dim]} is needed")
        told += side is not None and joint is not None
    return told == ROBOT_DIM


def _last_number(name: str) -> int | None:
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else None


def read_info(root: Path) -> Info:
    """Read meta/info.json. Raises DatasetError: not there, not v3, not as expected."""
    path = root / "meta" / "info.json"
    if not path.is_file():
        raise DatasetError(f"{root}: no LeRobot dataset here (meta/info.json is missing)")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not valid JSON ({error}); copy the dataset again") from error
    version = data.get("codebase_version") if isinstance(data, dict) else None
    if not re.fullmatch(r"v3\.\d+", str(version)):
        raise DatasetError(
            f"{path}: codebase_version is {version!r}, expected v3.x; convert the dataset with LeRobot's "
            "`python -m lerobot.scripts.convert_dataset_v21_to_v30`"
        )
    try:
        return Info.model_validate(data)
    except ValidationError as error:
        raise DatasetError(f"{path}: {first_problem(error, Info)}") from error


def check_feature(root: Path, feature: str, info: Info) -> list[str]:
    """Check that a feature is that of the robot; the notices say what could not be checked."""
    found = info.features.get(feature)
    if found is None:
        have = ", ".join(info.features)
        raise DatasetError(f"{root}: feature {feature} is missing; it has {have}")
    if len(found.shape) != 1 or found.shape[0] < ROBOT_DIM:
        raise DatasetError(f"{root}: {feature} has shape {found.shape}; expected ({ROBOT_DIM},): {_ORDER}")
    names = found.names
    if isinstance(names, dict):  # LeRobot groups them by what they are, as in {"motors": [...]}
        names = [name for group in names.values() if isinstance(group, list) for name in group]
    try:
        if check_order([str(name) for name in names or []]):
            return []
    except ValueError as error:
        raise DatasetError(f"{root}: {feature}: {error}; reorder its columns to {_ORDER}") from error
    return [f"{root}: the names of {feature} do not tell the order of its values; taken as {_ORDER}"]


def check_camera(root: Path, role: CameraRole, info: Info) -> None:
    """Raise DatasetError unless a camera is there, as video."""
    key = camera_key(role)
    found = info.features.get(key)
    if found is None:
        have = ", ".join(name for name in info.features if name.startswith("observation.images.")) or "none"
        raise DatasetError(f"{root}: camera {key} is missing; its cameras: {have}")
    if found.dtype != "video":
        raise DatasetError(f"{root}: {key} is stored as {found.dtype}; record it as video")


def read_table(path: Path, columns: list[str]) -> Any:
    """The named columns of a parquet file, a pyarrow table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DatasetError(f"{path}: no such file; copy the dataset again")
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise DatasetError(f"{path}: column {missing[0]} is missing; this is no complete v3 dataset")
            return file.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        text = " ".join(str(error).split())
        raise DatasetError(f"{path}: not a readable parquet file ({text}); copy it again") from error


def read_rows(path: Path, widths: dict[str, int]) -> Rows:
    """States and actions of one data file; `widths`: numbers per row of each feature."""
    table = read_table(path, ["episode_index", "frame_index", STATE, ACTION])
    episode, frame = (table.column(name).to_numpy() for name in ("episode_index", "frame_index"))
    states, actions = (_matrix(path, table, feature, widths[feature]) for feature in (STATE, ACTION))
    return Rows(path, episode, frame, states, actions)


def _matrix(path: Path, table: Any, feature: str, width: int) -> NDArray[np.float32]:
    """A column of lists as (n, 14); nulls become NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(feature).combine_chunks()
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or column.null_count or (np.asarray(pc.list_value_length(column)) != width).any():
        raise DatasetError(f"{path}: {feature} is not {width} numbers in every row, as meta/info.json says")
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values.reshape(-1, width)[:, :ROBOT_DIM], np.float32)
