import ctypes
import importlib
import itertools
import threading
import time
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaedge import librealsense
from gigaedge.errors import CameraError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import CameraConfig
from gigaedge_calibration.cameras import COLUMNS, connected_cameras, slow_cameras
from gigaedge_runtime.devices import FrameLight, realsense
from gigaedge_runtime.devices.realsense import RealSenseCamera, captured_at, read_recording
from gigaedge_runtime.devices.realsense_light import ColourLight
from gigaedge_runtime.devices.sim_realsense import SimulatedRealSense, SoftwareCamera, render_scene

W, H, FPS, RECORDED = 64, 48, 30, 15


pytestmark = [pytest.mark.realtime, pytest.mark.usefixtures("private_home")]


@pytest.fixture(autouse=True)
def _nothing_left():
    """Every test gives back its threads and its devices."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    assert librealsense.list_devices() == ()


def config(role="cam_high", *, driver="realsense", **kwargs):
    return CameraConfig(role=role, driver=driver, **({"width": W, "height": H, "fps": FPS} | kwargs))


def sim_host(*roles, **kwargs):
    return SimulatedRealSense([config(role, driver="sim", **kwargs) for role in roles or ["cam_high"]])


@contextmanager
def running(camera):
    camera.start()
    try:
        yield camera
    finally:
        camera.stop()


def wait_for(condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.002)
    return result


def frames(camera, count, timeout=5.0):
    """The next `count` different frames."""
    seen = []

    def enough():
        frame = camera.latest()
        if frame is not None and (not seen or frame.number != seen[-1].number):
            seen.append(frame)
        return len(seen) >= count

    wait_for(enough, timeout)
    return seen


def picture(role, number):
    """What the recordings hold: a gradient that says which frame of which camera it is."""
    image = np.zeros((H, W, 3), np.uint8)
    image[..., 0] = CAMERA_ROLES.index(role) * 50 + np.arange(W)
    image[..., 1] = np.arange(H)[:, None]
    image[..., 2] = number
    return image


@pytest.fixture(scope="module")
def recordings(record_cameras, tmp_path_factory):
    return record_cameras(tmp_path_factory.mktemp("recordings"), picture, RECORDED, FPS)


# -- live, through software devices of librealsense ---------------------------------------------------------


def test_a_simulated_camera_is_opened_by_serial():
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        got = frames(camera, 5)
        scene = render_scene("cam_high", W, H)
        for frame in got:
            assert frame.role == "cam_high"
            assert frame.image.flags.owndata
            assert frame.image.dtype == np.uint8
            np.testing.assert_array_equal(frame.image, scene[(frame.number - 1) % len(scene)])
            assert 0 <= frame.received - frame.captured < 0.5
        assert [f.number for f in got] == sorted({f.number for f in got})
        assert camera.odd_frames["untrusted_stamp"] == 0
    assert camera.latest() is None


def test_three_cameras_stream_at_their_rate():
    with sim_host(*CAMERA_ROLES, width=640, height=480) as host:
        cameras = [RealSenseCamera(c) for c in host.configs]
        for camera in cameras:
            camera.start()
        first = [frames(camera, 1)[0] for camera in cameras]
        time.sleep(1.0)
        last = [camera.latest() for camera in cameras]
        for camera in cameras:
            camera.stop()
    for a, b in zip(first, last, strict=True):
        assert 15 <= b.number - a.number <= 33


@pytest.mark.parametrize(
    ("flip", "expected"),
    [
        ("none", lambda i: i),
        ("horizontal", lambda i: i[:, ::-1]),
        ("vertical", lambda i: i[::-1]),
        ("both", lambda i: i[::-1, ::-1]),
    ],
)
def test_flips(flip, expected):
    with sim_host(flip=flip) as host, running(RealSenseCamera(host.configs[0])) as camera:
        frame = frames(camera, 1)[0]
    scene = render_scene("cam_high", W, H)
    np.testing.assert_array_equal(frame.image, expected(scene[(frame.number - 1) % len(scene)]))
    assert frame.image.flags.c_contiguous


def test_an_absent_serial_is_told_at_once_with_what_is_there():
    with sim_host("cam_left_wrist"):
        start = time.monotonic()
        with pytest.raises(CameraError) as caught:
            RealSenseCamera(config(serial="123")).start()
        assert time.monotonic() - start < 1.0
    assert str(caught.value) == (
        "cam_high: no RealSense with serial 123; connected: sim-cam_left_wrist (gigaedge simulated camera); "
        "correct `serial` or check the cable"
    )
    with pytest.raises(CameraError, match="connected: none"):
        RealSenseCamera(config(serial="123")).start()


def test_a_wrong_resolution_names_the_right_one():
    with sim_host() as host:
        wrong = host.configs[0].model_copy(update={"width": 848, "height": 480, "fps": 60})
        with pytest.raises(CameraError) as caught:
            RealSenseCamera(wrong).start()
    assert str(caught.value) == (
        "cam_high: RealSense sim-cam_high has no colour stream 848x480 RGB8 at 60 Hz; it has 64x48@30; "
        "correct `width`, `height` or `fps`"
    )


def test_a_camera_in_use_is_told():
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        with pytest.raises(
            CameraError, match=r"cam_high: RealSense sim-cam_high is in use .*close the other"
        ):
            RealSenseCamera(host.configs[0]).start()
        frames(camera, 2)


@contextmanager
def manual_camera(run=True, sensor="RGB Camera", usb="3.2", **site):
    """A software camera that delivers only what the test pushes, and the driver on it."""
    device = SoftwareCamera("manual", W, H, FPS, sensor=sensor, usb=usb)
    handle = librealsense.register(device.device)
    camera = RealSenseCamera(config(serial="manual", **site))
    with running(camera) if run else nullcontext():
        yield device, camera
    del handle


def test_usb_2_is_refused_unless_the_site_file_allows_it():
    with manual_camera(run=False, usb="2.1") as (_, camera):
        with pytest.raises(CameraError) as caught:
            camera.start()
        with running(RealSenseCamera(config(serial="manual", allow_usb2=True))) as allowed:
            assert allowed.health().usb == "2.1"
    assert str(caught.value) == (
        "cam_high: RealSense manual runs at USB 2.1, too slow for three cameras; use a USB 3 port and cable and "
        "plug it in quickly, or set `allow_usb2: true`"
    )


def test_two_devices_with_one_serial_are_refused():
    with (
        manual_camera(run=False) as (_, camera),
        manual_camera(run=False),
        pytest.raises(CameraError, match=r"cam_high: 2 RealSense report the serial manual .*unplug all but"),
    ):
        camera.start()


def test_two_cameras_cannot_have_one_serial():
    host = SimulatedRealSense([config(r, driver="sim", serial="7") for r in CAMERA_ROLES[:2]])
    with pytest.raises(CameraError, match="cam_left_wrist: a camera with serial 7 exists already"):
        host.start()


def test_a_stall_keeps_the_last_frame_and_ends():
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        frames(camera, 2)
        host.stall("cam_high")
        time.sleep(0.1)
        stalled = camera.latest()
        time.sleep(0.4)
        assert camera.latest() is stalled
        host.stall("cam_high", False)
        wait_for(lambda: camera.latest().number > stalled.number)


def test_a_long_silence_of_a_connected_camera_is_no_loss(monkeypatch):
    monkeypatch.setattr(realsense, "PRESENCE_INTERVAL", 0.05)
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        frames(camera, 1)
        host.stall("cam_high")
        time.sleep(0.5)
        assert camera.latest() is not None


@pytest.fixture
def impatient(monkeypatch):
    """A camera that looks for itself soon, and often."""
    monkeypatch.setattr(realsense, "PRESENCE_INTERVAL", 0.15)
    monkeypatch.setattr(realsense, "RECONNECT_INTERVAL", 0.05)
    return monkeypatch


def in_trouble(camera, reason):
    return wait_for(lambda: (t := camera.trouble) is not None and t.reason == reason and t)


def test_an_unplugged_camera_has_no_picture_until_it_is_back(impatient):
    with sim_host(exposure=0.01) as host, running(RealSenseCamera(host.configs[0])) as camera:
        before = frames(camera, 2)[-1]
        host.unplug("cam_high")
        trouble = in_trouble(camera, "lost")
        assert trouble.text == (
            "cam_high: RealSense sim-cam_high was unplugged or lost power; waiting for it to come back; "
            "check cable and hub"
        )
        assert camera.latest() is None
        plugged = time.monotonic()
        host.unplug("cam_high", False)
        after = frames(camera, 2)[0]
        assert after.captured > plugged > before.captured
        assert camera.trouble is None
        assert camera.health().reconnects == 1
        assert after.light.exposure == pytest.approx(0.01)


def test_a_recording_loaded_as_a_camera_comes_back_when_it_is_loaded_again(recordings, impatient):
    """Unlike a software device, it does leave the library's list."""
    context = librealsense.context()
    file = str(recordings["cam_high"])
    player = context.load_device(file)
    with running(RealSenseCamera(config(serial="rec-cam_high"))) as camera:
        frames(camera, 2)
        context.unload_device(file)
        in_trouble(camera, "lost")
        del player
        player = context.load_device(file)
        frames(camera, 2)
        assert camera.health().reconnects == 1
    context.unload_device(file)
    del player


