"""Stamps that are corrected by the calibrated latency: the state that goes with a picture is that of its moment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.calibration import Calibration, CameraCalibration, LatencyInfo, StreamInfo
from gigaedge.documents import write_document
from gigaedge.errors import CalibrationError
from gigaedge.robot import CAMERA_ROLES, ROBOT_DIM, CameraRole
from gigaedge.site import Site
from gigaedge_runtime.capture import CameraSet, CapturedViews, Refusal, calibrated_latencies
from gigaedge_runtime.devices import Frame
from gigaedge_runtime.mailbox import Board
from gigaedge_runtime.policy_process import Planner, PolicyLoop
from gigaedge_runtime.report import CameraHealth

HIGH, LEFT, RIGHT = CAMERA_ROLES
NOW = 50.0


@dataclass
class Still:
    """A camera with one frame, that `captured` says was exposed at NOW - 0.02."""

    role: CameraRole
    odd_frames: Mapping[str, int] = field(default_factory=dict)
    trouble: None = None

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def latest(self) -> Frame:
        picture = np.full((24, 32, 3), 90, np.uint8)
        return Frame(self.role, picture, 1, NOW - 0.02, NOW - 0.01, "global_time")

    def health(self) -> CameraHealth:
        return CameraHealth(self.role, "still")


@pytest.fixture
def cameras() -> CameraSet:
    return CameraSet([Still(role) for role in CAMERA_ROLES])


def make_site(calibration: Path | None) -> Site:
    return Site.model_validate(
        {
            "bundle": Path("bundle"),
            "calibration": calibration,
            "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
            "arms": [{"side": "left", "driver": "sim"}, {"side": "right", "driver": "sim"}],
        }
    )


def test_ages_and_skew_are_of_the_corrected_stamps(cameras: CameraSet) -> None:
    cameras.latencies = {HIGH: -0.03, LEFT: -0.01}
    views = cameras.observe(NOW, max_age=0.2, max_skew=0.05)
    assert isinstance(views, CapturedViews)
    assert views.captured == pytest.approx(NOW - 0.05)
    assert views.age == pytest.approx(0.05)
    assert views.skew == pytest.approx(0.03)
    assert views.frames[RIGHT].captured == pytest.approx(NOW - 0.02), "not measured: as it came"
    latest = cameras.cameras[HIGH].latest()
    assert latest is not None
    assert latest.captured == pytest.approx(NOW - 0.02), "the device's own frame is not touched"


def test_refusals_are_too(cameras: CameraSet) -> None:
    cameras.latencies = {HIGH: -0.03}
    late = cameras.observe(NOW, max_age=0.04, max_skew=0.05)
    assert isinstance(late, Refusal)
    assert (late.reason, late.role) == ("stale", HIGH)
    apart = cameras.observe(NOW, max_age=0.2, max_skew=0.02)
    assert isinstance(apart, Refusal)
    assert (apart.reason, apart.role) == ("skew", HIGH)


def test_the_calibration_says_how_late_a_camera_is(tmp_path: Path) -> None:
    known = CameraCalibration(role=LEFT, serial="1", stream=StreamInfo(width=640, height=480, fps=30))
    measured = with_latency(known, -0.041)
    file = tmp_path / "cell.calibration.json"
    written = Calibration(
        created=datetime(2026, 1, 2, tzinfo=timezone.utc),
        cameras=(measured, known.model_copy(update={"role": RIGHT, "serial": "2"})),
    )
    write_document(file, written)
    assert calibrated_latencies(make_site(file)) == {LEFT: -0.041}
    assert calibrated_latencies(make_site(None)) == {}
    with pytest.raises(CalibrationError, match="no such calibration"):
        calibrated_latencies(make_site(tmp_path / "other.json"))


def with_latency(camera: CameraCalibration, seconds: float) -> CameraCalibration:
    latency = LatencyInfo(seconds=seconds, sigma=0.001, against="left")
    return camera.model_copy(update={"latency": latency})


@dataclass
class Chunk:
    actions: NDArray[np.float32]
    rate_hz: float = 30.0
    timings: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@pytest.mark.parametrize("latency", [0.0, -0.055])
def test_the_state_of_an_observation_is_that_of_the_moment_the_picture_shows(
    cameras: CameraSet, latency: float
) -> None:
    cameras.latencies = dict.fromkeys(CAMERA_ROLES, latency)
    states: list[NDArray[np.float32]] = []

    def plan(composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Chunk:
        states.append(state)
        return Chunk(np.tile(state, (48, 1)))

    handle = Board.create()
    try:
        board = Board(handle)
        for step in range(101):
            moment = NOW - 0.5 + 0.005 * step
            board.states.push(moment, np.full(ROBOT_DIM, moment - NOW))
        planner = Planner((32, 40), "tshape", plan)
        loop = PolicyLoop(make_site(None), planner, cameras, board, clock=lambda: NOW)
        assert loop.step()
        published = Board(handle).chunks.newest()
    finally:
        os.close(handle)
    assert published is not None
    assert published.observed == pytest.approx(NOW - 0.02 + latency)
    np.testing.assert_allclose(states[0], -0.02 + latency, atol=1e-6)
