"""Open loop: the policy decides on recorded observations, and nothing moves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gigaedge.compose import Compositor
from gigaedge.errors import CheckFailedError
from gigaedge.lerobot import Episode
from gigaedge.openloop import Rollout
from gigaedge.robot import CAMERA_ROLES
from gigaedge_runtime.policy import Observation, Policy


def starts(episode: Episode, stride: int) -> range:
    """The frames at which a chunk begins."""
    return range(0, episode.length, stride)


def roll_out(
    policy: Policy,
    episode: Episode,
    *,
    stride: int,
    seed: int,
    begin: Callable[[str], None] = lambda what: None,
) -> list[Rollout]:
    """A chunk at every `stride`-th frame of an episode, from its pictures and its measured state.

    The noise of a chunk depends on `seed`, episode and frame alone, not on what else is evaluated. `begin` is told
    of every chunk. Raises CheckFailedError when the policy answers with values that are not finite.
    """
    view, action = policy.manifest.view, policy.manifest.action
    compositor = Compositor((view.width, view.height), view.layout)
    motion = episode.motion()
    rollouts = []
    for start in starts(episode, stride):
        begin(f"episode {episode.index}, frame {start}")
        composite = compositor.compose({role: episode.frame(role, start) for role in CAMERA_ROLES})
        random = np.random.default_rng((seed, episode.index, start))
        noise = random.standard_normal((action.chunk, action.width), np.float32)
        chunk = policy.chunk(Observation(composite, motion.states[start], noise))
        if not np.isfinite(chunk.actions).all():
            raise CheckFailedError(
                f"episode {episode.index}, frame {start}: the policy answered with values that are not finite"
            )
        recorded = motion.actions[start : start + action.chunk]
        rollouts.append(Rollout(episode.index, start, episode.length, chunk.actions, recorded))
    return rollouts
