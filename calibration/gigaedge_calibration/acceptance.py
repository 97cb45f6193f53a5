"""What is good enough, in one place. (S): from simulation with known truth; (D): derived from the training crop;
(J): a judgement, to be revised on hardware.
"""

from __future__ import annotations

from typing import Final

from gigaedge_calibration.verdicts import Limit

VIEW_FRONT: Final = Limit(
    6, 12, "composite px", "(D) training cropped +-24 px here, inference crops the centre"
)
"""Vertical shift of the high view; a 640x480 picture has slack there. Above FAIL of 24 nothing was ever trained."""
VIEW_WRIST: Final = Limit(
    12, 24, "composite px", "(D) training cropped +-48 px here, inference crops the centre"
)
"""Horizontal shift of a wrist view."""
VIEW_OTHER: Final = Limit(
    3, 8, "composite px", "(J) training had no slack on this axis; noise is below 1 px (S)"
)
VIEW_ROLL: Final = Limit(
    1, 3, "degrees", "(J) training never turned a picture; noise is below 0.1 degrees (S)"
)
VIEW_SCALE: Final = Limit(2, 5, "%", "(J) training never scaled a picture; noise is below 0.8 % (S)")
COLOUR: Final = Limit(3, 6, "%", "(J) training varied no colours; a board's white repeats to 0.3 % (S)")
"""Red to green and blue to green, against the reference."""
LUMINANCE: Final = Limit(10, 20, "%", "(J) training varied no brightness")
CLIPPED: Final = Limit(
    2, 10, "%", "(J) of the pixels, more than in the reference, are all bright or all dark"
)
FOCUS: Final = Limit(
    1, 2, "px", "(S) blur beyond the reference's; a board is no longer found between 2 and 3 px"
)

INTRINSICS_RMS: Final = Limit(0.3, 0.6, "px", "(S) 0.04 px with 20 tilted views")
INTRINSICS_HELD_OUT: Final = Limit(1.25, 2.0, "of the fitted error", "(S) 1.02")
INTRINSICS_SIGMA: Final = Limit(
    0.5, 2.0, "px", "(S) 0.25 px, worst within the policy's crop, 20 tilted views"
)
INTRINSICS_FOCAL: Final = Limit(0.3, 1.0, "%", "(S) 0.17 %, two standard deviations of the focal length")
INTRINSICS_UNCOVERED: Final = Limit(
    25, 40, "%", "(S) cells of the picture without a corner; there it is a guess"
)
INTRINSICS_FACTORY: Final = Limit(1.0, 5.0, "%", "(J) focal length against the factory's")

WRIST_ROTATION: Final = Limit(0.10, 0.20, "degrees", "(S) p95 0.060 degrees; two standard deviations")
WRIST_TRANSLATION: Final = Limit(0.8, 1.5, "mm", "(S) p95 0.39 mm; two standard deviations")
FRONT_ROTATION: Final = Limit(0.15, 0.30, "degrees", "(S) p95 0.094 degrees; two standard deviations")
FRONT_TRANSLATION: Final = Limit(2.0, 4.0, "mm", "(S) p95 1.3 mm; two standard deviations")
SIGMA_PX: Final = Limit(0.35, 0.6, "px", "(S) healthy 0.20 px")
SIGMA_JOINT: Final = Limit(0.12, 0.4, "degrees", "(S) healthy 0.05 degrees; faults 0.27 to 1.13")
HAND_EYE_HELD_OUT: Final = Limit(1.5, 2.0, "of the predicted error", "(S) about 1 where all is well")
SECOND_OPINION: Final = Limit(
    5, 10, "standard deviations", "(J) closed form against the most probable answer"
)
SATURATED: Final = Limit(2, 10, "%", "(J) what is clipped has no colour; lamps in view are a few pixels")
"""Pixels of a picture with a full channel."""
BOARD_SCALE: Final = Limit(0.2, 0.4, "%", "(S) 0.5 % costs 0.9 mm and shows in no residual")
WITNESS_JOINT: Final = Limit(0.3, 0.5, "degrees", "(S) two looks find 0.3 degrees in any joint")
WITNESS_TURN: Final = Limit(
    0.3, 1.0, "degrees", "(J) 1 degree is 3 composite px at a wrist and 5 in front (S)"
)
WITNESS_SHIFT: Final = Limit(2, 5, "mm", "(J) 5 mm is 1.3 composite px in front (S)")
SKEW: Final = Limit(11, 20, "ms", "(J) a third of a frame at 30 Hz")
LATENCY_SIGMA: Final = Limit(3, 6, "ms", "(S) 0.9 ms from 8 s of motion")
