"""Clips of composites from a dataset: what the VAE learns from, and what the policy looks at and foresees.

A clip is five composites, the present one and four of the future at the distances that the policy's video loss has.
Beyond the end of an episode its last frame is repeated, as the action windows do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.compose import Compositor
from gigaedge.errors import DatasetError
from gigaedge.files import atomic_file
from gigaedge.lerobot import Episode
from gigaedge.progress import QUIET, Progress
from gigaedge.robot import CAMERA_ROLES

OFFSETS: Final = (0, 12, 24, 36, 48)
"""Frames of a clip, counted from its start, at the rate of the actions."""
SIZE: Final = (320, 384)
"""Width and height of the composite, px."""
HELD_OUT: Final = 10
"""Every so many-th episode is kept to measure with."""


@dataclass(frozen=True, order=True)
class Moment:
    """Where a clip starts."""

    episode: int
    frame: int


def split(episodes: int) -> tuple[list[int], list[int]]:
    """Numbers of the episodes to train with, and of those to measure with. Raises DatasetError: fewer than two."""
    if episodes < 2:
        raise DatasetError(f"the dataset has {episodes} episodes; training needs one and measuring another")
    every = min(HELD_OUT, episodes)
    held = list(range(every - 1, episodes, every))
    return [number for number in range(episodes) if number not in set(held)], held


def choose(episodes: Sequence[Episode], count: int, seed: int) -> list[Moment]:
    """`count` different moments, or all there are; as many of each episode as can be, at random frames."""
    random = np.random.default_rng(seed)
    frames = [random.permutation(episode.length) for episode in episodes]
    order = [
        Moment(episode.index, int(mine[turn]))
        for turn in range(max(map(len, frames)))
        for episode, mine in zip(episodes, frames, strict=True)
        if turn < len(mine)
    ]
    return sorted(order[:count])


def read_clips(
    episodes: Iterable[Episode], moments: Sequence[Moment], path: Path, progress: Progress = QUIET
) -> NDArray[np.uint8]:
    """Composites of the clips, u8 RGB (clips, 5, 384, 320, 3), written to the `.npy` file `path` and mapped from there.

    Every frame is decoded once, in the order of the video. Raises DatasetError.
    """
    by_number = {episode.index: episode for episode in episodes}
    places: dict[Moment, list[tuple[int, int]]] = defaultdict(list)
    for clip, moment in enumerate(moments):
        last = by_number[moment.episode].length - 1
        for position, offset in enumerate(OFFSETS):
            places[Moment(moment.episode, min(moment.frame + offset, last))].append((clip, position))
    compositor = Compositor(SIZE)
    width, height = SIZE
    progress("reading pictures", len(places))
    with atomic_file(path) as temporary:
        clips = np.lib.format.open_memmap(
            temporary, "w+", np.uint8, (len(moments), len(OFFSETS), height, width, 3)
        )
        for moment in sorted(places):
            episode = by_number[moment.episode]
            composite = compositor.compose({role: episode.frame(role, moment.frame) for role in CAMERA_ROLES})
            for clip, position in places[moment]:
                clips[clip, position] = composite
            progress.advance(1)
        clips.flush()
        del clips
    return open_clips(path)


def open_clips(path: Path) -> NDArray[np.uint8]:
    """The clips of a file that `read_clips` wrote, mapped."""
    return np.load(path, mmap_mode="r")
