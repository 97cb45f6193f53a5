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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray

from gigaedge.clock import Deadlines, monotonic
from gigaedge.cli.common import JsonOption, print_json, print_table
from gigaedge.errors import CheckFailedError, GigaedgeError
from gigaedge.machine import describe_machine
from gigaedge.robot import CAMERA_ROLES, ROBOT_DIM, CameraRole
from gigaedge.site import BaseConfig, BoxConfig, Site, load_site
from gigaedge_runtime.capture import CameraSet
from gigaedge_runtime.control import ControlLoop
from gigaedge_runtime.devices import Frame, Trouble
from gigaedge_runtime.devices.threaded import owned
from gigaedge_runtime.flight_packets import Receiver, Sender, make_socket
from gigaedge_runtime.flight_taps import ChunkTap, ControlTap
from gigaedge_runtime.hosting import simulated_arms
from gigaedge_runtime.mailbox import Board, ControlStatus, Order, Phase
from gigaedge_runtime.policy_process import Planner, PolicyLoop
from gigaedge_runtime.report import CameraHealth
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.scheduling import (
    CONTROL_PRIORITY,
    SWITCH_INTERVAL,
    ThreadAccount,
    lock_memory,
    raise_priority,
)
from gigaedge_runtime.states import State

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "bimanual.yaml"

CHUNK_LIMIT = 6e-3
"""s; p99 of all that is not inference, per chunk."""
TICK_LIMIT = 0.5e-3
"""s; p99 of a control tick with two arms."""

CHUNK_ACTIONS, CHUNK_RATE = 48, 30.0
REPLAN = 0.4
"""s between two chunks of the tick benchmark."""
SWING = 0.2
"""rad; how far the chunks of the tick benchmark swing."""

WARM_UP = 20
"""Chunks that do not count: the first ones import, allocate and try out."""
PAUSE = 0.01
"""s between two chunks of the chunk benchmark."""

F = TypeVar("F", bound=Callable[..., Any])

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@dataclass(frozen=True)
class Stage:
    """How long one stage takes, s."""

    name: str
    count: int
    wall_p50: float
    wall_p99: float
    wall_max: float
    cpu_p50: float
    cpu_p99: float
    cpu_max: float


class Stopwatch:
    """Durations by stage, on the wall and of this thread's CPU time.

    Reading both clocks costs some microseconds a stage: the whole is timed in every other round, its stages in the rest.
    """

    def __init__(self) -> None:
        self._samples: dict[str, list[tuple[float, float]]] = {}
        self._round = 0

    def around(self, name: str, call: F, whole: bool = False) -> F:
        """`call`, timed; the `whole` begins a round."""
        samples = self._samples.setdefault(name, [])
        wall, cpu = time.perf_counter, time.thread_time

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._round += whole
            if self._round % 2 != whole:
                return call(*args, **kwargs)
            begin, computed = wall(), cpu()
            try:
                return call(*args, **kwargs)
            finally:
                samples.append((wall() - begin, cpu() - computed))

        return timed  # type: ignore[return-value]

    def wrap(self, owner: object, whole: bool = False, **methods: str) -> None:
        """Time methods of one object: stage name -> method name."""
        for name, method in methods.items():
            setattr(owner, method, self.around(name, getattr(owner, method), whole))

    def clear(self) -> None:
        """Forget what was timed so far."""
        for samples in self._samples.values():
            samples.clear()

    def stages(self) -> list[Stage]:
        """The distribution of every stage, in the order in which they were named."""
        return [
            Stage(name, len(samples), *_spread([s[0] for s in samples]), *_spread([s[1] for s in samples]))
            for name, samples in self._samples.items()
            if samples
        ]


def _spread(samples: list[float]) -> tuple[float, float, float]:
    p50, p99 = np.percentile(samples, (50, 99))
    return float(p50), float(p99), max(samples)


