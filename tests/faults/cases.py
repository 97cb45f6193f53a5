"""Every case of the table: arms and their buses, cameras, the policy and the processes, the clock."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, Final

from gigaedge_runtime.devices.sim_piper import SimulatedPiper
from tests.faults.case import Case, Reaction, Since
from tests.faults.cell import MAX_FEEDBACK_AGE, Cell, LoggedArm

WATCHDOG: Final = 0.1
"""s; from the last valid input to the first tick that slows the arms down."""
AT_ONCE: Final = 0.03
"""s; what an arm says of itself: a period of feedback, one of control, and their threads' waking up."""
A_TICK: Final = 0.03
"""s; what control sees by its own clock."""
SENDS: Final = 0.05
"""s; three commands in a row, and their ticks."""
HOUR: Final = 3600.0

CAMERA: Final = "cam_high"


def arm(fault: Callable[[LoggedArm], None], side: str = "left") -> Callable[[Cell], None]:
    """Put a fault into one simulated arm."""
    return lambda cell: fault(cell.left if side == "left" else cell.right)


def reports(**error: int) -> Callable[[Cell], None]:
    """Have the left arm report an error (see `SimulatedPiper.set_error`)."""
    return arm(lambda hurt: hurt.set_error(**error))


def camera(fault: str, value: Any) -> Callable[[Cell], None]:
    """Call a fault method of the simulated cameras."""
    return lambda cell: cell.ear.command("policy", "camera", fault=fault, role=CAMERA, value=value)


def planner(wrong: str) -> Callable[[Cell], None]:
    """Have the policy do something wrong in its next chunk."""
    return lambda cell: cell.ear.command("policy", "do", wrong=wrong)


def signalled(who: str, number: signal.Signals) -> Callable[[Cell], None]:
    """Send a signal to one of the processes."""
    return lambda cell: os.kill(cell.pid(who), number)


def stepped(seconds: float) -> Callable[[Cell], None]:
    """Set the system clock to and fro, a hundred times, so that frames are on their way when it happens."""

    def step(cell: Cell) -> None:
        for number in range(100):
            cell.clock.step(seconds * (number % 2))
            time.sleep(0.0077)

    return step


def lose_a_few(cell: Cell) -> None:
    """Five single packets of feedback, a tenth of a second apart."""
    for _ in range(5):
        cell.left.lose()
        time.sleep(0.1)


def replug(cell: Cell) -> None:
    """Pull the adapter of the left arm for longer than its silence is waited for, and plug it in again."""
    cell.left.unplug()
    cell.watch(1.5)
    cell.left.unplug(False)


def silent(name: str, injected: str, inject: Callable[[Cell], None]) -> Case:
    """Feedback that stops: seen by its age."""
    return Case(
        name, injected, "feedback", Reaction.LATCHED, WATCHDOG, Since.FEEDBACK,
        rf"^left arm: feedback is \d+ ms old, more than max_feedback_age {1e3 * MAX_FEEDBACK_AGE:.0f} ms; "
        "check power and CAN cable; the arms hold",
        inject,
    )  # fmt: skip


def refused(
    name: str, injected: str, inject: Callable[[Cell], None], reads: str, detector: str = "ArmError"
) -> Case:
    """A cell that is not fit to start."""
    return Case(name, injected, detector, Reaction.REFUSED, 0.0, Since.FAULT, reads, inject)


def reported(name: str, injected: str, words: str, detector: str, **error: int) -> Case:
    """An error that the left arm reports."""
    return Case(
        name, injected, detector, Reaction.LATCHED, AT_ONCE, Since.FAULT,
        f"^left arm: {words}.*; the arms hold", reports(**error),
    )  # fmt: skip


def driver_bit(bit: int, name: str, words: str, detector: str = "joint") -> Case:
    """A driver of the left arm sets one of its error bits."""
    # Driver frames come 40 times a second, so such a bit is up to 25 ms old when it comes.
    case = reported(
        f"driver-{name}", f"driver of joint 2 reports: {words}", f"joint 2: {words}", detector,
        driver_bits=1 << bit, joint=2,
    )  # fmt: skip
    return Case(**{**vars(case), "within": AT_ONCE + 0.025})


