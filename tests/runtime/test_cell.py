"""The live cell: what it reads, what it refuses, and that a picture shows the joints of its moment less the latency."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gigaedge.clock import monotonic
from gigaedge.errors import ArmError, CameraError, ConfigError, InputError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.simulation import SimulatedBoard, World
from gigaedge.site import ArmConfig, CanConfig, Site
from gigaedge_runtime.cell import Cell, Follower, open_cell
from gigaedge_runtime.devices import Frame
from gigaedge_runtime.devices.sim_cell import ArmListener
from gigaedge_runtime.devices.sim_piper import SimulatedPiper
from gigaedge_runtime.devices.sim_world import Renderer
from gigaedge_runtime.report import RunReport

pytestmark = [pytest.mark.realtime, pytest.mark.usefixtures("private_home")]

WIDTH, HEIGHT = 160, 120
LATENCY = 0.045
"""s."""
POSE = (0.3, 1.0, -0.9, 0.1, 0.4, -0.1, 0.02)
HOME = (0.0, 1.1, -1.05, 0.0, 0.8, 0.0, 0.03)
WORLD = World(board=SimulatedBoard()).with_camera("cam_left_wrist", latency=LATENCY, noise=0.0)


def site_in(folder: Path, **changes: object) -> Site:
    """A cell with one arm, in a world of its own."""
    world = folder / "world.yaml"
    world.write_text(WORLD.model_dump_json(by_alias=True, exclude_none=True))
    return Site.model_validate(
        {
            "bundle": "demo",
            "simulation": world,
            "cameras": [
                {"role": role, "driver": "sim", "width": WIDTH, "height": HEIGHT} for role in CAMERA_ROLES
            ],
            "arms": [
                {"side": "left", "driver": "sim", "home": HOME},
                {"side": "right", "driver": "absent", "pose": POSE},
            ],
            "limits": {"position_max": [2.0, 3.0, 0.0, 1.5, 1.2, 2.0]},
            "timing": {"max_feedback_age": 0.5},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return site_in(tmp_path_factory.mktemp("cell"))


@pytest.fixture(scope="module")
def cell(site: Site, private_home: Path) -> Iterator[Cell]:
    with open_cell(site, cameras=["cam_left_wrist"]) as opened:
        yield opened


def test_arms_are_read_and_the_absent_one_is_where_the_site_says(cell: Cell) -> None:
    np.testing.assert_allclose(cell.joints("left"), HOME[:6], atol=1e-4)
    np.testing.assert_allclose(cell.state(), [*HOME, *POSE], atol=1e-4)
    with pytest.raises(ArmError, match="right arm: it is absent in this cell"):
        cell.joints("right")


def test_the_history_grows_and_is_interpolated(cell: Cell) -> None:
    time.sleep(0.3)
    stamps, joints = cell.history("left")
    assert joints.shape == (len(stamps), 6)
    assert (np.diff(stamps) > 0).all()
    np.testing.assert_allclose(cell.joints_at("left", (stamps[0] + stamps[-1]) / 2), HOME[:6], atol=1e-4)
    with pytest.raises(ArmError, match=r"left arm: no feedback of 100\.00 s ago; there is some of the last "):
        cell.joints_at("left", monotonic() - 100)


def test_new_pictures_are_new(cell: Cell) -> None:
    begin = monotonic()
    first = cell.next_pictures()["cam_left_wrist"]
    second = cell.next_pictures()["cam_left_wrist"]
    assert begin < first.captured < second.captured
    assert set(cell.pictures()) == {"cam_left_wrist"}
    with pytest.raises(CameraError, match="no new picture from cam_left_wrist within 0 s"):
        cell.next_pictures(timeout=0)


def test_a_pose_beyond_the_limits_is_refused_before_anything_moves(cell: Cell) -> None:
    before = cell.joints("left")
    beyond = before.copy()
    beyond[4] = 1.21
    with pytest.raises(
        InputError, match=r"left arm: joint 5 at 1.210 rad is beyond the site's limits -\S+\.\.1\.2; nothing"
    ):
        cell.move("left", beyond)
    with pytest.raises(InputError, match="left arm: expected 6 finite joint angles, got"):
        cell.move("left", before * np.nan)
    with pytest.raises(ArmError, match="right arm: it is absent in this cell"):
        cell.move("right", before)
    np.testing.assert_array_equal(cell.joints("left"), before)


def test_an_arm_moves_and_every_picture_shows_the_joints_of_its_moment_less_the_latency(cell: Cell) -> None:
    frames: dict[int, Frame] = {}
    arrived = threading.Event()

    def collect() -> None:
        while not arrived.is_set():
            frame = cell.pictures()["cam_left_wrist"]
            frames.setdefault(frame.number, frame)
            time.sleep(0.005)

    collector = threading.Thread(target=collect)
    collector.start()
    target = np.array([0.35, 1.2, -1.1, 0.2, 0.6, -0.3])
    try:
        cell.move("left", target)
    finally:
        arrived.set()
        collector.join()
    np.testing.assert_allclose(cell.joints("left"), target, atol=0.003)
    assert cell.state()[6] == pytest.approx(HOME[6], abs=1e-3), "the gripper stays as it was"

    stamps, joints = cell.history("left")
    speed = np.abs(np.diff(joints, axis=0)).max(axis=1) / np.diff(stamps)
    renderer = Renderer(WORLD, "cam_left_wrist", WIDTH, HEIGHT)
    candidates = LATENCY + np.arange(-4, 5) * 0.005
    costs = []
    for frame in frames.values():
        moment = frame.captured - LATENCY
        near = np.abs(stamps[1:] - moment) < 0.06
        if near.sum() < 6 or speed[near].min() < 0.15:
            continue
        states = [np.array([*cell.joints_at("left", frame.captured - d), HOME[6], *POSE]) for d in candidates]
        drawn = [renderer.render(state).astype(float) for state in states]
        costs.append([float(((picture - frame.image) ** 2).mean()) for picture in drawn])
    assert len(costs) >= 3
    cost = np.median(costs, axis=0)
    best = int(np.argmin(cost[1:-1])) + 1
    left, middle, right = cost[best - 1 : best + 2]
    found = candidates[best] + 0.0025 * (left - right) / (left - 2 * middle + right)
    assert found == pytest.approx(LATENCY, abs=0.005)


def test_cameras_alone_need_no_arm(site: Site) -> None:
    with open_cell(site, cameras=["cam_high"], arms=()) as cell:
        assert cell.next_pictures(5.0)["cam_high"].image.shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(ArmError, match="left arm: it is not opened in this cell"):
            cell.joints("left")


def test_arms_alone_need_no_camera(tmp_path: Path) -> None:
    arms = [
        {"side": "left", "driver": "absent", "pose": POSE},
        {"side": "right", "driver": "sim", "home": HOME},
    ]
    with open_cell(site_in(tmp_path, arms=arms), cameras=()) as cell:
        assert cell.next_pictures() == {}
        np.testing.assert_allclose(cell.state(), [*POSE, *HOME], atol=1e-4)


def test_a_move_that_fails_latches_a_simulated_arm_for_as_long_as_the_cell_is_open(tmp_path: Path) -> None:
    # No arm follows its command to 2 mrad at 1 rad/s: its feedback alone is 5 ms old.
    arms = [
        {"side": "left", "driver": "absent", "pose": POSE},
        {"side": "right", "driver": "sim", "home": HOME},
    ]
    strict = site_in(tmp_path, arms=arms, limits={"tracking_error": 0.002, "approach_velocity": 1.0})
    with open_cell(strict, cameras=()) as cell:
        with pytest.raises(ArmError, match="right"):
            cell.move("right", np.array([0.5, *HOME[1:6]]))
        with pytest.raises(ArmError, match="latched since"):
            cell.move("right", np.array(HOME[:6]))
    with open_cell(site_in(tmp_path, arms=arms), cameras=()) as cell:
        cell.move("right", np.array([0.01, *HOME[1:6]]))


def test_a_lens_for_another_stream_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    wide = [{"role": role, "driver": "sim", "width": 160, "height": 90} for role in CAMERA_ROLES]
    site = site_in(tmp_path, cameras=wide)
    with (
        pytest.raises(ConfigError, match="a stream of 160x90 px has another shape"),
        open_cell(site, cameras=["cam_high"], arms=()),
    ):
        pass


def test_a_move_that_was_stopped_or_fell_short_says_so(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    target = cell.joints("left")
    target[0] += 0.2
    monkeypatch.setattr(
        "gigaedge_runtime.cell.attend_arms", lambda site, order: RunReport("signal", None, 1.0, False)
    )
    with pytest.raises(KeyboardInterrupt):
        cell.move("left", target)
    monkeypatch.setattr(
        "gigaedge_runtime.cell.attend_arms", lambda site, order: RunReport("duration", None, 1.0, False)
    )
    with pytest.raises(
        ArmError, match=r"left arm: joint 1 stands 0\.200 rad from where it was sent; see that"
    ):
        cell.move("left", target)


def test_an_arm_that_is_not_opened_is_not_powered_by_another_ones_move(tmp_path: Path) -> None:
    arms = [{"side": side, "driver": "sim", "home": HOME} for side in ("left", "right")]
    site = site_in(tmp_path, arms=arms)
    with SimulatedPiper("cell-left", HOME), SimulatedPiper("cell-right", HOME):
        reached = [
            arm.model_copy(
                update={
                    "driver": "piper",
                    "can": CanConfig(interface="gigaedge-sim", channel=f"cell-{arm.side}"),
                }
            )
            for arm in site.arms
        ]
        with open_cell(site.model_copy(update={"arms": tuple(reached)}), cameras=(), arms=["left"]) as opened:
            with pytest.raises(
                ArmError, match="right arm: it would be powered, and is not opened in this cell"
            ):
                opened.move("left", np.array(HOME[:6]))
            with pytest.raises(ArmError, match="right arm: it is not opened in this cell"):
                opened.state()


def test_old_feedback_is_no_measurement() -> None:
    can = CanConfig(interface="gigaedge-sim", channel="cell-silent")
    with SimulatedPiper("cell-silent", HOME) as arm:
        follower = Follower(ArmConfig(side="left", driver="piper", can=can), max_age=0.3)
        follower.start()
        try:
            np.testing.assert_allclose(follower.newest(), HOME, atol=1e-4)
            arm.silence()
            time.sleep(0.5)
            with pytest.raises(
                ArmError, match=r"left arm: its feedback is 0\.\d+ s old, at most 0\.3 s is allowed"
            ):
                follower.newest()
        finally:
            follower.stop()


def test_an_arm_is_heard_when_it_comes_and_stands_at_home_before() -> None:
    can = CanConfig(interface="gigaedge-sim", channel="cell-heard")
    listener = ArmListener(can, POSE)
    listener.start()
    try:
        np.testing.assert_array_equal(listener.at(time.time()), POSE)
        for start in (HOME, POSE):  # it comes, goes, and comes again elsewhere
            with SimulatedPiper("cell-heard", start):
                deadline = monotonic() + 10
                while not np.allclose(listener.at(time.time()), start, atol=1e-4):
                    assert monotonic() < deadline
                    time.sleep(0.02)
    finally:
        listener.stop()
