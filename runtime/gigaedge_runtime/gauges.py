"""What the board tells while something is measured on it: power, clocks, temperatures, memory, throttling.

What a machine does not have, or does not show to this user, is listed with the reason and never appears as a zero. A
thread of this process reads /proc and /sys; tegrastats and nvidia-smi, where they are on PATH, run beside it and end
with the context, whatever ends it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType

from gigaedge.benchmark import Gauge, GaugesInfo
from gigaedge_runtime.board_tools import (
    Stream,
    board_rails,
    parse_smi,
    parse_tegrastats,
    power_mode,
    smi_command,
    smi_slowdowns,
    tegrastats_command,
)
from gigaedge_runtime.sensors import (
    PROC,
    SYS,
    ClockLimit,
    Rapl,
    Reading,
    Source,
    Unit,
    clock_limit,
    find_sensors,
    governors,
    throttle_counts,
)

_SERIES = 600
"""Entries of a series at most; the page that shows it is not wider."""
_Key = tuple[str, Source, Unit]


class Gauges:
    """Samples from entering to leaving: `with Gauges() as gauges: ...; gauges.report(chunks)`."""

    def __init__(self, interval: float = 0.5, *, proc: Path = PROC, sys: Path = SYS) -> None:
        """Sample every `interval` s. `proc` and `sys` are where those file systems are mounted."""
        self._interval, self._proc, self._sys = interval, proc, sys
        self._lock, self._stop = Lock(), Event()
        self._series: dict[_Key, list[tuple[float, float]]] = defaultdict(list)
        self._slowdowns: Counter[str] = Counter()
        self._limits: list[ClockLimit | None] = []
        self._failed: dict[str, str] = {}
        self._streams: dict[str, Stream] = {}
        self._ends = ExitStack()

    def __enter__(self) -> Gauges:
        """Find the sensors and begin."""
        found = find_sensors(self._proc, self._sys)
        self._sensors, self._absent = found.sensors, found.absent
        self._settings = (*governors(self._sys), *power_mode())
        self._throttled_before = throttle_counts(self._sys)
        self._begin = monotonic()
        try:
            self._start("tegrastats", tegrastats_command(self._interval), self._take_tegrastats)
            self._start("nvidia-smi", smi_command(self._interval), self._take_smi)
        except BaseException:
            self._ends.close()
            raise
        thread = Thread(target=self._work, name="gauges", daemon=True)
        self._ends.callback(thread.join)
        self._ends.callback(self._stop.set)
        thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread and the tools, after a last sample."""
        self._sample()
        self._ends.close()

    def report(self, chunks: int) -> GaugesInfo:
        """What was seen so far; may be asked for before or after leaving.

        The energy of a chunk is all energy since entering divided by `chunks`: that of the board where it measures
        its rails, else that of the processor packages and GPUs that tell.
        """
        if not self._stop.is_set():
            self._sample()
        with self._lock:
            series = {key: tuple(values) for key, values in self._series.items()}
            throttled = tuple(self._throttling())
            settings = (*self._settings, *self._clock_setting())
            failed = [f"{name}: {problem}" for name, problem in sorted(self._failed.items())]
            joules, source = self._energy(series)
        silent = [f"{name}: {stream.problem}" for name, stream in self._streams.items() if stream.problem]
        return GaugesInfo(
            interval_s=self._interval,
            gauges=tuple(_gauge(key, values) for key, values in series.items()),
            absent=(*self._absent, *failed, *silent),
            throttled=throttled,
            joule_per_chunk=joules / chunks if source and chunks else None,
            joule_source=source,
            settings=settings,
        )

    def _start(self, name: str, command: list[str] | None, take: Callable[[str], bool]) -> None:
        if command is None:
            self._absent = (*self._absent, f"{name}: not on PATH")
            return
        stream = Stream(command, take)
        try:
            stream.start()
        except OSError as error:
            self._absent = (*self._absent, f"{name}: cannot be started ({error.strerror})")
            return
        self._ends.callback(stream.stop)
        self._streams[name] = stream

    def _work(self) -> None:
        while not self._stop.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            self._limits.append(clock_limit(self._sys))
            for sensor in self._sensors:
                try:
                    self._add(sensor.read())
                except (OSError, ValueError) as error:
                    self._failed[sensor.label] = f"not readable at times ({error})"

    def _add(self, readings: Iterable[Reading]) -> bool:
        """Keep readings; whether there were any. The lock is held."""
        now, kept = monotonic() - self._begin, False
        for reading in readings:
            self._series[reading.name, reading.source, reading.unit].append((now, reading.value))
            kept = True
        return kept

    def _take_tegrastats(self, line: str) -> bool:
        with self._lock:
            return self._add(parse_tegrastats(line))

    def _take_smi(self, line: str) -> bool:
        with self._lock:
            self._slowdowns.update(smi_slowdowns(line))
            return self._add(parse_smi(line))

    def _throttling(self) -> Iterator[str]:
        for words, count in throttle_counts(self._sys).items():
            if more := count - self._throttled_before.get(words, 0):
                yield f"{words}: {more} times"
        for words, count in self._slowdowns.items():
            yield f"{words}, in {count} samples"
        held = [limit for limit in self._limits if limit is not None]
        if len(set(self._limits)) > 1:
            least = min(held, key=lambda limit: limit.allowed)
            yield f"CPU clock limited for a while, down to {least.allowed:.0f} of {least.possible:.0f} MHz"

    def _clock_setting(self) -> Iterator[str]:
        """A limit of the clock that did not change is a setting; one that did is a sign of throttling."""
        limits = set(self._limits)
        if len(limits) == 1 and (limit := limits.pop()) is not None:
            yield f"CPU clock limited to {limit.allowed:.0f} of {limit.possible:.0f} MHz"

    def _energy(self, series: Mapping[_Key, Sequence[tuple[float, float]]]) -> tuple[float, str]:
        """Energy since the start, J, and what it is of; empty when nothing tells. The lock is held."""
        power = {
            (source, name): sum(value for _, value in values) / len(values)
            for (name, source, unit), values in series.items()
            if unit == "W"
        }
        seconds = max((values[-1][0] for values in series.values()), default=0.0)
        rails = board_rails([name for source, name in power if source == "tegrastats"])
        if rails:
            return sum(
                power["tegrastats", name] for name in rails
            ) * seconds, f"tegrastats {' + '.join(rails)}"
        packages = [sensor for sensor in self._sensors if isinstance(sensor, Rapl) and sensor.whole]
        cards = [name for source, name in power if source == "nvidia-smi"]
        joules = sum(zone.joules for zone in packages) + seconds * sum(
            power["nvidia-smi", name] for name in cards
        )
        words = [f"rapl {zone.name}" for zone in packages] + [f"nvidia-smi {name}" for name in cards]
        return joules, " + ".join(words)


def _gauge(key: _Key, series: Sequence[tuple[float, float]]) -> Gauge:
    name, source, unit = key
    values = [value for _, value in series]
    return Gauge(
        name=name,
        source=source,
        unit=unit,
        mean=sum(values) / len(values),
        min=min(values),
        max=max(values),
        series=tuple(series[:: -(-len(series) // _SERIES)]),
    )
