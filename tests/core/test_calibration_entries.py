"""Entries of cameras and captures: put in, replaced, and forgotten when they are of something else."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from gigaedge.calibration import Calibration, CaptureInfo, LatencyInfo, LightInfo
from gigaedge.calibration_entries import capture_info, entry_of, stream_of, with_camera, with_capture
from gigaedge.files import sha256
from gigaedge.lens import Lens
from gigaedge.site import CameraConfig
from gigaedge_calibration.lens_uncertainty import factory_info

EMPTY = Calibration(created=datetime(2026, 1, 1, tzinfo=timezone.utc))
HIGH = CameraConfig(role="cam_high", driver="realsense", serial="1")
LEFT = CameraConfig(role="cam_left_wrist", driver="sim")
LENS = factory_info(Lens(640, 480, 612.0, 612.0, 320.0, 240.0))
LIGHT = LightInfo(luminance=128, red_to_green=1.0, blue_to_green=1.0)
LATENCY = LatencyInfo(seconds=-0.02, sigma=0.001, against="left")


def test_a_new_camera_is_known_by_its_serial_number_or_by_what_it_plays() -> None:
    assert entry_of(EMPTY, HIGH).serial == "1"
    assert entry_of(EMPTY, LEFT).serial == "sim-cam_left_wrist"
    recorded = HIGH.model_copy(update={"serial": None, "file": Path("high.db3")})
    assert entry_of(EMPTY, recorded).serial == "realsense-cam_high"
    assert entry_of(EMPTY, HIGH).stream == stream_of(HIGH)


def test_what_is_known_stays_with_the_camera_and_not_with_its_place() -> None:
    entry = entry_of(EMPTY, HIGH).model_copy(update={"light": LIGHT})
    known = with_camera(with_camera(EMPTY, entry_of(EMPTY, LEFT)), entry)
    assert [camera.role for camera in known.cameras] == ["cam_high", "cam_left_wrist"]
    assert entry_of(known, HIGH).light == LIGHT
    assert entry_of(known, HIGH, serial="2").light is None
    assert entry_of(known, HIGH.model_copy(update={"serial": "2"})).serial == "2"


def test_a_lens_goes_with_the_size_that_it_is_of() -> None:
    entry = entry_of(EMPTY, HIGH).model_copy(
        update={"light": LIGHT, "latency": LATENCY, "factory": LENS, "intrinsics": LENS}
    )
    known = with_camera(EMPTY, entry)
    faster = entry_of(known, HIGH.model_copy(update={"fps": 60}))
    assert (faster.stream.fps, faster.intrinsics) == (60, LENS)
    wide = entry_of(known, HIGH.model_copy(update={"width": 848}))
    assert wide.intrinsics is wide.factory is None
    assert (wide.light, wide.latency) == (LIGHT, LATENCY)
    Calibration.model_validate(with_camera(known, wide).model_dump(by_alias=True))


def test_captures_are_referred_to_from_where_the_file_is(tmp_path: Path) -> None:
    folder = tmp_path / "cell.captures" / "time-left"
    folder.mkdir(parents=True)
    (folder / "looks.json").write_text("{}")
    info = capture_info(tmp_path / "cell.calibration.json", folder, "time", "left")
    looks = sha256(folder / "looks.json")
    assert info == CaptureInfo(purpose="time", subject="left", folder="cell.captures/time-left", sha256=looks)
    other = info.model_copy(update={"subject": "right"})
    newer = info.model_copy(update={"sha256": "0" * 64})
    kept = with_capture(with_capture(with_capture(EMPTY, info), other), newer)
    assert kept.captures == (other, newer)