def test_options_are_set_again_in_a_camera_that_lost_power(impatient):
    with manual_camera(exposure=0.02) as (device, camera):
        librealsense.pull("manual")
        in_trouble(camera, "lost")
        device.set_option("exposure", 50)
        device.set_option("enable_auto_exposure", 1)
        librealsense.pull("manual", False)
        wait_for(lambda: camera.health().reconnects)
        assert (device.option("exposure"), device.option("enable_auto_exposure")) == (200, 0)


def test_a_camera_that_comes_back_at_usb_2_stays_in_trouble(impatient):
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        frames(camera, 1)
        host.unplug("cam_high")
        in_trouble(camera, "lost")
        slow = librealsense.DeviceInfo("sim-cam_high", "D435", "2.1", "5.16")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(librealsense, "list_devices", lambda: (slow,))
            host.unplug("cam_high", False)
            wait_for(lambda: "it is back, but: RealSense sim-cam_high runs at USB 2.1" in camera.trouble.text)
            assert camera.latest() is None
        frames(camera, 1)


def test_a_camera_that_does_not_come_back_is_given_up(impatient):
    impatient.setattr(realsense, "RECONNECT_LIMIT", 0.5)
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        frames(camera, 1)
        host.unplug("cam_high")

        def is_lost():
            try:
                camera.latest()
            except CameraError as error:
                return str(error)
            return None

        assert wait_for(is_lost) == (
            "cam_high: RealSense sim-cam_high was unplugged or lost power and gave no picture for 0.5 s; "
            "check cable and hub, then start again"
        )
        with pytest.raises(CameraError, match="no RealSense with serial sim-cam_high"):
            camera.start()
        host.unplug("cam_high", False)
        camera.start()
        frames(camera, 2)


