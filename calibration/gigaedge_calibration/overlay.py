"""A picture for a person: reference and live view over each other as the policy would see them, and what is wrong.

The reference is red, the live picture cyan: where both agree there is no colour. The gauge in the middle of a tile
shows how far the view is shifted (dot), at its true size, against what is good, what is usable and what was trained.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from gigaedge.files import atomic_file
from gigaedge.robot import CameraRole
from gigaedge.tiles import Tile
from gigaedge_calibration.quick_check import ViewsCheck, sentence
from gigaedge_calibration.references import Reference
from gigaedge_calibration.verdicts import Verdict, gravest
from gigaedge_calibration.views import Comparison, shift_limits

Image = NDArray[np.uint8]

_ZOOM: Final = 2
_LINE: Final = 18
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_COLOURS: Final = {Verdict.PASS: (0, 200, 0), Verdict.WARN: (255, 190, 0), Verdict.FAIL: (255, 60, 60)}
_WHITE: Final = (255, 255, 255)


def overlay(
    references: Mapping[CameraRole, Reference], pictures: Mapping[CameraRole, Image], check: ViewsCheck
) -> Image:
    """RGB picture of twice the composite's size, with lines of text below."""
    width, height = next(iter(references.values())).info.composite
    board = np.full((height * _ZOOM, width * _ZOOM, 3), 60, np.uint8)
    lines: list[tuple[str, Verdict]] = []
    for comparison in check.comparisons:
        role = comparison.role
        reference, image = references[role], pictures[role]
        before = reference.tile(reference.size)
        place = reference.tile((image.shape[1], image.shape[0]))
        red, cyan = _in_tile(reference.image, before), _in_tile(image, place)
        top, left = place.y * _ZOOM, place.x * _ZOOM
        board[top : top + red.shape[0], left : left + red.shape[1]] = np.dstack([red, cyan, cyan])
        verdict = gravest(comparison.judgements)
        _gauge(board, comparison, place)
        cv2.putText(board, f"{role}: {verdict.name}", (left + 6, top + 18), _FONT, 0.5, _COLOURS[verdict], 1)
        lines += [(sentence(row), row.verdict) for row in comparison.judgements if row.cause]
    lines += [(note, Verdict.WARN) for note in check.notes]
    return np.vstack([board, _text(lines, board.shape[1])])


def write_overlay(file: Path, image: Image) -> None:
    """Write a PNG, whole or not at all."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    with atomic_file(file) as temporary:
        temporary.write_bytes(encoded.tobytes())
        temporary.chmod(0o644)


def _in_tile(image: Image, place: Tile) -> Image:
    """Brightness of what the policy sees of a picture, enlarged."""
    height, width = image.shape[:2]
    scaled = (round(width * place.scale[0] * _ZOOM), round(height * place.scale[1] * _ZOOM))
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), scaled, interpolation=cv2.INTER_AREA)
    left, upper = place.cut[0] * _ZOOM, place.cut[1] * _ZOOM
    return np.asarray(grey[upper : upper + place.height * _ZOOM, left : left + place.width * _ZOOM])


def _gauge(board: Image, comparison: Comparison, place: Tile) -> None:
    middle = np.array([place.x + place.width / 2, place.y + place.height / 2]) * _ZOOM
    limits = shift_limits(comparison.role, place)

    def box(reach: tuple[float, float], colour: tuple[int, int, int]) -> None:
        half = np.array(reach) * _ZOOM
        first, second = (np.rint(middle + sign * half).astype(int).tolist() for sign in (-1, 1))
        cv2.rectangle(board, first, second, colour, 1)

    box(place.slack, _WHITE)
    box((limits[0].fail, limits[1].fail), _COLOURS[Verdict.WARN])
    box((limits[0].warn, limits[1].warn), _COLOURS[Verdict.PASS])
    if comparison.match is not None:
        end = np.rint(middle + comparison.match.shift * _ZOOM).astype(int).tolist()
        start = np.rint(middle).astype(int).tolist()
        colour = _COLOURS[gravest(comparison.judgements)]
        cv2.arrowedLine(board, end, start, colour, 1, tipLength=0.2)  # the way back
        cv2.circle(board, end, 4, colour, -1)


def _text(lines: list[tuple[str, Verdict]], width: int) -> Image:
    wrapped = [
        (part, verdict) for line, verdict in lines for part in textwrap.wrap(line, width // 8) or [""]
    ] or [("all views are as they were", Verdict.PASS)]
    panel = np.full((_LINE * (len(wrapped) + 1), width, 3), 20, np.uint8)
    for index, (line, verdict) in enumerate(wrapped):
        cv2.putText(panel, line, (8, _LINE * (index + 1)), _FONT, 0.42, _COLOURS[verdict], 1, cv2.LINE_AA)
    return panel
