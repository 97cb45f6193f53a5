"""A flight record in a few thousand points, however long the run was: what a page of plots needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import InputError
from gigaedge.robot import ROBOT_DIM, SIDES, Side
from gigaedge_runtime.flight_reader import Event, FlightRecord, Progress, RecordedTick

BUCKETS = 800
"""Points in time that are kept at least, once there were as many; twice as many at most."""

EVENTS = 200
"""Events that are kept, the first ones."""

Array = NDArray[np.float64]


class Envelope:
    """Series over time in bounded memory: of each stretch of time the lowest and highest value are kept.

    When there are too many stretches, each two neighbours become one, so that no peak is lost. NaN is no value.
    """

    def __init__(self, columns: int, buckets: int = BUCKETS) -> None:
        """`columns`: values per point in time."""
        self._times = np.zeros((2 * buckets, 2))
        self._low = np.full((2 * buckets, columns), np.nan)
        self._high = np.full((2 * buckets, columns), np.nan)
        self._stride = 1
        self._filled = 0
        self._inside = 0

    def add(self, time: float, values: Array) -> None:
        """Append a point in time, s, later than those before; `values` of shape (columns,)."""
        if self._inside == 0:
            if self._filled == len(self._times):
                self._merge()
            self._times[self._filled] = time
            self._low[self._filled] = self._high[self._filled] = values
            self._filled += 1
        else:
            last = self._filled - 1
            self._times[last, 1] = time
            np.fmin(self._low[last], values, out=self._low[last])
            np.fmax(self._high[last], values, out=self._high[last])
        self._inside = (self._inside + 1) % self._stride

    def lines(self) -> tuple[Array, Array]:
        """Times, shape (n,), and values, shape (n, columns), of a line that shows every extreme."""
        times, low, high = (a[: self._filled] for a in (self._times, self._low, self._high))
        if self._stride == 1:
            return times[:, 0].copy(), low.copy()
        return times.reshape(-1), np.stack((low, high), axis=1).reshape(2 * self._filled, -1)

    def _merge(self) -> None:
        half = len(self._times) // 2
        self._times[:half] = np.stack((self._times[0::2, 0], self._times[1::2, 1]), axis=1)
        self._low[:half] = np.fmin(self._low[0::2], self._low[1::2])
        self._high[:half] = np.fmax(self._high[0::2], self._high[1::2])
        self._filled = half
        self._stride *= 2


@dataclass(frozen=True)
class Band:
    """A stretch of time in one state, s since the first tick."""

    state: str
    begin: float
    end: float


@dataclass
class Story:
    """What happened in a run; times in s since the first tick."""

    sides: tuple[Side, ...] = ()
    """The arms that answered."""
    duration: float = 0.0
    ticks: int = 0
    dropped: int = 0
    """Ticks in between that were not recorded."""
    commanded: bool = False
    measured: Envelope = field(default_factory=lambda: Envelope(ROBOT_DIM))
    """rad and m, as the next two."""
    target: Envelope = field(default_factory=lambda: Envelope(ROBOT_DIM))
    sent: Envelope = field(default_factory=lambda: Envelope(ROBOT_DIM))
    velocity: Envelope = field(default_factory=lambda: Envelope(ROBOT_DIM))
    """Of what was sent, per s."""
    loop: Envelope = field(default_factory=lambda: Envelope(2))
    """Time since the tick before, and work of the tick, s."""
    bands: list[Band] = field(default_factory=list)
    chunks: list[float] = field(default_factory=list)
    """When a chunk was taken."""
    events: list[Event] = field(default_factory=list)


def read_story(flight: FlightRecord, advance: Progress = lambda count: None) -> Story:
    """Read a record twice, ticks and events. Raises InputError: a damaged file, or one without a tick."""
    story = Story()
    before: RecordedTick | None = None
    begin = 0.0
    state, since = "", 0.0
    present: set[Side] = set()
    for tick in flight.ticks(advance):
        if before is None:
            begin, state = tick.now, tick.state
        time = tick.now - begin
        present |= tick.readings.keys()
        _add(story, tick, before, time)
        if tick.state != state:
            story.bands.append(Band(state, since, time))
            state, since = tick.state, time
        before = tick
    if before is None:
        raise InputError(f"{flight.path}: holds no tick of control; the run ended before its first")
    story.duration = before.now - begin
    story.bands.append(Band(state, since, story.duration))
    story.sides = tuple(side for side in SIDES if side in present)
    for event in flight.events(advance):
        if len(story.events) < EVENTS:
            story.events.append(Event(event.time - begin, event.level, event.source, event.text))
    return story


def _add(story: Story, tick: RecordedTick, before: RecordedTick | None, time: float) -> None:
    told = tick.told
    nothing = np.full(ROBOT_DIM, np.nan)
    velocity, period = nothing, np.nan
    if before is not None:
        story.dropped += tick.number - before.number - 1
        period = tick.now - before.now
        if tick.number == before.number + 1 and period > 0:
            velocity = (told - before.told) / period
    story.ticks += 1
    story.commanded |= bool(tick.sent)
    story.measured.add(time, tick.measured)
    story.target.add(time, nothing if tick.target is None else tick.target)
    story.sent.add(time, told)
    story.velocity.add(time, velocity)
    story.loop.add(time, np.array((period, tick.took)))
    if tick.chunk is not None:
        story.chunks.append(time)
