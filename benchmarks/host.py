"""What the host does around the network: every stage of a chunk and of a control tick, timed by itself.

    python benchmarks/host.py tick                  two simulated arms behind the real SDK, real control code
    python benchmarks/host.py chunk                 three 640x480 pictures to a published chunk, no inference
    python benchmarks/host.py chunk --record        the same with a flight recorder listening
    python benchmarks/host.py tick --json --require p99 above its limit exits 1

`tick` is what the control process does: its priority, its switch interval, its two SDK reader threads, arms on a
python-can bus in another process, boxes and clearance watched. CPU times are of the control thread alone. Wall times
are that plus waiting: for the interpreter lock, which the readers hold while they decode, and for a processor.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from gigaedge.cli.common import JsonOption, run_script
from gigaedge.clock import Deadlines, monotonic
from gigaedge.errors import CheckFailedError, ProcessError
from gigaedge.machine import describe_machine
from gigaedge.robot import CAMERA_ROLES, ROBOT_DIM
from gigaedge.site import BaseConfig, BoxConfig, Site, load_site
from gigaedge_runtime.capture import CameraSet
from gigaedge_runtime.control import ControlLoop
from gigaedge_runtime.control_process import make_arms
from gigaedge_runtime.flight_taps import ChunkTap, ControlTap
from gigaedge_runtime.hosting import simulated_arms
from gigaedge_runtime.mailbox import Board, ControlStatus, Order, Phase
from gigaedge_runtime.policy_process import PolicyLoop
from gigaedge_runtime.scheduling import (
    CONTROL_PRIORITY,
    SWITCH_INTERVAL,
    ThreadAccount,
    lock_memory,
    raise_priority,
)
from gigaedge_runtime.states import State
from host_cast import CHUNK_RATE, NoiseCamera, make_planner, recorder, swing
from host_stages import Result, Stopwatch, finish

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "bimanual.yaml"

CHUNK_LIMIT = 6e-3
"""s; p99 of all that is not inference, per chunk."""
TICK_LIMIT = 0.5e-3
"""s; p99 of a control tick with two arms."""

REPLAN = 0.4
"""s between two chunks of the tick benchmark."""

WARM_UP = 20
"""Chunks that do not count: the first ones import, allocate and try out."""
PAUSE = 0.01
"""s between two chunks of the chunk benchmark."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


RequireOption = Annotated[bool, typer.Option("--require", help="Exit 1 when p99 exceeds the limit.")]


@app.command()
def tick(
    seconds: Annotated[float, typer.Option("--for", help="Seconds of ticks.", min=1.0)] = 10.0,
    boxes: Annotated[bool, typer.Option(help="Watch the arms' boxes and their clearance.")] = True,
    record: Annotated[bool, typer.Option("--record", help="With a flight recorder listening.")] = False,
    as_json: JsonOption = False,
    require: RequireOption = False,
) -> None:
    """Time the control tick with two arms while they follow chunks."""
    watch = Stopwatch()
    with ExitStack() as stack:
        sender = stack.enter_context(recorder()) if record else None
        scheduling = f"{raise_priority(CONTROL_PRIORITY)}; {lock_memory()}"
        sys.setswitchinterval(SWITCH_INTERVAL)
        site = stack.enter_context(hosted_elsewhere(_cell(boxes)))
        fd = Board.create()
        stack.callback(os.close, fd)
        board, ours = Board(fd), Board(fd)
        arms = make_arms(site)
        for arm in arms.values():
            stack.callback(arm.close)
            arm.connect()
        make: Callable[..., ControlLoop] = ControlLoop
        if sender is not None:
            make = ControlTap(sender, board).loop
        alive = {name: lambda: True for name in ("policy_alive", "supervisor_alive")}
        loop = make(site, arms, board, **alive, stop_asked=lambda: False, dry_run=False)
        _time_stages(watch, loop)
        ours.order.give(Order.RUN)
        gc.collect()
        gc.freeze()
        gc.disable()
        _follow(loop, ours, watch, seconds)
        gc.enable()
        gc.unfreeze()
        if loop.machine.state is not State.RUNNING:
            fault = loop.machine.fault
            raise CheckFailedError(f"the arms are {loop.machine.state.name}: {fault.text if fault else ''}")
    *stages, total, yardstick = watch.stages()
    result = Result(describe_machine(), scheduling, TICK_LIMIT, yardstick, [*stages, total])
    finish(result, "Control tick, two arms", as_json, require)


def _time_stages(watch: Stopwatch, loop: ControlLoop) -> None:
    watch.wrap(
        loop,
        feedback="_read_arms",
        chunk="_take_chunk",
        tracking="_tracking_fault",
        compare="_compare",
        aim="_aim",
        limits="_limit",
        send="_send",
        publish="_publish",
    )
    watch.wrap(loop.statistics, account="tick")
    watch.wrap(loop, whole=True, tick="tick")


