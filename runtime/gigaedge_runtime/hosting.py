"""Simulated arms of a site: hosted by the command that needs them, for as long as it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from gigaedge.errors import ConfigError
from gigaedge.robot import Side
from gigaedge.simulation import PhysicalCell, load_cell
from gigaedge.site import ArmConfig, CanConfig, Site

if TYPE_CHECKING:
    from gigaedge_runtime.devices.sim_motion import Axis
    from gigaedge_runtime.devices.sim_piper import SimulatedPiper
    from gigaedge_runtime.physics.running import RunningWorld

SIM_HOME = (0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03)
"""Where a simulated arm starts when the site does not say: elbow up, gripper half open; rad, m."""


@contextmanager
def simulated_arms(site: Site, physics: RunningWorld | None = None) -> Iterator[Site]:
    """Host the simulated arms; yields the site as the children see it, where those are on CAN channels.

    `physics`: what their joints are in, if the caller has made it already (`physical_world`).
    """
    physics = physics or physical_world(site)
    with ExitStack() as stack:
        arms: list[ArmConfig] = []
        axes: dict[Side, Sequence[Axis]] = {}
        for arm in site.arms:
            if arm.driver == "sim":
                simulated = _arm(arm, physics)
                simulated.start()
                stack.callback(simulated.stop)
                axes[arm.side] = simulated.axes
                can = CanConfig(interface="gigaedge-sim", channel=simulated.channel)
                # All else stays: where the arm stands and what it must stay within hold for simulated ones, too.
                arms.append(arm.model_copy(update={"driver": "piper", "can": can}))
            else:
                arms.append(arm)
        if physics is not None:
            from gigaedge_runtime.physics.link import world_channel

            physics.start(axes, world_channel(sim_channel("left")))
            stack.callback(physics.stop)
        yield site.model_copy(update={"arms": tuple(arms)})


def physical_world(site: Site) -> RunningWorld | None:
    """What the site's simulated arms move in, not started; None: each moves by itself.

    Raises ConfigError: an arm that is not simulated in a physical cell, or has a `home`; no such task.
    """
    if site.simulation is None:
        return None
    cell = load_cell(site.simulation)
    if not isinstance(cell, PhysicalCell):
        return None
    for index, arm in enumerate(site.arms):
        if arm.driver != "sim":
            raise ConfigError(
                f"arms[{index}].driver: a physical cell has both arms in it (driver sim); the {arm.side} arm's is "
                f"{arm.driver}"
            )
        if arm.home is not None:
            raise ConfigError(
                f"arms[{index}].home: in a physical cell the task's scene says where arms begin; leave it out"
            )
    # MuJoCo is an extra, and most sites need none.
    from gigaedge_runtime.physics.running import RunningWorld
    from gigaedge_runtime.physics.watching import task_scene
    from gigaedge_runtime.physics.world import PhysicalWorld
    from gigaedge_runtime.tasks import TASKS

    return RunningWorld(PhysicalWorld(task_scene(cell)), TASKS[cell.task], cell.seed)


def _arm(arm: ArmConfig, physics: RunningWorld | None) -> SimulatedPiper:
    from gigaedge_runtime.devices.sim_piper import SimulatedPiper  # only where it is needed

    if physics is None:
        return SimulatedPiper(sim_channel(arm.side), arm.home or SIM_HOME)
    from gigaedge_runtime.physics.running import Motor

    return SimulatedPiper(sim_channel(arm.side), physics.home(arm.side), motor=Motor)


def sim_channel(side: Side) -> str:
    """The simulated bus of an arm that this process hosts."""
    return f"gigaedge-{os.getpid()}-{side}"
