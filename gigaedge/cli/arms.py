"""`gigaedge arms ...`: look at the arms, power them, park them, and take away the latch of a fault."""

from __future__ import annotations

import json as jsonlib
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigaedge.cli.common import JsonOption, needs, print_json, print_notices, print_table
from gigaedge.cli.run import INTERRUPTED
from gigaedge.errors import InputError

if TYPE_CHECKING:
    from gigaedge.site import Site
    from gigaedge_runtime.inspection import ArmView
    from gigaedge_runtime.latch import Latch
    from gigaedge_runtime.report import RunReport

REFRESH = 0.2
"""s between two looks of `--watch`."""

app = typer.Typer(no_args_is_help=True)

SiteArgument = Annotated[Path, typer.Argument(help="Site file of the robot cell.", show_default=False)]


@app.callback()
def _group() -> None:
    """Arms: look at them, power them, park them, clear a fault.

    Faults latch: after a run that ended in one, `gigaedge run` refuses the arm until a person has looked and said
    `clear`. Nothing here resets an arm or takes its power: both make it fall.

    Exit codes: 0 done, 2 bad input, 3 an arm is absent, latched or refuses, 130 interrupted.
    """


@app.command(
    "status", epilog="Examples: `gigaedge arms status examples/sim.yaml`, `... --watch`, `... --json`"
)
def status_command(
    site: SiteArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look five times a second until Ctrl-C; a replugged arm returns.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show what each arm reports: mode, motors, pose, temperatures, faults, feedback, firmware limits, latch.

    Sends questions only, never a command. With a fault or a latch, what to do is listed step by step. Simulated
    arms (`driver: sim`) are started for it.
    """
    from gigaedge.site import load_site

    loaded = load_site(site)
    with needs("robot"):
        import piper_sdk  # noqa: F401  the arms' link needs it; that it is missing is said here

        from gigaedge_runtime.inspection import LOOKING, viewing

    with viewing(loaded) as viewer:
        viewer.look()
        if watch:
            _watch(viewer.look, json)
            return
        time.sleep(LOOKING)
        views = viewer.look()
    if json:
        print_json({"arms": [describe(view) for view in views]})
    else:
        _print(views)
    absent = [view for view in views if view.report is None]
    if absent:
        typer.echo(f"error: {absent[0].problem}", err=True)
        raise typer.Exit(3)


@app.command("enable", epilog="Example: `gigaedge arms enable site.yaml`")
def enable_command(site: SiteArgument) -> None:
    """Power the motors of both arms, one by one, and let them hold the pose they are in.

    The same checks and limits as in a run. The arms stay powered when the command ends. Simulated arms
    (`driver: sim`) exist only as long as the command; see `gigaedge arms simulate`.
    """
    from gigaedge.site import load_site

    loaded = load_site(site)
    with needs("robot,cpu"):
        from gigaedge_runtime.mailbox import Order
        from gigaedge_runtime.run import attend_arms

    _tell(loaded, attend_arms(loaded, Order.HOLD), "powered, holds where it is")


@app.command("park", epilog="Example: `gigaedge arms park site.yaml`")
def park_command(site: SiteArgument) -> None:
    """Move both arms slowly to the `park` poses of the site file, and leave them there, powered.

    Straight in the joints, at `limits.approach_velocity`: see first that nothing is in the way. Ctrl-C stops
    where they are.
    """
    from gigaedge.site import load_site

    loaded = load_site(site)
    with needs("robot,cpu"):
        from gigaedge_runtime.mailbox import Order
        from gigaedge_runtime.run import attend_arms

    _tell(loaded, attend_arms(loaded, Order.PARK), "parked, powered")


@app.command(
    "clear", epilog="Examples: `gigaedge arms clear site.yaml`, `gigaedge arms clear site.yaml --yes`"
)
def clear_command(
    site: SiteArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: somebody has looked at the arms.")] = False,
) -> None:
    """Take away the latch that a fault left, once the arms report none any more and stand still.

    Moves nothing, powers nothing and resets nothing: it only lets the next run begin.
    """
    from gigaedge.site import load_site

    loaded = load_site(site)
    with needs("robot"):
        import piper_sdk  # noqa: F401

        from gigaedge_runtime.inspection import latched, require_well
        from gigaedge_runtime.latch import clear_latch

    latches = latched(loaded)
    if not latches:
        typer.echo("no arm is latched")
        return
    if not (yes or sys.stdin.isatty()):
        raise InputError("nobody is there to ask; pass --yes when somebody has looked at the arms")
    require_well(loaded)
    for side, latch in latches.items():
        typer.echo(f"{side} arm: {latch.when}: {latch.text}")
        _echo_steps(latch.steps)
    if not (yes or typer.confirm("Is all of this done, and may the arms move again?")):
        typer.echo("the arms stay latched")
        raise typer.Exit(INTERRUPTED)
    for side in latches:
        clear_latch(loaded.arm(side))
    typer.echo(f"cleared: {', '.join(latches)}")


@app.command(
    "simulate",
    epilog="Example: `gigaedge arms simulate --left sim-left --right sim-right`, then a site file with "
    "`{side: left, driver: piper, can: {interface: gigaedge-sim, channel: sim-left}}`",
)
def simulate_command(
    left: Annotated[str | None, typer.Option(help="Channel of a left arm.", show_default=False)] = None,
    right: Annotated[str | None, typer.Option(help="Channel of a right arm.", show_default=False)] = None,
) -> None:
    """Serve simulated arms until Ctrl-C, so that several commands can practise on the same ones.

    They keep their pose, power and faults from command to command, as real ones do, and latch as real ones do.
    """
    with needs("robot"):
        from gigaedge_runtime.children import StopFlag, stop_on_signals
        from gigaedge_runtime.devices.sim_piper import SimulatedPiper
        from gigaedge_runtime.hosting import SIM_HOME

    channels = [channel for channel in (left, right) if channel is not None]
    if not channels:
        raise InputError("name at least one channel: --left CHANNEL, --right CHANNEL")
    stop = StopFlag()
    arms = [SimulatedPiper(channel, SIM_HOME) for channel in channels]
    try:
        with stop_on_signals(stop):
            for arm in arms:
                arm.start()
            typer.echo(f"simulated arms on gigaedge-sim: {', '.join(channels)}; Ctrl-C ends them")
            sys.stdout.flush()
            while not stop.requested:
                time.sleep(REFRESH)
    finally:
        for arm in arms:
            arm.stop()
    raise typer.Exit(INTERRUPTED)


def _watch(look: Any, json: bool) -> None:
    """Look again and again until Ctrl-C, which is raised out of here."""
    from rich.console import Console

    console = Console()
    while True:
        time.sleep(REFRESH)
        views = look()
        if json:
            typer.echo(jsonlib.dumps({"arms": [describe(view) for view in views]}, allow_nan=False))
            sys.stdout.flush()
        else:
            if console.is_terminal:
                console.clear()
            _print(views)


def describe(view: ArmView) -> dict[str, Any]:
    """An arm for `--json`: in units as the names say; `pose` in rad and m, as a site file takes it."""
    from gigaedge_runtime.devices.piper_faults import gravest
    from gigaedge_runtime.recovery import recovery_of

    described: dict[str, Any] = {
        "side": view.side,
        "channel": view.channel,
        "connected": view.report is not None,
        "problem": view.problem,
        "latch": None if view.latch is None else view.latch.model_dump(mode="json", by_alias=True),
    }
    report = view.report
    if report is None:
        return described
    limits = view.limits
    return described | {
        "adapter": report.adapter,
        "bus": report.bus,
        "firmware": report.firmware,
        "control_mode": report.control_mode,
        "powered": list(report.powered[:-1]),
        "gripper_powered": report.powered[-1],
        "joints_deg": [round(math.degrees(joint), 3) for joint in report.joints],
        "pose": [round(value, 5) for value in (*report.joints, report.gripper)],
        "gripper_mm": round(report.gripper * 1e3, 3),
        "voltages_v": list(report.voltages),
        "motors_celsius": list(report.motor_temperatures),
        "drivers_celsius": list(report.driver_temperatures),
        "faults": [{"code": code.name.lower(), "text": text} for code, text in report.faults],
        "steps": list(recovery_of(gravest(report.faults)).steps) if report.faults else [],
        "frames": {
            frame.kind: {
                "hz": round(frame.rate, 1),
                "age_ms": round(frame.age * 1e3, 1) if math.isfinite(frame.age) else None,
            }
            for frame in report.frames
        },
        "firmware_limits": limits
        and {
            "position_min_deg": [round(math.degrees(value), 1) for value in limits.position_min],
            "position_max_deg": [round(math.degrees(value), 1) for value in limits.position_max],
            "velocity_rad_s": list(limits.velocity),
            "acceleration_rad_s2": list(limits.acceleration),
        },
        "disagreements": list(view.disagreements),
    }


def _print(views: list[ArmView]) -> None:
    for view in views:
        print_table(f"{view.side} arm ({view.channel})", ["", ""], _rows(view))
        if view.latch is not None:
            _echo_steps(view.latch.steps)
        elif view.report is not None and view.report.faults:
            _echo_steps(tuple(describe(view)["steps"]))


def _rows(view: ArmView) -> list[list[str]]:
    arm = describe(view)
    rows = [["latch", _latch(view.latch)]]
    if view.problem is not None:
        return [*rows, ["not reached", view.problem]]
    off = [str(joint) for joint, on in enumerate(arm["powered"], start=1) if not on]
    off += [] if arm["gripper_powered"] else ["gripper"]
    frames = [f"{kind} {f['hz']:.0f} Hz, {_age(f['age_ms'])}" for kind, f in arm["frames"].items()]
    firmware_limits = "not told by the firmware"
    if arm["firmware_limits"] is not None:
        firmware_limits = "; ".join(arm["disagreements"]) or "agree with the site's"
    rows += [
        ["faults", "; ".join(fault["text"] for fault in arm["faults"]) or "none"],
        ["control", arm["control_mode"]],
        ["motors", f"off: {', '.join(off)}" if off else "all powered"],
        ["joints, deg", ", ".join(f"{value:.2f}" for value in arm["joints_deg"])],
        ["gripper, mm", f"{arm['gripper_mm']:.1f}"],
        ["as a pose", f"[{', '.join(f'{value:.4f}' for value in arm['pose'])}]"],
        ["voltages, V", ", ".join(f"{value:.1f}" for value in arm["voltages_v"])],
        ["motors, C", ", ".join(map(str, arm["motors_celsius"]))],
        ["drivers, C", ", ".join(map(str, arm["drivers_celsius"]))],
        ["feedback", "; ".join(frames)],
        ["firmware", arm["firmware"] or "not told"],
        ["firmware limits", firmware_limits],
    ]
    if arm["bus"] is not None:
        rows.append(["CAN", arm["bus"]])
    if arm["adapter"] is not None:
        rows.append(["adapter", arm["adapter"]])
    return rows


def _latch(latch: Latch | None) -> str:
    return "none" if latch is None else f"{latch.when}: {latch.text}"


def _age(milliseconds: float | None) -> str:
    return "never" if milliseconds is None else f"{milliseconds:.0f} ms ago"


def _echo_steps(steps: tuple[str, ...]) -> None:
    for number, step in enumerate(steps, start=1):
        typer.echo(f"  {number}. {step}")


def _tell(site: Site, report: RunReport, done: str) -> None:
    """Say how `enable` or `park` ended."""
    if report.control is not None:
        print_notices(report.control.notices)
    if report.ended_by == "signal":
        typer.echo("interrupted: the arms hold where they are")
        raise typer.Exit(INTERRUPTED)
    for arm in site.arms:
        if arm.driver != "absent":
            typer.echo(f"{arm.side} arm: {done}")
