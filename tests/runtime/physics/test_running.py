"""The physical cell in real time, as far as it can be tested without keeping time: what it does, not when."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gigaedge.errors import ConfigError, DeviceError
from gigaedge.robot import CAMERA_ROLES, JOINTS, arm_slice
from gigaedge.simulation import PhysicalCell
from gigaedge.site import ArmConfig, CanConfig, Site
from gigaedge_runtime.devices.sim_cell import cell_of
from gigaedge_runtime.hosting import physical_world, simulated_arms
from gigaedge_runtime.physics.link import Snapshot, WorldLink, WorldServer, world_channel
from gigaedge_runtime.physics.running import Motor, RunningWorld
from gigaedge_runtime.physics.scene import READY
from gigaedge_runtime.physics.watching import WatchedCell, task_scene
from gigaedge_runtime.physics.world import PhysicalWorld
from gigaedge_runtime.tasks import TASKS

CELL = PhysicalCell(kind="physics", task="lift-block", seed=7)


def channel(name: str) -> str:
    return f"test-{os.getpid()}-{name}"


def until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def test_a_motor_is_sent_to_its_target_as_fast_as_it_may() -> None:
    motor = Motor(0.0, -1.0, 0.5, max_velocity=2.0)
    motor.target = 3.0
    motor.follow(0.005)
    assert motor.command == pytest.approx(0.01)
    motor.follow(0.005, speed=0.5)
    assert motor.command == pytest.approx(0.015)
    for _ in range(100):
        motor.follow(0.005)
    assert motor.command == 0.5
    assert motor.position == 0.0


def test_a_motor_without_power_sinks_to_rest_once_it_has_had_power() -> None:
    motor = Motor(1.0, 0.0, 2.0, rest=0.2)
    motor.fall(0.1)
    assert motor.command == 1.0
    motor.propped = False
    motor.fall(0.1)
    assert motor.command == pytest.approx(1.0 - 0.1 * motor.max_velocity)
    motor.descend(0.1, 0.3)
    assert motor.command == pytest.approx(1.0 - 0.1 * motor.max_velocity - 0.03)
    motor.position = 0.9
    motor.halt()
    assert motor.command == 0.9
    weightless = Motor(1.0, 0.0, 2.0)
    weightless.descend(0.1, 0.3)
    assert weightless.command == 1.0


def test_arms_move_in_the_world_and_are_measured_there() -> None:
    """What they do against a load is the world's matter: the gripper closes on nothing, the arm swings."""
    running = RunningWorld(PhysicalWorld(task_scene(CELL)), TASKS["lift-block"], seed=7)
    home = running.home("left")
    motors = [Motor(value, -4.0, 4.0) for value in home]
    running.start({"left": motors}, channel("arms"))
    try:
        motors[0].command = home[0] + 0.3
        motors[JOINTS].command = 0.0
        until(lambda: abs(motors[0].position - home[0] - 0.3) < 0.005 and motors[JOINTS].position < 0.001)
        link = WorldLink(channel("arms"))
        seen = link.at(time.time())
        assert seen is not None
        assert seen.time > 0
        world = PhysicalWorld(task_scene(CELL))
        world.place(seen.configuration)
        assert world.state[0] == pytest.approx(home[0] + 0.3, abs=0.01)
        # The other arm stands where it began.
        np.testing.assert_allclose(world.state[arm_slice("right")], running.home("right"), atol=0.01)
    finally:
        running.stop()
        running.stop()
    assert link.at(time.time()) is None
    report = running.report()
    assert (report.task, report.seed, report.done_after) == ("lift-block", 7, None)
    assert report.simulated == pytest.approx(seen.time, abs=5.0)
    assert report.lag.count > 0


def test_a_question_is_answered_with_the_nearest_snapshot() -> None:
    asked: list[float] = []

    def at(wall: float) -> Snapshot:
        asked.append(wall)
        return Snapshot(wall, 2.0, 0.003, float("nan"), np.arange(5.0))

    link = WorldLink(channel("link"))
    assert link.at(1.0) is None
    server = WorldServer(channel("link"), at)
    try:
        with pytest.raises(DeviceError, match="served already"):
            WorldServer(channel("link"), at)
        seen = link.at(12.5)
        assert seen is not None
        assert asked == [12.5]
        assert (seen.wall, seen.time, seen.lag) == (12.5, 2.0, 0.003)
        assert np.isnan(seen.done)
        np.testing.assert_array_equal(seen.configuration, np.arange(5.0))
        other = WorldLink(channel("link"))
        assert other.at(1.0) is not None
        other.close()
        assert link.at(2.0) is not None
    finally:
        server.close()
    assert link.at(3.0) is None


def test_cameras_draw_what_the_running_world_says() -> None:
    """Before anybody serves it, the scene as it begins."""
    arms = [
        ArmConfig(side=side, driver="piper", can=CanConfig(interface="gigaedge-sim", channel=channel(side)))
        for side in ("left", "right")
    ]
    view = WatchedCell(CELL, arms).view("cam_high", 320, 240)
    view.open()
    world = PhysicalWorld(task_scene(CELL))
    still = world.picture("cam_high")
    np.testing.assert_array_equal(view.take(1, time.time()), still)
    assert view.usb == "3.2"
    assert (view.factory.width, view.factory.cx) == (320, 159.5)
    target = np.array((*READY, *READY))
    target[0] += 0.5
    world.command(target)
    world.advance(1.0)
    there = Snapshot(0.0, 1.0, 0.0, float("nan"), world.configuration)
    server = WorldServer(world_channel(channel("left")), lambda _: there)
    try:
        moved = view.take(2, time.time())
    finally:
        server.close()
    np.testing.assert_array_equal(moved, world.picture("cam_high"))
    assert not np.array_equal(moved, still)
    view.close()
    world.close()


def site(tmp_path: Path, **left: object) -> Site:
    file = tmp_path / "world.yaml"
    file.write_text("kind: physics\n")
    arms = [{"side": "left", "driver": "sim", **left}, {"side": "right", "driver": "sim"}]
    cameras = [{"role": role, "driver": "sim", "width": 320, "height": 240} for role in CAMERA_ROLES]
    loaded = Site.model_validate({"bundle": "demo", "cameras": cameras, "arms": arms})
    return loaded.model_copy(update={"simulation": file})


def test_a_site_with_a_physical_cell_hosts_it(tmp_path: Path) -> None:
    before = threading.active_count()
    with simulated_arms(site(tmp_path)) as reachable:
        link = WorldLink(world_channel(reachable.arm("left").can.channel))
        until(lambda: (seen := link.at(time.time())) is not None and seen.time > 0.05)
        cell = cell_of(reachable)
        assert isinstance(cell, WatchedCell)
        with pytest.raises(
            ConfigError, match=r"cam_high: the physical cell has pictures of 320x240 px, or of that"
        ):
            cell.view("cam_high", 640, 360)
    link.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("left", "message"),
    [
        ({"driver": "absent", "pose": READY}, r"arms\[0\]\.driver: a physical cell has both arms in it"),
        ({"home": READY}, r"arms\[0\]\.home: in a physical cell the task's scene says where arms begin"),
    ],
)
def test_what_does_not_belong_in_a_physical_cell_is_refused(
    tmp_path: Path, left: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        physical_world(site(tmp_path, **left))


def test_an_unknown_task_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no task 'lift-blok'; there are lift-block"):
        task_scene(PhysicalCell(kind="physics", task="lift-blok"))
