"""What changed from one calibration to another, in a person's units and in standard deviations.

A difference counts when it is more than chance makes of two measurements of the same thing (0.3 % of the time), by the
uncertainties that both files state; where neither states one, every difference counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import (
    BoardInfo,
    Calibration,
    CameraCalibration,
    IntrinsicsInfo,
    MountInfo,
    TransformInfo,
)
from gigaedge.robot import CAMERA_ROLES, JOINTS
from gigaedge_calibration.cv_compat import projection_jacobian
from gigaedge_calibration.lens_uncertainty import lens_of

Array = NDArray[np.float64]

CHANCE: Final = {1: 3.0, 2: 3.41, 3: 3.74}
"""Standard deviations that 99.7 % of differences of 1, 2, 3 numbers stay within (quantiles of the chi distribution)."""


@dataclass(frozen=True)
class Change:
    """One thing that is not the same in both."""

    subject: str
    what: str
    before: str = ""
    after: str = ""
    amount: float | None = None
    unit: str = ""
    sigmas: float | None = None
    """How many standard deviations of the difference it is; None: not known, or no measurement."""
    differs: bool = True
    """Beyond chance."""


def compare(before: Calibration, after: Calibration) -> list[Change]:
    """All that is not exactly the same, cameras first; empty where nothing is."""
    changes: list[Change] = []
    for role in CAMERA_ROLES:
        changes += _camera(role, before.camera(role), after.camera(role))
    changes += _words("board", "description", _board(before.board), _board(after.board))
    changes += _transform("arms", "right base in left base", before.bases, after.bases)
    changes += _words("witness", "stored looks", _looks(before), _looks(after))
    return changes


def _camera(role: str, before: CameraCalibration | None, after: CameraCalibration | None) -> Iterator[Change]:
    if before is None or after is None:
        yield from _words(role, "camera", _there(before), _there(after))
        return
    for what in ("serial", "name", "firmware", "usb", "proof"):
        yield from _words(role, what, getattr(before, what), getattr(after, what))
    yield from _words(role, "stream", _stream(before), _stream(after))
    yield from _light(role, before, after)
    yield from _lens(role, "lens", before.intrinsics, after.intrinsics)
    yield from _lens(role, "factory lens", before.factory, after.factory)
    yield from _mount(role, before.mount, after.mount)
    yield from _words(
        role, "reference view", before.view and before.view.sha256[:12], after.view and after.view.sha256[:12]
    )
    if before.latency is None or after.latency is None:
        yield from _words(role, "latency", _there(before.latency), _there(after.latency))
    elif before.latency.seconds != after.latency.seconds:
        amount = 1e3 * (after.latency.seconds - before.latency.seconds)
        yield _measured(
            role, "latency", amount, "ms", 1e3 * np.hypot(before.latency.sigma, after.latency.sigma)
        )


def _light(role: str, before: CameraCalibration, after: CameraCalibration) -> Iterator[Change]:
    first, second = before.light, after.light
    if first is None or second is None:
        yield from _words(role, "light", _there(first), _there(second))
        return
    for what, scale, unit in (("exposure", 1e3, "ms"), ("gain", 1.0, ""), ("white_balance", 1.0, "K")):
        yield from _words(
            role,
            what.replace("_", " "),
            *(f"{scale * value:g} {unit}".strip() if (value := getattr(each, what)) is not None else "not set"
              for each in (first, second)),
        )  # fmt: skip


def _lens(
    role: str, what: str, before: IntrinsicsInfo | None, after: IntrinsicsInfo | None
) -> Iterator[Change]:
    if before is None or after is None:
        yield from _words(role, what, _there(before), _there(after))
        return
    yield from _words(role, f"{what}, source", before.source, after.source)
    yield from _words(role, f"{what}, model", before.model, after.model)
    if (before.width, before.height) != (after.width, after.height):
        yield from _words(
            role, f"{what}, size", f"{before.width}x{before.height}", f"{after.width}x{after.height}"
        )
        return
    if lens_of(before) == lens_of(after):
        return
    focal = 100 * (np.sqrt(after.fx * after.fy) / np.sqrt(before.fx * before.fy) - 1)
    yield _measured(role, f"{what}, focal length", focal, "%", _focal_sigma(before, after))
    yield _corner(role, f"{what}, worst corner of the picture", before, after)


def _focal_sigma(before: IntrinsicsInfo, after: IntrinsicsInfo) -> float | None:
    """Of the relative change of the geometric mean of fx and fy, %."""
    variance = 0.0
    for info in (before, after):
        if info.covariance is not None:
            slope = np.array([0.5 / info.fx, 0.5 / info.fy])
            variance += float(slope @ np.array(info.covariance)[:2, :2] @ slope)
    return 100 * float(np.sqrt(variance)) or None


def _corner(role: str, what: str, before: IntrinsicsInfo, after: IntrinsicsInfo) -> Change:
    """How far apart the two lenses put what the one before sees in a corner of the picture."""
    width, height = before.width - 1.0, before.height - 1.0
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    rays = lens_of(before).rays(corners)
    shifts = lens_of(after).project(rays) - corners
    worst = int(np.argmax(np.linalg.norm(shifts, axis=-1)))
    covariance = sum(
        (_pixel_covariance(info, rays[worst]) for info in (before, after) if info.covariance is not None),
        np.zeros((2, 2)),
    )
    return _vector(role, what, shifts[worst], 1.0, "px", covariance)


def _pixel_covariance(info: IntrinsicsInfo, ray: Array) -> Array:
    """Of the pixel of a ray, px^2, shape (2, 2), from that of the lens."""
    _, slope = projection_jacobian(lens_of(info), np.eye(4), ray[np.newaxis])
    return np.asarray(slope @ np.array(info.covariance) @ slope.T)


def _mount(role: str, before: MountInfo | None, after: MountInfo | None) -> Iterator[Change]:
    if before is None or after is None:
        yield from _words(role, "mount", _there(before), _there(after))
        return
    yield from _transform(role, "mount", before.transform, after.transform)
    yield from _words(role, "mount, dh_is_offset", before.dh_is_offset, after.dh_is_offset)
    for joint in range(JOINTS):
        amount = float(np.degrees(after.zero_offsets[joint] - before.zero_offsets[joint]))
        if amount:
            sigma = float(np.degrees(np.hypot(before.zero_sigmas[joint], after.zero_sigmas[joint])))
            yield _measured(role, f"zero of joint {joint + 1}", amount, "degrees", sigma)


def _transform(
    subject: str, what: str, before: TransformInfo | None, after: TransformInfo | None
) -> Iterator[Change]:
    if before is None or after is None:
        yield from _words(subject, what, _there(before), _there(after))
        return
    if (before.parent, before.child) != (after.parent, after.child):
        yield from _words(
            subject,
            f"{what}, frames",
            f"{before.child} in {before.parent}",
            f"{after.child} in {after.parent}",
        )
        return
    six = poses.difference(after.matrix, before.matrix)
    covariance = np.zeros((6, 6))
    for info in (before, after):
        if info.covariance is not None:
            covariance = covariance + np.array(info.covariance)
    for part, name, scale, unit in (
        (slice(0, 3), "turned", np.degrees(1.0), "degrees"),
        (slice(3, 6), "shifted", 1e3, "mm"),
    ):
        if np.any(np.abs(six[part]) > 1e-12):
            yield _vector(subject, f"{what}, {name}", six[part], scale, unit, covariance[part, part])


def _vector(subject: str, what: str, shift: Array, scale: float, unit: str, covariance: Array) -> Change:
    """Length of a difference of several numbers, judged by its Mahalanobis distance."""
    amount = scale * float(np.linalg.norm(shift))
    if not np.any(covariance):
        return Change(subject, what, amount=amount, unit=unit)
    sigmas = float(np.sqrt(shift @ np.linalg.pinv(covariance, hermitian=True) @ shift))
    return Change(subject, what, amount=amount, unit=unit, sigmas=sigmas, differs=sigmas > CHANCE[len(shift)])


def _measured(subject: str, what: str, amount: float, unit: str, sigma: float | None) -> Change:
    if not sigma:
        return Change(subject, what, amount=float(amount), unit=unit)
    sigmas = abs(float(amount)) / float(sigma)
    return Change(subject, what, amount=float(amount), unit=unit, sigmas=sigmas, differs=sigmas > CHANCE[1])


def _words(subject: str, what: str, before: Any, after: Any) -> Iterator[Change]:
    if before != after:
        yield Change(subject, what, _say(before), _say(after))


def _say(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else str(value)


def _there(value: object | None) -> str:
    return "none" if value is None else "there"


def _stream(camera: CameraCalibration) -> str:
    stream = camera.stream
    return f"{stream.width}x{stream.height} at {stream.fps}/s, flip {stream.flip}"


def _board(board: BoardInfo | None) -> str:
    if board is None:
        return "none"
    measured = "unmeasured" if board.measured is None else "measured"
    legacy = ", legacy" if board.legacy else ""
    return (
        f"{board.columns}x{board.rows}, square {1e3 * board.square:g} mm ({measured}), marker "
        f"{1e3 * board.marker:g} mm, {board.dictionary}{legacy}"
    )


def _looks(calibration: Calibration) -> str:
    return (
        ", ".join(f"{len(w.looks)} {w.side}, {len(w.front)} front" for w in calibration.witnesses) or "none"
    )