def blinded(
    name: str, injected: str, reason: str, reads: str, fault: str, on: Any, off: Any, lasts: float = 0.8
) -> Case:
    """A camera whose pictures are refused: the chunk is played to its end, then the arms hold."""
    return Case(
        name, injected, reason, Reaction.RESUMED, A_TICK, Since.CHUNK, f"^hold, .*\\({CAMERA}: {reads}",
        camera(fault, on), camera(fault, off), lasts,
    )  # fmt: skip


def unbothered(
    name: str, injected: str, inject: Callable[[Cell], None], undo: Callable[[Cell], None] | None = None,
    detector: str = "nothing", reads: str = "^$",
) -> Case:  # fmt: skip
    """A fault that a run survives."""
    return Case(name, injected, detector, Reaction.GOES_ON, 0.0, Since.FAULT, reads, inject, undo)


LATE = r"^hold, .*\(the next chunk is late\)"
HANGS = r"^the policy process \(pid \d+\) hangs: no sign of life for policy_timeout 1.5 s; the arms hold"
SOME_STAMPS = r"^$|^odd camera frames untrusted_stamp x \d+$"
KILLED = r"^the {} process \(pid \d+\) was killed by SIGKILL; the arms hold"

ARMS: Final = (
    silent("bus-silent", "nothing comes from the left arm any more", arm(SimulatedPiper.silence)),
    Case(
        "joint-frame-lost", "0x2A6, one of three joint frames, is lost for good", "feedback", Reaction.LATCHED,
        WATCHDOG, Since.FEEDBACK, "^left arm: feedback 0x2a6 stopped; the arms hold", arm(lambda a: a.mute(0x2A6)),
    ),
    unbothered("packets-lost", "five times a single packet of feedback is lost", lose_a_few),
    unbothered("delay-10-ms", "feedback comes 10 ms late", arm(lambda a: a.delay(0.010)), arm(lambda a: a.delay(0.0))),
    unbothered("delay-50-ms", "feedback comes 50 ms late", arm(lambda a: a.delay(0.050)), arm(lambda a: a.delay(0.0))),
    silent("delay-100-ms", "feedback comes 100 ms late", arm(lambda a: a.delay(0.1))),
    silent("delay-500-ms", "feedback comes 500 ms late", arm(lambda a: a.delay(0.5))),
    Case(
        "queue-full", "the bus takes no frames, the transmit queue fills (ENOBUFS)", "send", Reaction.LATCHED,
        SENDS, Since.SEND, "^left arm: the bus refused 3 commands in a row; check cabling.*; the arms hold",
        arm(SimulatedPiper.jam),
    ),
    Case(
        "send-error", "every send fails (ENETDOWN)", "send", Reaction.LATCHED, SENDS, Since.SEND,
        "arm: the bus refused 3 commands in a row; check cabling.*; the arms hold",
        lambda cell: cell.ear.command("control", "fail_sends"),
    ),
    driver_bit(0, "undervoltage", "voltage too low"),
    driver_bit(1, "motor-hot", "motor too hot", "temperature"),
    driver_bit(2, "overcurrent", "driver overcurrent"),
    driver_bit(3, "hot", "driver too hot", "temperature"),
    driver_bit(4, "collision", "collision", "collision"),
    driver_bit(5, "error", "driver error"),
    driver_bit(7, "stall", "stalled", "collision"),
    reported(
        "joint-communication", "error code: joint 3 does not communicate", "joint 3: communication error", "joint",
        code=4,
    ),
    reported(
        "joint-angle-limit", "error code: joint 3 at its angle limit", "joint 3: angle limit", "joint", code=1 << 10
    ),
    reported("arm-collision", "arm status 7: collision", "collision", "collision", status=7),
    reported("arm-brake", "arm status 6: brake not released", "joint brake not released", "joint", status=6),
    reported(
        "arm-too-hot", "arm status 14: main controller too hot", "main controller too hot", "temperature", status=14
    ),
    Case(
        "emergency-stop", "the button of the right arm is pressed", "estop", Reaction.LATCHED, AT_ONCE, Since.FAULT,
        "^right arm: emergency stop.*; the arms hold", arm(SimulatedPiper.press_estop, "right"),
        hurt="right", obedient=("left",),
    ),
    Case(
        "teach-mode", "the teach button of the right arm is pressed", "teach", Reaction.LATCHED, AT_ONCE, Since.FAULT,
        r"^right arm: teach mode \(the button on the arm\).*; the arms hold",
        arm(lambda a: a.set_teach(True), "right"), hurt="right",
    ),
)  # fmt: skip

