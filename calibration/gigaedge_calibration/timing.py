"""The latencies of a cell's cameras, the skew between them, and how both are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gigaedge.errors import CalibrationError
from gigaedge.robot import CAMERA_ROLES, CameraRole, Side
from gigaedge_calibration.acceptance import LATENCY_SIGMA, SKEW
from gigaedge_calibration.latency import Latency, estimate_latency, front_path, wrist_path
from gigaedge_calibration.motion_record import MotionRecord
from gigaedge_calibration.verdicts import Judgement, Verdict, judged

_FRONT: Final[CameraRole] = "cam_high"
_WRISTS: Final[dict[Side, CameraRole]] = {"left": "cam_left_wrist", "right": "cam_right_wrist"}


@dataclass(frozen=True)
class Timing:
    """One camera, against one arm."""

    role: CameraRole
    side: Side
    latency: Latency


@dataclass(frozen=True)
class Skew:
    """How much more one camera's stamps need than another's, in the same motion: no feedback's delay is in it."""

    first: CameraRole
    second: CameraRole
    seconds: float
    """Latency of the first less that of the second."""
    sigma: float
    """s."""


@dataclass(frozen=True)
class CellTiming:
    """All that was measured."""

    cameras: tuple[Timing, ...]
    """Each camera once, against the arm that tells most."""
    skews: tuple[Skew, ...]
    failures: tuple[tuple[CameraRole, str], ...]
    """Cameras that could not be measured, and why."""


def measure_timing(records: Sequence[MotionRecord]) -> CellTiming:
    """Latencies of the cameras that saw these swings. Raises CalibrationError: of no camera could it be told."""
    measured: list[Timing] = []
    failures: dict[CameraRole, str] = {}
    for record in records:
        for role in (_FRONT, _WRISTS[record.side]):
            if role not in record.cameras:
                continue
            camera = record.cameras[role]
            path = (front_path if role == _FRONT else wrist_path)(record.joints)
            try:
                latency = estimate_latency(record.stamps, record.joints, path, camera.stamps, camera.motion)
            except CalibrationError as error:
                failures.setdefault(role, f"{error} (the {record.side} arm swung)")
            else:
                measured.append(Timing(role, record.side, latency))
    if not measured:
        raise CalibrationError(next(iter(failures.values()), "time: no camera saw the arm that swung"))
    best = [
        min(
            (each for each in measured if each.role == role),
            key=lambda each: each.latency.sigma,
            default=None,
        )
        for role in CAMERA_ROLES
    ]
    cameras = tuple(each for each in best if each is not None)
    known = {each.role for each in cameras}
    failed = tuple((role, why) for role, why in failures.items() if role not in known)
    return CellTiming(cameras, tuple(_skews(measured)), failed)


def judge_timing(timing: CellTiming) -> list[Judgement]:
    """One row per camera and per pair of cameras."""
    rows = [
        judged(
            "latency, standard deviation",
            each.role,
            1e3 * each.latency.sigma,
            LATENCY_SIGMA,
            cause=f"the latency of {1e3 * each.latency.seconds:+.1f} ms is not known well",
            mend="swing faster, to and fro, for longer (--seconds 16), and let nothing else move",
        )
        for each in timing.cameras
    ]
    rows += [
        Judgement(
            "latency",
            role,
            Verdict.FAIL,
            cause=why,
            mend="swing the wrist where this camera sees it, and measure again",
        )
        for role, why in timing.failures
    ]
    rows += [
        judged(
            f"skew to {skew.second}",
            skew.first,
            1e3 * abs(skew.seconds),
            SKEW,
            sigma=1e3 * skew.sigma,
            cause=f"{skew.first if skew.seconds < 0 else skew.second} shows the world later than the other",
            mend="give both the same rate and exposure; see that no USB hub carries more than one",
        )
        for skew in timing.skews
    ]
    return rows


def _skews(measured: Sequence[Timing]) -> list[Skew]:
    """Between front and wrist of one swing; between the wrists by way of the front camera."""
    fronts = {each.side: each.latency for each in measured if each.role == _FRONT}
    skews = [
        Skew(each.role, _FRONT, *_less(each.latency, fronts[each.side]))
        for each in measured
        if each.role != _FRONT and each.side in fronts
    ]
    if len(skews) == 2:
        left, right = skews
        sigma = float(np.hypot(left.sigma, right.sigma))
        skews.append(Skew(left.first, right.first, left.seconds - right.seconds, sigma))
    return skews


def _less(one: Latency, other: Latency) -> tuple[float, float]:
    return one.seconds - other.seconds, float(np.hypot(one.sigma, other.sigma))
