"""`gigaedge calibrate hand-eye`: on the simulated cell, and again from what was kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from gigaedge import poses
from gigaedge.calibration import (
    BoardInfo,
    Calibration,
    CameraCalibration,
    IntrinsicsInfo,
    StreamInfo,
    amend,
    load_calibration,
)
from gigaedge.lens import Lens
from gigaedge.robot import CameraRole, Side, arm_slice
from gigaedge.simulation import SimulatedCamera, load_simulation
from gigaedge.site import load_site
from gigaedge_calibration.captures import Capture, save_captures
from gigaedge_calibration.lens_uncertainty import factory_info
from gigaedge_calibration.mounts import transform_of
from gigaedge_runtime.devices.sim_world import Renderer
from tests.command_line import answer, fails, gigaedge, gigaedge_process

pytestmark = pytest.mark.realtime

Array = NDArray[np.float64]
EXAMPLES = Path(__file__).parents[2] / "examples"
BOARD = BoardInfo(columns=7, rows=5, square=0.038, marker=0.026, dictionary="DICT_4X4_50", measured=0.266)
HOMES: dict[Side, tuple[float, ...]] = {
    "left": (-0.45, 1.1, -1.05, 0.0, 0.8, 0.0, 0.03),
    "right": (0.45, 1.1, -1.05, 0.0, 0.8, 0.0, 0.03),
}
TURNS = (
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (-0.12, -0.04, 0.0, -0.08, 0.26, 1.01),
    (-0.12, 0.11, 0.04, 0.27, -0.07, -1.48),
    (0.13, -0.09, -0.16, -0.27, -0.08, 1.63),
    (0.14, -0.41, 0.01, -0.49, 0.22, 0.17),
    (0.08, -0.1, -0.04, -0.17, -0.03, -1.17),
    (-0.14, -0.03, -0.01, 0.34, 0.12, -0.75),
    (-0.07, 0.3, -0.24, 0.17, 0.19, 0.38),
    (0.0, -0.21, 0.02, 0.27, -0.05, 0.73),
    (0.23, -0.14, 0.19, -0.26, -0.03, 0.36),
    (-0.23, -0.06, 0.01, 0.27, -0.24, 1.67),
)
"""Of the joints, from home, rad: either wrist camera keeps the board in view."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The example's cell, one camera and one arm less slow, with a measured board and lenses that are right."""
    document = yaml.safe_load((EXAMPLES / "synthetic.yaml").read_text(encoding="utf-8"))
    for camera in document["cameras"]:
        camera["fps"] = 5
    document["limits"] = {"approach_velocity": 1.0}
    document["timing"] = {"max_feedback_age": 5.0}  # all processes share this computer with other tests
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    world = (EXAMPLES / "synthetic-world.yaml").read_text(encoding="utf-8")
    (tmp_path / "synthetic-world.yaml").write_text(world, encoding="utf-8")
    amend(
        tmp_path / "site.calibration.json",
        prepared(load_simulation(tmp_path / "synthetic-world.yaml").cameras),
    )
    return file


def prepared(cameras: Iterable[SimulatedCamera]) -> Callable[[Calibration], Calibration]:
    """Writes the board and the true lenses into a calibration."""
    known = tuple(
        CameraCalibration(
            role=camera.role,
            serial=f"sim-{camera.role}",
            stream=StreamInfo(width=640, height=480, fps=5),
            intrinsics=lens_info(camera.lens.lens(640, 480)),
        )
        for camera in cameras
    )
    return lambda calibration: calibration.model_copy(update={"board": BOARD, "cameras": known})


def lens_info(lens: Lens) -> IntrinsicsInfo:
    return factory_info(lens).model_copy(update={"source": "own"})


def kept_looks(site: Path, role: CameraRole, side: Side, turns: Sequence[Sequence[float]] = TURNS) -> Path:
    """Captures as the command keeps them, drawn at once."""
    renderer = Renderer(load_simulation(site.with_name("synthetic-world.yaml")), role)
    captures = []
    for number, turn in enumerate(turns):
        state = np.array([*HOMES["left"], *HOMES["right"]])
        state[arm_slice(side)][:6] += turn
        captures.append(
            Capture(role, renderer.render(state, 0.0, number), tuple(state.tolist()), float(number))
        )
    folder = site.with_name(f"kept-{role}")
    save_captures(folder, captures)
    return folder


def truth(site: Path, role: CameraRole) -> Array:
    return load_simulation(site.with_name("synthetic-world.yaml")).camera(role).mount.transform


