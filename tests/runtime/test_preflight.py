"""What is asked of cameras and of an arm's firmware before anything may be powered."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gigaedge.calibration import CameraCalibration, StreamInfo, amend
from gigaedge.errors import ArmError, ConfigError
from gigaedge.profiles import FirmwareLimits
from gigaedge.robot import CAMERA_ROLES, CameraRole, Side
from gigaedge.site import LimitsConfig, Site
from gigaedge_runtime.devices.piper_report import firmware_notice
from gigaedge_runtime.preflight import check_cameras, check_firmware
from gigaedge_runtime.run import run_site

pytestmark = pytest.mark.realtime

DEGREES = ((-150, 150), (0, 180), (-170, 0), (-100, 100), (-70, 70), (-120, 120))
FACTORY = FirmwareLimits(
    position_min=tuple(math.radians(low) for low, _ in DEGREES),
    position_max=tuple(math.radians(high) for _, high in DEGREES),
    velocity=(3.0,) * 6,
    acceleration=(5.0,) * 6,
)


@dataclass
class Arm:
    side: Side
    limits: FirmwareLimits | None = FACTORY
    firmware: str | None = "S-V1.8-6"

    def firmware_limits(self) -> FirmwareLimits | None:
        return self.limits


def with_joint_4(**values: float) -> FirmwareLimits:
    def put(name: str, value: float) -> tuple[float, ...]:
        before = getattr(FACTORY, name)
        return (*before[:3], value, *before[4:])

    return replace(FACTORY, **{name: put(name, value) for name, value in values.items()})


def test_an_arm_from_the_factory_needs_no_word() -> None:
    assert check_firmware([Arm("left"), Arm("right")], LimitsConfig(), refuse=True) == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            with_joint_4(position_min=-0.0017, position_max=-0.0017),
            r"left arm: joint 4: .*-0.1 to -0.1 degrees",
        ),
        (with_joint_4(acceleration=655.0), r"left arm: joint 4: .*acceleration of 655 rad/s\^2"),
        (with_joint_4(position_max=1.0), r"left arm: joint 4: the firmware stops at 1 rad, .* says 1.745"),
    ],
)
def test_damaged_or_narrower_limits_are_refused_or_noted(limits: FirmwareLimits, message: str) -> None:
    arms = [Arm("left", limits), Arm("right")]
    with pytest.raises(ArmError, match=message):
        check_firmware(arms, LimitsConfig(), refuse=True)
    (notice,) = check_firmware(arms, LimitsConfig(), refuse=False)
    assert notice.startswith("left arm: joint 4: ")


def test_more_than_one_is_counted() -> None:
    limits = with_joint_4(position_min=-1.0, position_max=1.0)
    with pytest.raises(ArmError, match=r"\(and 1 more\); see `gigaedge arms status SITE`"):
        check_firmware([Arm("right", limits)], LimitsConfig(), refuse=True)


def test_firmware_that_does_not_answer_is_a_notice() -> None:
    assert check_firmware([Arm("left", None, None)], LimitsConfig(), refuse=True) == [
        "left arm: the firmware did not tell its own limits, so that they were not compared with ours",
        "left arm: the firmware did not tell its version",
    ]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("S-V1.8-6", None),
        ("S-V1.8-10", None),
        ("S-V2.0-0", None),
        ("S-V1.8-5", "firmware S-V1.8-5 is older than S-V1.8-6"),
        ("S-V1.6-9", "firmware S-V1.6-9 is older than S-V1.8-6"),
        ("H-7", "firmware H-7 is of no known form"),
        (None, "the firmware did not tell its version"),
    ],
)
def test_versions(version: str | None, said: str | None) -> None:
    notice = firmware_notice(version)
    assert (notice is None) == (said is None)
    assert notice is None or notice.startswith(said or "")


# -- cameras --------------------------------------------------------------------------------------------------


def cell(tmp_path: Path, serials: tuple[str | None, ...], calibrated: dict[CameraRole, str]) -> Site:
    """A site of these serial numbers, with a calibration of others."""
    file = tmp_path / "cell.calibration.json"
    stream = StreamInfo(width=640, height=480, fps=30)
    cameras = tuple(CameraCalibration(role=r, serial=s, stream=stream) for r, s in calibrated.items())
    amend(file, lambda before: before.model_copy(update={"cameras": cameras}))
    return Site.model_validate(
        {
            "bundle": "demo",
            "calibration": str(file),
            "cameras": [
                {"role": role, "driver": "realsense", "serial": serial}
                if serial
                else {"role": role, "driver": "sim"}
                for role, serial in zip(CAMERA_ROLES, serials, strict=True)
            ],
            "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
        }
    )


def test_the_calibrated_cameras_are_let_through(tmp_path: Path) -> None:
    known: dict[CameraRole, str] = {"cam_high": "1", "cam_left_wrist": "2"}
    site = cell(tmp_path, ("1", "2", "3"), known)
    check_cameras(site)
    check_cameras(site.model_copy(update={"calibration": None}))
    check_cameras(cell(tmp_path, (None, "2", "3"), {"cam_high": "sim-cam_high"}))


def test_cameras_that_changed_places_are_named(tmp_path: Path) -> None:
    site = cell(tmp_path, ("1", "3", "2"), {"cam_left_wrist": "2", "cam_right_wrist": "3"})
    with pytest.raises(ConfigError) as caught:
        check_cameras(site)
    assert str(caught.value) == (
        f"cam_left_wrist: the site file has serial 3, {site.calibration} is of 2, which the site file gives to "
        "cam_right_wrist: cameras were swapped; swap the serials of cam_left_wrist and cam_right_wrist back, or prove "
        "them with `gigaedge calibrate roles`"
    )


def test_another_camera_is_named(tmp_path: Path) -> None:
    site = cell(tmp_path, ("9", "2", "3"), {"cam_high": "1"})
    with pytest.raises(ConfigError) as caught:
        check_cameras(site)
    assert str(caught.value) == (
        f"cam_high: the site file has serial 9, {site.calibration} is of 1: another camera; "
        "correct `serial`, or calibrate this camera"
    )


def test_a_run_does_not_start_with_cameras_swapped(tmp_path: Path) -> None:
    site = cell(tmp_path, ("1", "3", "2"), {"cam_left_wrist": "2"})
    with pytest.raises(ConfigError, match="cameras were swapped"):
        run_site(site, duration=0.1)
