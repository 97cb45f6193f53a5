"""How much earlier the world was than a picture's stamp says: what the joints did, laid over what the picture did.

Between two frames a picture moves by what the arm moved between the two instants that they show, so the arm's motion
is accumulated and its differences are compared, not its speed: frames that were dropped only make an interval longer.
How strongly which motion moves the picture (lens, distance, mount) is not asked but fitted along. The method is that of
separable least squares (Golub and Pereyra 1973): for each latency the linear part is solved, and the latency of the
least residual taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.errors import CalibrationError
from gigaedge.kinematics import DhIsOffset, arm_points, link6_pose

Array = NDArray[np.float64]

GREATEST: Final = 0.4
"""s; a camera that is later than this is refused by the runtime anyway."""
LEAST_MOTION: Final = float(np.radians(20.0))
"""rad; the way that all joints together must go."""
_SMOOTH: Final = 0.04
"""s, half a window: an arm does not change its speed in less, and the stamps of its feedback jitter."""
_SAMPLE: Final = 0.0025
"""s."""
_GRID: Final = 0.01
"""s; finer than any motion that an arm's acceleration allows."""
_FEWEST: Final = 45
"""Frames: a second and a half."""
_OUTLIER: Final = 3.5
"""Standard deviations from which on an interval is not believed."""
_MOVING: Final = 0.3
"""Of a channel's standard deviation; a picture that moves by more moves."""
_LAG: Final = 3
"""Frames over which errors go together: a stamp that is off concerns two intervals."""
_EXPLAINED: Final = 0.3
"""Part of the picture's motion that the joints must explain."""
_WORST_SIGMA: Final = 0.02
"""s."""


@dataclass(frozen=True)
class Latency:
    """What was found for one camera."""

    seconds: float
    """Add to a frame's stamp to get the time of the joints that it shows; negative for a late camera."""
    sigma: float
    """s."""
    explained: float
    """Part of the picture's motion that the joints explain, 0 to 1."""
    frames: int


def wrist_path(joints: NDArray[Any], dh_is_offset: DhIsOffset = 1) -> Array:
    """The accumulated motion of link 6 in its own coordinates, shape (n, 6), of joint angles, rad, (n, 6).

    What a camera on link 6 sees move is, at one distance, linear in it, whatever the mount.
    """
    link6 = link6_pose(np.asarray(joints, np.float64), dh_is_offset)
    steps = poses.difference(poses.inverse(link6[:-1]) @ link6[1:], np.eye(4))
    return np.concatenate([np.zeros((1, 6)), np.cumsum(steps, axis=0)])


def front_path(joints: NDArray[Any], dh_is_offset: DhIsOffset = 1) -> Array:
    """Where elbow and fingertip of the arm are, m, shape (n, 6): what a fixed camera sees move."""
    points = arm_points(np.asarray(joints, np.float64), dh_is_offset)
    return np.concatenate([points[:, 0], points[:, 2]], axis=-1)


def estimate_latency(
    joint_stamps: NDArray[Any],
    joints: NDArray[Any],
    path: NDArray[Any],
    frame_stamps: NDArray[Any],
    motion: NDArray[Any],
) -> Latency:
    """The latency of one camera.

    `joint_stamps`: s, (n,), ascending; `joints`: rad, (n, 6); `path`: of these joints, (n, k), from `wrist_path` or
    `front_path`; `frame_stamps`: s on the same clock, (m,), ascending; `motion`: how the picture moved since the frame
    before, (m - 1, c), from `picture_motion`. Sigma is of the residuals as they are, neighbours correlated (Newey and
    West 1987). Raises CalibrationError: too few frames, too little motion, pictures that do not follow the arm.
    """
    stamps = np.asarray(frame_stamps, np.float64)
    ends = joint_stamps[0] + GREATEST, joint_stamps[-1] - GREATEST
    usable = (stamps[:-1] >= ends[0]) & (stamps[1:] <= ends[1]) & np.all(np.isfinite(motion), axis=-1)
    if np.count_nonzero(usable) < _FEWEST:
        raise CalibrationError(
            f"time: {np.count_nonzero(usable)} frames lie within the joint feedback, {_FEWEST} are needed; record for "
            "longer"
        )
    travelled = float(np.abs(np.diff(joints, axis=0)).sum())
    if travelled < LEAST_MOTION:
        raise CalibrationError(
            f"time: the arm moved by {np.degrees(travelled):.1f} degrees in all, {np.degrees(LEAST_MOTION):.0f} are "
            "needed; swing the wrist to and fro while it records"
        )
    moves = _Moves(*_smooth(np.asarray(joint_stamps, np.float64), np.asarray(path, np.float64)), stamps)
    seen = np.asarray(motion, np.float64)
    # By channel in units of its own motion: px and rad have no common one.
    seen = (seen - np.median(seen[usable], axis=0)) / np.maximum(seen[usable].std(axis=0), 1e-9)
    kept = usable
    seconds = _search(moves, seen, kept)
    for _ in range(4):
        residual = seen - moves.at(seconds) @ _linear(moves.at(seconds)[kept], seen[kept])
        off = np.abs(residual).max(axis=-1)
        # Where nothing moves nothing is off, and would make everything else an outlier.
        moving = kept & (np.abs(seen).max(axis=-1) > _MOVING)
        spread = max(1.4826 * float(np.median(off[moving])), 1e-9)
        kept = usable & (off < _OUTLIER * spread)
        seconds = _search(moves, seen, kept)
    return _weighed(moves, seen, kept, seconds)


