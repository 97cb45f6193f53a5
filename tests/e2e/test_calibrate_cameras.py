"""`gigaedge calibrate cameras`, `roles` and `light`, as a person calls them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from gigaedge import librealsense
from gigaedge.calibration import load_calibration
from gigaedge.cli.calibrate import light as light_command
from gigaedge.cli.calibrate import roles as roles_command
from gigaedge.librealsense import DeviceInfo
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import load_site
from gigaedge_calibration import cameras as connected
from gigaedge_calibration import roles
from gigaedge_runtime import cell as live
from gigaedge_runtime.devices.sim_realsense import SoftwareCamera
from tests.calibration.wrist_cell import HIGH, LEFT, RIGHT, WristCell
from tests.command_line import answer, fails, gigaedge, succeeds

pytestmark = [pytest.mark.realtime, pytest.mark.usefixtures("private_home")]

EXAMPLES = Path(__file__).parents[2] / "examples"
POSE = [0.0, 0.6, -0.6, 0.0, 0.3, 0.0, 0.0]


def write_site(tmp_path: Path, **changes: Any) -> Path:
    """A cell of real cameras by their serial numbers 1, 2 and 3, which the tests stand in for."""
    data: dict[str, Any] = {
        "schema": 1,
        "bundle": "demo",
        "cameras": [
            {"role": role, "driver": "realsense", "serial": str(number)}
            for number, role in enumerate(CAMERA_ROLES, start=1)
        ],
        "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
    }
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump(data | changes))
    return tmp_path / "cell.yaml"


Stand = Callable[..., WristCell]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Put a cell of pictures in place of the live one, and devices with these serial numbers on the bus."""

    def stand(cell: WristCell, serials: str = "123") -> WristCell:
        devices = tuple(DeviceInfo(serial, "D405", "3.2", "5.16", "usb-1.4") for serial in serials)

        @contextmanager
        def open_cell(site: object, arms: object = None) -> Iterator[WristCell]:
            yield cell

        monkeypatch.setattr(live, "open_cell", open_cell)
        monkeypatch.setattr(librealsense, "list_devices", lambda: devices)
        monkeypatch.setattr(connected, "list_devices", lambda: devices)
        monkeypatch.setattr(roles.time, "sleep", lambda seconds: None)
        return cell

    return stand


def serials(site: Path) -> list[str | None]:
    return [camera.serial for camera in load_site(site).cameras]


