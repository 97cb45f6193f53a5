import numpy as np
import pytest

from gigaedge.calibration_entries import with_camera
from gigaedge.errors import CalibrationError, CameraError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import LimitsConfig, Site
from gigaedge_calibration import cameras as cameras_module
from gigaedge_calibration import roles
from gigaedge_calibration.cameras import calibration_entry, with_connected_serials
from gigaedge_calibration.roles import (
    RoleProof,
    assign,
    changed_part,
    judge_roles,
    measure_still,
    still_of,
    watch,
    wiggle,
    wrist_camera,
)
from gigaedge_calibration.verdicts import Verdict
from tests.calibration.wrist_cell import HIGH, LEFT, RIGHT, H, W, WristCell, texture


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(roles.time, "sleep", lambda seconds: None)


def proof_of(cell, sides=("left", "right")):
    return RoleProof(measure_still(cell), {side: wiggle(cell, side, LimitsConfig()) for side in sides})


@pytest.mark.parametrize(("noise", "flicker"), [(0.0, 0.0), (2.0, 0.0), (4.0, 0.03)])
def test_a_wrist_that_turns_shows_in_its_own_picture_only(noise, flicker):
    cell = WristCell(noise, flicker)
    proof = proof_of(cell)
    assert max(proof.still.values()) < 0.002
    assert proof.moved["left"][LEFT] > 0.15
    assert proof.moved["left"][RIGHT] < 0.002
    assert 0 < proof.moved["left"][HIGH] < 0.05
    assert (proof.mover("left"), proof.mover("right")) == (LEFT, RIGHT)
    judgements = judge_roles(proof)
    assert [(j.subject, j.verdict) for j in judgements] == [(LEFT, Verdict.PASS), (RIGHT, Verdict.PASS)]
    assert judgements[0].value == 100 * proof.moved["left"][LEFT]


def test_the_arm_turns_away_from_its_limit_and_comes_back():
    cell = WristCell()
    cell.angles["left"][5], cell.angles["right"][5] = 2.0, -2.0
    proof_of(cell)
    assert cell.moves == [
        ("left", pytest.approx(2.0 - roles.WIGGLE)),
        ("left", 2.0),
        ("right", pytest.approx(-2.0 + roles.WIGGLE)),
        ("right", -2.0),
    ]


def test_swapped_wrists_are_named_and_put_right():
    proof = proof_of(WristCell(mounts={"left": RIGHT, "right": LEFT}))
    row = judge_roles(proof)[0]
    assert (row.check, row.subject, row.verdict) == ("left wrist moved, % of the picture", LEFT, Verdict.FAIL)
    assert row.cause == "it is the picture of cam_right_wrist that changes"
    assert (
        row.mend == "swap the serials of cam_left_wrist and cam_right_wrist in the site file (--write does)"
    )
    assert assign({HIGH: "1", LEFT: "2", RIGHT: "3"}, proof) == {HIGH: "1", LEFT: "3", RIGHT: "2"}


@pytest.mark.parametrize(
    ("mounts", "right"),
    [
        ({"left": HIGH, "right": LEFT}, {HIGH: "3", LEFT: "1", RIGHT: "2"}),
        ({"left": RIGHT, "right": HIGH}, {HIGH: "2", LEFT: "3", RIGHT: "1"}),
        ({"left": LEFT, "right": RIGHT}, {HIGH: "1", LEFT: "2", RIGHT: "3"}),
    ],
)
def test_roles_are_found_from_any_order(mounts, right):
    moved = {side: {role: 0.2 if mounts[side] == role else 0.01 for role in CAMERA_ROLES} for side in mounts}
    proof = RoleProof(dict.fromkeys(CAMERA_ROLES, 0.0), moved)
    assert assign({HIGH: "1", LEFT: "2", RIGHT: "3"}, proof) == right


def test_one_arm_alone_moves_one_camera():
    moved = {"left": {HIGH: 0.3, LEFT: 0.0, RIGHT: 0.0}}
    proof = RoleProof(dict.fromkeys(CAMERA_ROLES, 0.0), moved)
    assert assign({HIGH: "1", LEFT: "2", RIGHT: "3"}, proof) == {HIGH: "2", LEFT: "1", RIGHT: "3"}


@pytest.mark.parametrize(
    ("parts", "cause"),
    [
        ((0.0, 0.04, 0.0), "no picture changes"),
        ((0.0, 0.2, 0.1), "cam_left_wrist and cam_right_wrist change alike"),
        ((0.3, 0.3, 0.3), "cam_high and cam_left_wrist and cam_right_wrist change alike"),
    ],
)
def test_a_motion_that_proves_nothing_fails_and_changes_nothing(parts, cause):
    proof = RoleProof(dict.fromkeys(CAMERA_ROLES, 0.0), {"left": dict(zip(CAMERA_ROLES, parts, strict=True))})
    (row,) = judge_roles(proof)
    assert (row.verdict, row.cause) == (Verdict.FAIL, cause)
    assert row.mend.startswith("see that the camera is on this wrist")
    assert assign({HIGH: "1", LEFT: "2", RIGHT: "3"}, proof) == {HIGH: "1", LEFT: "2", RIGHT: "3"}


