import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from gigaedge.errors import CameraError
from gigaedge.site import CameraConfig
from gigaedge_runtime.devices.files import VideoCamera

pytestmark = pytest.mark.realtime

COUNT = 4


@pytest.fixture(autouse=True)
def _no_thread_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def picture(number):
    image = np.zeros((24, 32, 3), np.uint8)
    image[..., 0] = 40 * (number + 1)
    image[..., 1] = np.arange(32)
    image[..., 2] = np.arange(24)[:, None]
    return image


def config(file, **kwargs):
    return CameraConfig(role="cam_high", driver="video", file=file, **({"fps": 60} | kwargs))


@contextmanager
def running(camera):
    camera.start()
    try:
        yield camera
    finally:
        camera.stop()


def frames(camera, last):
    """Different frames up to number `last`."""
    seen = {}
    deadline = time.monotonic() + 10
    while last not in seen:
        assert time.monotonic() < deadline, "timed out"
        if (frame := camera.latest()) is not None:
            seen[frame.number] = frame
            assert frame.number <= last + 5
        time.sleep(0.001)
    return list(seen.values())


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "images"
    path.mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(path / f"{number:04d}.png"), picture(number)[..., ::-1])
    (path / "notes.txt").write_text("not an image")
    return path


@pytest.fixture
def film(tmp_path):
    path = tmp_path / "film.mkv"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 30, (32, 24))
    assert writer.isOpened()
    for number in range(COUNT):
        writer.write(np.ascontiguousarray(picture(number)[..., ::-1]))
    writer.release()
    return path


@pytest.mark.parametrize("source", ["folder", "film"])
def test_pictures_come_in_order_in_rgb_and_again(source, request):
    with running(VideoCamera(config(request.getfixturevalue(source)))) as camera:
        got = frames(camera, 2 * COUNT + 2)
    for frame in got:
        np.testing.assert_array_equal(frame.image, picture((frame.number - 1) % COUNT))
        assert frame.role == "cam_high"
        assert frame.captured <= frame.received
    assert camera.latest() is None


def test_playback_is_paced(folder):
    with running(VideoCamera(config(folder, fps=20))) as camera:
        start = time.monotonic()
        got = frames(camera, 10)
        assert 0.4 < time.monotonic() - start < 1.0
    steps = np.diff([frame.captured for frame in got])
    assert np.median(steps) == pytest.approx(1 / 20, abs=0.01)


def test_flip(folder):
    with running(VideoCamera(config(folder, flip="horizontal"))) as camera:
        frame = frames(camera, 1)[0]
    np.testing.assert_array_equal(frame.image, picture(0)[:, ::-1])


def test_stop_does_not_wait_for_a_slow_rate(folder):
    camera = VideoCamera(config(folder, fps=1))
    camera.stop()
    camera.start()
    start = time.monotonic()
    camera.stop()
    camera.stop()
    assert time.monotonic() - start < 0.5


def test_it_can_be_started_again(folder):
    camera = VideoCamera(config(folder))
    with running(camera):
        frames(camera, 2)
    with running(camera):
        assert frames(camera, 5)[-1].number >= 5


def test_no_such_file(tmp_path):
    with pytest.raises(
        CameraError, match=r"cam_high: no such video or image folder: .*nothing\.mp4; correct"
    ):
        VideoCamera(config(tmp_path / "nothing.mp4")).start()


def test_a_file_that_is_no_video(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("this is no video")
    with pytest.raises(CameraError, match=r"cam_high: cannot decode .*text\.mp4; convert it"):
        VideoCamera(config(path)).start()


def test_an_empty_folder(tmp_path):
    with pytest.raises(CameraError, match=r"cam_high: no images in .*; expected files with \.png, \.jpg"):
        VideoCamera(config(tmp_path)).start()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_of_the_reader_is_not_mistaken_for_a_slow_camera(folder, monkeypatch):
    camera = VideoCamera(config(folder))
    monkeypatch.setattr(camera, "_read", lambda: 1 // 0)
    with running(camera):
        camera._thread.join(5)
        with pytest.raises(CameraError, match="cam_high: its reader broke off"):
            camera.latest()


def test_a_damaged_image_in_the_middle_loses_the_camera(folder):
    (folder / "0002.png").write_bytes(b"damaged")
    with running(VideoCamera(config(folder))) as camera:
        deadline = time.monotonic() + 5

        def watch():
            while time.monotonic() < deadline:
                camera.latest()
                time.sleep(0.005)

        with pytest.raises(CameraError, match=r"cam_high: cannot decode .*0002\.png; remove or replace it"):
            watch()