def test_a_camera_that_is_listed_but_stays_silent_is_started_again(impatient):
    impatient.setattr(realsense, "SILENCE_LIMIT", 0.3)
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        frames(camera, 1)
        host.stall("cam_high")
        assert "fell silent" in in_trouble(camera, "lost").text
        host.stall("cam_high", False)
        frames(camera, 2)
        assert camera.health().reconnects >= 1


def test_stop_does_not_wait_for_a_camera_that_is_gone(impatient):
    with sim_host() as host:
        camera = RealSenseCamera(host.configs[0])
        camera.start()
        host.unplug("cam_high")
        in_trouble(camera, "lost")
        start = time.monotonic()
        camera.stop()
        assert time.monotonic() - start < 1.0


# -- exposure and white balance ------------------------------------------------------------------------------


def test_what_the_site_file_sets_is_set_read_back_and_seen_on_frames():
    with manual_camera(exposure=0.0083, gain=20, white_balance=4300) as (device, camera):
        assert device.option("exposure") == 83
        assert device.option("gain") == 20
        assert device.option("white_balance") == 4300
        assert device.option("enable_auto_exposure") == device.option("enable_auto_white_balance") == 0
        assert camera.health().settings == {
            "global_time_enabled": 1, "auto_exposure_priority": 0, "enable_auto_exposure": 0,
            "exposure": pytest.approx(0.0083), "gain": 20, "enable_auto_white_balance": 0, "white_balance": 4300,
        }  # fmt: skip
        light = push_and_take(device, camera, 1, time.time()).light
        assert light == FrameLight(pytest.approx(0.0083), 20, 4300, False)


