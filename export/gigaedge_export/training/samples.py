"""Training's samples: a picture's latents, the state beside it, the actions that follow, sometimes the future.

What a step draws depends on the seed and on the step's number alone, so that a resumed run goes on as if nothing
had happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.lerobot import Motion
from gigaedge.robot import DELTA_MASK, ROBOT_DIM
from gigaedge_export.checkpoint import NormStats
from gigaedge_export.graphs import RANGE_FLOOR
from gigaedge_export.training.latents import EncodedEpisode

BEGINNING: Final = 0.3
"""s of an episode that count as its beginning."""
_DELTA: Final = np.array(DELTA_MASK)


@dataclass(frozen=True)
class Scaling:
    """States and actions between rad, m and the policy's -1..1."""

    stats: NormStats
    channels: int
    """Values per state and action that the policy takes; what the robot lacks is zero."""

    def state(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., 14), rad and m -> (..., channels)."""
        return self._padded(_scale(states, self.stats.state_q01, self.stats.state_q99))

    def actions(self, states: NDArray[np.float32], targets: NDArray[np.float32]) -> NDArray[np.float32]:
        """Absolute targets (..., chunk, 14) as seen from states (..., 14) -> (..., chunk, channels)."""
        moved = targets - np.where(_DELTA, states, np.float32(0))[..., np.newaxis, :]
        return self._padded(_scale(moved, self.stats.action_q01, self.stats.action_q99))

    def targets(self, states: NDArray[np.float32], actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """The inverse of `actions`."""
        low, span = _bounds(self.stats.action_q01, self.stats.action_q99)
        moved = (actions[..., :ROBOT_DIM] + 1) / 2 * span + low
        return np.asarray(moved + np.where(_DELTA, states, np.float32(0))[..., np.newaxis, :], np.float32)

    def _padded(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        padding = np.zeros((*values.shape[:-1], self.channels - ROBOT_DIM), np.float32)
        return np.concatenate((values, padding), axis=-1)


@dataclass(frozen=True)
class Batch:
    """Samples of one step; the first V of B come with a future."""

    latents: NDArray[np.float32]
    """(B, C, 1, h, w)."""
    states: NDArray[np.float32]
    """Normalised, (B, 1, channels)."""
    actions: NDArray[np.float32]
    """Normalised, (B, chunk, channels)."""
    prompts: NDArray[np.int64]
    """Number of each one's prompt, (B,)."""
    futures: NDArray[np.float32]
    """(V, C, 1, h, w)."""


@dataclass(frozen=True)
class Demonstration:
    """One episode, ready for training."""

    number: int
    motion: Motion
    encoded: EncodedEpisode
    prompt: int


class Samples:
    """The samples of some episodes."""

    def __init__(
        self, episodes: Sequence[Demonstration], scaling: Scaling, chunk: int, rate_hz: float
    ) -> None:
        """`rate_hz`: frames per second."""
        self.episodes = episodes
        self._scaling = scaling
        self._chunk = chunk
        self._latents = [e.encoded.open_latents() for e in episodes]
        self._futures = [e.encoded.open_futures() for e in episodes]
        early = BEGINNING * rate_hz
        self._pictures = _Pool([e.encoded.frames for e in episodes], early)
        self._clips = _Pool([e.encoded.clip_frames for e in episodes], early)

    def __len__(self) -> int:
        return self._pictures.size

    def draw(self, seed: int, step: int, batch: int, futures: int, beginnings: float) -> Batch:
        """The batch of one step; `beginnings` of it come from the begins of episodes."""
        random = np.random.default_rng((seed, step))
        chosen = [
            *self._clips.draw(random, futures, beginnings),
            *self._pictures.draw(random, batch - futures, beginnings),
        ]
        latents, imagined = [], []
        for place, (episode, row) in enumerate(chosen):
            encoded = self.episodes[episode].encoded
            if place < futures:
                imagined.append(self._futures[episode][row])
                row = int(np.searchsorted(encoded.frames, encoded.clip_frames[row]))
                chosen[place] = (episode, row)
            latents.append(self._latents[episode][row])
        states, targets = self._motion(chosen)
        shape = np.shape(latents[0])
        return Batch(
            latents=np.stack(latents).astype(np.float32)[:, :, np.newaxis],
            states=self._scaling.state(states)[:, np.newaxis],
            actions=self._scaling.actions(states, targets),
            prompts=np.array([self.episodes[episode].prompt for episode, _ in chosen]),
            futures=np.array(imagined, np.float32).reshape(futures, *shape)[:, :, np.newaxis],
        )

    def _motion(self, chosen: list[tuple[int, int]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """States (B, 14) and the targets that follow, (B, chunk, 14), held at each episode's last frame."""
        states, targets = [], []
        for episode, row in chosen:
            one = self.episodes[episode]
            frame = one.encoded.frames[row]
            states.append(one.motion.states[frame])
            targets.append(following(one.motion, int(frame), self._chunk))
        return np.stack(states), np.stack(targets)


def following(motion: Motion, frame: int, chunk: int) -> NDArray[np.float32]:
    """The targets from a frame on, (chunk, 14), held at the episode's last."""
    return motion.actions[np.minimum(np.arange(frame, frame + chunk), len(motion.actions) - 1)]


class _Pool:
    """Rows of several episodes, to be drawn from; those at the beginnings also by themselves."""

    def __init__(self, frames: Sequence[NDArray[np.int64]], early: float) -> None:
        self._episode = np.concatenate([np.full(len(one), number) for number, one in enumerate(frames)])
        self._row = np.concatenate([np.arange(len(one)) for one in frames])
        self._early = np.flatnonzero(np.concatenate(frames) < early)
        self.size = len(self._row)

    def draw(self, random: np.random.Generator, count: int, beginnings: float) -> list[tuple[int, int]]:
        """(episode, row) of `count` rows; the share of beginnings is kept on average."""
        early = int(random.binomial(count, beginnings))
        chosen = np.concatenate(
            (random.choice(self._early, early), random.integers(0, max(self.size, 1), count - early))
        )
        return [(int(self._episode[at]), int(self._row[at])) for at in chosen]


def _bounds(
    q01: tuple[float, ...], q99: tuple[float, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    low = np.array(q01, np.float32)
    return low, np.maximum(np.array(q99, np.float32) - low, np.float32(RANGE_FLOOR))


def _scale(
    values: NDArray[np.float32], q01: tuple[float, ...], q99: tuple[float, ...]
) -> NDArray[np.float32]:
    low, span = _bounds(q01, q99)
    return ((values - low) / span * 2 - 1).astype(np.float32)
