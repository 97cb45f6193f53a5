"""The tasks themselves: experts do them, nobody else does, and the judges are not fooled."""

from __future__ import annotations

import numpy as np
import pytest

from gigaedge.poses import pose, rotation
from gigaedge.robot import ROBOT_DIM, SIDES
from gigaedge.word_embedding import embedding
from gigaedge_runtime.physics.scene import Scene, bounds
from gigaedge_runtime.physics.world import PhysicalWorld
from gigaedge_runtime.tasks import RATE, TASKS
from gigaedge_runtime.tasks.clean_desk import RED
from gigaedge_runtime.tasks.task import Array, thing

SEEDS = (0, 1)


class Fixed:
    """A world in which everything is where it is put, held by the hands that are said to."""

    def __init__(self, scene: Scene, holders: tuple[str, ...] = ()) -> None:
        self.scene = scene
        self.holders = holders
        self.state = np.array(scene.start)
        self.poses = {
            thing.name: pose(rotation(np.array((0, 0, thing.yaw))), np.array(thing.position))
            for thing in scene.objects
        }

    def pose(self, name: str) -> Array:
        return self.poses[name]

    def touching(self, a: str, b: str) -> bool:
        return any(a.startswith(side) for side in self.holders)

    def move(self, name: str, place: Array) -> None:
        self.poses[name][:3, 3] = place


def test_the_tasks_are_named_after_what_is_done() -> None:
    assert list(TASKS) == ["lift-block", "clean-desk", "stack-cups", "sweep-trash", "scan"]
    instructions = {embedding(task.instruction).tobytes() for task in TASKS.values()}
    assert len(instructions) == len(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_a_scene_is_its_seed(name: str) -> None:
    task = TASKS[name]
    assert task.scene(7) == task.scene(7)
    scenes = [task.scene(seed) for seed in range(20)]
    assert len({scene.start for scene in scenes}) == 20
    assert len({scene.light for scene in scenes}) == 20
    assert len({tuple(thing(Fixed(scene), name).position for name in task.targets) for scene in scenes}) == 20
    sides = {thing(Fixed(scene), task.targets[0]).position[1] > 0 for scene in scenes}
    assert sides == {True, False}


@pytest.mark.parametrize("name", TASKS)
def test_things_stand_apart(name: str) -> None:
    for seed in range(30):
        places = [t.position for t in TASKS[name].scene(seed).objects if t.shape != "marker"]
        for number, one in enumerate(places):
            for other in places[:number]:
                assert np.hypot(one[0] - other[0], one[1] - other[1]) > 0.055


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", TASKS)
def test_the_expert_does_it(name: str, seed: int) -> None:
    task = TASKS[name]
    world = PhysicalWorld(task.scene(seed))
    low, high = bounds()
    for targets in task.expert(world, np.random.default_rng(0)):
        assert targets.shape == (ROBOT_DIM,)
        assert (targets >= low).all()
        assert (targets <= high).all()
        world.command(targets)
        world.advance(1 / RATE)
    assert task.succeeded(world)
    assert world.time < task.limit


@pytest.mark.parametrize("name", TASKS)
def test_nothing_is_done_by_waiting(name: str) -> None:
    task = TASKS[name]
    world = PhysicalWorld(task.scene(3))
    for _ in range(10):
        assert not task.succeeded(world)
        world.advance(0.1)
    assert not task.succeeded(world)


def test_lifting_needs_a_hand() -> None:
    task = TASKS["lift-block"]
    world = Fixed(task.scene(0), ("left",))
    assert not task.succeeded(world)
    world.move("block", world.pose("block")[:3, 3] + np.array((0, 0, 0.049)))
    assert not task.succeeded(world)
    world.move("block", world.pose("block")[:3, 3] + np.array((0, 0, 0.002)))
    assert task.succeeded(world)
    world.holders = ()
    assert not task.succeeded(world)


def test_only_the_bin_of_its_colour_counts() -> None:
    task = TASKS["clean-desk"]
    world = Fixed(task.scene(0))
    right = next(s for s in SIDES if thing(world, f"bin_{s}").colour == thing(world, "block").colour)
    for side in SIDES:
        world.move("block", world.pose(f"bin_{side}")[:3, 3] + np.array((0.03, -0.03, 0.0)))
        assert task.succeeded(world) == (side == right)
    world.move("block", world.pose(f"bin_{right}")[:3, 3] + np.array((0, 0, 0.06)))  # above the walls
    assert not task.succeeded(world)
    world.move("block", world.pose(f"bin_{right}")[:3, 3])
    world.holders = (right,)
    assert not task.succeeded(world)
    goals = {thing(Fixed(task.scene(seed)), "block").colour == RED for seed in range(20)}
    assert goals == {True, False}


def test_a_stack_is_centred_upright_and_let_go() -> None:
    task = TASKS["stack-cups"]
    world = Fixed(task.scene(0))
    blue = world.pose("blue_cup")[:3, 3]
    for offset, stacked in (
        ((0, 0, 0.026), True),
        ((0.02, 0, 0.026), False),
        ((0, 0, 0.06), False),
        ((0, 0, 0), False),
    ):
        world.move("red_cup", blue + np.array(offset))
        assert task.succeeded(world) == stacked
    world.move("red_cup", blue + np.array((0, 0, 0.026)))
    world.holders = ("right",)
    assert not task.succeeded(world)
    world.holders = ()
    world.poses["red_cup"][:3, :3] = rotation(np.array((0.3, 0, 0)))
    assert not task.succeeded(world)


def test_what_distracts_stays_clear_of_the_bins() -> None:
    for seed in range(40):
        scene = TASKS["clean-desk"].scene(seed)
        bins = [one for one in scene.objects if one.shape == "bin"]
        for other in (one for one in scene.objects if one.name.startswith("distractor")):
            for one in bins:
                apart = np.abs(np.subtract(other.position, one.position))[:2] - np.array(one.size[:2]) / 2
                assert apart.max() > other.size[0] * np.sqrt(0.5)


def test_all_trash_has_to_be_swept() -> None:
    task = TASKS["sweep-trash"]
    world = Fixed(task.scene(0))
    zone = world.pose("zone")[:3, 3]
    world.move("piece_0", zone + np.array((0.07, -0.07, 0)))
    assert not task.succeeded(world)
    world.move("piece_1", zone)
    assert task.succeeded(world)
    world.move("piece_1", zone + np.array((0.08, 0, 0)))
    assert not task.succeeded(world)


def test_the_tag_has_to_face_the_camera_in_the_right_place() -> None:
    task = TASKS["scan"]
    world = Fixed(task.scene(0), ("left",))
    up = pose(rotation(np.array((0, -np.pi / 2, 0))), np.array((0.3, 0.2, 0.28)))  # +x, and the tag, up
    world.poses["box"] = up
    assert task.succeeded(world)
    world.holders = ()
    assert not task.succeeded(world)
    world.holders = ("left",)
    world.move("box", np.array((0.3, 0.2, 0.1)))
    assert not task.succeeded(world)
    world.poses["box"] = pose(np.eye(3), np.array((0.3, 0.2, 0.28)))
    assert not task.succeeded(world)


def test_an_unknown_thing_is_named() -> None:
    with pytest.raises(ValueError, match="no object 'cup' in this scene; it has block"):
        thing(Fixed(TASKS["lift-block"].scene(0)), "cup")