LEFT_PARK: Final = (0.8, 1.0, -0.9, 0.0, 0.4, 0.0, 0.03)
RIGHT_PARK: Final = (-0.8, 1.4, -1.3, 0.0, 0.6, 0.0, 0.03)

POWER: Final = (
    Case(
        "power-cycle", "the supply of the right arm is switched off and on", "mode or power", Reaction.LATCHED,
        AT_ONCE + 0.025, Since.FAULT, "^right arm: .*(lost power|standby).*; the arms hold",
        arm(SimulatedPiper.power_cycle, "right"), hurt="right", obedient=("left",),
    ),
    Case(
        "usb-unplugged", "the CAN adapter of the left arm is pulled", "send", Reaction.LATCHED, WATCHDOG,
        Since.FEEDBACK, "^left arm: the bus refused 3 commands in a row; check cabling.*; the arms hold",
        arm(SimulatedPiper.unplug),
    ),
    Case(
        "usb-replugged", "the adapter is pulled for 1.5 s and plugged in again, before the arms get power", "nothing",
        Reaction.GOES_ON, 0.0, Since.FAULT, r"left arm: its bus was lost and opened anew \(1 x\)",
        lambda cell: None, before=replug,
    ),
    refused(
        "firmware-limits-corrupted", "the firmware reports -0.1 degrees for both ends of joint 2",
        arm(lambda a: a.corrupt_limits(2)),
        "^left arm: joint 2: the firmware reports a range from -0.1 to -0.1 degrees, .*its memory is damaged",
    ),
    Case(
        "arms-swapped", "each arm stands where the other one is parked", "ArmError", Reaction.REFUSED, 0.0, Since.FAULT,
        "^each arm stands where the other one is parked: the left and the right arm seem to be swapped; check which",
        lambda cell: None, homes={"left": RIGHT_PARK, "right": LEFT_PARK},
        parks={"left": LEFT_PARK, "right": RIGHT_PARK},
    ),
)  # fmt: skip

STARTS: Final = (
    refused(
        "start-arm-off", "the left arm sends nothing", arm(SimulatedPiper.silence),
        "^left arm on .* does not answer; check power, cabling and `can.channel`",
    ),
    refused(
        "start-frame-lost", "0x2A6 of the left arm is lost", arm(lambda a: a.mute(0x2A6)),
        r"^left arm on .* answers only in part \(missing: 0x2a6\); check cabling",
    ),
    refused(
        "start-emergency-stop", "the button of the right arm is pressed",
        arm(SimulatedPiper.press_estop, "right"), "^right arm cannot be enabled: emergency stop; clear this first$",
    ),
)  # fmt: skip