@dataclass(frozen=True)
class Result:
    """One benchmark."""

    machine: str
    scheduling: str
    limit: float
    """s; for the p99 of the last stage."""
    stages: list[Stage]

    @property
    def total(self) -> Stage:
        """The stage that the limit is for."""
        return self.stages[-1]


def finish(result: Result, title: str, as_json: bool, require: bool) -> None:
    """Print a result. Raises CheckFailedError where it exceeds its limit and that is `require`d."""
    if as_json:
        print_json(asdict(result))
    else:
        print_table(
            f"{title}, us; {result.machine}; {result.scheduling}",
            ["stage", "count", "wall p50", "p99", "max", "CPU p50", "p99", "max"],
            [
                [
                    stage.name,
                    str(stage.count),
                    *(
                        f"{1e6 * value:.0f}"
                        for value in (
                            stage.wall_p50,
                            stage.wall_p99,
                            stage.wall_max,
                            stage.cpu_p50,
                            stage.cpu_p99,
                            stage.cpu_max,
                        )
                    ),
                ]
                for stage in result.stages
            ],
        )
    total = result.total
    if require and total.wall_p99 > result.limit:
        raise CheckFailedError(
            f"{title}: p99 is {1e3 * total.wall_p99:.2f} ms, more than {1e3 * result.limit:g} ms "
            f"(of it CPU: {1e3 * total.cpu_p99:.2f} ms)"
        )


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
        sender = stack.enter_context(_recorder()) if record else None
        scheduling = f"{raise_priority(CONTROL_PRIORITY)}; {lock_memory()}"
        sys.setswitchinterval(SWITCH_INTERVAL)
        site = stack.enter_context(hosted_elsewhere(_cell(boxes)))
        fd = Board.create()
        stack.callback(os.close, fd)
        board, ours = Board(fd), Board(fd)
        from gigaedge_runtime.control_process import make_arms

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
    result = Result(describe_machine(), scheduling, TICK_LIMIT, watch.stages())
    finish(result, "Control tick, two arms", as_json, require)


