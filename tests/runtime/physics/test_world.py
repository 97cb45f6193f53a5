from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gigaedge.kinematics import fingertip, link6_pose
from gigaedge.robot import JOINTS, SIDES, arm_slice
from gigaedge_runtime.physics.arm import BASE_Y
from gigaedge_runtime.physics.scene import READY, Object, Scene
from gigaedge_runtime.physics.world import PhysicalWorld
from tests.runtime.physics.reach import pointing_down

TICK = 1 / 30
BLOCK = Object("block", "box", (0.028, 0.028, 0.056), (0.85, 0.1, 0.08), (0.3, 0.2, 0.028), yaw=0.3)


def test_a_world_begins_as_its_scene_says() -> None:
    start = (0.2, 1.1, -0.9, 0.1, 0.8, -0.2, 0.03, *READY)
    world = PhysicalWorld(Scene(objects=(BLOCK,), start=start))
    world.command(np.array((*READY, *READY)))
    world.advance(0.5)
    world.reset()
    assert world.time == 0.0
    np.testing.assert_allclose(world.state, start, atol=1e-12)
    np.testing.assert_allclose(world.pose("block")[:3, 3], BLOCK.position, atol=1e-12)
    for side in SIDES:
        base = np.array((0, BASE_Y[side], 0))
        angles = np.array(start[arm_slice(side)][:JOINTS])
        np.testing.assert_allclose(world.flange(side)[:3, 3], link6_pose(angles)[:3, 3] + base, atol=1e-9)
        np.testing.assert_allclose(world.fingertip(side), fingertip(angles) + base, atol=1e-9)
    world.advance(0.5)
    np.testing.assert_allclose(world.state, start, atol=1e-4)


def test_a_dropped_block_comes_to_rest_on_the_table() -> None:
    falling = Object("block", "box", (0.03, 0.04, 0.05), (1, 0, 0), (0.4, 0.0, 0.2), yaw=0.4)
    world = PhysicalWorld(Scene(objects=(falling,)))
    assert not world.touching("block", "table")
    world.advance(1.5)
    assert world.touching("block", "table")
    assert world.touching("table", "block")
    assert world.speed("block") < 1e-3
    place = world.pose("block")
    assert place[2, 3] == pytest.approx(0.025, abs=5e-4)
    np.testing.assert_allclose(place[:2, 3], (0.4, 0.0), atol=2e-3)
    assert place[2, 2] > 0.9999


@pytest.mark.parametrize("opening", [0.0, 0.035, 0.07])
def test_the_gripper_opens_as_far_as_it_is_told(opening: float) -> None:
    world = PhysicalWorld(Scene())
    target = np.array((*READY, *READY))
    target[[6, 13]] = opening
    world.command(target)
    world.advance(1.0)
    np.testing.assert_allclose(world.state[[6, 13]], opening, atol=2e-4)


def test_the_gripper_closes_at_a_third_of_a_metre_per_second_at_most() -> None:
    world = PhysicalWorld(Scene())
    target = np.array((*READY, *READY))
    target[6] = 0.0
    world.command(target)
    before = world.state[6]
    for _ in range(12):
        world.advance(TICK / 2)
        assert before - world.state[6] < 0.33 * TICK / 2
        before = world.state[6]
    assert before < 0.015


def test_the_servos_follow_a_swing_within_two_degrees() -> None:
    """1 rad/s at most, as the runtime's limits allow by default; commanded at 30 Hz, seen when the next one is due."""
    world = PhysicalWorld(Scene())
    worst = 0.0
    for tick in range(90):
        target = np.array((*READY, *READY))
        swing = 0.4 * (1 - np.cos(2 * np.pi * tick * TICK / 2.5))
        target[:JOINTS] += swing * np.array([1, 1, -1, 1, -1, 1])
        world.command(target)
        world.advance(TICK)
        worst = max(worst, float(np.abs(world.state - target)[:JOINTS].max()))
    assert np.degrees(worst) < 2.0


def test_an_arm_that_is_sent_into_the_table_stops_at_it() -> None:
    world = PhysicalWorld(Scene())
    move(world, pointing_down("left", (0.32, 0.25, 0.03)), 0.0, 1.0)
    move(world, pointing_down("left", (0.32, 0.25, -0.05)), 0.0, 1.0)
    world.advance(0.5)
    assert world.touching("left_link1", "table")
    assert world.fingertip("left")[2] == pytest.approx(0.0, abs=2e-3)