def _follow(loop: ControlLoop, board: Board, watch: Stopwatch, seconds: float) -> None:
    """Tick in time, with a new chunk every `REPLAN`, until the arms have followed for `seconds`."""
    deadlines = Deadlines(loop._period)
    chunk = 0
    following: float | None = None
    due = -np.inf
    work = watch.around("yardstick", _small_work)
    with ThreadAccount() as account:
        loop.statistics.watch(account)
        while following is None or monotonic() - following < seconds:
            now = monotonic()
            if now >= due:
                chunk += 1
                due = now + REPLAN
                board.chunks.publish(chunk, now - 0.1, CHUNK_RATE, swing(now - 0.1))
            loop._tick_undisturbed()
            work()
            if following is None and loop.machine.state is State.RUNNING:
                following = monotonic()
                watch.clear()
                deadlines = Deadlines(loop._period)
            deadlines.wait()


def _small_work() -> None:
    """What ticks are made of: a few hundred operations on numbers, and some on short arrays."""
    values = np.linspace(0.1, 1.4, ROBOT_DIM)
    for _ in range(10):
        values = np.minimum(np.maximum(values * 1.01, 0.0), 2.0)
        for value in values.tolist():
            value = (value * value + 1.0) / 3.0


def _cell(boxes: bool) -> Site:
    """The example with two arms; with `boxes`, each arm's box and the clearance between them are watched."""
    site = load_site(EXAMPLE)
    if not boxes:
        return site
    arms = tuple(
        arm.model_copy(
            update={
                "base": BaseConfig(x=0.0, y=0.3 if arm.side == "left" else -0.3, z=0.0, yaw=0.0),
                "workspace": BoxConfig(min=(-0.35, -0.55, 0.0), max=(0.75, 0.55, 0.9)),
            }
        )
        for arm in site.arms
    )
    return site.model_copy(
        update={"arms": arms, "limits": site.limits.model_copy(update={"clearance": 0.15})}
    )


@contextmanager
def hosted_elsewhere(site: Site) -> Iterator[Site]:
    """The site with its simulated arms in a process of their own, as a run has them."""
    command = [sys.executable, __file__, "arms"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        if host.stdin is None or host.stdout is None:
            raise ProcessError("the simulated arms did not start; see above")
        host.stdin.write(site.model_dump_json(by_alias=True) + "\n")
        host.stdin.flush()
        try:
            yield Site.model_validate_json(host.stdout.readline())
        finally:
            host.stdin.close()


@app.command(hidden=True)
def arms() -> None:
    """Host the simulated arms of the site on standard input until that is closed."""
    with simulated_arms(Site.model_validate_json(sys.stdin.readline())) as site:
        print(site.model_dump_json(by_alias=True), flush=True)
        sys.stdin.read()


@app.command()
def chunk(
    count: Annotated[int, typer.Option(help="Chunks.", min=100)] = 300,
    record: Annotated[bool, typer.Option("--record", help="With a flight recorder listening.")] = False,
    as_json: JsonOption = False,
    require: RequireOption = False,
) -> None:
    """Time everything of a chunk but its inference: pictures to a published chunk that continues the one before."""
    watch = Stopwatch()
    site = load_site(EXAMPLE)
    with ExitStack() as stack:
        sender = stack.enter_context(recorder()) if record else None
        fd = Board.create()
        stack.callback(os.close, fd)
        board, control = Board(fd), Board(fd)
        cameras = {role: NoiseCamera(role, seed) for seed, role in enumerate(CAMERA_ROLES)}
        planner = make_planner(watch.around)
        loop = PolicyLoop(
            site, planner, CameraSet(list(cameras.values())), board, tap=ChunkTap(sender) if sender else None
        )
        _time_chunk(watch, loop)
        picture = np.zeros((480, 640, 3), np.uint8)
        work = watch.around(
            "yardstick", lambda: Image.fromarray(picture).resize((320, 240), Image.Resampling.BILINEAR)
        )
        gc.collect()
        gc.freeze()
        for number in range(WARM_UP + count):
            if number == WARM_UP:
                watch.clear()
            # As control leaves it, and the cores cold, as after an inference elsewhere.
            control.status.publish(
                ControlStatus(monotonic(), Phase.LOOPING, State.RUNNING, chunk=loop._chunks)
            )
            control.states.push(monotonic(), np.zeros(ROBOT_DIM))
            for camera in cameras.values():
                camera.expose()
            time.sleep(PAUSE)
            control.states.push(monotonic(), np.zeros(ROBOT_DIM))
            loop._next = -np.inf
            if not loop.step():
                raise CheckFailedError(f"no chunk: {loop._reason}")
            work()
    *stages, total, yardstick = watch.stages()
    result = Result(describe_machine(), f"nice {os.nice(0)}", CHUNK_LIMIT, yardstick, [*stages, total])
    finish(result, "Chunk without inference, three 640x480 pictures", as_json, require)


def _time_chunk(watch: Stopwatch, loop: PolicyLoop) -> None:
    watch.wrap(loop.cameras, observe="observe")
    watch.wrap(loop, state="_state_at")
    watch.wrap(loop._compositor, compose="compose")
    watch.wrap(loop, guidance="_guidance", trajectory="_trajectory", status="publish_status")
    watch.wrap(loop.board.chunks, publish="publish")
    if loop.tap is not None:
        watch.wrap(loop.tap, record="planned")
    watch.wrap(loop, whole=True, chunk="step")


if __name__ == "__main__":
    run_script(app)