def _smooth(stamps: Array, path: Array) -> tuple[Array, Array]:
    """Even stamps, and the path at them under a symmetric window, which delays nothing."""
    even = np.arange(stamps[0], stamps[-1], _SAMPLE)
    half = round(_SMOOTH / _SAMPLE)
    window = np.hanning(2 * half + 1)
    window /= window.sum()
    columns = []
    for column in path.T:
        padded = np.pad(np.interp(even, stamps, column), half, mode="edge")
        columns.append(np.convolve(padded, window, mode="valid"))
    return even, np.stack(columns, axis=-1)


@dataclass(frozen=True)
class _Moves:
    """The arm's path, to be read between frames at any latency."""

    stamps: Array
    path: Array
    frames: Array

    def at(self, seconds: float) -> Array:
        """What the arm moved between successive frames, (m - 1, k), standardised by column."""
        read = np.stack([np.interp(self.frames + seconds, self.stamps, column) for column in self.path.T], -1)
        return np.asarray(np.diff(read, axis=0) / self._scale())

    def _scale(self) -> Array:
        return np.asarray(np.maximum(np.abs(np.diff(self.path, axis=0)).sum(axis=0) / len(self.frames), 1e-9))


def _linear(moves: Array, seen: Array) -> Array:
    """Coefficients, (k, c), of least squares; what no motion determines is zero."""
    # A swing of one joint leaves most directions of the path empty: noise there must not become signal.
    return np.asarray(np.linalg.lstsq(moves, seen, rcond=1e-2)[0])


def _cost(moves: _Moves, seen: Array, kept: NDArray[np.bool_], seconds: float) -> float:
    arm = moves.at(seconds)[kept]
    return float(np.sum((seen[kept] - arm @ _linear(arm, seen[kept])) ** 2))


def _search(moves: _Moves, seen: Array, kept: NDArray[np.bool_]) -> float:
    """The best of a grid, then of golden sections about it."""
    grid = np.arange(-GREATEST, GREATEST + _GRID / 2, _GRID)
    costs = [_cost(moves, seen, kept, seconds) for seconds in grid]
    best = int(np.argmin(costs))
    if best in (0, len(grid) - 1):
        raise CalibrationError(
            f"time: the picture follows the arm best at {1e3 * grid[best]:+.0f} ms, the end of what is looked at; see "
            "that camera and arm are those of the site file, and that nothing else moves in the picture"
        )
    low, high = grid[best - 1], grid[best + 1]
    ratio = (np.sqrt(5) - 1) / 2
    while high - low > 1e-5:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _cost(moves, seen, kept, left) < _cost(moves, seen, kept, right):
            high = right
        else:
            low = left
    return float((low + high) / 2)


def _weighed(moves: _Moves, seen: Array, kept: NDArray[np.bool_], seconds: float) -> Latency:
    """The latency with its standard deviation, from the residuals about it."""
    arm = moves.at(seconds)
    gains = _linear(arm[kept], seen[kept])
    residual = seen - arm @ gains
    explained = 1.0 - float(np.sum(residual[kept] ** 2) / np.sum(seen[kept] ** 2))
    if explained < _EXPLAINED:
        raise CalibrationError(
            f"time: the arm explains {100 * max(explained, 0):.0f} % of how the picture moves, "
            f"{100 * _EXPLAINED:.0f} % are needed; see that the camera is that of this arm, and that nothing else moves"
        )
    # Channels weigh by their noise: what one says of the latency is how its residual changes with it.
    variance = np.maximum(residual[kept].var(axis=0), 1e-12)
    slope = (moves.at(seconds + _SAMPLE) - moves.at(seconds - _SAMPLE)) / (2 * _SAMPLE) @ gains
    slope = slope - arm @ _linear(arm[kept], slope[kept])
    scores = np.where(kept[:, np.newaxis], residual * slope / variance, 0.0)
    summed = scores.sum(axis=-1)
    meat = float(summed @ summed)
    for lag in range(1, _LAG + 1):
        meat += 2 * (1 - lag / (_LAG + 1)) * float(summed[lag:] @ summed[:-lag])
    curvature = float(np.sum(slope[kept] ** 2 / variance))
    # Errors that cancel between neighbours may make the sum small by chance; half of the plain sum is a floor.
    sigma = float(np.sqrt(max(meat, 0.25 * float(summed @ summed))) / curvature)
    if sigma > _WORST_SIGMA:
        raise CalibrationError(
            f"time: the latency is known to +-{2e3 * sigma:.0f} ms only; swing faster, to and fro, and record for "
            "longer"
        )
    return Latency(seconds, sigma, explained, int(np.count_nonzero(kept)) + 1)
