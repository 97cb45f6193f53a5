"""Whether lenses from rendered pictures are right and their sigmas honest.

`python -m tests.calibration.study_intrinsics` takes minutes: every set is 20 pictures. Limits and tests rest on what it
prints.
"""

from __future__ import annotations

import argparse

import numpy as np

from gigaedge_calibration.cv_compat import detect
from gigaedge_calibration.intrinsics import solve_intrinsics
from gigaedge_calibration.lens_uncertainty import policy_crop
from tests.calibration.rendered_board import BOARD, LENS, placements, render, true_corners


def main() -> None:
    """Render, detect, solve; print errors and their ratio to the reported sigmas."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=20)
    sets = parser.parse_args().sets
    truth = np.array([LENS.fx, LENS.fy, LENS.cx, LENS.cy, *LENS.distortion])
    size = (LENS.width, LENS.height)
    corners, errors, deviations, sigmas = [], [], [], []
    for seed in range(sets):
        placed = placements(BOARD, 20, 200 + seed)
        found = [detect(render(BOARD, place, seed=1000 * seed + i), BOARD) for i, place in enumerate(placed)]
        for place, detection in zip(placed, found, strict=True):
            corners.append(detection.corners - true_corners(BOARD, place, detection.ids))
        crop = policy_crop("cam_high", size)
        result = solve_intrinsics(found, size, BOARD, model="radial_tangential", crop=crop)
        lens = result.lens
        off = np.array([lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion]) - truth
        errors.append(abs(off[0]))
        deviations.append(off / np.sqrt(np.diag(result.covariance)))
        sigmas.append(result.projection_sigma)
        print(
            f"set {seed}: fx {off[0]:+.2f} px, rms {result.rms:.3f} px, sigma in the crop {sigmas[-1]:.2f} px"
        )
    every = np.concatenate(corners)
    print(f"corners: rms {np.sqrt(np.mean(every**2)):.4f} px, bias {every.mean(axis=0).round(4)} px")
    print(
        f"fx: median error {np.median(errors):.2f} px; sigma in the crop: median {np.median(sigmas):.2f} px"
    )
    print("z rms:", np.sqrt(np.mean(np.square(deviations), axis=0)).round(2))
    print(f"z rms of all: {np.sqrt(np.mean(np.square(deviations))):.2f}")


if __name__ == "__main__":
    main()