def test_what_it_does_not_set_is_automatic_whatever_was_set_before():
    with manual_camera(run=False) as (device, camera):
        device.set_option("enable_auto_exposure", 0)
        device.set_option("enable_auto_white_balance", 0)
        with running(camera):
            assert device.option("enable_auto_exposure") == device.option("enable_auto_white_balance") == 1
            light = push_and_take(device, camera, 1, time.time()).light
    assert light.auto_exposure
    assert light.exposure == pytest.approx(0.0083)


def test_exposure_without_gain_takes_the_gain_of_the_camera():
    with manual_camera(exposure=0.01) as (device, _):
        assert device.option("gain") == 64


def test_the_stereo_module_of_a_d405_counts_in_microseconds():
    with manual_camera(exposure=0.005, sensor="Stereo Module") as (device, camera):
        assert device.option("exposure") == 5000
        assert push_and_take(device, camera, 1, time.time()).light.exposure == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("site", "text"),
    [
        ({"exposure": 0.02, "gain": 500}, "takes gain from 0 to 128, not 500; correct `gain`"),
        ({"exposure": 0.00001}, "takes exposure from 0.0001 to 1, not 1e-05; correct `exposure`"),
        ({"white_balance": 9000}, "takes white_balance from 2800 to 6500, not 9000; correct `white_balance`"),
    ],
)
def test_a_setting_out_of_range_is_refused(site, text):
    with manual_camera(run=False, **site) as (_, camera), pytest.raises(CameraError) as caught:
        camera.start()
    assert str(caught.value) == f"cam_high: RealSense manual {text}"


class Sensor:
    """The colour sensor of a camera that is not as it should be."""

    def __init__(self, options, keeps=lambda value: value, error=""):
        self.options, self.keeps, self.error, self.values = options, keeps, error, {}

    def get_info(self, _):
        return "RGB Camera"

    def get_stream_profiles(self):
        return [SimpleNamespace(stream_type=lambda: librealsense.load().stream.color)]

    def supports(self, option):
        return option.name in self.options

    def is_option_read_only(self, option):
        return False

    def get_option_range(self, option):
        return SimpleNamespace(min=0, max=10000, step=1, default=1)

    def set_option(self, option, value):
        if self.error:
            raise RuntimeError(self.error)
        self.values[option.name] = self.keeps(value)

    def get_option(self, option):
        return self.values[option.name]


@pytest.mark.parametrize(
    ("sensor", "text"),
    [
        (Sensor([]), "has no exposure to set; remove `exposure`"),
        (
            Sensor(["exposure"], keeps=lambda v: 2 * v),
            "does not keep exposure 0.01: it reads back 0.02; close other programs that use the camera",
        ),
        (
            Sensor(["exposure"], error="xioctl failed\nbusy"),
            "does not take exposure 0.01 (xioctl failed busy); close other programs that use the camera",
        ),
    ],
)
def test_a_camera_that_does_not_do_as_told_is_refused(sensor, text):
    device = SimpleNamespace(query_sensors=lambda: [sensor])
    with pytest.raises(CameraError) as caught:
        ColourLight(config(serial="7", exposure=0.01), device).apply()
    assert str(caught.value) == f"cam_high: RealSense 7 {text}"


def test_a_camera_without_a_colour_sensor_is_told():
    with pytest.raises(CameraError, match="cam_high: RealSense 7 has no colour sensor"):
        ColourLight(config(serial="7"), SimpleNamespace(query_sensors=list))


@pytest.mark.parametrize(
    ("light", "text"),
    [
        (FrameLight(0.010, 20, 4300, False), None),
        (FrameLight(0.0104, 20.5, 4340, None), None),
        (FrameLight(), None),
        (FrameLight(0.010, 20, 4300, True), "auto exposure came back"),
        (FrameLight(0.012, 20, 4300, False), "exposure is 12.0 ms in place of 10.0 ms"),
        (FrameLight(0.010, 22, 4300, False), "gain is 22 in place of 20"),
        (FrameLight(0.010, 20, 5200, False), "white balance is 5200 K in place of 4300 K"),
    ],
)
def test_a_frame_is_held_against_the_site_file(light, text):
    device = SimpleNamespace(query_sensors=lambda: [Sensor([])])
    locked = config(serial="7", exposure=0.01, gain=20, white_balance=4300)
    assert ColourLight(locked, device).contradiction(light) == text
    assert ColourLight(config(serial="7"), device).contradiction(light) is None


