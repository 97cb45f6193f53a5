"""The synthetic cell as the witness sees it: rendered looks, and a calibration of its truth."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from gigaedge import poses
from gigaedge.calibration import (
    BoardInfo,
    Calibration,
    CameraCalibration,
    IntrinsicsInfo,
    MountInfo,
    StreamInfo,
    TransformInfo,
    ViewInfo,
)
from gigaedge.robot import CameraRole
from gigaedge.simulation import World, load_simulation
from gigaedge_calibration.captures import Capture
from gigaedge_runtime.devices.sim_world import Renderer

HERE = Path(__file__).parents[2] / "examples"
STATE = np.array([-0.45, 1.1, -1.05, 0.0, 0.8, 0.0, 0.03, 0.45, 1.1, -1.05, 0.0, 0.8, 0.0, 0.03])
LOOKS = (
    (-0.53, 1.54, -1.4, -0.25, 0.8, -0.12),
    (-0.64, 0.69, -1.1, 0.06, 0.96, 1.0),
    (-0.48, 0.79, -0.94, -0.37, 0.7, -0.91),
)
"""Left arm, rad."""
GRIPPER = (190, 260, 500, 470)
LEFT: CameraRole = "cam_left_wrist"


def world() -> World:
    return load_simulation(HERE / "synthetic-world.yaml")


def looks(truth: World, first_number: int = 0) -> list[Capture]:
    """A picture of the left wrist from every pose, and of the front camera."""
    wrist, front = Renderer(truth, LEFT), Renderer(truth, "cam_high")
    captures = []
    for number, joints in enumerate(LOOKS, start=first_number):
        state = STATE.copy()
        state[:6] = joints
        captures.append(Capture(LEFT, wrist.render(state, number=number), tuple(state.tolist())))
        if number == first_number:
            image = front.render(STATE, number=number)
            captures.append(Capture("cam_high", image, tuple(STATE.tolist())))
    return captures


def calibration(truth: World) -> Calibration:
    """What a good calibration of that world finds."""
    board, arm = truth.board, truth.arm("left")
    if board is None or arm is None:
        raise ValueError("the world has no board, or no left arm")
    cameras = tuple(_camera(truth, role) for role in ("cam_high", LEFT))
    return Calibration(
        created=datetime(2026, 1, 1, tzinfo=timezone.utc),
        board=BoardInfo(
            columns=board.columns,
            rows=board.rows,
            square=board.square,
            marker=board.marker,
            dictionary=board.dictionary,
            measured=board.columns * board.square,
        ),
        cameras=cameras,
    )


def _camera(truth: World, role: CameraRole) -> CameraCalibration:
    renderer = Renderer(truth, role)
    lens = renderer.lens
    intrinsics = IntrinsicsInfo(
        source="own", model="radial_tangential", width=640, height=480,
        fx=lens.fx, fy=lens.fy, cx=lens.cx, cy=lens.cy, distortion=lens.distortion,
    )  # fmt: skip
    stream = StreamInfo(width=640, height=480, fps=15)
    known = CameraCalibration(role=role, serial=f"sim-{role}", stream=stream, intrinsics=intrinsics)
    if role == "cam_high":
        return known
    zeros = np.radians(truth.arm("left").zero_errors)  # type: ignore[union-attr]
    variances = np.square([np.radians(0.03)] * 3 + [2e-4] * 3)
    mount = renderer.camera.mount.transform
    base = poses.pose(np.eye(3), np.array([0.0, 0.3, 0.0]))
    info = MountInfo(
        transform=TransformInfo(
            parent="left_link6",
            child=role,
            quaternion=tuple(poses.quaternion(mount[:3, :3]).tolist()),
            translation=tuple(mount[:3, 3].tolist()),
            covariance=tuple(tuple(row) for row in np.diag(variances).tolist()),
        ),
        board=_transform(
            "left_base", poses.inverse(base) @ renderer.camera_pose(STATE) @ renderer.board_pose(STATE)
        ),
        zero_offsets=tuple(zeros.tolist()),
        zero_sigmas=(0.0,) * 6,
        sigma_px=0.2,
        sigma_joint=float(np.radians(0.05)),
        poses=15,
    )
    view = ViewInfo(
        image="view.png",
        sha256="0" * 64,
        source="captured",
        gripper=GRIPPER,
        joints=tuple(STATE.tolist()),
    )
    return known.model_copy(update={"mount": info, "view": view})


def _transform(parent: str, placed: np.ndarray) -> TransformInfo:
    return TransformInfo(
        parent=parent,  # type: ignore[arg-type]
        child="board",
        quaternion=tuple(poses.quaternion(placed[:3, :3]).tolist()),
        translation=tuple(placed[:3, 3].tolist()),
    )
