"""How a wrist camera's own gripper lies in its picture: it is rigid with the camera, whatever is behind it is not.

First every shift and a few rolls are tried by the directions of the edges, of which each pixel has one vote however
strong its edge is (orientation correlation: Fitch et al. 2002); then the brightness, freed of light and shade, is
aligned by least squares that lets go of what does not fit, the background (Tukey weights).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import CalibrationError

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Region = tuple[int, int, int, int]
"""Left, top, right, bottom, px; right and bottom are not part of it."""

_REACH: Final = 60
"""The gripper is looked for this far away, px."""
_ROLLS: Final = np.radians(np.arange(-8.0, 8.1, 4.0))
_LEAST: Final = 48
"""Edges of a region, px."""
_LOCAL: Final = 6.0
"""Light and shade change slowly over this many px."""
_CUT: Final = 1.0
"""A pixel that differs by more, in local standard deviations, is background."""
_NEAR: Final = 0.35
"""A pixel that differs by less fits."""
_TEXTURED: Final = 0.3
"""Flatter pixels fit everywhere."""
_ROUNDS: Final = 25
_COARSE: Final = 5
"""So many rounds trust pixels that are three times as far off."""
_SUPPORT: Final = 0.35
"""Part of the region that must fit; by chance 0.2 does."""
_SURE: Final = 0.45
"""With so much at the first place that is tried, others are not."""
_BEST: Final = 3
"""So many of the places that are tried at half size are looked at in full."""
_AREA: Final = 40.0
"""Neighbouring pixels err together: so many of them tell as much as one; from simulation."""


@dataclass(frozen=True)
class GripperOffset:
    """Where the gripper is in a live picture, against the reference."""

    shift: Array
    """Of the region's middle, to the right and down, px of the picture, shape (2,)."""
    roll: float
    """Clockwise in the picture, rad."""
    covariance: Array
    """Of (right, down, roll), px and rad, shape (3, 3)."""
    support: float
    """Part of the region that fits, 0..1."""


def gripper_offset(reference: NDArray[np.uint8], live: NDArray[np.uint8], region: Region) -> GripperOffset:
    """Where what `region` of `reference` shows lies in `live`, both RGB of one shape (height, width, 3).

    Raises CalibrationError: no such region, or the gripper is not recognised there.
    """
    check_region(region, reference)
    if reference.shape != live.shape:
        raise CalibrationError(
            f"gripper: pictures of {reference.shape[1]}x{reference.shape[0]} and {live.shape[1]}x{live.shape[0]} px "
            "cannot be compared; capture the reference again with today's size"
        )
    whole = _Pair(_grey(reference), _grey(live), region)
    half = whole.halved()
    fit = _align(whole, np.zeros(3))
    if fit.support < _SURE:
        tried = sorted((_align(half, start) for start in _search(half)), key=lambda one: one.support)
        fits = [_align(whole, one.move * (2.0, 2.0, 1.0)) for one in tried[-_BEST:]]
        fit = max((fit, *fits), key=lambda one: one.support)
    move, support = fit.move, fit.support
    if support < _SUPPORT or np.abs(move[:2]).max() > _REACH:
        raise CalibrationError(
            f"the gripper is not recognised ({100 * support:.0f} % of its region fits, {100 * _SUPPORT:.0f} % needed); "
            "its opening, the light or the region changed, or the camera moved far: look at the picture"
        )
    return GripperOffset(move[:2], float(move[2]), fit.covariance, support)


def check_region(region: Region, image: NDArray[np.uint8], name: str = "gripper region") -> None:
    """Raise CalibrationError when `region` is too small, or not within the picture."""
    left, top, right, bottom = region
    height, width = image.shape[:2]
    large = left + _LEAST <= right and top + _LEAST <= bottom
    if min(left, top) < 0 or right > width or bottom > height or not large:
        raise CalibrationError(
            f"{name} {left},{top},{right},{bottom}: expected left,top,right,bottom within the picture of "
            f"{width}x{height} px, at least {_LEAST} px wide and high"
        )


def _grey(image: NDArray[np.uint8]) -> Floats:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def _even(grey: Floats) -> Floats:
    """Brightness against its surroundings, in their standard deviations: without light and shade."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    rest = smooth - cv2.GaussianBlur(smooth, (0, 0), _LOCAL)
    power = cv2.GaussianBlur(rest * rest, (0, 0), 2 * _LOCAL)
    return np.asarray(rest / np.sqrt(power + 4.0), np.float32)  # +4: where all is flat, noise stays small


def _edges(grey: Floats) -> Floats:
    """Directions of the edges, shape (height, width, 2), of length near 1 where there is an edge, else near 0."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.5)
    slopes = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], axis=-1)
    return np.asarray(slopes / np.sqrt(np.sum(slopes**2, axis=-1, keepdims=True) + 15.0**2), np.float32)


