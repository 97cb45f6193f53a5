"""Simulated arms of a site: hosted by the command that needs them, for as long as it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gigaedge.site import ArmConfig, CanConfig, Site

SIM_HOME = (0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03)
"""Where a simulated arm starts when the site does not say: elbow up, gripper half open; rad, m."""


@contextmanager
def simulated_arms(site: Site) -> Iterator[Site]:
    """Host the simulated arms; yields the site as the children see it, where those are on CAN channels."""
    with ExitStack() as stack:
        arms: list[ArmConfig] = []
        for arm in site.arms:
            if arm.driver == "sim":
                from gigaedge_runtime.devices.sim_piper import SimulatedPiper  # only where it is needed

                channel = f"gigaedge-{os.getpid()}-{arm.side}"
                simulated = SimulatedPiper(channel, arm.home or SIM_HOME)
                simulated.start()
                stack.callback(simulated.stop)
                can = CanConfig(interface="gigaedge-sim", channel=channel)
                # All else stays: where the arm stands and what it must stay within hold for simulated ones, too.
                arms.append(arm.model_copy(update={"driver": "piper", "can": can}))
            else:
                arms.append(arm)
        yield site.model_copy(update={"arms": tuple(arms)})
