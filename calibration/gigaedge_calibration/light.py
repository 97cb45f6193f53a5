"""Light: what a camera was set to, whether its frames keep to that, and how bright and coloured a picture is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import LightInfo
from gigaedge.errors import CalibrationError
from gigaedge.robot import CameraRole
from gigaedge_calibration.acceptance import SATURATED
from gigaedge_calibration.verdicts import Judgement, Verdict, judged

SETTINGS: Final = ("exposure", "gain", "white_balance")
"""As in the site file: s, the camera's own unit, K."""

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


@dataclass(frozen=True)
class LockedLight:
    """One camera after its exposure and white balance were set; values by name of SETTINGS."""

    role: CameraRole
    wanted: Mapping[str, float]
    """What was to be set."""
    read_back: Mapping[str, float]
    """What the camera says it is set to."""
    on_frames: Mapping[str, float]
    """What the metadata of its last frame says; what it does not tell is missing."""
    figures: LightFigures
    trouble: str = ""
    """How its frames contradict what was set; empty: they do not."""

    @property
    def info(self) -> LightInfo:
        """For the calibration file."""
        figures = self.figures
        return LightInfo(
            **self.wanted,
            luminance=figures.luminance,
            red_to_green=figures.red_to_green,
            blue_to_green=figures.blue_to_green,
        )


def judge_light(light: LockedLight) -> list[Judgement]:
    """Whether a camera keeps to what was set, and whether the picture is clipped."""
    verdict, cause, mend = Verdict.PASS, "", ""
    if light.trouble:
        verdict, cause = Verdict.FAIL, light.trouble.removeprefix(f"{light.role}: ")
        cause, _, mend = cause.partition("; ")
    elif untold := [name for name in light.wanted if name not in light.on_frames]:
        verdict, cause = Verdict.WARN, f"its frames do not tell their {' and '.join(untold)}"
        mend = "install the kernel's metadata support for RealSense, or rely on what is read back"
    clipped = judged(
        "picture clipped", light.role, 100 * light.figures.clipped, SATURATED,
        cause="parts of the picture are clipped", mend="lower `exposure`, or shade lamps and glare",
    )  # fmt: skip
    return [Judgement("light locked", light.role, verdict, cause=cause, mend=mend), clipped]


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
