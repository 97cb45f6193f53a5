"""The process that owns the arms: `python -m gigaedge_runtime.control_process`, started by `run.run_site`.

It imports neither ONNX Runtime nor OpenCV, lives in a session of its own, and ends only with the arms
holding: when the supervisor says so, when the supervisor is gone, or at SIGINT or SIGTERM.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from gigaedge.robot import Side
from gigaedge.site import Site
from gigaedge_runtime.children import Launch, Lifeline, StopFlag, child_main
from gigaedge_runtime.claim import claimed
from gigaedge_runtime.control import ControlLoop
from gigaedge_runtime.flight_packets import Sender
from gigaedge_runtime.flight_taps import ControlTap
from gigaedge_runtime.latch import latchable, set_latch
from gigaedge_runtime.mailbox import Board, ControlStatus, Phase
from gigaedge_runtime.preflight import check_firmware
from gigaedge_runtime.scheduling import CONTROL_PRIORITY, SWITCH_INTERVAL, lock_memory, raise_priority

if TYPE_CHECKING:
    from gigaedge_runtime.devices.piper import PiperArm

MakeArms = Callable[[Site], Mapping[Side, "PiperArm"]]


def make_arms(site: Site) -> dict[Side, PiperArm]:
    """The arms of a site that exist, not connected yet."""
    from gigaedge_runtime.devices.piper import PiperArm

    effort = site.limits.gripper_effort
    return {
        arm.side: PiperArm(arm.side, arm.can, gripper_effort=effort)
        for arm in site.arms
        if arm.driver != "absent"
    }


def main(argv: Sequence[str] | None = None, make: MakeArms = make_arms) -> int:
    """Run the process; returns its exit code."""
    return child_main("control", argv, lambda launch, stop: serve(launch, stop, make))


def serve(launch: Launch, stop: StopFlag, make: MakeArms) -> dict[str, Any]:
    """Connect the arms, control them until the end, leave them holding; returns the report.

    Raises ArmError: an arm is absent, silent or commanded by somebody else, or cannot be enabled; ConfigError: a
    park pose outside the limits.
    """
    # Before the SDK starts its threads, which inherit it: a reader of lower priority would keep the GIL.
    scheduling = f"{raise_priority(CONTROL_PRIORITY)}; {lock_memory()}"
    sys.setswitchinterval(SWITCH_INTERVAL)
    board = Board(launch.board)
    board.status.publish(ControlStatus())
    arms = make(launch.site)
    with ExitStack() as connected:
        if not launch.dry_run:
            connected.enter_context(claimed(arm for arm in launch.site.arms if arm.side in arms))
        for arm in arms.values():
            connected.callback(arm.close)
            arm.connect()
        notices = check_firmware(arms.values(), launch.site.limits, refuse=not launch.dry_run)
        firmware = {str(side): arm.firmware for side, arm in arms.items()}
        make_loop: Callable[..., ControlLoop] = ControlLoop
        if launch.record:
            tap = ControlTap(Sender(launch.record[0]), board)
            connected.callback(tap.end)
            make_loop = tap.loop
        loop = make_loop(
            launch.site,
            arms,
            board,
            policy_alive=Lifeline(launch.policy).intact,
            supervisor_alive=Lifeline(launch.supervisor).intact,
            stop_asked=lambda: stop.requested,
            dry_run=launch.dry_run,
        )
        board.status.publish(ControlStatus(phase=Phase.READY))
        # A collection would take several periods. The loop makes no cycles, so nothing piles up.
        gc.collect()
        gc.freeze()
        gc.disable()
        loop.run()
        # From here on nobody waits for the next tick.
        notices += latch_fault(launch, loop)
        for arm in arms.values():
            if arm.reconnects:
                notices.append(f"{arm.side} arm: its bus was lost and opened anew ({arm.reconnects} x)")
        return asdict(replace(loop.report(scheduling), notices=notices, firmware=firmware))


def latch_fault(launch: Launch, loop: ControlLoop) -> list[str]:
    """Leave a latch on every arm that was commanded when a fault came; returns what went wrong with that.

    A run that never powered the arms has nothing to latch: they are as they were before it.
    """
    fault = loop.machine.fault
    if fault is None or not loop.armed:
        return []
    arms = [arm for arm in latchable(launch.site) if arm.side not in launch.hosted]
    try:
        set_latch(arms, fault, datetime.now(timezone.utc))
    except OSError as error:
        return [f"the fault could not be recorded ({error}): the next run will not know of it"]
    return []


if __name__ == "__main__":
    sys.exit(main())
