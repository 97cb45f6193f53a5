"""Time of a whole cell: recorded while an arm swings, kept, solved again, judged, written."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.calibration import load_calibration
from gigaedge.clock import monotonic
from gigaedge.errors import CalibrationError, CameraError
from gigaedge.robot import CameraRole
from gigaedge_calibration.latency import front_path, wrist_path
from gigaedge_calibration.motion_record import (
    CameraMotion,
    MotionRecord,
    load_motion,
    record_motion,
    save_motion,
    swing,
)
from gigaedge_calibration.timing import judge_timing, measure_timing
from gigaedge_calibration.verdicts import Verdict
from tests.calibration.rendered_witness import HERE
from tests.calibration.test_latency import HOME, swung
from tests.command_line import answer, fails, gigaedge, succeeds

HIGH, LEFT, RIGHT = "cam_high", "cam_left_wrist", "cam_right_wrist"


def record(side: str, delays: Mapping[str, float], seed: int = 0, noise: float = 0.1) -> MotionRecord:
    """Eight seconds of a swing that cameras of these delays saw."""
    random = np.random.default_rng(seed)
    stamps = np.arange(-0.5, 8.5, 0.005) + random.normal(0, 3e-4, 1800)
    stamps.sort()
    cameras: dict[CameraRole, CameraMotion] = {}
    for role, delay in delays.items():
        frames = np.arange(0, 8, 1 / 30)
        path = front_path if role == HIGH else wrist_path
        motion = np.diff(path(swung(frames - delay, seed, (1, 4, 5))), axis=0)
        motion = motion @ random.standard_normal((6, 4))
        motion += noise * motion.std(axis=0) * random.standard_normal(motion.shape)
        cameras[role] = CameraMotion(frames, motion)  # type: ignore[index]
    return MotionRecord(side, stamps, swung(stamps, seed, (1, 4, 5)), cameras)  # type: ignore[arg-type]


def test_latencies_of_all_cameras_and_the_skew_between_them() -> None:
    feedback = 0.004  # is in every latency, and in no skew
    left = record("left", {HIGH: 0.03 - feedback, LEFT: 0.018 - feedback, RIGHT: 0.0})
    right = record("right", {HIGH: 0.03 - feedback, RIGHT: 0.02 - feedback}, seed=1)
    timing = measure_timing([left, right])
    found = {each.role: each for each in timing.cameras}
    assert list(found) == [HIGH, LEFT, RIGHT]
    assert (found[LEFT].side, found[RIGHT].side) == ("left", "right")
    for role, late in ((HIGH, 0.026), (LEFT, 0.014), (RIGHT, 0.016)):
        assert found[role].latency.seconds == pytest.approx(-late, abs=3e-3)
    skews = {(skew.first, skew.second): skew for skew in timing.skews}
    assert set(skews) == {(LEFT, HIGH), (RIGHT, HIGH), (LEFT, RIGHT)}
    assert skews[LEFT, HIGH].seconds == pytest.approx(0.012, abs=3e-3)
    assert skews[LEFT, RIGHT].seconds == pytest.approx(0.002, abs=5e-3)
    rows = judge_timing(timing)
    assert [row.verdict for row in rows if row.check.startswith("latency")] == [Verdict.PASS] * 3
    assert [row.subject for row in rows if row.check == "skew to cam_high"] == [LEFT, RIGHT]


def test_a_camera_that_is_much_later_is_named() -> None:
    rows = judge_timing(measure_timing([record("left", {HIGH: 0.06, LEFT: 0.02})]))
    (row,) = [row for row in rows if row.check.startswith("skew")]
    assert row.verdict is Verdict.FAIL
    assert row.cause == "cam_high shows the world later than the other"


def test_a_camera_that_saw_nothing_fails_and_the_others_count() -> None:
    left = record("left", {HIGH: 0.03, LEFT: 0.02})
    still = CameraMotion(left.cameras[LEFT].stamps, np.zeros_like(left.cameras[LEFT].motion))
    timing = measure_timing([replace(left, cameras={HIGH: left.cameras[HIGH], LEFT: still})])
    assert [each.role for each in timing.cameras] == [HIGH]
    (row,) = [row for row in judge_timing(timing) if row.verdict is Verdict.FAIL]
    assert row.subject == LEFT
    assert row.cause.endswith("(the left arm swung)")
    with pytest.raises(CalibrationError, match="the left arm swung"):
        measure_timing([replace(left, cameras={LEFT: still})])
    with pytest.raises(CalibrationError, match="no camera saw the arm that swung"):
        measure_timing([replace(left, cameras={})])


def test_a_record_is_kept_and_read_again(tmp_path: Path) -> None:
    before = record("right", {HIGH: 0.03, RIGHT: 0.02})
    save_motion(tmp_path / "time", before)
    save_motion(tmp_path / "time", before)
    after = load_motion(tmp_path / "time")
    assert after.side == "right"
    assert set(after.cameras) == {HIGH, RIGHT}
    np.testing.assert_array_equal(after.joints, before.joints)
    np.testing.assert_array_equal(after.cameras[RIGHT].motion, before.cameras[RIGHT].motion)
    with pytest.raises(CalibrationError, match=r"no looks\.json; name a folder that"):
        load_motion(tmp_path)
    (tmp_path / "time" / "looks.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CalibrationError, match=r"looks\.json: missing key `looks`"):
        load_motion(tmp_path / "time")


@dataclass(frozen=True)
class Shown:
    role: str
    image: NDArray[np.uint8]
    number: int
    captured: float


@dataclass
class MovingCell:
    """An arm that follows `move` at once, and two cameras whose picture shifts with joint 5."""

    joint: NDArray[np.float64] = field(default_factory=lambda: HOME.copy())
    samples: list[tuple[float, NDArray[np.float64]]] = field(default_factory=list)
    lost: bool = False
    blank: bool = False
    moves: int = 0

    def __post_init__(self) -> None:
        noise = np.random.default_rng(0).uniform(0, 255, (120, 220)).astype(np.float32)
        soft = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3.0), None, 0, 255, cv2.NORM_MINMAX)
        self._texture = soft.astype(np.uint8)

    def pictures(self) -> dict[str, Shown]:
        if self.lost:
            raise CameraError("cam_high: lost")
        if self.blank:
            return {}
        now = monotonic()
        left = 30 + round(60 * float(self.joint[4] - HOME[4]))
        image = np.repeat(self._texture[:, left : left + 160, np.newaxis], 3, axis=-1)
        return {role: Shown(role, image, int(now * 30), now) for role in (HIGH, LEFT)}

    def joints(self, side: str) -> NDArray[np.float64]:
        return self.joint.copy()

    def history(self, side: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array([0.0, 1.0]), np.stack([HOME, self.joint])

    def move(self, side: str, joints: NDArray[np.float64]) -> None:
        self.moves += 1
        for step in range(1, 6):
            self.joint = self.joint + (joints - self.joint) * step / 5
            time.sleep(0.04)


def test_pictures_are_watched_while_the_arm_swings_and_it_comes_home() -> None:
    cell = MovingCell()
    between = swing(cell, "left", (-3.0,) * 6, (3.0,) * 6)  # type: ignore[arg-type]
    np.testing.assert_allclose(between[1] - between[0], [0.24, 0, 0, 0.4, 0.4, 0])
    kept = record_motion(cell, "left", 0.5, between)  # type: ignore[arg-type]
    assert cell.moves >= 3
    np.testing.assert_allclose(cell.joint, HOME)
    assert set(kept.cameras) == {HIGH, LEFT}
    motion = kept.cameras[LEFT]
    assert motion.motion.shape == (len(motion.stamps) - 1, 4)
    assert np.abs(motion.motion[:, 0]).max() > 1
    assert not [thread for thread in threading.enumerate() if thread.name == "watch"]


def test_a_swing_stays_within_the_limits() -> None:
    low, high = swing(MovingCell(), "left", HOME - 0.05, HOME + 0.1)  # type: ignore[arg-type]
    np.testing.assert_allclose(low[[0, 3, 4]], (HOME - 0.03)[[0, 3, 4]])
    np.testing.assert_allclose(high[[0, 3, 4]], (HOME + 0.08)[[0, 3, 4]])


def test_lost_and_silent_cameras_end_it() -> None:
    with pytest.raises(CameraError, match="cam_high: lost"):
        record_motion(MovingCell(lost=True), "left", 0.05)  # type: ignore[arg-type]
    cell = MovingCell(lost=True)
    with pytest.raises(CameraError, match="cam_high: lost"):
        record_motion(cell, "left", 0.05, swing(cell, "left", (-3.0,) * 6, (3.0,) * 6))  # type: ignore[arg-type]
    with pytest.raises(CameraError, match="no pictures from any camera while the arm moved"):
        record_motion(MovingCell(blank=True), "left", 0.05)  # type: ignore[arg-type]


# -- the command ------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for name in ("synthetic.yaml", "synthetic-world.yaml"):
        (tmp_path / name).write_text((HERE / name).read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path / "synthetic.yaml"


def test_latencies_are_written_into_the_calibration(site: Path) -> None:
    folder = site.parent / "time-left"
    save_motion(folder, record("left", {HIGH: 0.03, LEFT: 0.02}))
    told = answer("calibrate", "time", site, "--from", folder)
    assert set(told["cameras"]) == {HIGH, LEFT}
    assert told["cameras"][LEFT]["seconds"] == pytest.approx(-0.02, abs=3e-3)
    known = load_calibration(site.with_name("synthetic.calibration.json"))
    latency = {camera.role: camera.latency for camera in known.cameras}
    assert latency[LEFT] is not None
    assert latency[LEFT].seconds == told["cameras"][LEFT]["seconds"]
    assert latency[LEFT].against == "left"
    assert {camera.serial for camera in known.cameras} == {"sim-cam_high", "sim-cam_left_wrist"}
    assert [(each.purpose, each.subject, each.folder) for each in known.captures] == [
        ("time", "left", "time-left")
    ]
    succeeds("calibrate", "validate", site, "--captures")


def test_a_late_camera_ends_the_command_with_1(site: Path) -> None:
    folder = site.parent / "time-left"
    save_motion(folder, record("left", {HIGH: 0.07, LEFT: 0.02}))
    result = gigaedge("calibrate", "time", site, "--from", folder)
    assert result.returncode == 1
    assert "FAIL: skew to cam_high: cam_high shows the world later" in result.stdout
    assert "ms against the left arm" in result.stdout


def test_what_the_command_cannot_do_is_said_in_a_line(site: Path) -> None:
    fails("no looks.json; name a folder that `gigaedge calibrate time` wrote",
          "calibrate", "time", site, "--from", site.parent)  # fmt: skip
    fails("nobody is there to ask; pass --yes", "calibrate", "time", site, "--auto")
