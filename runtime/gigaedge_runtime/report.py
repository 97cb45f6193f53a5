"""What a run leaves behind, for a person and for a machine. Times in s, angles in rad, grippers in m."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge.files import write_text


@dataclass(frozen=True)
class Spread:
    """A distribution in a few numbers, s; zeros where nothing was measured."""

    count: int
    p50: float
    p99: float
    p999: float
    max: float
    p90: float = 0.0
    mean: float = 0.0
    sd: float = 0.0
    """Standard deviation."""
    min: float = 0.0

    @classmethod
    def of(cls, samples: NDArray[np.floating] | list[float]) -> Spread:
        """The spread of samples, s; zeros when there are none."""
        values = np.asarray(samples, dtype=np.float64)
        if values.size == 0:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        p50, p90, p99, p999 = map(float, np.percentile(values, (50, 90, 99, 99.9)))
        mean, sd, least = float(values.mean()), float(values.std()), float(values.min())
        return cls(values.size, p50, p99, p999, float(values.max()), p90, mean, sd, least)


@dataclass(frozen=True)
class StateChange:
    """One entry of the story of a run."""

    time: float
    """Since control's first tick, s."""
    state: str
    reason: str


LateCause = Literal["computing", "queued", "paging", "stolen", "interpreter", "timer", "blocked"]
"""Why a tick was late: the tick before computed that long; another thread had the processor; a page was read from a
disk; a hypervisor had taken the processors; another thread of the process computed, with Python's interpreter lock; the
thread slept and nothing woke it in time, while the process did nothing (interrupts off, or a virtual computer that
stood still uncounted); or, within the tick, the thread waited for a lock or a system call."""


@dataclass(frozen=True)
class LateTick:
    """One tick that came more than `statistics.LATE` after the one before, and what this thread did meanwhile."""

    time: float
    """Since control's first tick, s."""
    period: float
    """Since the tick before, s."""
    computed: float
    """Of that on a processor, s."""
    queued: float
    """Of that ready to run while another thread had the processor, s."""
    stolen: float
    """What a hypervisor took from this computer in the second before, in steps of 10 ms, s."""
    others: float
    """Of the period, what the process' other threads computed, s."""
    worked: float
    """Of the period, the tick before, s; the rest was sleep."""
    cause: LateCause


@dataclass(frozen=True)
class ClampCounts:
    """How often each limit held back a target; by name of gigaedge.robot.DIM_NAMES unless said otherwise."""

    position: dict[str, int]
    velocity: dict[str, int]
    acceleration: dict[str, int]
    jerk: dict[str, int]
    lead: dict[str, int]
    """Targets too far from the measured pose."""
    workspace: dict[str, int]
    """By side."""
    clearance: int
    """Between the two arms."""

    def totals(self) -> dict[str, int]:
        """The sum over all joints or arms, by limit."""
        counts = asdict(self)
        return {
            name: count if isinstance(count, int) else sum(count.values()) for name, count in counts.items()
        }