def test_an_auto_exposure_that_comes_back_is_counted_and_when_it_lasts_refused(monkeypatch):
    monkeypatch.setattr(realsense, "LOCK_PATIENCE", 1e9)
    with sim_host(exposure=0.01) as host, running(RealSenseCamera(host.configs[0])) as camera:
        frames(camera, 2)
        assert camera.trouble is None
        host.run_away("cam_high")
        wait_for(lambda: camera.odd_frames["unlocked"] >= 3)
        assert camera.trouble is None
        monkeypatch.setattr(realsense, "LOCK_PATIENCE", 0.2)
        assert in_trouble(camera, "unlocked").text == (
            "cam_high: auto exposure came back; close other programs that use the camera, then start again"
        )
        assert camera.health().unlocked > 1
        host.run_away("cam_high", False)
        wait_for(lambda: camera.trouble is None)


# -- time stamps and numbers -----------------------------------------------------------------------------------


def push_and_take(device, camera, number, stamp, **kwargs):
    device.push(picture("cam_high", number), number, stamp, **kwargs)
    return wait_for(lambda: (f := camera.latest()) is not None and f.number == number and f)


@pytest.mark.parametrize("domain", ["global_time", "system_time"])
def test_epoch_stamps_become_monotonic_time(domain):
    with manual_camera() as (device, camera):
        exposed, stamp = time.monotonic(), time.time()
        frame = push_and_take(device, camera, 1, stamp - 0.030, domain=domain)
        assert frame.captured == pytest.approx(exposed - 0.030, abs=0.005)
        assert frame.captured < exposed < frame.received
        assert frame.stamp == domain
        health = camera.health()
        assert health.stamps == {domain: 1}
        assert 0.03 <= health.transport.p50 < 1.0


def test_stamps_that_cannot_be_true_are_counted_and_not_used():
    with manual_camera() as (device, camera):
        for number, shift in enumerate((5.0, -5.0), start=1):
            frame = push_and_take(device, camera, number, time.time() + shift)
            assert frame.captured == frame.received
        assert camera.odd_frames["untrusted_stamp"] == 2


def test_hardware_clock_stamps_are_not_comparable():
    with manual_camera() as (device, camera):
        frame = push_and_take(device, camera, 1, time.time() - 0.05, domain="hardware_clock")
        assert camera.health().stamps == {"arrival": 1}
        assert camera.health().transport.count == 0
        assert frame.captured == frame.received
        assert camera.odd_frames["untrusted_stamp"] == 0


def test_a_frame_delivered_twice_is_one_frame():
    with manual_camera() as (device, camera):
        first = push_and_take(device, camera, 1, time.time())
        device.push(picture("cam_high", 9), 1, time.time())
        time.sleep(0.1)
        assert camera.latest() is first
        assert camera.health().duplicates == 1
        push_and_take(device, camera, 2, time.time())


def test_health_counts_frames_gaps_and_rate():
    with manual_camera() as (device, camera):
        for number in (1, 2, 5, 6):
            push_and_take(device, camera, number, time.time())
            time.sleep(0.05)
        health = camera.health()
        assert (health.serial, health.usb, health.firmware) == ("manual", "3.2", "5.16.0.1")
        assert (health.frames, health.dropped, health.duplicates, health.reconnects) == (4, 2, 0, 0)
        assert 0 < health.rate <= 20
        camera.start()
        assert camera.health().frames == 0


def test_a_frame_that_comes_after_a_later_one_is_not_used():
    with manual_camera() as (device, camera):
        later = push_and_take(device, camera, 20, time.time())
        device.push(picture("cam_high", 4), 4, time.time())
        wait_for(lambda: camera.odd_frames["out_of_order"] == 1)
        assert camera.latest() is later
        push_and_take(device, camera, 21, time.time())


