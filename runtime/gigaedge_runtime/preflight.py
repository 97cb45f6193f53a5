"""The last look before arms may be powered: does the firmware agree with what we are going to command?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gigaedge.errors import ArmError
from gigaedge.profiles import FirmwareLimits, compare_with_firmware
from gigaedge.robot import Side
from gigaedge.site import LimitsConfig
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
