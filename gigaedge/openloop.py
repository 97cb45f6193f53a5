"""How far predicted chunks are from what a demonstrator did: degrees, millimetres, and upstream's own figures.

Open loop means that every chunk begins at a recorded observation and nothing that was predicted is ever played. Only
frames that exist are compared: a chunk that runs past the end of its episode is cut there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge.kinematics import fingertips
from gigaedge.robot import DELTA_MASK, DIM_NAMES

JOINTS: Final = np.array(DELTA_MASK)
"""Columns that are joints; the others are grippers."""
SCALE: Final = np.where(JOINTS, 180 / np.pi, 1e3)
"""From rad to degrees and from m to mm, per column."""
ERROR_HEADER: Final = ["", "mean abs", "RMSE", "p95", "worst", "unit"]


@dataclass(frozen=True)
class Rollout:
    """One chunk and what was recorded in its place."""

    episode: int
    start: int
    """Frame of the observation."""
    episode_length: int
    """Frames."""
    predicted: NDArray[np.float32]
    """Absolute targets, (chunk, 14), rad and m."""
    recorded: NDArray[np.float32]
    """Commanded targets from `start` on, (1 to chunk, 14), rad and m."""

    def error(self) -> NDArray[np.float64]:
        """Predicted minus recorded, (frames, 14), rad and m."""
        return self.predicted[: len(self.recorded)].astype(np.float64) - self.recorded

    def fingertip_error(self) -> NDArray[np.float64]:
        """Distance between predicted and recorded fingertips of both arms, (frames, 2), m."""
        offset = fingertips(self.predicted[: len(self.recorded)]) - fingertips(self.recorded)
        return np.linalg.norm(offset, axis=-1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Error:
    """Size of an error over frames; all four in `unit`."""

    name: str
    unit: Literal["deg", "mm"]
    mean_abs: float
    rmse: float
    p95: float
    worst: float


@dataclass(frozen=True)
class ChunkError:
    """One chunk, over its compared frames."""

    episode: int
    start: int
    frames: int
    joints: Error
    grippers: Error
    fingertips: Error


@dataclass(frozen=True)
class Horizon:
    """Mean absolute error of step k, over all chunks that have it."""

    joints_deg: tuple[float, ...]
    grippers_mm: tuple[float, ...]
    fingertips_mm: tuple[float, ...]


@dataclass(frozen=True)
class Upstream:
    """The figures of upstream's own evaluation, over all 14 values alike: rad and m are mixed.

    It evaluates the starts whose whole chunk ends before the episode's last frame. A `chunk` figure is the mean over
    whole chunks, an `overall` figure that over the actions played before the next chunk.
    """

    chunks: int
    chunk_mse: float
    chunk_mae: float
    overall_mse: float
    overall_mae: float


@dataclass(frozen=True)
class Report:
    """An evaluation."""

    frames: int
    """Compared frames, over all chunks."""
    dimensions: tuple[Error, ...]
    """One per value of an action, in the robot's order."""
    joints: Error
    grippers: Error
    fingertips: Error
    horizon: Horizon
    upstream: Upstream | None
    """None when no episode is longer than a chunk."""
    chunks: tuple[ChunkError, ...]

    def rows(self) -> list[list[str]]:
        """The errors of all groups and dimensions, as text under ERROR_HEADER."""
        errors = (self.joints, self.grippers, self.fingertips, *self.dimensions)
        return [
            [e.name, *(f"{value:.3f}" for value in (e.mean_abs, e.rmse, e.p95, e.worst)), e.unit]
            for e in errors
        ]


def evaluate(rollouts: Sequence[Rollout], stride: int) -> Report:
    """Compare chunks that begin every `stride` frames; at least one."""
    errors = np.concatenate([rollout.error() for rollout in rollouts]) * SCALE
    tips = np.concatenate([rollout.fingertip_error() for rollout in rollouts]) * 1e3
    steps = np.concatenate([np.arange(len(rollout.recorded)) for rollout in rollouts])
    dimensions = tuple(
        _error(name, "deg" if joint else "mm", errors[:, dim])
        for dim, (name, joint) in enumerate(zip(DIM_NAMES, DELTA_MASK, strict=True))
    )
    joints, grippers, fingers = _groups(errors, tips)
    return Report(
        frames=len(errors),
        dimensions=dimensions,
        joints=joints,
        grippers=grippers,
        fingertips=fingers,
        horizon=Horizon(
            joints_deg=_per_step(errors[:, JOINTS], steps),
            grippers_mm=_per_step(errors[:, ~JOINTS], steps),
            fingertips_mm=_per_step(tips, steps),
        ),
        upstream=_upstream(rollouts, stride),
        chunks=tuple(_chunk(rollout) for rollout in rollouts),
    )


def _chunk(rollout: Rollout) -> ChunkError:
    groups = _groups(rollout.error() * SCALE, rollout.fingertip_error() * 1e3)
    return ChunkError(rollout.episode, rollout.start, len(rollout.recorded), *groups)


def _groups(errors: NDArray[np.float64], tips: NDArray[np.float64]) -> tuple[Error, Error, Error]:
    """Joints, grippers and fingertips, from (frames, 14) in degrees and mm and (frames, 2) in mm."""
    return (
        _error("joints", "deg", errors[:, JOINTS]),
        _error("grippers", "mm", errors[:, ~JOINTS]),
        _error("fingertips", "mm", tips),
    )


def _error(name: str, unit: Literal["deg", "mm"], errors: NDArray[np.float64]) -> Error:
    size = np.abs(errors)
    return Error(
        name=name,
        unit=unit,
        mean_abs=float(size.mean()),
        rmse=float(np.sqrt(np.square(size).mean())),
        p95=float(np.percentile(size, 95)),
        worst=float(size.max()),
    )


def _per_step(errors: NDArray[np.float64], steps: NDArray[np.int64]) -> tuple[float, ...]:
    means = np.bincount(steps, np.abs(errors).mean(axis=1)) / np.bincount(steps)
    return tuple(float(mean) for mean in means)


def _upstream(rollouts: Sequence[Rollout], stride: int) -> Upstream | None:
    whole = [
        rollout.error()
        for rollout in rollouts
        if rollout.start + len(rollout.predicted) < rollout.episode_length
    ]
    if not whole:
        return None
    chunks = np.stack(whole)
    played = chunks[:, :stride]
    return Upstream(
        chunks=len(chunks),
        chunk_mse=float(np.square(chunks).mean()),
        chunk_mae=float(np.abs(chunks).mean()),
        overall_mse=float(np.square(played).mean()),
        overall_mae=float(np.abs(played).mean()),
    )