@dataclass(frozen=True)
class SeamReport:
    """How far apart two chunks were where one handed over to the other while the arms followed: before any fade.

    The jumps are the largest of any joint of an arm that exists; `count` of each is the number of hand-overs.
    """

    position: Spread
    """rad."""
    velocity: Spread
    """rad/s."""
    acceleration: Spread
    """rad/s^2."""
    delay: Spread
    """From a chunk's observation to its hand-over, s."""
    planned_delay: Spread
    """What real-time chunking had expected of the same, s; `count` is the number of hand-overs it prepared."""
    late: Spread
    """By how much a hand-over that it prepared came later than expected, s; 0 for one that did not."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> SeamReport:
        """From the JSON of `asdict`."""
        return cls(**_spreads(data))


@dataclass(frozen=True)
class ControlReport:
    """The control process's side. Dictionaries go from a name of gigaedge.robot.DIM_NAMES to a number."""

    state: str
    """The last one."""
    states: list[StateChange]
    """From the first change on; the first 500."""
    fault: str | None
    """Why it latched, in words."""
    fault_code: str | None
    period: Spread
    """Between two ticks, since the arms were enabled (dry run: since the start)."""
    work: Spread
    """What a tick itself took, of its period."""
    ticks: int
    missed: int
    """Ticks skipped because the loop was late by whole periods."""
    late: dict[LateCause, int]
    """Ticks that came more than `statistics.LATE` after the one before, by cause."""
    late_ticks: list[LateTick]
    """The first 100 of them."""
    clamps: ClampCounts
    travel_commanded: dict[str, float]
    """Sum of the absolute changes of the command."""
    travel_measured: dict[str, float]
    """Sum of the absolute changes of the feedback, noise included."""
    end_error: dict[str, float]
    """Command minus feedback after settling; empty when nothing was commanded."""
    sends: int
    failed_sends: int
    chunks: list[int]
    """Numbers of the chunks that moved the arms; the last 1000."""
    chunks_late: int
    """Chunks whose last action was due before they came."""
    seam: SeamReport
    held_after: float | None
    """From the fault to the first tick whose command stood still; None without fault or command."""
    standstill_after: float | None
    """From the fault to the last measured movement above 2 mrad; None without fault or command."""
    enabled: dict[str, bool]
    """By side, as last reported by each arm."""
    scheduling: str
    """Of the control process, in words."""
    stages: dict[str, Spread] = field(default_factory=dict)
    """Of `work`, which is their sum; by `statistics.TICK_STAGES`, without those that no tick had."""
    firmware: dict[str, str | None] = field(default_factory=dict)
    """Version by side; None where the arm did not tell."""
    notices: list[str] = field(default_factory=list)
    """What a person should know of the arms, one line each."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> ControlReport:
        """From the JSON of `asdict`."""
        return cls(
            **{
                **data,
                "period": Spread(**data["period"]),
                "work": Spread(**data["work"]),
                "stages": _spreads(data["stages"]),
                "clamps": ClampCounts(**data["clamps"]),
                "seam": SeamReport.parse(data["seam"]),
                "states": [StateChange(**change) for change in data["states"]],
                "late_ticks": [LateTick(**tick) for tick in data["late_ticks"]],
            }
        )


@dataclass(frozen=True)
class CameraHealth:
    """How one camera did, since it was started."""

    role: str
    source: str
    """`realsense` or `video`."""
    serial: str | None = None
    """None for a file, which has none of the next two either."""
    usb: str | None = None
    """USB type that was negotiated."""
    firmware: str | None = None
    frames: int = 0
    """Used."""
    rate: float = 0.0
    """Of those, Hz, over all the time from the first to the last."""
    dropped: int = 0
    """Numbers that the camera's own counter skipped."""
    out_of_order: int = 0
    """Came after a later one; not used."""
    duplicates: int = 0
    """Came before; not used."""
    untrusted_stamps: int = 0
    """Taken as exposed on arrival."""
    unlocked: int = 0
    """Exposed otherwise than the site file says."""
    reconnects: int = 0
    stamps: dict[str, int] = field(default_factory=dict)
    """Frames by what their time rests on: `global_time`, `system_time` or `arrival`."""
    transport: Spread = Spread(0, 0.0, 0.0, 0.0, 0.0)
    """From exposure to this program, of frames whose stamp was believed, s."""
    skew: Spread = Spread(0, 0.0, 0.0, 0.0, 0.0)
    """Behind the latest picture of each observation, s."""
    skew_by_arrival: int = 0
    """Observations whose skew was judged by arrival, because the stamps were not of one clock."""
    settings: dict[str, float] = field(default_factory=dict)
    """What was set in the camera, read back: `exposure` (s), `gain`, `white_balance` (K), and switches as 0 or 1."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> CameraHealth:
        """From the JSON of `asdict`."""
        return cls(**{**data, "transport": Spread(**data["transport"]), "skew": Spread(**data["skew"])})


@dataclass(frozen=True)
class PathReport:
    """From a camera's exposure to the first CAN frame that the picture decided.

    Of every chunk that the arms followed, but one that came before they had power: it waited for that. What each
    moment is, and what lies outside, is said in `latency_path`.
    """

    stages: dict[str, Spread]
    """All of `gigaedge.benchmark.PATH_STAGES`, in order; for each chunk their sum is `exposure_to_can`."""
    inference: dict[str, Spread]
    """Of the stage `inference`: `context` and `steps`, or `policy` in layout single."""
    exposure_to_can: Spread
    exposure_to_last_frame: Spread
    """To the last frame of that command, of both arms and grippers."""
    host: Spread
    """Per chunk, what is neither inference nor waiting: `state`, `compose` and `publish`."""
    by_arrival: int
    """Chunks whose oldest picture had no stamp to believe: its `transport` is not known and counts as 0."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> PathReport:
        """From the JSON of `asdict`."""
        whole = {name: Spread(**data[name]) for name in ("exposure_to_can", "exposure_to_last_frame", "host")}
        parts = {name: _spreads(data[name]) for name in ("stages", "inference")}
        return cls(**{**data, **whole, **parts})