def test_what_is_grasped_is_lifted_held_and_let_go() -> None:
    world = PhysicalWorld(Scene(objects=(BLOCK,)))
    above, around = (pointing_down("left", (0.3, 0.2, z), yaw=0.3) for z in (0.08, 0.03))
    move(world, above, 0.07, 1.2)
    move(world, around, 0.07, 0.6)
    assert not world.touching("block", "left_gripper")
    move(world, around, 0.0, 0.4)
    assert world.touching("block", "left_gripper")
    assert world.touching("left_finger_a", "block")
    assert not world.touching("block", "right_base")
    assert world.state[6] == pytest.approx(0.028, abs=1e-3)
    held = in_hand(world)
    move(world, above, 0.0, 0.8)
    world.advance(4.0)
    assert world.pose("block")[2, 3] > 0.07
    assert np.abs(in_hand(world) - held)[:3, 3].max() < 1e-3
    move(world, above, 0.07, 1.0)
    assert world.touching("block", "table")


def move(world: PhysicalWorld, angles: np.ndarray, opening: float, seconds: float) -> None:
    """Move the left arm smoothly, commanding at 30 Hz."""
    begin = world.state
    end = begin.copy()
    end[:JOINTS], end[JOINTS] = angles, opening
    ticks = round(seconds / TICK)
    for tick in range(1, ticks + 1):
        part = tick / ticks
        target = begin + (end - begin) * (3 * part**2 - 2 * part**3)
        target[JOINTS] = opening
        world.command(target)
        world.advance(TICK)


def in_hand(world: PhysicalWorld) -> np.ndarray:
    return np.asarray(np.linalg.inv(world.flange("left")) @ world.pose("block"))


def test_the_same_commands_give_the_same_bits_in_another_process_however_time_is_cut() -> None:
    """Half of the block's edge is under the fingers when they come down: contacts are part of it."""
    script = "import runpy; module = runpy.run_path(r'{path}'); print(module['{function}']({pieces}))"
    answers = [
        subprocess.run(
            [sys.executable, "-c", script.format(path=Path(__file__), function="tumble", pieces=pieces)],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.strip()
        for pieces in (1, 4)
    ]
    assert answers == [tumble(1)] * 2


def tumble(pieces: int) -> str:
    """Every bit of a short, rough attempt."""
    world = PhysicalWorld(Scene(objects=(BLOCK,)))
    random = np.random.default_rng(3)
    target = np.array((*READY, *READY))
    target[:JOINTS] = pointing_down("left", (0.31, 0.19, 0.03))
    digest = hashlib.sha256()
    for _ in range(30):
        world.command(target + random.normal(0, 0.02, 14).clip(-0.04, 0.04))
        for _ in range(pieces):
            world.advance(TICK / pieces)
        digest.update(world.state.tobytes())
        digest.update(world.pose("block").tobytes())
    return digest.hexdigest()


def test_what_makes_no_sense_is_refused() -> None:
    world = PhysicalWorld(Scene(objects=(BLOCK,)))
    with pytest.raises(ValueError, match="targets: expected 14 finite values, got"):
        world.command(np.zeros(7))
    with pytest.raises(ValueError, match="targets: expected 14 finite values, got"):
        world.command(np.full(14, np.nan))
    with pytest.raises(ValueError, match=r"seconds: expected a whole number of 1/480 s, got 0\.001"):
        world.advance(0.001)
    with pytest.raises(ValueError, match="no body 'blok' in this scene; its objects: block"):
        world.pose("blok")
    with pytest.raises(ValueError, match="role: expected one of cam_high"):
        world.picture("cam_low")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="picture: expected at most 640x480 px, got 641x480"):
        PhysicalWorld(Scene(), picture=(641, 480))


def test_another_world_of_the_same_scene_is_placed_as_this_one() -> None:
    world, other = (PhysicalWorld(Scene(objects=(BLOCK,))) for _ in range(2))
    target = world.state
    target[0] += 0.3
    world.command(target)
    world.advance(TICK)
    speed = world.velocity
    assert speed[0] > 0.5
    assert np.abs(speed[7:]).max() < 1e-6
    other.place(world.configuration)
    np.testing.assert_array_equal(other.state, world.state)
    np.testing.assert_array_equal(other.pose("block"), world.pose("block"))
    assert not other.velocity.any()
    with pytest.raises(ValueError, match=r"configuration: expected 23 values, got \(16,\)"):
        other.place(PhysicalWorld(Scene()).configuration)