def test_both_wrists_and_the_bases_between_them_from_kept_looks(site: Path) -> None:
    file = site.with_name("site.calibration.json")
    command = ("calibrate", "hand-eye", site, "--camera")
    told = answer(*command, "cam_left_wrist", "--from", kept_looks(site, "cam_left_wrist", "left"))
    assert told["arm"] == "left"
    assert told["mount"]["rejected"] == []
    assert told["bases"] is None
    shown = gigaedge(*command, "cam_right_wrist", "--from", kept_looks(site, "cam_right_wrist", "right"))
    assert shown.returncode == 0, shown.stderr
    assert "cam_right_wrist: mount" in shown.stdout
    assert "mount, rotation, two sigma" in shown.stdout
    assert "site.calibration.json: written" in shown.stdout
    assert "the right arm's base, seen from the left one by the board" in shown.stderr
    calibration = load_calibration(file)
    for role in ("cam_left_wrist", "cam_right_wrist"):
        camera = calibration.camera(role)
        assert camera is not None
        assert camera.mount is not None
        away = poses.difference(transform_of(camera.mount.transform), truth(site, role))
        assert away @ np.linalg.solve(np.array(camera.mount.transform.covariance), away) / 6 < 4
        assert np.degrees(np.linalg.norm(away[:3])) < 0.2
        assert np.linalg.norm(away[3:]) < 1.5e-3
        if role == "cam_left_wrist":
            assert json.loads(camera.mount.model_dump_json()) == told["mount"]
    assert calibration.bases is not None
    between = transform_of(calibration.bases)
    np.testing.assert_allclose(between[:3, 3], (0, -0.6, 0), atol=0.01)
    assert [(capture.purpose, capture.subject) for capture in calibration.captures] == [
        ("hand-eye", "cam_left_wrist"),
        ("hand-eye", "cam_right_wrist"),
    ]


def test_a_sweep_is_refused_and_nothing_is_written(site: Path) -> None:
    turns = [(0, 0, 0, 0, 0, angle) for angle in np.linspace(-1.2, 1.2, 8)]
    folder = kept_looks(site, "cam_left_wrist", "left", turns)
    before = site.with_name("site.calibration.json").read_bytes()
    fails(
        "the poses turn about one axis only",
        "calibrate",
        "hand-eye",
        site,
        "--camera",
        "cam_left_wrist",
        "--from",
        folder,
    )
    assert site.with_name("site.calibration.json").read_bytes() == before


def test_what_is_missing_is_named(site: Path) -> None:
    command = ("calibrate", "hand-eye", site, "--camera")
    file = site.with_name("site.calibration.json")
    folder = kept_looks(site, "cam_left_wrist", "left", TURNS[:2])
    fails("--arm right: cam_left_wrist is on the left arm", *command, "cam_left_wrist", "--arm", "right")
    fails("2 poses that show the board are too few", *command, "cam_left_wrist", "--from", folder)

    def set_camera(**update: object) -> None:
        def change(calibration: Calibration) -> Calibration:
            cameras = tuple(camera.model_copy(update=update) for camera in calibration.cameras)
            return calibration.model_copy(update={"cameras": cameras})

        amend(file, change)

    lens = load_simulation(site.with_name("synthetic-world.yaml")).camera("cam_high").lens.lens(640, 480)
    small = StreamInfo(width=320, height=240, fps=5)
    set_camera(intrinsics=lens_info(replace(lens, width=320, height=240, cx=160.0, cy=120.0)), stream=small)
    fails("cam_high: the lens was calibrated at 320x240 px and the site runs 640x480", *command, "cam_high")
    set_camera(intrinsics=None, stream=StreamInfo(width=640, height=480, fps=5))
    fails("no lens of cam_high; run `gigaedge calibrate intrinsics", *command, "cam_high")
    amend(file, lambda known: known.model_copy(update={"board": BOARD.model_copy(update={"measured": None})}))
    set_camera(intrinsics=lens_info(lens))
    fails("the board was never measured", *command, "cam_high")
    amend(file, lambda known: known.model_copy(update={"board": None}))
    fails("no board; describe yours with `gigaedge calibrate board", *command, "cam_high")
    document = yaml.safe_load(site.read_text(encoding="utf-8"))
    document["arms"][0] = {"side": "left", "driver": "absent", "pose": list(HOMES["left"])}
    site.write_text(yaml.safe_dump(document), encoding="utf-8")
    fails("the left arm is absent in this cell", *command, "cam_high")


@pytest.mark.slow
def test_the_arm_goes_from_pose_to_pose_and_the_camera_is_found(site: Path) -> None:
    """Through real librealsense, piper_sdk, CAN frames and the control process; moves take most of its time."""
    document = yaml.safe_load(site.read_text(encoding="utf-8"))
    document["arms"][1] = {"side": "right", "driver": "absent", "pose": list(HOMES["right"])}
    site.write_text(yaml.safe_dump(document), encoding="utf-8")
    arguments = ("--camera", "cam_left_wrist", "--auto", "--yes", "--poses", 9, "--hold-out", 2)
    result = gigaedge_process("calibrate", "hand-eye", site, *arguments)
    assert result.returncode == 0, result.stderr + result.stdout
    assert "look 9 of 9: 0." in result.stderr
    mount = load_calibration(load_site(site).calibration or Path()).camera("cam_left_wrist").mount
    assert mount is not None
    away = poses.difference(transform_of(mount.transform), truth(site, "cam_left_wrist"))
    assert away @ np.linalg.solve(np.array(mount.transform.covariance), away) / 6 < 5
    folder = site.with_name("site.calibration.captures") / "hand-eye-cam_left_wrist"
    again = answer("calibrate", "hand-eye", site, "--camera", "cam_left_wrist", "--from", folder)
    np.testing.assert_allclose(
        again["mount"]["transform"]["translation"], mount.transform.translation, atol=1e-5
    )