def test_a_camera_that_counts_from_one_again_is_followed():
    with manual_camera() as (device, camera):
        push_and_take(device, camera, 18, time.time())
        push_and_take(device, camera, 1, time.time())
        assert camera.odd_frames == {}


def test_a_frozen_camera_delivers_nothing_new():
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        frames(camera, 2)
        host.freeze("cam_high")
        time.sleep(0.1)
        frozen = camera.latest()
        time.sleep(0.2)
        assert camera.latest() is frozen
        host.freeze("cam_high", False)
        wait_for(lambda: camera.latest().number > frozen.number)
        assert camera.odd_frames == {}


def test_frames_out_of_order_are_told_from_those_in_order():
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        frames(camera, 1)
        host.disorder("cam_high")
        wait_for(lambda: camera.odd_frames["out_of_order"] >= 3)
        host.disorder("cam_high", False)
        used = [frame.number for frame in frames(camera, 5)]
        assert used == sorted(used)


def test_a_wrong_exposure_paints_every_pixel():
    with sim_host() as host, running(RealSenseCamera(host.configs[0])) as camera:
        host.expose("cam_high", 255)
        wait_for(lambda: (f := camera.latest()) is not None and (f.image == 255).all())
        host.expose("cam_high", None)
        wait_for(lambda: not (camera.latest().image == 255).any())


@given(st.floats(-3, 3), st.floats(0, 1e6))
def test_captured_at_believes_ages_up_to_a_second(age, received):
    wall = 1.7e9
    captured = captured_at((wall - age) * 1e3, wall, received)
    if 0.001 < age < 0.999:
        assert captured == pytest.approx(received - age, abs=1e-5)
    elif age < -0.001 or age > 1.001:
        assert captured is None


def test_stop_is_prompt_and_may_come_at_any_time():
    with sim_host() as host:
        camera = RealSenseCamera(host.configs[0])
        camera.stop()
        camera.start()
        host.stall("cam_high")  # stop must not wait for a frame
        start = time.monotonic()
        stoppers = [threading.Thread(target=camera.stop) for _ in range(3)]
        for thread in stoppers:
            thread.start()
        for thread in stoppers:
            thread.join()
        camera.stop()
        assert time.monotonic() - start < 1.0
        host.stall("cam_high", False)
        with running(camera):
            frames(camera, 2)


# -- recordings ---------------------------------------------------------------------------------------------


def test_a_recording_plays_in_real_time_and_loops(recordings):
    camera = RealSenseCamera(config("cam_left_wrist", file=recordings["cam_left_wrist"]))
    with running(camera):
        start = time.monotonic()
        got = frames(camera, 1)
        while got[-1].number < 2 * RECORDED + 3:
            got += [f for f in frames(camera, 2)[1:] if f.number != got[-1].number]
        elapsed = time.monotonic() - start
    numbers = [frame.number for frame in got]
    assert numbers == sorted(set(numbers))
    assert elapsed > 0.7 * 2 * RECORDED / FPS
    for frame in got:
        # A busy machine may lose frames of a recording that plays in real time, never parts of one.
        recorded = int(frame.image[0, 0, 2])
        assert recorded in range(1, RECORDED + 1)
        np.testing.assert_array_equal(frame.image, picture("cam_left_wrist", recorded))
        assert frame.captured == frame.received
    assert camera.odd_frames["untrusted_stamp"] == 0


def test_a_recording_that_ended_is_lost(recordings):
    with running(RealSenseCamera(config(file=recordings["cam_high"]), repeat=False)) as camera:
        with pytest.raises(CameraError, match=r"cam_high: the recording .*cam_high\.db3 has ended"):
            wait_for(lambda: camera.latest() and False)
        camera.start()
        frames(camera, 2)


def test_three_recordings_are_read_in_lockstep_and_exactly(recordings):
    configs = [config(role, file=recordings[role]) for role in CAMERA_ROLES]
    rows = list(itertools.zip_longest(*map(read_recording, configs)))
    assert [[f.number for f in row] for row in rows] == [[n] * 3 for n in range(1, RECORDED + 1)]
    for row in rows:
        for frame in row:
            np.testing.assert_array_equal(frame.image, picture(frame.role, frame.number))
    steps = np.diff([row[0].captured for row in rows])
    np.testing.assert_allclose(steps, 1 / FPS, atol=1e-4)


