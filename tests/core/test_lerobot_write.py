from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from gigaedge import lerobot_write
from gigaedge.lerobot import Dataset, Motion
from gigaedge.lerobot_stats import merged, summarize
from gigaedge.lerobot_write import DatasetWriter, Recording
from gigaedge.prompts import read_embedding
from gigaedge.robot import CAMERA_ROLES, ROBOT_DIM
from gigaedge.video import VideoReader
from gigaedge.video_writer import VideoWriter, join_videos
from tests.lerobot_writer import HEIGHT, WIDTH, picture, read_picture

LENGTHS = (7, 12, 5)
TASKS = ("lift", "stack", "lift")


def recordings(folder: Path) -> list[Recording]:
    random = np.random.default_rng(3)
    found = []
    for episode, (length, task) in enumerate(zip(LENGTHS, TASKS, strict=True)):
        videos = {role: folder / f"{episode}.{role}.mp4" for role in CAMERA_ROLES}
        summaries = {}
        for role, path in videos.items():
            shown = [picture(role, episode, frame) for frame in range(length)]
            with VideoWriter(path, 30, WIDTH, HEIGHT) as video:
                for image in shown:
                    video.write(image)
            summaries[role] = summarize(np.stack(shown).reshape(-1, 3) / 255)
        states, actions = random.normal(size=(2, length, ROBOT_DIM)).astype(np.float32)
        embedding = random.normal(size=(8, 64)).astype(np.float32)
        found.append(Recording(task, Motion(states, actions), videos, summaries, embedding))
    return found


def write(root: Path, episodes: list[Recording]) -> Path:
    root.mkdir()
    writer = DatasetWriter(root, 30, WIDTH, HEIGHT)
    for episode in episodes:
        writer.add(episode)
    writer.finish()
    return root


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    return recordings(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, episodes: list[Recording]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lerobot_write, "EPISODES_PER_FILE", 2)
        return write(tmp_path_factory.mktemp("dataset") / "d", episodes)


def test_what_is_written_is_read(written: Path, episodes: list[Recording]) -> None:
    with Dataset(written, cameras=True) as dataset:
        assert dataset.notices == []
        assert dataset.fps == 30
        assert [(e.length, e.task) for e in dataset.episodes] == list(zip(LENGTHS, TASKS, strict=True))
        for episode, recording in zip(dataset.episodes, episodes, strict=True):
            motion = episode.motion()
            np.testing.assert_array_equal(motion.states, recording.motion.states)
            np.testing.assert_array_equal(motion.actions, recording.motion.actions)
            for role in CAMERA_ROLES:
                for frame in range(episode.length):
                    assert read_picture(episode.frame(role, frame)) == (role, episode.index, frame)
            path = episode.embedding()
            assert path is not None
            np.testing.assert_array_equal(read_embedding(path), recording.embedding)


def test_files_hold_several_episodes(written: Path) -> None:
    assert [path.name for path in sorted(written.glob("data/chunk-000/*"))] == [
        "file-000.parquet",
        "file-001.parquet",
    ]
    for role in CAMERA_ROLES:
        folder = written / f"videos/observation.images.{role}/chunk-000"
        assert sorted(path.name for path in folder.iterdir()) == ["file-000.mp4", "file-001.mp4"]


def test_metadata_is_lerobots(written: Path) -> None:
    info = json.loads((written / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, sum(LENGTHS), 2)
    assert info["splits"] == {"train": "0:3"}
    rows = pq.read_table(written / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(r["dataset_from_index"], r["dataset_to_index"]) for r in rows] == [(0, 7), (7, 19), (19, 24)]
    data = [pq.read_table(written / f"data/chunk-000/file-00{n}.parquet") for n in (0, 1)]
    index = [value for table in data for value in table.column("index").to_pylist()]
    assert index == list(range(sum(LENGTHS)))
    tasks = [value for table in data for value in table.column("task_index").to_pylist()]
    assert tasks == [0] * 7 + [1] * 12 + [0] * 5
    assert pq.read_table(written / "meta/tasks.parquet").to_pydict() == {
        "task_index": [0, 1],
        "task": ["lift", "stack"],
    }


def test_stats_are_those_of_all_rows(written: Path, episodes: list[Recording]) -> None:
    stats = json.loads((written / "meta/stats.json").read_text())
    states = np.concatenate([recording.motion.states for recording in episodes]).astype(np.float64)
    found = stats["observation.state"]
    np.testing.assert_allclose(found["mean"], states.mean(axis=0))
    np.testing.assert_allclose(found["std"], states.std(axis=0))
    np.testing.assert_allclose(found["min"], states.min(axis=0))
    np.testing.assert_allclose(found["max"], states.max(axis=0))
    assert found["count"] == [sum(LENGTHS)]
    assert np.shape(stats["observation.images.cam_high"]["mean"]) == (3, 1, 1)
    assert 0 < stats["observation.images.cam_high"]["q50"][0][0][0] < 1


def test_the_same_episodes_make_the_same_bytes(tmp_path: Path, episodes: list[Recording]) -> None:
    first, second = (write(tmp_path / name, episodes) for name in ("a", "b"))
    paths = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert len(paths) == 5 + 3 + 3  # tables, videos, embeddings
    for path in paths:
        assert (first / path).read_bytes() == (second / path).read_bytes(), path


def test_no_dataset_without_an_episode(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one episode"):
        DatasetWriter(tmp_path, 30, WIDTH, HEIGHT).finish()


def test_videos_are_joined_frame_by_frame(tmp_path: Path, episodes: list[Recording]) -> None:
    first, second = (episodes[number].videos["cam_high"] for number in (0, 1))
    join_videos([second, first, second], tmp_path / "all.mp4", 30)
    reader = VideoReader(tmp_path / "all.mp4", 30)
    wanted = [(1, frame) for frame in range(12)] + [(0, frame) for frame in range(7)]
    for index, (episode, frame) in enumerate([*wanted, *wanted[:12]]):
        assert read_picture(reader.frame(index / 30)) == ("cam_high", episode, frame)
    reader.close()


def test_merged_summaries_are_those_of_everything() -> None:
    random = np.random.default_rng(1)
    parts = [random.normal(number, 1 + number, (10 * number + 5, 2)) for number in range(3)]
    together, whole = merged([summarize(part) for part in parts]), summarize(np.concatenate(parts))
    for name in ("least", "greatest", "mean", "deviation"):
        np.testing.assert_allclose(getattr(together, name), getattr(whole, name))
    assert together.count == whole.count == 45
