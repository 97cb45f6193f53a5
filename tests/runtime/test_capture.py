import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from gigaedge import librealsense
from gigaedge.compose import Compositor
from gigaedge.errors import CameraError, ConfigError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import CameraConfig
from gigaedge_runtime.capture import CameraSet, CapturedViews, Refusal, open_cameras
from gigaedge_runtime.devices import Frame, Trouble
from gigaedge_runtime.devices.sim_realsense import SimulatedRealSense
from gigaedge_runtime.report import CameraHealth

W, H, FPS = 64, 48, 30
HIGH, LEFT, RIGHT = CAMERA_ROLES


pytestmark = [pytest.mark.realtime, pytest.mark.usefixtures("private_home")]


@pytest.fixture(autouse=True)
def _no_thread_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


# -- the decision, with cameras that are only a slot -----------------------------------------------


@dataclass
class Slot:
    role: str
    frame: Frame | None = None
    fails: bool = False
    calls: list[str] = field(default_factory=list)
    odd_frames: Counter = field(default_factory=Counter)
    trouble: Trouble | None = None

    def start(self):
        self.calls.append("start")
        if self.fails:
            raise CameraError(f"{self.role}: broken")

    def stop(self):
        if self.calls:
            self.calls.append("stop")

    def health(self):
        return CameraHealth(self.role, "slot", frames=7)

    def latest(self):
        if self.fails:
            raise CameraError(f"{self.role}: lost")
        return self.frame

    def show(self, captured, number=1, level=90, stamp="global_time", transport=0.01):
        image = np.full((H, W, 3), level, np.uint8)
        self.frame = Frame(self.role, image, number, captured, captured + transport, stamp)


@pytest.fixture
def slots():
    return [Slot(role) for role in CAMERA_ROLES]


def observe(cameras, now, max_age=0.2, max_skew=0.05):
    return cameras.observe(now, max_age, max_skew)


def test_views_carry_age_skew_and_pictures(slots):
    for slot, captured in zip(slots, (10.00, 9.98, 10.01), strict=True):
        slot.show(captured)
    views = observe(CameraSet(slots), 10.05)
    assert isinstance(views, CapturedViews)
    assert views.age == pytest.approx(0.07)
    assert views.skew == pytest.approx(0.03)
    assert views.captured == 9.98
    assert list(views.images) == list(CAMERA_ROLES)
    assert views.images[LEFT] is slots[1].frame.image


def test_no_picture_yet_is_missing(slots):
    cameras = CameraSet(slots)
    slots[0].show(1.0)
    slots[2].show(1.0)
    refusal = observe(cameras, 1.0)
    assert refusal == Refusal("missing", LEFT)
    assert str(refusal) == "cam_left_wrist: no picture yet"


def test_the_oldest_picture_decides_about_stale(slots):
    for slot, captured in zip(slots, (10.0, 10.0, 9.9), strict=True):
        slot.show(captured)
    cameras = CameraSet(slots)
    assert isinstance(cameras.observe(10.09, 0.2, 1.0), CapturedViews)
    refusal = cameras.observe(10.15, 0.2, 1.0)
    assert (refusal.reason, refusal.role) == ("stale", RIGHT)
    assert refusal.value == pytest.approx(0.25)
    assert str(refusal) == "cam_right_wrist: picture is 250 ms old; at most 200 ms allowed"


def test_skew_is_between_exposures(slots):
    for slot, captured in zip(slots, (10.0, 9.94, 10.0), strict=True):
        slot.show(captured)
    refusal = observe(CameraSet(slots), 10.01)
    assert (refusal.reason, refusal.role) == ("skew", LEFT)
    assert str(refusal) == "cam_left_wrist: picture is 60 ms behind another camera's; at most 50 ms allowed"
    assert isinstance(CameraSet(slots).observe(10.01, 0.2, 0.0601), CapturedViews)


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (0, "picture is all but black, its mean 0 of 255 is beyond 8; check light and lens cap"),
        (7, "picture is all but black, its mean 7 of 255 is beyond 8; check light and lens cap"),
        (8, None),
        (247, None),
        (248, "picture is all but white, its mean 248 of 255 is beyond 247; check exposure and glare"),
    ],
)
def test_a_picture_without_light_or_shade_is_refused(slots, level, message):
    for slot in slots:
        slot.show(10.0)
    slots[1].show(10.0, number=2, level=level)
    cameras = CameraSet(slots)
    result = observe(cameras, 10.0)
    if message is None:
        assert isinstance(result, CapturedViews)
        return
    assert (result.reason, result.role) == ("exposure", LEFT)
    assert str(result) == f"{LEFT}: {message}"
    slots[1].show(10.0, number=3)
    assert observe(cameras, 10.0).fresh


