"""How one picture's view differs from another's: shift, roll, scale and parallax, in pixels of the policy's composite.

SIFT features, since they repeat to a fraction of a pixel (ORB: several pixels), matched by Lowe's ratio (Lowe 2004)
and fitted by a similarity (`cv2.estimateAffinePartial2D`, RANSAC with a fixed seed). The shift is the median over the
matches, not a homography's: of a camera that was pushed aside, a homography describes one plane of the scene only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.tiles import Tile

Array = NDArray[np.float64]

_MOST: Final = 1500
"""Features of a picture; the strongest are kept."""
_OVERSAMPLED: Final = 2.0
"""Features are found in a picture with this many px per composite px, or all that it has."""
_RATIO: Final = 0.75
"""Lowe's: the nearest descriptor must be this much nearer than the second."""
_COHERENT: Final = 8.0
"""A match this far from the common similarity, composite px, is not of what stands still."""
_TRIES: Final = 2000
ENOUGH: Final = 20
"""Matches that agree; with fewer nothing can be told."""


@dataclass(frozen=True)
class Features:
    """What a picture is recognised by."""

    points: Array
    """Composite px, shape (n, 2)."""
    descriptors: NDArray[np.float32]
    """SIFT, shape (n, 128)."""
    centre: Array
    """Where the middle of the picture is, composite px, shape (2,)."""
    mirrored: bool = False
    """The picture was mirrored left to right before it was looked at."""


@dataclass(frozen=True)
class Match:
    """How what is seen in one picture lies in another."""

    shift: Array
    """Of the middle of the picture, to the right and down, composite px, shape (2,)."""
    roll: float
    """Of the picture, clockwise, rad."""
    scale: float
    """Above 1: everything appears larger."""
    centre: Array
    """The middle of the picture, composite px, shape (2,)."""
    spread: float
    """Of the matches' shifts around this similarity, composite px: robust standard deviation of the larger axis."""
    mirrored: bool
    source: Array
    target: Array
    """What agrees, in the reference and in the live picture, composite px, shape (n, 2) each."""

    @property
    def inliers(self) -> int:
        """How many matches agree."""
        return len(self.source)

    @property
    def transform(self) -> Array:
        """The similarity that takes points of the reference to the live picture, composite px, shape (2, 3)."""
        turn = self.scale * np.array(
            [[np.cos(self.roll), -np.sin(self.roll)], [np.sin(self.roll), np.cos(self.roll)]]
        )
        return np.column_stack([turn, self.centre + self.shift - turn @ self.centre])


def find_features(
    image: NDArray[np.uint8],
    tile: Tile,
    *,
    region: tuple[int, int, int, int] | None = None,
    without: tuple[int, int, int, int] | None = None,
    mirrored: bool = False,
) -> Features:
    """Features of an RGB picture, shape (height, width, 3), placed in the composite by `tile`.

    Only within `region` and outside `without`: left, top, right, bottom, px of the picture as it is given;
    `mirrored` then turns it left to right.
    """
    height, width = image.shape[:2]
    allowed = np.zeros((height, width), np.uint8)
    left, top, right, bottom = region or (0, 0, width, height)
    allowed[top:bottom, left:right] = 255
    if without is not None:
        left, top, right, bottom = without
        allowed[top:bottom, left:right] = 0
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if mirrored:
        grey, allowed = cv2.flip(grey, 1), cv2.flip(allowed, 1)
    reduced = min(1.0, _OVERSAMPLED * max(tile.scale))
    size = (round(width * reduced), round(height * reduced))
    if size != (width, height):
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        allowed = cv2.resize(allowed, size, interpolation=cv2.INTER_NEAREST)
    keypoints, descriptors = cv2.SIFT.create(nfeatures=_MOST).detectAndCompute(grey, allowed)
    found = np.array([point.pt for point in keypoints], dtype=np.float64).reshape(-1, 2)
    full = (found + 0.5) * (width / size[0], height / size[1]) - 0.5
    if descriptors is None:
        descriptors = np.empty((0, 128), np.float32)
    centre = tile.composite(np.array([(width - 1) / 2, (height - 1) / 2]))
    return Features(tile.composite(full), descriptors, centre, mirrored)


def match(reference: Features, live: Features) -> Match | None:
    """How `live` differs from `reference`; None: fewer than `ENOUGH` matches agree."""
    source, target = _pairs(reference, live)
    if len(source) < ENOUGH:
        return None
    cv2.setRNGSeed(1)
    fit, kept = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=_COHERENT, maxIters=_TRIES, confidence=0.999
    )
    if fit is None:
        return None
    inside = kept.reshape(-1).astype(bool)
    if np.count_nonzero(inside) < ENOUGH:
        return None
    source, target = source[inside], target[inside]
    turn = _refined(source, target, fit[:, :2])
    moved = target - live.centre - (source - reference.centre) @ turn.T
    shift = np.median(moved, axis=0)
    spread = 1.4826 * np.median(np.abs(moved - shift), axis=0).max()
    return Match(
        shift,
        float(np.arctan2(turn[1, 0], turn[0, 0])),
        float(np.hypot(turn[0, 0], turn[1, 0])),
        live.centre,
        float(spread),
        reference.mirrored,
        source,
        target,
    )


def _pairs(reference: Features, live: Features) -> tuple[Array, Array]:
    """Points of both pictures, shape (n, 2) each, whose descriptors are each other's nearest by far."""
    if min(len(reference.points), len(live.points)) < 2:
        return np.empty((0, 2)), np.empty((0, 2))
    nearest = cv2.BFMatcher(cv2.NORM_L2).knnMatch(reference.descriptors, live.descriptors, k=2)
    good = [first for first, second in nearest if first.distance < _RATIO * second.distance]
    back = np.array([pair.queryIdx for pair in good], dtype=int)
    there = np.array([pair.trainIdx for pair in good], dtype=int)
    return reference.points[back], live.points[there]


def _refined(source: Array, target: Array, start: NDArray[Any]) -> Array:
    """Turn and scale, shape (2, 2), by least squares that trusts distant matches less (Cauchy weights)."""
    turn = np.asarray(start, dtype=np.float64)
    weights = np.ones(len(source))
    for _ in range(10):
        total = weights.sum()
        middle_source, middle_target = weights @ source / total, weights @ target / total
        a, b = source - middle_source, target - middle_target
        power = np.sum(weights * np.sum(a * a, axis=1))
        cosine = np.sum(weights * np.sum(a * b, axis=1)) / power
        sine = np.sum(weights * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])) / power
        turn = np.array([[cosine, -sine], [sine, cosine]])
        residual = np.linalg.norm(b - a @ turn.T, axis=1)
        width = max(1.4826 * float(np.median(residual)), 0.05)
        weights = 1 / (1 + (residual / width) ** 2)
    return turn
