"""What the readers of other tools' camera files share: one error line each, and one lens out of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gigaedge.calibration import IntrinsicsInfo
from gigaedge.errors import CalibrationError, InputError
from gigaedge.validation import first_problem


def read_text(file: Path) -> str:
    """Raises InputError: no such file; CalibrationError: no text."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; name the camera file to import")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CalibrationError(
            f"{file}: not a text file ({error.reason}); is it of another --format?"
        ) from error


def read_mapping(file: Path, text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> dict[str, Any]:
    """A YAML document that is a mapping. Raises CalibrationError."""
    try:
        data = yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise CalibrationError(
            f"{file}: not valid YAML ({' '.join(str(error).split())}); is it of another --format?"
        ) from error
    if not isinstance(data, dict):
        raise CalibrationError(
            f"{file}: expected a mapping of keys, got {type(data).__name__}; is this the file?"
        )
    return {str(key): value for key, value in data.items()}


def need(file: Path, data: dict[str, Any], key: str) -> Any:
    """A key's value. Raises CalibrationError, naming those that are there."""
    if key not in data:
        raise CalibrationError(f"{file}: no key `{key}`; it has {', '.join(data) or 'none'}")
    return data[key]


def floats(file: Path, where: str, value: Any, counts: Sequence[int]) -> list[float]:
    """A list of finite numbers, as many as one of `counts`. Raises CalibrationError.

    Texts are read, too: YAML 1.1 takes `1e-05` for one.
    """
    values = value if isinstance(value, (list, tuple)) else [value]
    try:
        numbers = [float(each) for each in values]
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"{file}: `{where}` is not a list of numbers ({error})") from error
    if len(numbers) not in counts:
        wanted = " or ".join(map(str, counts))
        raise CalibrationError(f"{file}: `{where}` has {len(numbers)} numbers; expected {wanted}")
    if not all(map(math.isfinite, numbers)):
        raise CalibrationError(f"{file}: `{where}` has numbers that are not finite")
    return numbers


def imported_lens(
    file: Path, size: tuple[int, int], matrix: Sequence[float], distortion: Sequence[float]
) -> IntrinsicsInfo:
    """A lens from (fx, fy, cx, cy) and OpenCV's coefficients; no other file says how uncertain its numbers are.

    Coefficients of the thin prism and the tilted sensor must be 0. Raises CalibrationError: they are not, or the
    numbers cannot be of a picture of this `size`.
    """
    terms = list(distortion)
    if any(terms[8:]):
        raise CalibrationError(
            f"{file}: thin prism or tilt coefficients (from the ninth on) are not supported; calibrate with 5 or 8"
        )
    terms = terms[:8]
    model = "rational" if any(terms[5:]) else "radial_tangential" if any(terms) else "pinhole"
    count = {"rational": 8, "radial_tangential": 5, "pinhole": 0}[model]
    padded = (*terms, *(0.0,) * 8)[:count]
    try:
        return IntrinsicsInfo.model_validate(
            {
                "source": "imported",
                "model": model,
                "width": size[0],
                "height": size[1],
                **dict(zip(("fx", "fy", "cx", "cy"), matrix, strict=True)),
                "distortion": padded,
            }
        )
    except ValidationError as error:
        raise CalibrationError(f"{file}: {first_problem(error, IntrinsicsInfo)}") from error
