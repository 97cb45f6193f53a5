"""The process that owns the arms: `python -m gigaedge_runtime.control_process`, started by `run.run_site`.

It imports neither ONNX Runtime nor OpenCV, lives in a session of its own, and ends only with the arms
holding: when the supervisor says so, when the supervisor is gone, or at SIGINT or SIGTERM.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from gigaedge.robot import Side
from gigaedge.site import Site
from gigaedge_runtime.children import Launch, Lifeline, StopFlag, child_main
from gigaedge_runtime.control import ControlLoop
from gigaedge_runtime.devices import Arm
from gigaedge_runtime.flight_packets import Sender
from gigaedge_runtime.flight_taps import ControlTap
from gigaedge_runtime.mailbox import Board, ControlStatus, Phase
from gigaedge_runtime.scheduling import CONTROL_PRIORITY, raise_priority

MakeArms = Callable[[Site], Mapping[Side, Arm]]


def make_arms(site: Site) -> dict[Side, Arm]:
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

    Raises ArmError: an arm is absent or silent, or cannot be enabled.
    """
    # Before the SDK starts its threads, which inherit it: a reader of lower priority would keep the GIL.
    scheduling = raise_priority(CONTROL_PRIORITY)
    sys.setswitchinterval(5e-4)
    board = Board(launch.board)
    board.status.publish(ControlStatus())
    arms = make(launch.site)
    with ExitStack() as connected:
        for arm in arms.values():
            connected.callback(arm.close)
            arm.connect()
        board.status.publish(ControlStatus(phase=Phase.READY))
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
        # A collection would take several periods. The loop makes no cycles, so nothing piles up.
        gc.collect()
        gc.freeze()
        gc.disable()
        loop.run()
        return asdict(loop.report(scheduling))


if __name__ == "__main__":
    sys.exit(main())