@dataclass(frozen=True)
class PolicyReport:
    """The policy process's side."""

    chunks: int
    refused: dict[str, int]
    """Observations that were not used, by reason."""
    guided: int
    """Chunks that real-time chunking made continue the one before."""
    stages: dict[str, Spread]
    """Of all chunks, followed or not: `transport`, `wait`, `state`, `compose`, `inference` and its own, `publish`, as
    in `path`; `total`: exposure to publication."""
    odd_frames: dict[str, int] = field(default_factory=dict)
    """Camera frames that came `out_of_order` (not used), with an `untrusted_stamp` (taken as exposed on arrival) or
    `unlocked` (exposed otherwise than the site file says)."""
    cameras: list[CameraHealth] = field(default_factory=list)
    path: PathReport | None = None
    """None when no chunk reached an arm: a dry run, or arms that held."""
    ran_on: dict[str, int] = field(default_factory=dict)
    """Execution provider -> nodes it took; 0 where ONNX Runtime does not say."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> PolicyReport:
        """From the JSON of `asdict`."""
        cameras = [CameraHealth.parse(camera) for camera in data["cameras"]]
        path = PathReport.parse(data["path"]) if data["path"] else None
        return cls(**{**data, "stages": _spreads(data["stages"]), "cameras": cameras, "path": path})


@dataclass(frozen=True)
class RecordingReport:
    """The flight record's side."""

    file: str
    """What was written; `NAME.partial.mcap` when it is not complete."""
    ticks: int = 0
    ticks_dropped: int = 0
    chunks: int = 0
    chunks_dropped: int = 0
    packets_dropped: int = 0
    """Of any kind: when the recorder could not keep up, or was gone."""
    stopped: str | None = None
    """Why the recording ended before the run; None when it is complete."""


@dataclass(frozen=True)
class PhysicsReport:
    """The physical cell's side, where arms and cameras were in one (`simulation` of kind physics)."""

    task: str
    seed: int
    """Of the scene."""
    simulated: float
    """Time that passed in it, s."""
    lag: Spread
    """How far it was behind the clock before each of its steps of 5 ms, s."""
    skipped: float
    """Time that it left out because the computer was too slow, s."""
    done_after: float | None
    """Simulated time at which the task was done first, s; None: it was not."""


@dataclass(frozen=True)
class RunReport:
    """One run from start to end."""

    ended_by: str
    """`duration`, `signal`, or the class of the error."""
    error: str | None
    """One line; None when the run ended as asked."""
    duration: float
    """From the order to run until the order to stop, s."""
    dry_run: bool
    pids: dict[str, int] = field(default_factory=dict)
    """Of the processes `supervisor`, `control` and `policy`."""
    chunks: int = 0
    """Published by the policy process."""
    control: ControlReport | None = None
    """None when the control process ended without a report."""
    policy: PolicyReport | None = None
    """None when the policy process ended without a report."""
    recording: RecordingReport | None = None
    """None when nothing was to be recorded."""
    memory: dict[str, int] = field(default_factory=dict)
    """Of the processes in `pids`, the most resident memory that each had, bytes; without those that were killed."""
    physics: PhysicsReport | None = None
    """None where arms and cameras are in no physical cell."""

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")


def _spreads(data: Mapping[str, Any]) -> dict[str, Spread]:
    return {name: Spread(**spread) for name, spread in data.items()}
