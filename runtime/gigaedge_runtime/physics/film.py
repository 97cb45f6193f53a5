"""What a person sees of the physical cell: the three views side by side over a line of text, as frames of a film."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from gigaedge.robot import CameraRole
from gigaedge_runtime.physics.painter import Image
from gigaedge_runtime.physics.world import PICTURE

HIGH: Final = (2 * PICTURE[0], 2 * PICTURE[1])
"""Width and height of the large view, px; the wrists' are half of it, one above the other."""
FRAME: Final = (HIGH[0] + PICTURE[0], HIGH[1] + 32)
"""Width and height of a frame, px."""

_TEXT: Final = (230, 230, 230)
_FAINT: Final = (120, 120, 120)


def frame(pictures: Mapping[CameraRole, Image], left: str, right: str = "") -> Image:
    """One frame, RGB, shape (512, 960, 3): pictures of any size of the same shape, and a line of text below."""
    whole = np.zeros((FRAME[1], FRAME[0], 3), np.uint8)
    width, height = HIGH
    whole[:height, :width] = _fit(pictures["cam_high"], HIGH)
    whole[: PICTURE[1], width:] = _fit(pictures["cam_left_wrist"], PICTURE)
    whole[PICTURE[1] : height, width:] = _fit(pictures["cam_right_wrist"], PICTURE)
    whole[PICTURE[1], width:] = whole[:height, width] = _FAINT
    _write(whole, left, 12)
    (extent, _), _ = cv2.getTextSize(right, cv2.FONT_HERSHEY_SIMPLEX, 0.55, 1)
    _write(whole, right, FRAME[0] - 12 - extent)
    return whole


def _fit(picture: Image, size: tuple[int, int]) -> Image:
    smaller = picture.shape[1] > size[0]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)


def _write(whole: Image, text: str, x: int) -> None:
    place = (x, FRAME[1] - 11)
    cv2.putText(whole, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, _TEXT, 1, cv2.LINE_AA)
