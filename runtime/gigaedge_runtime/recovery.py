"""What a person does after a fault, step by step. Nothing here is ever done by a program.

Two facts of PiPER's firmware run through it: leaving an emergency stop cuts the power of all motors at once,
and so does switching off, so that an arm which nobody holds falls; and the first request to power a motor
after a resume is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gigaedge_runtime.states import FaultCode


@dataclass(frozen=True)
class Recovery:
    """The way back from one kind of fault."""

    short: str
    """The first thing to do, for the end of an error's line; empty where the fault's own text says it."""
    steps: tuple[str, ...]
    """All of it, in order, one sentence or two each."""


STATUS: Final = "Look at both arms with `gigaedge arms status SITE` until neither reports a fault."
CLEAR: Final = "Take the latch away with `gigaedge arms clear SITE`; it moves nothing and powers nothing."
ENABLE: Final = (
    "Let go of the arm and power it with `gigaedge arms enable SITE`; it holds where it is. "
    "(The firmware ignores the first request after a resume: the command repeats it.)"
)
SUPPORT: Final = (
    "Support the arm by hand or with a stand: the next step cuts the power of its motors, and it falls."
)
_CABLES: Final = "Check the supply of the arm, its CAN cable and the USB plug of its adapter, at both ends."


def _restart(first: str, short: str, *more: str) -> Recovery:
    return Recovery(short, (first, *more, STATUS, CLEAR))


RECOVERY: Final[Mapping[FaultCode, Recovery]] = MappingProxyType(
    {
        FaultCode.ESTOP: Recovery(
            "support the arm before you release the stop: it falls",
            (
                "Remove the reason for the stop, and keep everybody out of the arms' reach.",
                SUPPORT,
                "Release the button, then resume the arm with AgileX's own tool (piper_ctrl_reset.py of piper_sdk) "
                "or by switching it off and on: the motors lose their power now.",
                "Wait a second, and lower the arm to where it can stay.",
                STATUS,
                CLEAR,
                ENABLE,
            ),
        ),
        FaultCode.TEACH: Recovery(
            "leave teach mode with the button on the arm",
            (
                "Hold the arm, and press its button once more to leave teach mode.",
                "The arm is in standby now and may lose its power within a second: lower it to where it can stay.",
                STATUS,
                CLEAR,
                ENABLE,
            ),
        ),
        FaultCode.POWER: Recovery(
            "support the arm and look for why its power went",
            (
                "The arm may have sunk: see that it stands where it can stay, and support it if it does not.",
                "Look for why the power went: supply, cable, an emergency stop in the supply, somebody's switch.",
                STATUS,
                CLEAR,
                ENABLE,
            ),
        ),
        FaultCode.COLLISION: Recovery(
            "free the arm from what it touches",
            (
                "See what the arm touches. It still pushes with its holding force: remove the obstacle, not the arm.",
                "If the arm itself must give way: support it, then switch it off; it falls.",
                "Look for damage, and for why the policy went there, before the next run.",
                STATUS,
                CLEAR,
            ),
        ),
        FaultCode.JOINT: Recovery(
            "look at the joint it names",
            (
                "Read which joint it is; look at its cable, and whether it stands beyond its limit.",
                SUPPORT,
                "Switch the arm off, move a joint that is beyond its limit back by hand, switch it on.",
                "If the error returns, the arm needs AgileX's service.",
                STATUS,
                CLEAR,
                ENABLE,
            ),
        ),
        FaultCode.TEMPERATURE: Recovery(
            "let the arm cool, supported",
            (
                SUPPORT,
                "Switch the arm off and let it cool; `gigaedge arms status` shows the temperatures.",
                "Look for what made it work so hard: its load, a pose held stretched out, a joint that rubs.",
                STATUS,
                CLEAR,
                ENABLE,
            ),
        ),
        FaultCode.MODE: _restart(
            "See who else commands the arm: another program on its bus, AgileX's app, a teach pendant; end that.",
            "see who else commands the arm",
            "In standby an arm loses its power within a second: it may have sunk. Support it if it has.",
        ),
        FaultCode.ARM: _restart(
            "Read what the arm reports; AgileX's manual explains its states.",
            "read what the arm reports",
            "If it does not go away: support the arm, switch it off and on (it falls), and look again.",
        ),
        FaultCode.FEEDBACK: _restart(
            _CABLES,
            "",
            "If only some frames stopped: see that the arm is not set to leader mode, and that nothing else sends on "
            "its bus.",
            "If the computer was the reason, as on a loaded one, the run's report shows late ticks.",
        ),
        FaultCode.SEND: _restart(
            _CABLES,
            "",
            "See the interface with `ip -details link show can0`; if it is BUS-OFF or down, take it down and up.",
        ),
        FaultCode.BUS: _restart(
            _CABLES,
            "check the CAN adapter",
            "See the interface with `ip -details link show can0`; take it down and up, at 1000000 bit/s.",
            "An adapter that was pulled comes back as a new interface, possibly with another name.",
        ),
        FaultCode.POLICY: _restart(
            "Read the run's last lines and the computer's log: the process may have run out of memory.",
            "the arms themselves are well",
            "Look where the arms stand, and that they may be approached from there.",
        ),
        FaultCode.NON_FINITE: _restart(
            "Check the bundle with `gigaedge verify`, and what the cameras saw: the policy answered with no number.",
            "check the bundle and what the cameras saw",
            "Look where the arms stand, and that they may be approached from there.",
        ),
        FaultCode.TRACKING: _restart(
            "See what keeps the joint from its command: an obstacle, a load that is too heavy, a hand.",
            "",
            "Remove it; the arm pushes with its holding force until then.",
            "If nothing is there: compare the command's speed with what the arm can do, and `limits.tracking_error`.",
        ),
        FaultCode.APPROACH: _restart(
            "See what keeps the arm from where it should go: an obstacle, or a target beyond the limits.",
            "look for an obstacle",
            "If nothing is there: `timing.approach_timeout` may be short for `limits.approach_velocity`.",
        ),
        FaultCode.CONTROL: _restart(
            "Read the computer's log for why the control process ended: memory, a signal, a crash.",
            "nobody watches the arms: keep clear of them",
            "The arms hold their last target; keep out of their reach until one of the commands watches them again.",
        ),
    }
)
"""For every code but NONE."""


def recovery_of(code: FaultCode) -> Recovery:
    """The way back from a fault; for a fault without a code, that of an arm's own report."""
    return RECOVERY.get(code, RECOVERY[FaultCode.ARM])