def test_a_dark_picture_with_something_in_it_is_used(slots):
    for slot in slots:
        slot.show(10.0, level=0)
        slot.frame.image[:, : W // 8] = 120
    assert isinstance(observe(CameraSet(slots), 10.0), CapturedViews)


def test_odd_frames_are_summed_over_the_cameras(slots):
    slots[0].odd_frames["out_of_order"] = 2
    slots[2].odd_frames.update(out_of_order=1, untrusted_stamp=4)
    assert CameraSet(slots).odd_frames() == {"out_of_order": 3, "untrusted_stamp": 4}


@pytest.mark.parametrize("reason", ["lost", "unlocked"])
def test_a_camera_in_trouble_is_refused_in_its_own_words(slots, reason):
    for slot in slots:
        slot.show(10.0)
    slots[2].trouble = Trouble(reason, "cam_right_wrist: what is wrong")
    cameras = CameraSet(slots)
    refusal = observe(cameras, 10.0)
    assert (refusal.reason, refusal.role, str(refusal)) == (reason, RIGHT, "cam_right_wrist: what is wrong")
    slots[2].frame = None
    assert observe(cameras, 10.0).reason == reason
    slots[2].trouble = None
    assert observe(cameras, 10.0).reason == "missing"


@pytest.mark.parametrize(
    ("stamps", "skew", "by_arrival"),
    [
        (("global_time",) * 3, 0.030, 0),
        (("system_time",) * 3, 0.030, 0),
        (("global_time", "system_time", "global_time"), 0.010, 1),
        (("global_time", "global_time", "arrival"), 0.010, 1),
        (("arrival",) * 3, 0.010, 1),
    ],
)
def test_skew_is_of_stamps_only_where_they_are_of_one_clock(slots, stamps, skew, by_arrival):
    # Exposed 0, 20 and 30 ms and arrived 40, 40 and 50 ms after the first.
    for slot, stamp, captured, transport in zip(
        slots, stamps, (10.0, 10.02, 10.03), (0.04, 0.02, 0.02), strict=True
    ):
        slot.show(captured, stamp=stamp, transport=transport)
    cameras = CameraSet(slots)
    assert cameras.observe(10.05, 0.2, 0.0301).skew == pytest.approx(skew)
    refusal = cameras.observe(10.05, 0.2, skew - 0.001)
    assert (refusal.reason, refusal.value) == ("skew", pytest.approx(skew))
    health = cameras.health()
    assert [camera.skew_by_arrival for camera in health] == [by_arrival] * 3
    assert health[0].skew.max == pytest.approx(skew)
    assert health[2].skew.max == 0.0


def test_health_tells_skew_of_each_observation_once(slots):
    cameras = CameraSet(slots)
    for slot, captured in zip(slots, (10.0, 10.02, 10.03), strict=True):
        slot.show(captured)
    for _ in range(3):
        observe(cameras, 10.05)
    assert [(c.role, c.frames, c.skew.count) for c in cameras.health()] == [(r, 7, 1) for r in CAMERA_ROLES]
    assert [c.skew.max for c in cameras.health()] == pytest.approx([0.03, 0.01, 0.0])


def test_fresh_means_a_picture_that_was_not_seen(slots):
    cameras = CameraSet(slots)
    for slot in slots:
        slot.show(10.0)
    assert observe(cameras, 10.0).fresh
    assert not observe(cameras, 10.0).fresh
    slots[1].show(10.03, number=2)
    assert isinstance(cameras.observe(10.1, 0.05, 1.0), Refusal)
    assert observe(cameras, 10.03).fresh  # a refusal used nothing up
    assert not observe(cameras, 10.03).fresh


def test_a_lost_camera_raises(slots):
    for slot in slots:
        slot.show(10.0)
    slots[2].fails = True
    with pytest.raises(CameraError, match="cam_right_wrist: lost"):
        observe(CameraSet(slots), 10.0)
    with pytest.raises(CameraError, match="cam_right_wrist: lost"):
        CameraSet(slots).wait_ready(1.0)


def test_when_one_fails_to_start_the_others_are_stopped(slots):
    host = Slot("host")
    slots[1].fails = True
    with pytest.raises(CameraError, match="cam_left_wrist: broken"), CameraSet(slots, host):
        pytest.fail("never entered")
    assert [s.calls for s in (host, *slots)] == [["start", "stop"]] * 3 + [[]]


def test_all_are_stopped_when_one_does_not_stop(slots):
    def broken():
        raise CameraError("cam_left_wrist: hangs")

    cameras = CameraSet(slots)
    cameras.start()
    slots[1].stop = broken
    with pytest.raises(CameraError, match="hangs"):
        cameras.stop()
    assert slots[0].calls == slots[2].calls == ["start", "stop"]


def test_wait_ready_names_the_silent_ones(slots):
    slots[1].show(1.0)
    start = time.monotonic()
    with pytest.raises(CameraError, match=r"no picture from cam_high, cam_right_wrist within 0\.05 s; check"):
        CameraSet(slots).wait_ready(0.05)
    assert time.monotonic() - start < 1.0


@pytest.mark.parametrize("roles", [[], [HIGH, HIGH]])
def test_roles_must_be_distinct(roles):
    with pytest.raises(ConfigError, match="each role once; got"):
        CameraSet([Slot(role) for role in roles])


# -- with real drivers -----------------------------------------------------------------------------


def configs(driver, **kwargs):
    return [CameraConfig(role=r, driver=driver, width=W, height=H, fps=FPS, **kwargs) for r in CAMERA_ROLES]


def views_within(cameras, timeout=5.0, max_age=0.2, max_skew=0.05):
    deadline = time.monotonic() + timeout
    while not isinstance(result := cameras.observe(time.monotonic(), max_age, max_skew), CapturedViews):
        assert time.monotonic() < deadline, str(result)
        time.sleep(0.002)
    return result


def refusal_within(cameras, reason, timeout=5.0, max_skew=0.05):
    deadline = time.monotonic() + timeout
    while True:
        result = cameras.observe(time.monotonic(), 0.2, max_skew)
        if isinstance(result, Refusal) and result.reason == reason:
            return result
        assert time.monotonic() < deadline, f"never refused as {reason}"
        time.sleep(0.002)


def test_simulated_cell_gives_composites():
    with open_cameras(configs("sim")) as cameras:
        cameras.wait_ready(5.0)
        compositor = Compositor((32, 40))
        first = compositor.compose(views_within(cameras).images).copy()
        deadline = time.monotonic() + 5
        while (compositor.compose(views_within(cameras).images) == first).all():
            assert time.monotonic() < deadline, "the scene does not move"
    assert librealsense.list_devices() == ()


def test_a_stalled_camera_is_refused_as_stale_until_it_returns():
    with open_cameras(configs("sim")) as cameras:
        cameras.wait_ready(5.0)
        views_within(cameras)
        cameras.host.stall(LEFT)
        refusal = refusal_within(cameras, "stale", max_skew=10.0)
        assert refusal.role == LEFT
        assert refusal.value > refusal.limit == 0.2
        cameras.host.stall(LEFT, False)
        assert views_within(cameras).fresh


def test_a_skewed_clock_is_refused():
    with open_cameras(configs("sim")) as cameras:
        cameras.wait_ready(5.0)
        views_within(cameras)
        cameras.host.shift_clock(RIGHT, -0.12)
        refusal = refusal_within(cameras, "skew")
        assert refusal.role == RIGHT
        assert 0.05 < refusal.value < 0.3


def test_a_wrong_camera_stops_the_simulation_too():
    wrong = CameraConfig(role=RIGHT, driver="realsense", serial="404")
    with pytest.raises(CameraError, match="cam_right_wrist: no RealSense with serial 404; connected: sim-"):
        open_cameras([*configs("sim")[:2], wrong]).start()
    assert librealsense.list_devices() == ()


def test_serial_of_a_simulated_camera_can_be_given():
    with open_cameras([CameraConfig(role=HIGH, driver="sim", serial="77", width=W, height=H)]) as cameras:
        cameras.wait_ready(5.0)
        assert [info.serial for info in librealsense.list_devices()] == ["77"]
        assert isinstance(cameras.host, SimulatedRealSense)


def test_a_running_cell_can_be_started_again():
    with open_cameras(configs("sim")) as cameras:
        cameras.wait_ready(5.0)
        cameras.start()
        cameras.wait_ready(5.0)
        assert views_within(cameras).fresh


RECORDED = 12


@pytest.fixture
def recordings(record_cameras, tmp_path):
    def picture(role, number):
        return np.full((H, W, 3), 80 * CAMERA_ROLES.index(role) + number, np.uint8)

    return record_cameras(tmp_path, picture, RECORDED, FPS)


def test_three_recordings_make_observations(recordings):
    cells = [
        CameraConfig(role=r, driver="realsense", file=recordings[r], width=W, height=H) for r in CAMERA_ROLES
    ]
    with open_cameras(cells) as cameras:
        cameras.wait_ready(5.0)
        rounds = 0
        deadline = time.monotonic() + 20
        views = views_within(cameras)
        while rounds <= 20 or views.frames[HIGH].number <= RECORDED:  # each has begun again
            assert time.monotonic() < deadline, rounds
            views = views_within(cameras)
            for index, role in enumerate(CAMERA_ROLES):
                image = views.frames[role].image
                # A busy machine may lose frames of a recording that plays in real time, never parts of one.
                assert image[0, 0, 0] - 80 * index in range(1, RECORDED + 1)
                assert (image == image[0, 0, 0]).all()
            rounds += views.fresh
            time.sleep(0.005)


def test_videos_and_simulated_cameras_mix(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((30, 40, 3), (10, 20, 30), np.uint8))
    video = CameraConfig(role=HIGH, driver="video", file=tmp_path, fps=FPS)
    with open_cameras([video, *configs("sim")[1:]]) as cameras:
        cameras.wait_ready(5.0)
        views = views_within(cameras)
    assert views.images[HIGH].shape == (30, 40, 3)
    assert views.images[HIGH][0, 0].tolist() == [30, 20, 10]
    assert views.images[LEFT].shape == (H, W, 3)
