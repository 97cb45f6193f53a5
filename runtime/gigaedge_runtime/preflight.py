"""The last look before arms may be powered: are the cameras those that were calibrated, does firmware agree with us?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gigaedge.calibration import load_calibration
from gigaedge.errors import ArmError, ConfigError
from gigaedge.profiles import FirmwareLimits, compare_with_firmware
from gigaedge.robot import Side
from gigaedge.site import LimitsConfig, Site
from gigaedge_runtime.children import wait_until
from gigaedge_runtime.devices.piper_report import ANSWER_TIMEOUT, firmware_notice


class Answering(Protocol):
    """An arm that says what its firmware is."""

    side: Side

    @property
    def firmware(self) -> str | None:
        """Version, or None while it has not answered."""

    def firmware_limits(self) -> FirmwareLimits | None:
        """The limits that the arm keeps itself; None when it does not answer within a second."""


def check_cameras(site: Site) -> None:
    """Compare the serial numbers of a site with those of its calibration, if it has one; opens no camera.

    Raises ConfigError for the first that differs, saying whether cameras changed places; CalibrationError: the file.
    """
    if site.calibration is None:
        return
    calibration = load_calibration(site.calibration)
    roles = {camera.device: camera.role for camera in site.cameras}
    for camera in site.cameras:
        known = calibration.camera(camera.role)
        if known is None or camera.device is None or camera.device == known.serial:
            continue
        differ = f"{camera.role}: the site file has serial {camera.device}, {site.calibration} is of {known.serial}"
        if (other := roles.get(known.serial)) is not None:
            raise ConfigError(
                f"{differ}, which the site file gives to {other}: cameras were swapped; swap the serials of "
                f"{camera.role} and {other} back, or prove them with `gigaedge calibrate roles`"
            )
        raise ConfigError(f"{differ}: another camera; correct `serial`, or calibrate this camera")


def check_firmware(arms: Iterable[Answering], limits: LimitsConfig, *, refuse: bool) -> list[str]:
    """What a person should know of the firmware of the arms, one line each; blocks two seconds at most per arm.

    Raises ArmError where `refuse` is set and an arm keeps limits that are damaged or narrower than ours: it
    would not do what it is told. An arm that does not answer is a notice only: firmware that does not know the
    question is no worse than before, and what it is told stays within our own limits.
    """
    ours, notices = limits.joints, []
    for arm in arms:
        theirs = arm.firmware_limits()
        problems = [] if theirs is None else compare_with_firmware(ours, theirs)
        if problems and refuse:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise ArmError(f"{arm.side} arm: {problems[0]}{more}; see `gigaedge arms status SITE`")
        if theirs is None:
            problems = ["the firmware did not tell its own limits, so that they were not compared with ours"]
        version = firmware_notice(_firmware(arm))
        notices += [f"{arm.side} arm: {text}" for text in (*problems, *([version] if version else []))]
    return notices


def _firmware(arm: Answering) -> str | None:
    """The arm's version, waited for."""
    wait_until(lambda: arm.firmware is not None, ANSWER_TIMEOUT)
    return arm.firmware