def test_reading_a_recording_may_be_given_up_early(recordings):
    reader = read_recording(config(file=recordings["cam_high"], flip="both"))
    np.testing.assert_array_equal(next(reader).image, picture("cam_high", 1)[::-1, ::-1])
    reader.close()


@pytest.mark.parametrize(
    ("name", "size", "text"),
    [
        ("nothing.db3", W, "no recording .*nothing.db3; correct `file`"),
        ("film.mp4", W, "film.mp4 is no RealSense recording; expected a .db3 or .bag file"),
        ("damaged.db3", W, "damaged.db3 does not start .*record it again or name another"),
        ("good.db3", 640, "good.db3 has no colour stream 640x48 RGB8 at 30 Hz; it has 64x48@30; correct"),
    ],
)
def test_unusable_recordings_are_told(recordings, tmp_path, name, size, text):
    (tmp_path / "damaged.db3").write_text("not a database")
    (tmp_path / "good.db3").write_bytes(recordings["cam_high"].read_bytes())
    wrong = config(file=tmp_path / name, width=size)
    with pytest.raises(CameraError, match=f"cam_high: .*{text}"):
        RealSenseCamera(wrong).start()
    with pytest.raises(CameraError, match=f"cam_high: .*{text}"):
        next(read_recording(wrong))


# -- librealsense itself ------------------------------------------------------------------------------------


def test_connected_cameras_are_listed():
    assert connected_cameras() == []
    with sim_host("cam_right_wrist", "cam_high"):
        rows = connected_cameras()
    name = "gigaedge simulated camera"
    assert rows == [
        (f"sim-{role}", name, "3.2", "5.16.0.1", "unknown", "64x48@30")
        for role in ("cam_high", "cam_right_wrist")
    ]
    assert len(rows[0]) == len(COLUMNS)
    assert slow_cameras(rows) == []
    with manual_camera(run=False, usb="2.1"):
        assert slow_cameras(connected_cameras()) == [
            "manual runs at USB 2.1, too slow for three cameras: use a USB 3 port and cable, plug it in quickly"
        ]
    assert librealsense.colour_streams_of("404") == "unknown"


def refuse_import(monkeypatch, error):
    original = importlib.import_module

    def import_module(name, package=None):
        if name == "pyrealsense2":
            raise error
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_missing_library_is_told_with_the_mend(monkeypatch):
    refuse_import(monkeypatch, ModuleNotFoundError("No module named 'pyrealsense2'"))
    with pytest.raises(CameraError, match=r"pip install 'gigaedge\[robot\]'"):
        librealsense.load()


def test_unloadable_library_is_told_with_the_mend(monkeypatch):
    refuse_import(monkeypatch, ImportError("libusb-1.0.so.0: cannot open shared object file"))
    with pytest.raises(CameraError, match=r"libusb-1\.0\.so\.0: cannot open.*apt-get install libusb-1\.0-0"):
        librealsense.load()


def test_libusb_comes_from_its_package_only_when_the_system_has_none(monkeypatch):
    loaded = []

    def has(library):
        def load(name, mode=ctypes.DEFAULT_MODE):
            if name == "libusb-1.0.so.0" and not library:
                raise OSError("cannot open shared object file")
            loaded.append((name, mode))

        return load

    package = SimpleNamespace(get_library_path=lambda: "/packaged/libusb.so")
    monkeypatch.setattr(importlib, "import_module", lambda name: package)
    monkeypatch.setattr(ctypes, "CDLL", has(library=True))
    librealsense.load()
    assert [name for name, _ in loaded] == ["libusb-1.0.so.0"]
    loaded.clear()
    monkeypatch.setattr(ctypes, "CDLL", has(library=False))
    librealsense.load()
    assert loaded == [("/packaged/libusb.so", ctypes.RTLD_GLOBAL)]


def test_scenes_are_deterministic_and_differ_by_role():
    first = render_scene("cam_high", 40, 30, frames=4)
    again = render_scene("cam_high", 40, 30, frames=4)
    other = render_scene("cam_left_wrist", 40, 30, frames=4)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert all((a != b).any() for a, b in zip(first, other, strict=True))
    assert (first[0] != first[1]).any()
