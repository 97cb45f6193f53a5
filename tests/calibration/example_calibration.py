"""A whole calibration of a made-up cell, for what reads one: every part is there, and nothing is wrong with it."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np

from gigaedge.calibration import (
    BoardInfo,
    Calibration,
    CameraCalibration,
    IntrinsicsInfo,
    LatencyInfo,
    LightInfo,
    Look,
    MountInfo,
    StreamInfo,
    TransformInfo,
    ViewInfo,
    WitnessInfo,
)
from gigaedge.poses import from_six, quaternion
from gigaedge.robot import CAMERA_ROLES, CameraRole

SIGMAS = (0.3, 0.3, 0.25, 0.2, 0.002, 0.01, 0.0002, 0.0002, 0.015)
"""Of fx, fy, cx, cy, k1, k2, p1, p2, k3."""
DISTORTION = (0.12, -0.25, 0.001, -0.0005, 0.1)


def transform(
    parent: str, child: str, six: tuple[float, ...], degrees: float, metres: float
) -> TransformInfo:
    """A transform with independent errors: `degrees` and `metres` per axis, standard deviations."""
    placed = from_six(np.array(six))
    variances = [np.radians(degrees) ** 2] * 3 + [metres**2] * 3
    return TransformInfo(
        parent=parent,  # type: ignore[arg-type]
        child=child,  # type: ignore[arg-type]
        quaternion=tuple(quaternion(placed[:3, :3]).tolist()),
        translation=tuple(placed[:3, 3].tolist()),
        covariance=tuple(tuple(row) for row in np.diag(variances).tolist()),
    )


def intrinsics(focal: float, **changes: object) -> IntrinsicsInfo:
    values: dict[str, object] = {
        "source": "own", "model": "radial_tangential", "width": 640, "height": 480,
        "fx": focal, "fy": focal + 0.5, "cx": 321.5, "cy": 239.25, "distortion": DISTORTION,
        "covariance": tuple(tuple(row) for row in np.diag(np.square(SIGMAS)).tolist()),
        "rms": 0.08, "held_out_rms": 0.085, "projection_sigma": 0.3, "views": 20, "coverage": 0.9,
        "greatest_tilt": 0.7,
    }  # fmt: skip
    return IntrinsicsInfo.model_validate(values | changes)


def mount(role: CameraRole) -> MountInfo:
    if role == "cam_high":
        camera = transform("left_base", role, (2.0, 0.1, 0.0, 0.4, -0.3, 0.9), 0.02, 0.0003)
        board = transform("left_link6", "board", (0.0, 0.0, 0.2, 0.0, 0.0, 0.12), 0.02, 0.0002)
    else:
        side = role.removeprefix("cam_").removesuffix("_wrist")
        camera = transform(f"{side}_link6", role, (0.1, -0.3, 1.5, -0.07, 0.01, 0.03), 0.015, 0.0001)
        board = transform(f"{side}_base", "board", (3.0, 0.05, 0.0, 0.3, 0.1, 0.0), 0.02, 0.0002)
    return MountInfo(
        transform=camera, board=board, zero_offsets=(0.0, 0.001, -0.002, 0.0005, 0.0, 0.0),
        zero_sigmas=(0.0, 0.0005, 0.0005, 0.0005, 0.0005, 0.0), sigma_px=0.2, sigma_joint=float(np.radians(0.05)),
        poses=15, held_out_ratio=1.1, second_opinion=1.4,
    )  # fmt: skip


def camera(index: int, role: CameraRole) -> CameraCalibration:
    focal = 612.0 if role == "cam_high" else 435.0
    return CameraCalibration(
        role=role, serial=f"13200000000{index}", name="Intel RealSense D435", firmware="5.16.0.1", usb="3.2",
        proof="motion", stream=StreamInfo(width=640, height=480, fps=30),
        light=LightInfo(exposure=0.008, gain=64, white_balance=4600, luminance=118, red_to_green=0.98,
                        blue_to_green=0.93),
        factory=intrinsics(focal - 1, source="factory", distortion=(0.0,) * 5, covariance=None, rms=None,
                           held_out_rms=None, projection_sigma=None, views=None, coverage=None,
                           greatest_tilt=None),
        intrinsics=intrinsics(focal), mount=mount(role),
        view=ViewInfo(image=f"{role}.png", sha256="0" * 64, source="captured", joints=(0.0,) * 14),
        latency=LatencyInfo(seconds=-0.031 - 0.002 * index, sigma=0.001, against="left"),
    )  # fmt: skip


def example() -> Calibration:
    look = Look(
        role="cam_left_wrist",
        joints=(0.1,) * 14,
        ids=(0, 1, 5),
        corners=((1.0, 2.0), (30.0, 2.0), (3.5, 40.0)),
    )
    return Calibration(
        created=datetime(2026, 11, 20, 9, 30, tzinfo=timezone.utc),
        versions={"gigaedge": "0.1.0", "opencv-python": "5.0.0"},
        board=BoardInfo(columns=9, rows=7, square=0.027, marker=0.02, measured=0.243),
        cameras=tuple(camera(index, role) for index, role in enumerate(CAMERA_ROLES)),
        bases=transform("left_base", "right_base", (0.0, 0.0, 0.02, 0.0, -0.6, 0.0), 0.05, 0.0006),
        witnesses=(
            WitnessInfo(side="left", looks=(look,) * 3, front=(look.model_copy(update={"role": "cam_high"}),),
                        sigma_px=0.2, sigma_joint=0.0009),
        ),
    )  # fmt: skip
