"""What the physical cell costs: simulated time, pictures, and a new scene.

python benchmarks/physics.py
python benchmarks/physics.py --repeats 200

Processor time of the whole process beside wall time: OpenGL on a CPU draws with threads of its own. The scene is a busy
one, its arms sweep through it, so that contacts are part of what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer

from gigaedge.machine import describe_machine
from gigaedge.robot import CAMERA_ROLES
from gigaedge_runtime.physics import engine
from gigaedge_runtime.physics.scene import READY, Object, Scene
from gigaedge_runtime.physics.world import PhysicalWorld

TICK = 1 / 30
SCENE = Scene(
    objects=(
        Object("block", "box", (0.028, 0.028, 0.056), (0.85, 0.1, 0.08), (0.3, 0.2, 0.028)),
        Object("can", "cylinder", (0.045, 0.045, 0.08), (0.9, 0.8, 0.1), (0.28, -0.2, 0.04)),
        Object("cup", "cup", (0.05, 0.05, 0.07), (0.1, 0.3, 0.8), (0.35, 0.0, 0.035)),
        Object("tray", "tray", (0.16, 0.12, 0.03), (0.2, 0.6, 0.3), (0.45, 0.2, 0.015)),
        Object("bin", "bin", (0.12, 0.12, 0.08), (0.2, 0.2, 0.2), (0.45, -0.2, 0.04), fixed=True),
    )
)


def main(repeats: Annotated[int, typer.Option(help="Measurements of each.")] = 100) -> None:
    """Measure and print."""
    print(f"{describe_machine()}; pictures: {engine.drawn_by()}")
    print(f"{'':44}  processor, ms    wall, ms")
    world = PhysicalWorld(SCENE)
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        target = np.array((*READY, *READY))
        # Down to the table and sideways.
        target[[1, 8]] += 0.45 * (1 - np.cos(2 * np.pi * ticks * TICK / 4))
        target[[0, 7]] += 0.5 * np.sin(2 * np.pi * ticks * TICK / 3)
        world.command(target)
        world.advance(TICK)

    def photograph() -> None:
        for role in CAMERA_ROLES:
            world.picture(role)

    def renew() -> None:
        with PhysicalWorld(SCENE) as fresh:
            fresh.picture("cam_high")

    show("1/30 s of simulated time", tick, repeats)
    show("three pictures of 320x240", photograph, repeats)
    show("a new scene with its first picture", renew, max(1, repeats // 10))


def show(what: str, work: Callable[[], None], repeats: int) -> None:
    """Print the mean processor time and the median wall time of `work`."""
    work()
    begin, walls = time.process_time(), []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        walls.append(time.perf_counter() - start)
    processor = (time.process_time() - begin) / repeats
    print(f"{what:44}  {1e3 * processor:13.2f}  {1e3 * float(np.median(walls)):10.2f}")


if __name__ == "__main__":
    typer.run(main)
