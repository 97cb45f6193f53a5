"""How a picture moved since the one before, in four numbers that are linear in how the camera, or the arm, moved."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_WIDTH: Final = 160
"""px; a motion of the whole picture shows in a small one, too."""


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What `picture_motion` compares, grey, of an RGB picture, shape (height, width, 3)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height = max(8, round(grey.shape[0] * _WIDTH / grey.shape[1]))
    return np.asarray(cv2.resize(grey, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def picture_motion(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> Array:
    """Means over the picture of the dense flow between two thumbnails, shape (4,).

    To the right and down, thumbnail px; turning and widening about its middle, px at its edge. What does not move, the
    gripper or the background, dilutes all of them alike. The flow (cv2.DISOpticalFlow: Kroeger et al. 2016) starts from
    the shift of the whole picture (cv2.phaseCorrelate): by itself it follows a fast swing too short.
    """
    whole = cv2.createHanningWindow(before.shape[::-1], cv2.CV_32F)
    shift, _ = cv2.phaseCorrelate(before.astype(np.float32), now.astype(np.float32), whole)
    start = np.broadcast_to(np.asarray(shift, np.float32), (*before.shape, 2)).copy()
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(before, now, start)
    u, v = np.asarray(flow[..., 0], np.float64), np.asarray(flow[..., 1], np.float64)
    rows, columns = u.shape
    x = np.linspace(-1, 1, columns)[np.newaxis, :]
    y = np.linspace(-1, 1, rows)[:, np.newaxis] * rows / columns
    moments = (u, v, x * v - y * u, x * u + y * v)
    return np.array([moment.mean() for moment in moments])


def picture_motions(thumbnails: NDArray[Any]) -> Array:
    """`picture_motion` of every picture since the one before, shape (n - 1, 4), of thumbnails (n, height, width)."""
    return np.array([picture_motion(before, now) for before, now in pairwise(thumbnails)]).reshape(-1, 4)