def test_somebody_who_passes_by_once_proves_nothing():
    cell = WristCell()
    measure_still(cell)
    third = cell.shots + 2 * roles.SHOTS
    cell.disturbed[RIGHT] = lambda number: 250 if number > third else 60
    assert wiggle(cell, "left", LimitsConfig())[RIGHT] < 0.002


def test_a_restless_view_is_refused():
    cell = WristCell(disturbed={HIGH: lambda number: 250 * ((number // 3) % 2)})
    with pytest.raises(CalibrationError) as caught:
        measure_still(cell)
    assert "cam_high: " in str(caught.value)
    assert "of its picture changes although nothing is moved, at most 10 % may" in str(caught.value)


def test_a_wrist_that_is_moved_by_hand():
    cell = WristCell(by_hand="right", by_hand_from=roles.SHOTS)
    ticks = iter(np.arange(0.0, 20.0, 0.5))
    most = watch(cell, 3.0, lambda: float(next(ticks)))
    assert most[RIGHT] > 0.2
    assert max(most[HIGH], most[LEFT]) < 0.06


def test_brightness_is_no_change_and_a_patch_is():
    before = texture(3).astype(np.uint8)
    dimmed = (0.8 * before.astype(float)).astype(np.uint8)
    assert changed_part(still_of([before]), still_of([dimmed])) < 0.001
    patched = before.copy()
    patched[:24, :32] = 255 - patched[:24, :32]
    assert changed_part(still_of([before]), still_of([patched])) == pytest.approx(24 * 32 / (H * W), rel=0.4)


def test_wrists_by_side():
    assert (wrist_camera("left"), wrist_camera("right")) == (LEFT, RIGHT)


# -- serials --------------------------------------------------------------------------------------------------


def site_with(*serials):
    return Site.model_validate(
        {
            "bundle": "demo",
            "cameras": [
                {"role": role, "driver": "realsense", "serial": serial}
                for role, serial in zip(CAMERA_ROLES, serials, strict=True)
            ],
            "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
        }
    )


def connect(monkeypatch, *serials):
    from gigaedge.librealsense import DeviceInfo

    devices = tuple(DeviceInfo(serial, "D435", "3.2", "5.16") for serial in serials)
    monkeypatch.setattr(cameras_module, "list_devices", lambda: devices)
    return devices


def test_cameras_that_are_not_connected_are_replaced_by_those_that_are(monkeypatch):
    connect(monkeypatch, "5", "7", "8")
    found, replaced = with_connected_serials(site_with("<high>", "7", "<right>"))
    assert [camera.serial for camera in found.cameras] == ["5", "7", "8"]
    assert replaced == {HIGH: "5", RIGHT: "8"}
    same, none = with_connected_serials(site_with("8", "7", "5"))
    assert [camera.serial for camera in same.cameras] == ["8", "7", "5"]
    assert none == {}


def test_too_few_cameras_are_told(monkeypatch):
    connect(monkeypatch, "5", "7")
    with pytest.raises(CameraError) as caught:
        with_connected_serials(site_with("5", "6", "9"))
    assert str(caught.value) == (
        "not connected: cam_left_wrist (6), cam_right_wrist (9); connected: 5, 7; check cables and hub"
    )


def test_of_another_camera_in_its_place_nothing_is_kept(monkeypatch):
    from datetime import datetime, timezone

    from gigaedge.calibration import Calibration, LightInfo

    old, new = connect(monkeypatch, "5", "7")
    config = site_with("5", "6", "7").cameras[1]
    empty = Calibration(created=datetime.now(timezone.utc))
    light = LightInfo(luminance=90, red_to_green=1, blue_to_green=1)
    entry = calibration_entry(empty, config, old).model_copy(update={"light": light, "proof": "motion"})
    calibration = with_camera(empty, entry)
    same = calibration_entry(calibration, config, old)
    assert (same.serial, same.light, same.proof, same.usb) == ("5", light, "motion", "3.2")
    other = calibration_entry(calibration, config, new)
    assert (other.serial, other.light, other.proof) == ("7", None, "serial")
    high = calibration_entry(empty, site_with("5", "6", "7").cameras[0], new)
    assert [camera.role for camera in with_camera(calibration, high).cameras] == [HIGH, LEFT]
