"""norm_stats.json from demonstrations: what maps states and actions to [-1, 1] in training and at run time.

States count once per frame. Actions count once per frame and step of the horizon: the window of `chunk` frames
that begins at each frame, its index held at the episode's last frame, as training reads it; joints minus the state
at the window's begin, grippers as they are.

Quantiles are exact, with linear interpolation. One dimension is worked on at a time: memory is 224 bytes per frame
for states and actions, and frames x chunk x 4 bytes for the windows of one dimension (1 M frames x 48: 0.4 GB).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.lerobot import Motion
from gigaedge.lerobot_files import ACTION, STATE
from gigaedge.robot import DELTA_MASK, DIM_NAMES, ROBOT_DIM

QUANTILES: Final = (0.01, 0.99)

TURN: Final = 2 * np.pi
"""rad; no joint of the arm turns this far, so a larger value is in another unit."""


@dataclass(frozen=True)
class Statistics:
    """Six figures per dimension: 14 values each, rad and m."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]
    q01: tuple[float, ...]
    q99: tuple[float, ...]

    def padded(self, width: int) -> dict[str, list[float]]:
        """As JSON: each list padded with zeros to `width`."""
        zeros = [0.0] * (width - ROBOT_DIM)
        return {name: [*values, *zeros] for name, values in asdict(self).items()}


def norm_stats(
    motions: Sequence[Motion], chunk: int, begin: Callable[[str], None] = lambda what: None
) -> dict[str, Statistics]:
    """Statistics of `observation.state` and `action` over whole episodes; `begin` is told each dimension's name."""
    states = np.concatenate([motion.states for motion in motions])
    actions = np.concatenate([motion.actions for motion in motions])
    lengths = [len(motion.states) for motion in motions]
    last = np.repeat(np.cumsum(lengths) - 1, lengths)
    rows: dict[str, list[tuple[float, ...]]] = {STATE: [], ACTION: []}
    windows = np.empty((chunk, len(states)), np.float32)
    for dim, name in enumerate(DIM_NAMES):
        begin(name)
        _fill_windows(windows, actions[:, dim], last)
        if DELTA_MASK[dim]:
            windows -= states[:, dim]
        rows[STATE].append(_describe(states[np.newaxis, :, dim].copy()))
        rows[ACTION].append(_describe(windows))
    return {feature: Statistics(*zip(*found, strict=True)) for feature, found in rows.items()}


def notices(stats: dict[str, Statistics]) -> list[str]:
    """What a person should know about the statistics before training on them, one line each."""
    found = []
    for feature, statistics in stats.items():
        for name, low, high in zip(DIM_NAMES, statistics.q01, statistics.q99, strict=True):
            if low == high:
                found.append(
                    f"{feature} {name} does not vary (q01 = q99 = {low:.6g}): any other value at run time is "
                    "normalised to a huge one"
                )
    for name, joint, low, high in zip(DIM_NAMES, DELTA_MASK, stats[STATE].min, stats[STATE].max, strict=True):
        if joint and max(-low, high) > TURN:
            found.append(f"{STATE} {name} goes from {low:.6g} to {high:.6g}: joints must be in rad")
    return found


def document(stats: dict[str, Statistics], width: int, metadata: dict[str, Any]) -> dict[str, Any]:
    """The content of norm_stats.json; `metadata` says what it was made from."""
    padded = {feature: statistics.padded(width) for feature, statistics in stats.items()}
    return {"norm_stats": padded, "metadata": metadata}


def _fill_windows(out: NDArray[np.float32], values: NDArray[np.float32], last: NDArray[np.int64]) -> None:
    """out[h, i] = values[min(i + h, last[i])]: the step h of the window that begins at frame i."""
    frames = np.arange(len(values))
    for step, row in enumerate(out):
        np.take(values, np.minimum(frames + step, last), out=row)


def _describe(values: NDArray[np.float32]) -> tuple[float, ...]:
    """Mean, std, min, max, q01, q99 of a (rows, frames) array; moments in float64. Reorders `values`: no copy."""
    mean = sum(float(row.sum(dtype=np.float64)) for row in values) / values.size
    squares = sum(float(np.square(row - np.float64(mean)).sum()) for row in values)
    low, high = float(values.min()), float(values.max())
    q01, q99 = (float(value) for value in np.quantile(values, QUANTILES, overwrite_input=True))
    return mean, float(np.sqrt(squares / values.size)), low, high, q01, q99
