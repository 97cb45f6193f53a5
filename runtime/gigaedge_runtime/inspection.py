"""The arms of a site for a person: connect without commanding, look, and judge whether a latch may go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from gigaedge.clock import monotonic
from gigaedge.errors import ArmError
from gigaedge.profiles import FirmwareLimits, compare_with_firmware
from gigaedge.robot import Side
from gigaedge.site import ArmConfig, Site
from gigaedge_runtime.control import LOST
from gigaedge_runtime.devices.piper import PiperArm
from gigaedge_runtime.devices.piper_report import ArmReport
from gigaedge_runtime.hosting import simulated_arms
from gigaedge_runtime.latch import Latch, latchable, read_latch

LOOKING = 0.5
"""s between two looks, for rates and movement."""

STANDING = 2e-3
"""rad; a joint that moved less between two looks stands (PiPER reports steps of 2e-5 rad)."""


@dataclass(frozen=True)
class ArmView:
    """One arm, as far as it can be seen."""

    side: Side
    channel: str
    report: ArmReport | None
    """None while the arm cannot be reached."""
    problem: str | None
    """Why not, in one line."""
    limits: FirmwareLimits | None
    """What the firmware keeps; None when it did not tell."""
    disagreements: tuple[str, ...]
    """Between those and the site's limits, one line each."""
    latch: Latch | None


class Viewer:
    """Looks at the arms of a site, without ever commanding one; opens again what is lost. One thread only."""

    def __init__(self, site: Site, names: Mapping[Side, str]) -> None:
        """Connects nothing yet; `names`: how to call each arm's channel."""
        self._site = site
        self._names = names
        self._configs = [arm for arm in site.arms if arm.driver != "absent"]
        self._arms: dict[Side, PiperArm] = {}
        self._limits: dict[Side, FirmwareLimits | None] = {}

    def look(self) -> list[ArmView]:
        """Every arm that exists, now. An arm that cannot be reached is tried again at each look."""
        return [self._look(config) for config in self._configs]

    def close(self) -> None:
        """Leave the buses; nothing was changed."""
        for arm in self._arms.values():
            arm.close()
        self._arms.clear()

    def _look(self, config: ArmConfig) -> ArmView:
        report, problem = None, None
        try:
            report = self._report(config)
            if report is None:
                problem = "its bus is gone and is being opened anew; check the cable"
        except ArmError as error:
            problem = str(error)
        limits = self._limits.get(config.side)
        return ArmView(
            side=config.side,
            channel=self._names[config.side],
            report=report,
            problem=problem,
            limits=limits,
            disagreements=()
            if limits is None
            else tuple(compare_with_firmware(self._site.limits.joints, limits)),
            latch=read_latch(config),
        )

    def _report(self, config: ArmConfig) -> ArmReport | None:
        """Raises ArmError: the arm cannot be reached."""
        arm = self._arms.get(config.side)
        if arm is None:
            arm = PiperArm(config.side, config.can)
            arm.connect()
            self._arms[config.side] = arm
            self._limits[config.side] = arm.firmware_limits()
        if monotonic() - arm.read().stamp > LOST:
            arm.reconnect()
        return arm.inspect()


@contextmanager
def viewing(site: Site) -> Iterator[Viewer]:
    """A viewer of a site's arms; arms of driver sim are hosted meanwhile."""
    names: dict[Side, str] = {
        arm.side: "simulated" if arm.driver == "sim" else arm.can.channel for arm in site.arms
    }
    with simulated_arms(site) as reachable:
        viewer = Viewer(reachable, names)
        try:
            yield viewer
        finally:
            viewer.close()


def require_well(site: Site) -> None:
    """Raise ArmError unless every arm of the site can be reached, reports no fault and stands still."""
    with viewing(site) as viewer:
        before = {view.side: view for view in viewer.look()}
        time.sleep(LOOKING)
        for view in viewer.look():
            name = f"{view.side} arm on {view.channel}"
            if view.report is None:
                raise ArmError(f"{name}: {view.problem}")
            if view.report.faults:
                texts = ", ".join(text for _, text in view.report.faults)
                raise ArmError(
                    f"{name} still reports: {texts}; see `gigaedge arms status SITE` for what to do, then clear"
                )
            earlier = before[view.side].report
            moved = 0.0
            if earlier is not None:
                moved = max(abs(a - b) for a, b in zip(earlier.joints, view.report.joints, strict=True))
            if moved > STANDING:
                raise ArmError(f"{name} still moves; wait until it stands, then clear")


def latched(site: Site) -> dict[Side, Latch]:
    """The latches of a site's arms, by side."""
    found = {arm.side: read_latch(arm) for arm in latchable(site)}
    return {side: latch for side, latch in found.items() if latch is not None}