def _time_stages(watch: Stopwatch, loop: ControlLoop) -> None:
    watch.wrap(
        loop,
        feedback="_read_arms",
        chunk="_take_chunk",
        tracking="_tracking_fault",
        compare="_compare",
        command="_command",
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
    with ThreadAccount() as account:
        loop.statistics.watch(account)
        while following is None or monotonic() - following < seconds:
            now = monotonic()
            if now >= due:
                chunk += 1
                due = now + REPLAN
                board.chunks.publish(chunk, now - 0.1, CHUNK_RATE, _swing(now - 0.1))
            loop._tick_undisturbed()
            if following is None and loop.machine.state is State.RUNNING:
                following = monotonic()
                watch.clear()
                deadlines = Deadlines(loop._period)
            deadlines.wait()


def _swing(begin: float) -> NDArray[np.float32]:
    """A chunk whose joints swing about the home of the example's arms, each at a pace of its own."""
    times = begin + np.arange(CHUNK_ACTIONS)[:, np.newaxis] / CHUNK_RATE
    home = np.tile([0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03], 2)
    swing = np.tile([1.0, 0.5, 0.5, 1.0, 0.5, 1.0, 0.0], 2) * SWING
    return (home + swing * np.sin(times * (0.5 + 0.1 * np.arange(ROBOT_DIM)))).astype(np.float32)


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
            raise RuntimeError("the pipes that were asked for are missing")
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


@contextmanager
def _recorder() -> Iterator[Sender]:
    """A sender whose recorder, a process of its own, takes everything and keeps nothing."""
    theirs, ours = make_socket()
    child = os.fork()
    if child == 0:
        os.close(ours)
        receiver = Receiver(theirs)
        while receiver.receive() is not None:
            pass
        os._exit(0)
    os.close(theirs)
    sender = Sender(ours)
    try:
        yield sender
    finally:
        sender.end(0, monotonic())
        os.waitpid(child, 0)


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
        sender = stack.enter_context(_recorder()) if record else None
        fd = Board.create()
        stack.callback(os.close, fd)
        board, control = Board(fd), Board(fd)
        cameras = {role: _Camera(role, seed) for seed, role in enumerate(CAMERA_ROLES)}
        planner = _planner(watch)
        loop = PolicyLoop(
            site, planner, CameraSet(list(cameras.values())), board, tap=ChunkTap(sender) if sender else None
        )
        _time_chunk(watch, loop, cameras)
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
    result = Result(describe_machine(), f"nice {os.nice(0)}", CHUNK_LIMIT, watch.stages())
    finish(result, "Chunk without inference, three 640x480 pictures", as_json, require)


def _time_chunk(watch: Stopwatch, loop: PolicyLoop, cameras: dict[CameraRole, _Camera]) -> None:
    watch.wrap(loop.cameras, observe="observe")
    watch.wrap(loop, state="_state_at")
    watch.wrap(loop._compositor, compose="compose")
    watch.wrap(loop, guidance="_guidance", trajectory="_trajectory", status="publish_status")
    watch.wrap(loop.board.chunks, publish="publish")
    if loop.tap is not None:
        watch.wrap(loop.tap, record="planned")
    watch.wrap(loop, whole=True, chunk="step")


class _Camera:
    """Noise of a camera's size; a new frame whenever one is asked for by `expose`."""

    def __init__(self, role: CameraRole, seed: int) -> None:
        self.role = role
        self.odd_frames: dict[str, int] = {}
        self.trouble: Trouble | None = None
        self._image = np.random.default_rng(seed).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        self._number = 0
        self._frame: Frame | None = None

    def expose(self) -> None:
        """As a driver's thread does: the picture is copied out of its memory."""
        now = monotonic()
        self._number += 1
        self._frame = Frame(self.role, owned(self._image, "none"), self._number, now, now, "global_time")

    def latest(self) -> Frame | None:
        """The newest frame."""
        return self._frame

    def health(self) -> CameraHealth:
        """Nothing is counted."""
        return CameraHealth(self.role, "noise")

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class _Planned:
    actions: NDArray[np.float32]
    inputs: dict[str, NDArray[np.float32]]
    rate_hz: float = CHUNK_RATE
    timings: dict[str, float] = field(default_factory=dict)


def _planner(watch: Stopwatch) -> Planner:
    """Bound buffers that are filled and read as a policy's are; nothing is inferred."""
    import onnxruntime as ort

    width, height = 320, 384
    shapes = {
        "composite": np.zeros((height, width, 3), np.uint8),
        "state": np.zeros(ROBOT_DIM, np.float32),
        "noise": np.zeros((CHUNK_ACTIONS, ROBOT_DIM), np.float32),
        "previous": np.zeros((CHUNK_ACTIONS, ROBOT_DIM), np.float32),
        "weight": np.zeros(CHUNK_ACTIONS, np.float32),
        "limit": np.zeros(1, np.float32),
        "targets": _swing(0.0),
    }
    buffers = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in shapes.items()}
    random = np.random.default_rng(0)

    def plan(composite: NDArray[np.uint8], state: NDArray[np.float32], guidance: Guidance | None = None) -> Any:
        noise = random.standard_normal((CHUNK_ACTIONS, ROBOT_DIM), np.float32)
        inputs = {"noise": noise, **(guidance.arrays() if guidance else {})}
        for name, values in {"composite": composite, "state": state, **inputs}.items():
            buffers[name].update_inplace(np.ascontiguousarray(values))
        return _Planned(np.array(buffers["targets"].numpy(), np.float32), inputs)

    timed = watch.around("buffers", plan)
    return Planner((width, height), "tshape", timed, timed)


if __name__ == "__main__":
    try:
        app()
    except GigaedgeError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
