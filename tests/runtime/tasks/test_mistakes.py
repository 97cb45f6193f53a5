from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gigaedge_runtime.physics.world import PhysicalWorld
from gigaedge_runtime.tasks import RATE, TASKS
from gigaedge_runtime.tasks.lift_block import LiftBlock
from gigaedge_runtime.tasks.mistakes import TICKS, Misled, begin_wrongly
from gigaedge_runtime.tasks.task import Array, View


def test_a_misled_expert_sees_the_targets_elsewhere_and_nothing_else() -> None:
    task = TASKS["clean-desk"]
    world = PhysicalWorld(task.scene(0))
    misled = Misled(world, task, np.array((0.02, -0.01)))
    np.testing.assert_allclose(
        misled.pose("block")[:3, 3] - world.pose("block")[:3, 3], (0.02, -0.01, 0), atol=1e-12
    )
    np.testing.assert_array_equal(misled.pose("block")[:3, :3], world.pose("block")[:3, :3])
    np.testing.assert_array_equal(misled.pose("bin_left"), world.pose("bin_left"))
    np.testing.assert_array_equal(misled.state, world.state)
    assert misled.scene is world.scene


def test_half_of_the_beginnings_are_wrong() -> None:
    task = TASKS["lift-block"]
    times = []
    for seed in range(24):
        world = PhysicalWorld(task.scene(seed))
        begin_wrongly(task, world, np.random.default_rng((seed, 1)))
        times.append(round(world.time * RATE))
        assert not task.succeeded(world)
    wrong = [ticks for ticks in times if ticks]
    assert 6 <= len(wrong) <= 18
    assert min(wrong) >= TICKS[0]
    assert max(wrong) < TICKS[1]
    assert len(set(wrong)) > 3


def test_where_the_wrong_way_was_right_the_world_is_as_before() -> None:
    class Eager(LiftBlock):
        def succeeded(self, world: View) -> bool:
            return True

    world = PhysicalWorld(Eager().scene(0))
    begin_wrongly(Eager(), world, _Always())
    assert world.time == 0.0
    np.testing.assert_allclose(world.state, world.scene.start, atol=1e-12)


def test_a_wrong_beginning_may_end_early() -> None:
    class Idle(LiftBlock):
        def expert(self, world: View, random: np.random.Generator) -> Iterator[Array]:
            for _ in range(3):
                yield world.state

    world = PhysicalWorld(Idle().scene(0))
    begin_wrongly(Idle(), world, _Always())
    assert world.time == pytest.approx(3 / RATE)


class _Always(np.random.Generator):
    """Draws the mistake whenever there is one to be drawn."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def random(self, *arguments: object, **options: object) -> float:  # type: ignore[override]
        return 0.0
