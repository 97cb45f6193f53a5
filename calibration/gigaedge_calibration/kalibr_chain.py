"""Kalibr's camchain YAML: cameras `cam0`, `cam1`, ..., each a pinhole with `radtan` distortion (k1 k2 p1 p2).

`radtan` has no k3: a lens that has one is fitted anew with four coefficients, or not exported. What is read must be
`pinhole`; Kalibr's other models (omni, eucm, ds; equidistant, fov) are of fisheyes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from gigaedge.calibration import IntrinsicsInfo
from gigaedge.errors import CalibrationError
from gigaedge_calibration.foreign import floats, imported_lens, need, read_mapping, read_text
from gigaedge_calibration.lens_uncertainty import lens_of
from gigaedge_calibration.refit import four_coefficients

WORST: Final = 0.5
"""px that a point may move by when the lens is said with four coefficients."""


def write(lens: IntrinsicsInfo, name: str) -> tuple[str, float]:
    """The file's text, and by how many px a point moves at most. Raises CalibrationError: by more than `WORST`."""
    exact = lens_of(lens)
    if not any(exact.distortion[4:]):
        fitted, worst = exact, 0.0
    else:
        refit = four_coefficients(exact)
        fitted, worst = refit.lens, refit.worst
        if worst > WORST:
            raise CalibrationError(
                f"{name}: Kalibr's radtan has four coefficients, and the best four move a point by {worst:.2f} px (at "
                f"most {WORST} is accepted); export as ros, opencv or mrcal"
            )
    camera = {
        "camera_model": "pinhole",
        "distortion_coeffs": list((*fitted.distortion, 0.0, 0.0, 0.0, 0.0)[:4]),
        "distortion_model": "radtan",
        "intrinsics": [fitted.fx, fitted.fy, fitted.cx, fitted.cy],
        "resolution": [lens.width, lens.height],
        "rostopic": f"/{name}/image_raw",
    }
    note = f"# {name}; at most {worst:.3f} px from the {lens.model} lens that it was made from\n"
    return note + yaml.safe_dump({"cam0": camera}, sort_keys=False, default_flow_style=None), worst


def read(file: Path, entry: str | None = None) -> IntrinsicsInfo:
    """The lens of `entry`, or of the only camera. Raises CalibrationError: several, another model."""
    data = read_mapping(file, read_text(file))
    cameras = {name: value for name, value in data.items() if isinstance(value, dict)}
    if entry is None and len(cameras) != 1:
        raise CalibrationError(
            f"{file}: has the cameras {', '.join(cameras) or 'none'}; say which with --entry"
        )
    name = entry or next(iter(cameras))
    if name not in cameras:
        raise CalibrationError(f"{file}: no camera {name}; it has {', '.join(cameras)}")
    camera = cameras[name]
    model = (need(file, camera, "camera_model"), camera.get("distortion_model", "none"))
    if model not in (("pinhole", "radtan"), ("pinhole", "none")):
        raise CalibrationError(
            f"{file}: {name} is {' with '.join(map(str, model))}; only pinhole with radtan is read"
        )
    width, height = floats(file, f"{name}.resolution", need(file, camera, "resolution"), (2,))
    matrix = floats(file, f"{name}.intrinsics", need(file, camera, "intrinsics"), (4,))
    terms = floats(file, f"{name}.distortion_coeffs", camera.get("distortion_coeffs", []), (0, 4))
    return imported_lens(file, (int(width), int(height)), matrix, terms)
