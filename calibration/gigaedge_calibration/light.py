"""Light: how bright and how coloured a picture is, in three numbers that two pictures can be compared by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import CalibrationError

CLIPPED: Final = 250
"""A channel at or above this is full: how much more light there was is not in the picture."""
DARK: Final = 5
"""A green at or below this is noise, and no ratio to it means anything."""


@dataclass(frozen=True)
class LightFigures:
    """Brightness and colour of a picture."""

    luminance: float
    """Mean of red, green and blue over the whole picture, 0..255."""
    red_to_green: float
    """Of the sums over the pixels that are neither clipped nor dark."""
    blue_to_green: float
    """The same for blue."""
    clipped: float
    """Part of the pixels with a full channel, 0..1."""


def light_figures(image: NDArray[np.uint8]) -> LightFigures:
    """Brightness and colour of an RGB picture of shape (height, width, 3); takes about a millisecond.

    Raises CalibrationError when it is all but black or all but clipped, so that it has no colour.
    """
    brightest = image.max(axis=2)
    clipped = brightest >= CLIPPED
    usable = (~clipped & (image[..., 1] > DARK)).astype(np.uint8)
    if usable.mean() < 0.01:
        raise CalibrationError(
            f"a picture has no colour to measure: {100 * clipped.mean():.0f} % of it is clipped and the rest is "
            "black; correct light, exposure and lens cap"
        )
    luminance = float(np.mean(cv2.mean(image)[:3]))
    red, green, blue, _ = cv2.mean(image, usable)
    # A room without any red or blue is no room; the file wants ratios above zero.
    return LightFigures(luminance, max(red, 1e-3) / green, max(blue, 1e-3) / green, float(np.mean(clipped)))