CAMERAS: Final = (
    blinded("camera-silent", "no frames, still connected", "stale", "picture is", "stall", True, False),
    blinded("camera-frozen", "the same frame again and again", "stale", "picture is", "freeze", True, False),
    blinded("camera-skewed", "stamped 120 ms too early", "skew", "picture is", "shift_clock", -0.12, 0.0),
    blinded("camera-clock-behind", "stamped 600 ms too early", "stale", "picture is", "shift_clock", -0.6, 0.0),
    blinded("camera-black", "every pixel 0", "exposure", "picture is all but black", "expose", 0, None),
    blinded("camera-white", "every pixel 255", "exposure", "picture is all but white", "expose", 255, None),
    unbothered(
        "camera-clock-ahead", "stamped 600 ms too late", camera("shift_clock", 0.6), camera("shift_clock", 0.0),
        "untrusted_stamp", r"odd camera frames .*untrusted_stamp x \d+",
    ),
    unbothered(
        "camera-out-of-order", "of every two frames the later one comes first", camera("disorder", True),
        camera("disorder", False), "out_of_order", r"odd camera frames .*out_of_order x \d+",
    ),
    blinded(
        "camera-unplugged", "the cable is pulled, and plugged in again", "lost",
        f"RealSense sim-{CAMERA} was unplugged or lost power; waiting", "unplug", True, False, lasts=1.6,
    ),
    Case(
        "camera-gone", "the cable is pulled for good; given up after 1.5 s here", "policy", Reaction.ENDED,
        A_TICK, Since.CHUNK,
        f"^{CAMERA}: RealSense sim-{CAMERA} was unplugged or lost power and gave no picture .*; the arms hold",
        lambda cell: cell.ear.command("policy", "unplug", role=CAMERA, patience=1.5),
    ),
    blinded(
        "camera-unlocked", "auto exposure comes back by itself", "unlocked", "auto exposure came back", "run_away",
        True, False,
    ),
)  # fmt: skip

PROCESSES: Final = (
    Case(
        "policy-nan", "a chunk with one NaN", "non_finite", Reaction.LATCHED, A_TICK, Since.PUBLISHED,
        "^chunk .* is refused: .*NaN or infinity; the arms hold", planner("nan"), exit_code=1,
    ),
    unbothered("policy-far", "a chunk that asks for 9 rad", planner("far")),
    Case(
        "chunk-late", "one chunk takes 2 s", "chunk age", Reaction.RESUMED, A_TICK, Since.CHUNK, LATE,
        planner("late"), lasts=1.0,
    ),
    Case(
        "policy-stopped", "SIGSTOP", "supervisor", Reaction.ENDED, A_TICK, Since.CHUNK, HANGS,
        signalled("policy", signal.SIGSTOP), timing={"policy_timeout": 1.5},
    ),
    Case(
        "policy-spins", "an endless loop in the policy", "supervisor", Reaction.ENDED, A_TICK, Since.CHUNK, HANGS,
        planner("spin"), timing={"policy_timeout": 1.5},
    ),
    Case(
        "policy-killed", "SIGKILL", "policy", Reaction.LATCHED, WATCHDOG, Since.FAULT, KILLED.format("policy"),
        signalled("policy", signal.SIGKILL),
    ),
    Case(
        "policy-out-of-memory", "an allocation fails", "policy", Reaction.LATCHED, WATCHDOG, Since.CHUNK,
        "^the policy process ran out of memory; .*; the arms hold", planner("exhaust"),
    ),
    Case(
        "control-killed", "SIGKILL", "supervisor", Reaction.ABANDONED, 3.0, Since.FAULT,
        KILLED.format("control") + " their last target$", signalled("control", signal.SIGKILL),
    ),
    Case(
        "control-stopped", "SIGSTOP", "supervisor", Reaction.ABANDONED, 6.0, Since.FAULT,
        r"^the control process \(pid \d+\) hangs: no sign of life for 2 s; the arms hold their last target$",
        signalled("control", signal.SIGSTOP),
    ),
    Case(
        "disk-full", "no space is left for the flight record", "recorder", Reaction.GOES_ON, 0.0, Since.FAULT,
        "recording stopped: .*run.*mcap: No space left on device",
        lambda cell: cell.ear.command("recorder", "fill"), record=True,
    ),
    unbothered(
        "clock-forward", "the system clock jumps an hour ahead, a hundred times",
        stepped(HOUR), reads=SOME_STAMPS,
    ),
    unbothered(
        "clock-back", "the system clock jumps an hour back, a hundred times",
        stepped(-HOUR), reads=SOME_STAMPS,
    ),
)  # fmt: skip

CASES: Final = (*ARMS, *POWER, *STARTS, *CAMERAS, *PROCESSES)
