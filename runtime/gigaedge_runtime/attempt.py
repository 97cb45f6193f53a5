"""One demonstration: an expert acts in lockstep simulated time while cameras, states and targets are recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from gigaedge.lerobot import Motion
from gigaedge.lerobot_stats import Summary, summarize
from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge.video_writer import VideoWriter
from gigaedge_runtime.physics.painter import Image
from gigaedge_runtime.physics.world import PICTURE, PhysicalWorld
from gigaedge_runtime.tasks.mistakes import begin_wrongly
from gigaedge_runtime.tasks.task import RATE, Array, Task

_SAMPLED: Final = 5
"""Every so many frames, rows and columns of the pictures go into their statistics."""


@dataclass(frozen=True)
class Demonstration:
    """What was recorded of an attempt that succeeded."""

    motion: Motion
    pictures: Mapping[CameraRole, Summary]
    """Of red, green and blue, 0 to 1."""


def demonstrate(
    task: Task, seed: int, videos: Mapping[CameraRole, Path], stopped: Callable[[], bool]
) -> Demonstration | None:
    """Let the expert of a task do it once in the scene of a seed; None: it failed. The seed decides everything.

    Args:
        task: what is to be done.
        seed: of the scene and of the expert's mistakes.
        videos: files to write, one per camera.
        stopped: asked between two frames; once it is true, KeyboardInterrupt is raised.
    """
    random = np.random.default_rng((seed, 1))  # the scene draws from `seed`
    states: list[Array] = []
    actions: list[Array] = []
    samples: dict[CameraRole, list[Image]] = {role: [] for role in CAMERA_ROLES}
    with PhysicalWorld(task.scene(seed)) as world, ExitStack() as stack:
        begin_wrongly(task, world, random)
        writers = {
            role: stack.enter_context(VideoWriter(path, RATE, *PICTURE)) for role, path in videos.items()
        }
        deadline = world.time + task.limit
        for targets in task.expert(world, random):
            if stopped():
                raise KeyboardInterrupt
            if world.time > deadline:
                return None
            for role, writer in writers.items():
                picture = world.picture(role)
                writer.write(picture)
                if len(states) % _SAMPLED == 0:
                    samples[role].append(picture[::_SAMPLED, ::_SAMPLED].reshape(-1, 3))
            states.append(world.state)
            actions.append(targets)
            world.command(targets)
            world.advance(1 / RATE)
        if not task.succeeded(world):
            return None
    motion = Motion(np.array(states, np.float32), np.array(actions, np.float32))
    pictures = {role: summarize(np.concatenate(parts) / 255) for role, parts in samples.items()}
    return Demonstration(motion, pictures)
