from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from gigaedge.errors import DatasetError
from gigaedge.lerobot import Dataset
from gigaedge.lerobot_files import check_order
from gigaedge.robot import CAMERA_ROLES, DIM_NAMES
from gigaedge.video import VideoReader
from tests.lerobot_writer import DatasetWriter, picture, read_picture, write_video


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> DatasetWriter:
    return DatasetWriter(tmp_path_factory.mktemp("dataset")).write()


def opened(writer: DatasetWriter, cameras: bool = False) -> Dataset:
    return Dataset(writer.root, cameras=cameras)


def test_episodes_are_those_that_were_written(written: DatasetWriter) -> None:
    with opened(written) as dataset:
        assert dataset.notices == []
        assert dataset.fps == 30
        assert [(e.index, e.length, e.task) for e in dataset.episodes] == [
            (0, 20, "task 0"),
            (1, 31, "task 1"),
            (2, 25, "task 2"),
        ]
        for number in (2, 0, 1, 1):
            motion = dataset.episodes[number].motion()
            np.testing.assert_array_equal(motion.states, written.states[number])
            np.testing.assert_array_equal(motion.actions, written.actions[number])
            assert motion.states.dtype == motion.actions.dtype == np.float32


def test_every_frame_is_the_right_one(written: DatasetWriter) -> None:
    wanted = [(e, i) for e, length in enumerate(written.lengths) for i in range(length)]
    shuffled = random.Random(1).sample(wanted, len(wanted))
    with opened(written, cameras=True) as dataset:
        for role in CAMERA_ROLES:
            for episode, index in [*wanted, *shuffled]:
                image = dataset.episodes[episode].frame(role, index)
                assert image.dtype == np.uint8
                assert image.shape == (48, 64, 3)
                assert read_picture(image) == (role, episode, index)
        for index in (-1, 20):
            with pytest.raises(IndexError, match="frames 0 to 19"):
                dataset.episodes[0].frame("cam_high", index)


def test_av1_as_lerobot_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, [picture("cam_high", 1, i) for i in range(40)], 30, "libsvtav1")
    reader = VideoReader(path, 30)
    for index in (0, 1, 2, 31, 39, 12, 13, 39, 0):
        assert read_picture(reader.frame(index / 30)) == ("cam_high", 1, index)
    with pytest.raises(DatasetError, match=r"ends before 2\.000 s"):
        reader.frame(2.0)
    assert read_picture(reader.frame(5 / 30)) == ("cam_high", 1, 5)
    reader.close()


def test_a_damaged_video(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, [picture("cam_high", 1, i) for i in range(40)], 30, "libsvtav1")
    data = bytearray(path.read_bytes())
    begin, end = data.find(b"mdat") + 4, data.find(b"moov") - 4
    data[begin:end] = b"\xff" * (end - begin)
    path.write_bytes(data)
    reader = VideoReader(path, 30)
    with pytest.raises(DatasetError, match=r"v\.mp4: cannot be decoded at 1\.000 s"):
        reader.frame(1.0)
    reader.close()


def test_a_video_with_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, [picture("cam_high", 0, i) for i in range(10)], 10, "libx264")
    reader = VideoReader(path, 30)
    with pytest.raises(DatasetError, match=r"no frame at 0.033 s \(the next is at 0.100 s\)"):
        reader.frame(1 / 30)
    reader.close()


def test_only_the_first_14_dimensions_count(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path, extra_dims=2, names=[*DIM_NAMES, "base_x", "base_y"]).write()
    with opened(writer) as dataset:
        np.testing.assert_array_equal(dataset.episodes[1].motion().states, writer.states[1][:, :14])


def test_an_embedding_beside_the_dataset(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path).write()
    path = tmp_path / "t5_embedding" / "episode_000001.pt"
    path.parent.mkdir()
    path.touch()
    with opened(writer) as dataset:
        assert [episode.embedding() for episode in dataset.episodes] == [None, path, None]


SIDES_AND_NUMBERS = [f"{side}_joint_{n}.pos" for side in ("left", "right") for n in range(7)]
ALOHA = [
    f"{side}_{part}"
    for side in ("left", "right")
    for part in ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
]


