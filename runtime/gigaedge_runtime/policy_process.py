"""The process that sees and decides: `python -m gigaedge_runtime.policy_process`, started by `run.run_site`.

Observation -> composite -> chunk -> mailbox, again and again. It never touches an arm; when it dies, at
whatever point, control notices within a tick or two.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import sleep
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import open_bundle
from gigaedge.clock import Clock, monotonic
from gigaedge.compose import Compositor
from gigaedge.errors import InputError, ObservationError
from gigaedge.site import Site
from gigaedge_runtime.capture import CameraSet, CapturedViews, calibrated_latencies, open_cameras
from gigaedge_runtime.children import POLICY_NICENESS, Launch, Lifeline, StopFlag, child_main
from gigaedge_runtime.flight_packets import Sender
from gigaedge_runtime.flight_taps import ChunkTap
from gigaedge_runtime.latency_path import Birth, PathLog
from gigaedge_runtime.mailbox import Board, Order, Phase, PlannerStatus
from gigaedge_runtime.report import PolicyReport, Spread
from gigaedge_runtime.rtc import Continuity, Guidance
from gigaedge_runtime.states import State
from gigaedge_runtime.trajectory import Trajectory

STATE_WAIT = 0.03
"""s; how long to wait for the measured state that follows a very fresh picture."""

CAMERA_TIMEOUT = 10.0
"""s; a RealSense that was just plugged in takes three."""

POLL = 0.002
"""s between two looks at cameras or states."""

SAMPLES = 10_000
"""Latencies kept per stage, the newest."""


class Planned(Protocol):
    """A chunk as a policy returns it (see `policy.Chunk`)."""

    @property
    def actions(self) -> NDArray[np.float32]:
        """Absolute targets, rad and m, shape (n, 14)."""

    @property
    def rate_hz(self) -> float:
        """Actions per second."""

    @property
    def timings(self) -> Mapping[str, float]:
        """Seconds by stage."""

    @property
    def inputs(self) -> Mapping[str, NDArray[np.float32]]:
        """Arrays it was computed from beside composite and state, by name."""


@dataclass(frozen=True)
class Actions:
    """A chunk (`Planned`) of actions alone, of whoever decides without a bundle, or changes what one decided."""

    actions: NDArray[np.float32]
    rate_hz: float
    timings: Mapping[str, float] = field(default_factory=dict)
    inputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Planner:
    """What the loop needs of a policy."""

    size_wh: tuple[int, int]
    """Width and height of the composite, px."""
    layout: Literal["tshape", "horizontal"]
    plan: Callable[[NDArray[np.uint8], NDArray[np.float32]], Planned]
    """From a composite (H, W, 3) and a state (14,) to a chunk."""
    guided: Callable[[NDArray[np.uint8], NDArray[np.float32], Guidance], Planned] | None = None
    """The same for a chunk that continues the one before; None: the policy cannot."""
    ran_on: Mapping[str, int] = field(default_factory=dict)
    """Execution provider -> nodes it took; 0 where ONNX Runtime does not say."""


LoadPlanner = Callable[[Site], Planner]


def load_planner(site: Site) -> Planner:
    """The policy of a site's bundle, warmed up by one chunk.

    Raises BundleError: no bundle, a damaged one, no such prompt or step count, none that takes the chunk before where
    the site wants real-time chunking; DeviceError: the provider.
    """
    from gigaedge_runtime.measuring import RecordingDevice
    from gigaedge_runtime.policy import Observation, Policy

    inference = site.inference
    device = RecordingDevice(inference.provider, inference.threads)
    bundle = open_bundle(Path(site.bundle))
    policy = Policy(bundle, device, inference.steps, inference.solver, inference.seed)
    policy.set_prompt(site.prompt or policy.manifest.prompts.names[0])
    guided = site.execution.handover == "rtc"
    if guided:
        policy.require_guidance()
    view = policy.manifest.view
    policy.chunk(Observation.make_example(view))
    return Planner(
        size_wh=(view.width, view.height),
        layout=view.layout,
        plan=lambda composite, state: policy.chunk(Observation(composite, state)),
        guided=(
            lambda composite, state, guidance: policy.chunk(Observation(composite, state), guidance=guidance)
        )
        if guided
        else None,
        ran_on=device.ran_on,
    )


def main(argv: Sequence[str] | None = None, load: LoadPlanner = load_planner) -> int:
    """Run the process; returns its exit code."""
    return child_main("policy", argv, lambda launch, stop: serve(launch, stop, load))


def serve(launch: Launch, stop: StopFlag, load: LoadPlanner) -> dict[str, Any]:
    """Publish chunks until asked to stop; returns the report.

    Raises BundleError, CameraError or DeviceError when bundle or cameras cannot be used or are lost.
    """
    os.nice(POLICY_NICENESS)
    board = Board(launch.board)
    board.planner.publish(PlannerStatus(heartbeat=monotonic()))
    supervisor = Lifeline(launch.supervisor)

    def ended() -> bool:
        return stop.requested or not supervisor.intact() or board.order.latest() is Order.STOP

    site = launch.site
    # Cameras first: that one is missing should not take a large bundle's loading to find out.
    with open_cameras(site.cameras, site) as cameras:
        cameras.latencies = calibrated_latencies(site)
        cameras.wait_ready(min(CAMERA_TIMEOUT, site.timing.startup_timeout / 2))
        planner = load(site)
        tap = ChunkTap(Sender(launch.record[0])) if launch.record else None
        loop = PolicyLoop(site, planner, cameras, board, tap=tap)
        loop.publish_status()
        while not ended():
            if not loop.step():
                sleep(POLL)
        if tap is not None:
            tap.end()
        return asdict(loop.report())


@dataclass
class PolicyLoop:
    """Observations become chunks, each in time for the one before to be relieved."""

    site: Site
    planner: Planner
    cameras: CameraSet
    board: Board
    clock: Clock = monotonic
    tap: ChunkTap | None = None
    """Where to record chunks."""
    _newest: dict[str, float] = field(default_factory=dict)
    _next: float = -np.inf
    _chunks: int = 0
    _guided: int = 0
    _reason: str = ""
    _refused: Counter[str] = field(default_factory=Counter)
    _stages: dict[str, deque[float]] = field(default_factory=dict)
    _path: PathLog = field(default_factory=PathLog)
    _latencies: deque[float] = field(default_factory=lambda: deque(maxlen=5))

    def __post_init__(self) -> None:
        self._compositor = Compositor(self.planner.size_wh, self.planner.layout)
        site = self.site
        self._continuity = Continuity(site.execution.guidance, pickup=1.0 / site.timing.control_rate)

    def step(self) -> bool:
        """Publish a chunk if it is time and there is an observation; False when there was nothing to do."""
        timing = self.site.timing
        begin = self.clock()
        if begin < self._next:
            self.publish_status()
            return False
        views = self.cameras.observe(begin, timing.max_image_age, timing.max_skew)
        if not isinstance(views, CapturedViews):
            return self._refuse(views.reason, str(views))
        if not views.fresh:
            self.publish_status()
            return False
        try:
            state = self._state_at(views.captured)
        except ObservationError as error:
            return self._refuse("state", str(error))
        self._plan(views, state, begin)
        return True

    def publish_status(self) -> None:
        """Tell the others that this process is alive, and what it has done."""
        self.board.planner.publish(
            PlannerStatus(self.clock(), Phase.READY, self._chunks, self._refused.total(), self._reason)
        )

    def report(self) -> PolicyReport:
        """Everything that was counted."""
        self._path.reached(self.board.handover.newest())
        return PolicyReport(
            chunks=self._chunks,
            refused=dict(self._refused),
            guided=self._guided,
            stages={name: Spread.of(list(samples)) for name, samples in self._stages.items()},
            odd_frames=self.cameras.odd_frames(),
            cameras=self.cameras.health(),
            path=self._path.report(),
            ran_on=dict(self.planner.ran_on),
        )

    def _state_at(self, captured: float) -> NDArray[np.float32]:
        """The measured state at the moment that the oldest picture shows. Raises ObservationError."""
        states = self.board.states
        deadline = self.clock() + STATE_WAIT
        while (newest := states.newest()) is not None and newest[0] < captured and self.clock() < deadline:
            sleep(POLL)
        return states.at(captured, self.site.timing.max_feedback_age).astype(np.float32)

    def _plan(self, views: CapturedViews, state: NDArray[np.float32], begin: float) -> None:
        stated = self.clock()
        oldest = views.oldest
        composite = self._compositor.compose(views.images)
        composed = self.clock()
        guidance = self._guidance(views.captured, composed)
        if guidance is not None and self.planner.guided is not None:
            chunk = self.planner.guided(composite, state, guidance)
        else:
            chunk = self.planner.plan(composite, state)
        planned = self.clock()
        self._chunks += 1
        self._reason = ""
        delay = guidance.delay if guidance else 0.0
        # What became of the chunk before: as soon as this one is out, control may overwrite it.
        self._path.reached(self.board.handover.newest())
        self.board.chunks.publish(self._chunks, views.captured, chunk.rate_hz, chunk.actions, delay)
        published = self.clock()
        self._guided += guidance is not None
        self._continuity.published(self._trajectory(views.captured, chunk), published - composed)
        self._path.born(
            Birth(
                self._chunks,
                exposed=oldest.captured,
                arrived=oldest.received,
                begun=begin,
                stated=stated,
                composed=composed,
                inferred=planned,
                published=published,
                inference=chunk.timings,
                by_arrival=oldest.stamp == "arrival" and oldest.captured == oldest.received,
            )
        )
        self._sample("transport", oldest.received - oldest.captured)
        self._sample("wait", begin - oldest.received)
        self._sample("state", stated - begin)
        self._sample("compose", composed - stated)
        for stage, duration in chunk.timings.items():
            self._sample(stage, duration)
        self._sample("inference", planned - composed)
        self._sample("publish", published - planned)
        self._sample("total", published - views.captured)
        # The next chunk takes over `replan_after` actions into this one, so its picture is due one latency
        # earlier; the slowest of the last few, so that one slow chunk does not leave the arm without targets.
        self._latencies.append(published - views.captured)
        relief = views.captured + self.site.timing.replan_after / chunk.rate_hz
        self._next = relief - max(self._latencies)
        if self.tap is not None:
            self.tap.planned(self._chunks, views, composite, state, chunk, self._newest)
        self.publish_status()

    def _guidance(self, observed: float, now: float) -> Guidance | None:
        """What the next chunk owes to the one that the arms follow; None where it cannot continue any."""
        if self.planner.guided is None:
            return None
        status = self.board.status.latest()
        # Held arms have left the chunk, and approaching ones have not come to it.
        if status is None or status.state is not State.RUNNING:
            return None
        return self._continuity.guidance(observed, now, status.chunk)

    def _trajectory(self, observed: float, chunk: Planned) -> Trajectory | None:
        """The chunk just published, as control follows it; None for one that control will refuse."""
        try:
            return Trajectory(chunk.actions, observed, chunk.rate_hz, self._chunks)
        except InputError:
            return None

    def _refuse(self, reason: str, text: str) -> bool:
        self._refused[reason] += 1
        self._reason = text
        self.publish_status()
        return False

    def _sample(self, stage: str, duration: float) -> None:
        self._newest[stage] = duration
        self._stages.setdefault(stage, deque(maxlen=SAMPLES)).append(duration)


if __name__ == "__main__":
    sys.exit(main())
