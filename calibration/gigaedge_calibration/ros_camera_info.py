"""ROS `camera_info` YAML, as camera_calibration_parsers reads and writes it: both ways, and exactly.

Distortion models `plumb_bob` (k1 k2 p1 p2 k3) and `rational_polynomial` (with k4 k5 k6). Pixel (0, 0) is the centre of
the top left pixel there, too.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from gigaedge.calibration import IntrinsicsInfo
from gigaedge.errors import CalibrationError
from gigaedge_calibration.foreign import floats, imported_lens, need, read_mapping, read_text

_MODELS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (8, 12, 14)}


def write(lens: IntrinsicsInfo, name: str) -> str:
    """The file's text; `name` is the camera's."""
    terms = list(lens.distortion) or [0.0] * 5
    model = "rational_polynomial" if lens.model == "rational" else "plumb_bob"
    camera = [lens.fx, 0.0, lens.cx, 0.0, lens.fy, lens.cy, 0.0, 0.0, 1.0]
    projection = [lens.fx, 0.0, lens.cx, 0.0, 0.0, lens.fy, lens.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    document = {
        "image_width": lens.width,
        "image_height": lens.height,
        "camera_name": name,
        "camera_matrix": _matrix(3, 3, camera),
        "distortion_model": model,
        "distortion_coefficients": _matrix(1, len(terms), terms),
        "rectification_matrix": _matrix(3, 3, identity),
        "projection_matrix": _matrix(3, 4, projection),
    }
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=200)


def read(file: Path) -> IntrinsicsInfo:
    """The lens of a camera_info file. Raises CalibrationError: no such file, a model that is no pinhole's."""
    data = read_mapping(file, read_text(file))
    model = need(file, data, "distortion_model")
    if model not in _MODELS:
        raise CalibrationError(
            f"{file}: distortion model {model!r} is not supported; calibrate with {' or '.join(_MODELS)}"
        )
    width, height = (
        int(floats(file, key, need(file, data, key), (1,))[0]) for key in ("image_width", "image_height")
    )
    camera = floats(file, "camera_matrix.data", _data(file, data, "camera_matrix"), (9,))
    terms = floats(
        file, "distortion_coefficients.data", _data(file, data, "distortion_coefficients"), _MODELS[model]
    )
    return imported_lens(file, (width, height), (camera[0], camera[4], camera[2], camera[5]), terms)


def _matrix(rows: int, columns: int, data: list[float]) -> dict[str, object]:
    return {"rows": rows, "cols": columns, "data": data}


def _data(file: Path, data: dict[str, object], key: str) -> object:
    value = need(file, data, key)
    return value.get("data") if isinstance(value, dict) else value