def test_names_in_the_robots_order() -> None:
    assert check_order(DIM_NAMES)
    assert check_order(SIDES_AND_NUMBERS)
    assert check_order([name.replace("6", "gripper") for name in SIDES_AND_NUMBERS])
    assert not check_order([])
    assert not check_order(ALOHA)
    assert not check_order([f"motor_{n}" for n in range(14)])
    assert not check_order(DIM_NAMES[:13])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([*DIM_NAMES[7:], *DIM_NAMES[:7]], "'right_joint_1' stands where left_joint_1 is needed"),
        ([*ALOHA[7:], *ALOHA[:7]], "'right_waist' stands where left_joint_1 is needed"),
        ([DIM_NAMES[6], *DIM_NAMES[:6], *DIM_NAMES[7:]], "'left_gripper' stands where left_joint_1"),
        ([DIM_NAMES[1], DIM_NAMES[0], *DIM_NAMES[2:]], "'left_joint_2' stands where left_joint_1"),
    ],
)
def test_names_in_another_order(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_order(names)


@pytest.mark.parametrize("names", [None, {"motors": ALOHA}])
def test_names_that_do_not_tell_give_a_notice(tmp_path: Path, names: object) -> None:
    notices = opened(DatasetWriter(tmp_path, names=names).write()).notices
    assert len(notices) == 2
    assert "the names of observation.state do not tell the order" in notices[0]


def refused(writer: DatasetWriter, message: str, cameras: bool = True) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read_all(writer, cameras)
    assert "\n" not in str(caught.value)


def read_all(writer: DatasetWriter, cameras: bool) -> None:
    with opened(writer, cameras) as dataset:
        for episode in dataset.episodes:
            episode.require_files()
            episode.motion()
            if cameras:
                episode.frame("cam_left_wrist", 0)


def test_bad_metadata(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path).write()
    info = tmp_path / "meta/info.json"
    features = {"observation.state": {"dtype": "float32", "shape": [14]}}
    small = {"observation.state": {"dtype": "float32", "shape": [7]}}
    writer.write_info(codebase_version="v2.1")
    refused(writer, r"'v2.1', expected v3.x; convert .*convert_dataset_v21_to_v30")
    writer.write_info(fps=0)
    refused(writer, "`fps`: Input should be greater than 0")
    writer.write_info(features=features)
    refused(writer, "feature action is missing")
    writer.write_info(features=small)
    refused(writer, r"has shape \(7,\); expected \(14,\)")
    writer.write_info(names=[*DIM_NAMES[7:], *DIM_NAMES[:7]])
    writer.write_info(features={**features, "action": features["observation.state"]})
    refused(writer, "camera observation.images.cam_high is missing; its cameras: none")
    writer.write_info(total_episodes=4)
    refused(writer, "meta/episodes has 3 episodes, meta/info.json says 4")
    writer.write_info(data_path="data/{nothing}")
    refused(writer, "which is no v3 path")
    info.write_text("{")
    refused(writer, "not valid JSON")
    info.unlink()
    refused(writer, "no LeRobot dataset here")
    writer.names = [*DIM_NAMES[7:], *DIM_NAMES[:7]]
    writer.write_info()
    refused(writer, "observation.state: 'right_joint_1' stands where left_joint_1 is needed; reorder")


def test_cameras_stored_as_images(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path).write()
    info = (tmp_path / "meta/info.json").read_text().replace('"video"', '"image"')
    (tmp_path / "meta/info.json").write_text(info)
    refused(writer, "cam_high is stored as image; record it as video")
    opened(writer, cameras=False)


def test_bad_rows(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path).write()
    first = tmp_path / "data/chunk-000/file-000.parquet"
    writer.write_data(without="action")
    refused(writer, "column action is missing", cameras=False)
    writer.states[1][3, 2] = np.nan
    writer.write_data()
    refused(writer, "episode 1, frame 3: observation.state left_joint_3 is nan; repair or remove")
    writer.states[1] = writer.states[1][:, :13]
    writer.write_data()
    refused(writer, "observation.state is not 14 numbers in every row")
    writer.states[1] = writer.actions[1] = writer.actions[1][:30]
    writer.lengths = (20, 30, 25)
    writer.write_data()
    refused(writer, "has 30 rows of episode 1, which should be frames 0 to 30")
    first.write_bytes(first.read_bytes()[:-40])
    refused(writer, "not a readable parquet file")
    first.unlink()
    refused(writer, "file-000.parquet: no such file; copy the dataset again, or leave out episode 0")


def test_bad_videos(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path).write()
    video = tmp_path / "videos/observation.images.cam_left_wrist/chunk-000/file-001.mp4"
    video.write_bytes(b"no video")
    refused(writer, "file-001.mp4: not a readable video")
    video.unlink()
    refused(writer, "file-001.mp4: no such file; copy the dataset again, or leave out episode 2")