@dataclass(frozen=True)
class _Pair:
    """Grey pictures to compare, and where."""

    before: Floats
    now: Floats
    region: Region

    def halved(self) -> _Pair:
        """At half the size."""
        height, width = self.before.shape
        size = (width // 2, height // 2)
        before, now = (
            np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
            for image in (self.before, self.now)
        )
        left, top, right, bottom = (edge // 2 for edge in self.region)
        return _Pair(before, now, (left, top, right, bottom))


@dataclass(frozen=True)
class _Fit:
    move: Array
    """Right, down, roll; px and rad, shape (3,)."""
    covariance: Array
    support: float


def _search(pair: _Pair) -> list[Array]:
    """The likeliest move for each of a few rolls."""
    left, top, right, bottom = pair.region
    height, width = pair.before.shape
    margin = _REACH // 2
    edges = cv2.copyMakeBorder(_edges(pair.now), margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    area = edges[top : bottom + 2 * margin, left : right + 2 * margin]
    middle = ((left + right - 1) / 2, (top + bottom - 1) / 2)
    found = []
    for roll in _ROLLS:
        turn = cv2.getRotationMatrix2D(middle, -float(np.degrees(roll)), 1.0)
        turned = cv2.warpAffine(pair.before, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
        template = _edges(np.asarray(turned, np.float32))[top:bottom, left:right]
        _, _, _, place = cv2.minMaxLoc(cv2.matchTemplate(area, template, cv2.TM_CCORR))
        found.append(np.array([place[0] - margin, place[1] - margin, roll], dtype=np.float64))
    return found


def _align(pair: _Pair, start: Array) -> _Fit:
    """Gauss-Newton steps on what fits; brightness of the reference at x is that of the live picture at R x + t."""
    left, top, right, bottom = pair.region
    columns, rows = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    middle = ((left + right - 1) / 2, (top + bottom - 1) / 2)
    x, y = (columns - middle[0]).astype(np.float32), (rows - middle[1]).astype(np.float32)
    wanted, now = _even(pair.before)[top:bottom, left:right], _even(pair.now)
    textured = np.abs(wanted) > _TEXTURED
    layers = cv2.merge([now, *(cv2.Sobel(now, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))])
    move, information, cost = np.array(start), np.eye(3), 1.0
    residual = np.full_like(wanted, np.nan)
    for step in range(_ROUNDS):
        cosine, sine = np.cos(move[2]), np.sin(move[2])
        u = (cosine * x - sine * y + middle[0] + move[0]).astype(np.float32)
        v = (sine * x + cosine * y + middle[1] + move[1]).astype(np.float32)
        seen = cv2.remap(
            layers, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(np.nan,) * 3
        )
        residual = wanted - seen[..., 0]
        cut = _CUT if step >= _COARSE else 3 * _CUT  # the search is a few px off
        fits = np.abs(residual) < cut  # false where there is no picture
        if np.count_nonzero(fits) < _LEAST:
            break
        error, slope = residual[fits].astype(np.float64), seen[fits][:, 1:].astype(np.float64)
        around = np.stack([-sine * x - cosine * y, cosine * x - sine * y], axis=-1)[fits]
        jacobian = np.column_stack([slope, np.sum(slope * around, axis=1)])
        weight = (1 - (error / cut) ** 2) ** 2
        weighted = jacobian * weight[:, np.newaxis]
        information = weighted.T @ jacobian + 1e-6 * np.eye(3)
        cost = float(weight @ error**2 / weight.sum())
        change = np.linalg.solve(information, weighted.T @ error)
        move = move + change
        if step > _COARSE and np.abs(change[:2]).max() < 1e-3 and abs(change[2]) < 1e-5:
            break
    visible = textured & np.isfinite(residual)
    if np.count_nonzero(visible) < 0.5 * np.count_nonzero(textured):
        return _Fit(move, np.full((3, 3), np.inf), 0.0)
    support = np.count_nonzero((np.abs(residual) < _NEAR) & visible) / max(int(np.count_nonzero(visible)), 1)
    covariance = np.asarray(_AREA * cost * np.linalg.inv(information), np.float64)
    return _Fit(move, covariance, float(support))