@pytest.mark.slow
def test_the_wrists_of_the_synthetic_cell_are_proven_by_motion(tmp_path: Path) -> None:
    for name in ("synthetic.yaml", "synthetic-world.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    site = tmp_path / "synthetic.yaml"
    small = site.read_text().replace("width: 640, height: 480", "width: 320, height: 240")
    site.write_text(small)
    told = answer("calibrate", "roles", site, "--wiggle", "both", "--yes", "--show", tmp_path / "views")
    for side, wrist, other in (("left", LEFT, RIGHT), ("right", RIGHT, LEFT)):
        assert told["moved"][side][wrist] > 0.10
        assert told["moved"][side][HIGH] < 0.05
        assert told["moved"][side][other] < 0.01
    assert max(told["still"].values()) < 0.01
    assert [row["verdict"] for row in told["judgements"]] == ["pass", "pass"]
    assert not told["written"]
    calibration = load_calibration(tmp_path / "synthetic.calibration.json")
    assert [(c.role, c.serial, c.proof) for c in calibration.cameras] == [
        (role, f"sim-{role}", "motion") for role in CAMERA_ROLES
    ]
    assert cv2.imread(str(tmp_path / "views" / "cam_high.png")).shape == (240, 320, 3)


def test_swapped_wrists_fail_and_are_put_right_on_request(tmp_path: Path, stand_in: Stand) -> None:
    stand_in(WristCell(mounts={"left": RIGHT, "right": LEFT}))
    site = write_site(tmp_path)
    before = site.read_text()
    result = gigaedge("calibrate", "roles", site, "--wiggle", "both", "--yes")
    assert result.returncode == 1
    assert "it is the picture of cam_right_wrist that changes; swap the serials of" in result.stdout
    assert '  cam_left_wrist: serial: "3"' in result.stdout
    assert site.read_text() == before
    assert not (tmp_path / "cell.calibration.json").exists()
    told = answer("calibrate", "roles", site, "--wiggle", "both", "--yes", "--write")
    assert told["written"]
    assert serials(site) == ["1", "3", "2"]
    assert [row["cause"] for row in told["judgements"]] == [
        "it is the picture of cam_right_wrist that changes; corrected",
        "it is the picture of cam_left_wrist that changes; corrected",
    ]
    calibration = load_calibration(tmp_path / "cell.calibration.json")
    assert [(c.serial, c.proof) for c in calibration.cameras] == [
        ("1", "motion"),
        ("3", "motion"),
        ("2", "motion"),
    ]


def test_roles_are_found_from_serials_that_nobody_knows(tmp_path: Path, stand_in: Stand) -> None:
    stand_in(WristCell(mounts={"left": HIGH, "right": LEFT}), "579")
    site = write_site(tmp_path)
    warned = gigaedge("calibrate", "roles", site, "--show", tmp_path / "views")
    assert warned.returncode == 0
    assert "the camera of the site file is not connected, 5 took its place" in warned.stdout
    assert gigaedge("calibrate", "roles", site, "--strict").returncode == 1
    assert (tmp_path / "views" / "roles.txt").read_text() == (
        "cam_high 5\ncam_left_wrist 7\ncam_right_wrist 9\n"
    )
    label = cv2.imread(str(tmp_path / "views" / "cam_high.png"))[: roles_command.LABEL]
    assert np.mean(label > 128) > 0.01
    succeeds("calibrate", "roles", site, "--wiggle", "both", "--yes", "--write")
    assert serials(site) == ["9", "5", "7"]


def test_a_wrist_is_moved_by_hand(tmp_path: Path, stand_in: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles_command, "BY_HAND_SECONDS", 0.6)
    stand_in(WristCell(by_hand="left", by_hand_from=13))
    result = gigaedge("calibrate", "roles", write_site(tmp_path), "--by-hand", "left", "--json")
    assert result.returncode == 0
    assert "turn the left wrist by hand now" in result.stderr
    told = json.loads(result.stdout)
    assert [(row["subject"], row["verdict"]) for row in told["judgements"]] == [
        (LEFT, "pass"),
        (RIGHT, "warn"),
    ]
    calibration = load_calibration(tmp_path / "cell.calibration.json")
    assert [(c.role, c.proof) for c in calibration.cameras] == [(LEFT, "motion")]


def test_what_cannot_be_proven_is_told(tmp_path: Path, stand_in: Stand) -> None:
    stand_in(WristCell())
    absent = {"side": "right", "driver": "absent", "pose": POSE}
    site = write_site(tmp_path, arms=[{"side": "left", "driver": "sim"}, absent])
    fails("nobody is there to ask; pass --yes", "calibrate", "roles", site, "--wiggle", "left")
    fails("the right arm is absent in this cell", "calibrate", "roles", site, "--wiggle", "right")
    fails("give one of them", "calibrate", "roles", site, "--wiggle", "left", "--by-hand", "left")
    stand_in(WristCell(), "12")
    fails("not connected: cam_right_wrist (3); connected: 1, 2", "calibrate", "roles", site, code=3)


# -- light ----------------------------------------------------------------------------------------------------


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(light_command, "VERIFY", 1.2)
    rows = [{"role": role, "driver": "sim", "width": 64, "height": 48} for role in CAMERA_ROLES]
    return write_site(tmp_path, cameras=rows)


def test_light_is_taken_from_the_automatics_written_and_verified(simulated: Path, tmp_path: Path) -> None:
    first = answer("calibrate", "light", simulated, "--from-auto", "200ms")
    lines = [f"{role}: exposure: 0.0083, gain: 32, white_balance: 5200" for role in CAMERA_ROLES]
    assert first["lines"] == lines
    assert not first["written"]
    assert not (tmp_path / "cell.calibration.json").exists()
    assert answer("calibrate", "light", simulated, "--from-auto", "200ms", "--write")["written"]
    camera = load_site(simulated).cameras[1]
    assert (camera.exposure, camera.gain, camera.white_balance) == (0.0083, 32, 5200)
    again = answer("calibrate", "light", simulated)
    assert again["lines"] == []
    for row in again["cameras"]:
        assert row["set"] == pytest.approx({"exposure": 0.0083, "gain": 32, "white_balance": 5200})
        assert row["read_back"] == pytest.approx(row["set"])
        assert row["on_frames"] == pytest.approx(row["set"])
    info = load_calibration(tmp_path / "cell.calibration.json").camera(LEFT)
    assert info is not None
    assert info.light is not None
    assert info.light.exposure == 0.0083
    assert 60 < info.light.luminance < 190


def test_an_auto_exposure_that_stays_on_fails(simulated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = yaml.safe_load(simulated.read_text())
    rows["cameras"][0] |= {"exposure": 0.02, "white_balance": 5200}
    simulated.write_text(yaml.safe_dump(rows))
    option = SoftwareCamera.option
    monkeypatch.setattr(
        SoftwareCamera, "option", lambda camera, name: float("auto" in name) or option(camera, name)
    )
    result = gigaedge("calibrate", "light", simulated, "--from-auto", "100ms")
    assert result.returncode == 1
    assert "FAIL: light locked: auto exposure came back; close other programs" in result.stdout


def test_light_needs_a_live_camera(tmp_path: Path) -> None:
    rows = [{"role": role, "driver": "video", "file": "x"} for role in CAMERA_ROLES]
    site = write_site(tmp_path, cameras=rows)
    fails("no live camera; pictures from a file are as they are", "calibrate", "light", site)
    fails(
        "--from-auto 'soon': expected a time",
        "calibrate",
        "light",
        EXAMPLES / "sim.yaml",
        "--from-auto",
        "soon",
    )
