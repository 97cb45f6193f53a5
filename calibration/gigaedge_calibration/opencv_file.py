"""OpenCV's FileStorage YAML with a camera matrix: written so that 4.x and 5.x read it, read as either writes it.

4.x heads its files `%YAML:1.0` and 5.0 `%YAML 1.2`; a one-dimensional array is a matrix of n x 1 to the one and an
`opencv-nd-matrix` to the other. Matrices of 1 x n are the same in both, so those are written. cv2 is not needed here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from gigaedge.calibration import IntrinsicsInfo
from gigaedge.errors import CalibrationError
from gigaedge_calibration.foreign import floats, imported_lens, read_mapping, read_text

_MATRIX: Final = ("camera_matrix", "cameraMatrix", "Camera_Matrix", "K", "M1")
_DISTORTION: Final = (
    "distortion_coefficients", "distCoeffs", "dist_coeffs", "Distortion_Coefficients", "dist", "D", "D1",
)  # fmt: skip
_SIZE: Final = ("image_size", "imageSize", "size")
"""Names that OpenCV's samples and other tools give them."""


class _Loader(yaml.SafeLoader):
    """Reads OpenCV's matrices as the list of their numbers."""


def _numbers(loader: _Loader, node: yaml.MappingNode) -> object:
    return loader.construct_mapping(node, deep=True).get("data")


for _tag in ("opencv-matrix", "opencv-nd-matrix"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _numbers)


def write(lens: IntrinsicsInfo) -> str:
    """The file's text."""
    camera = [lens.fx, 0.0, lens.cx, 0.0, lens.fy, lens.cy, 0.0, 0.0, 1.0]
    terms = list(lens.distortion) or [0.0] * 5
    return "\n".join(
        [
            "%YAML:1.0",
            "---",
            f"image_width: {lens.width}",
            f"image_height: {lens.height}",
            *_matrix("camera_matrix", 3, camera),
            *_matrix("distortion_coefficients", 1, terms),
            "",
        ]
    )


def read(file: Path, size: tuple[int, int] | None) -> IntrinsicsInfo:
    """The lens of a FileStorage YAML; `size` (width, height) is taken where the file does not say it.

    Raises CalibrationError: no such file, XML, no camera matrix, no size, a fisheye's coefficients.
    """
    text = read_text(file)
    if text.lstrip().startswith("<"):
        raise CalibrationError(f"{file}: FileStorage XML; save it with the ending .yml instead")
    data = read_mapping(file, re.sub(r"\A\s*%YAML[^\n]*\n", "", text), _Loader)
    camera = floats(file, "camera matrix", _first(file, data, _MATRIX, "camera matrix"), (9,))
    terms = floats(
        file, "distortion", _first(file, data, _DISTORTION, "distortion coefficients"), (0, 4, 5, 8, 12, 14)
    )
    return imported_lens(file, _size(file, data, size), (camera[0], camera[4], camera[2], camera[5]), terms)


def _size(file: Path, data: dict[str, Any], size: tuple[int, int] | None) -> tuple[int, int]:
    if {"image_width", "image_height"} <= data.keys():
        values = [data["image_width"], data["image_height"]]
    elif (name := next((name for name in _SIZE if name in data), None)) is not None:
        values = data[name]
    elif size is not None:
        return size
    else:
        raise CalibrationError(f"{file}: does not say image_width and image_height; add them")
    width, height = floats(file, "image size", values, (2,))
    return int(width), int(height)


def _first(file: Path, data: dict[str, Any], names: Sequence[str], what: str) -> object:
    for name in names:
        if name in data:
            return data[name]
    raise CalibrationError(f"{file}: no {what} ({', '.join(names)}); it has {', '.join(data) or 'no keys'}")


def _matrix(name: str, rows: int, data: list[float]) -> list[str]:
    return [
        f"{name}: !!opencv-matrix",
        f"   rows: {rows}",
        f"   cols: {len(data) // rows}",
        "   dt: d",
        f"   data: [ {', '.join(map(repr, data))} ]",
    ]
