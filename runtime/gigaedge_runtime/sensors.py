"""What the kernel tells about power, clocks, temperatures and memory, read from /proc and /sys."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Literal, Protocol

Source = Literal["rapl", "tegrastats", "nvidia-smi", "sysfs", "proc"]
Unit = Literal["W", "MHz", "C", "MB", "%"]
PROC, SYS = Path("/proc"), Path("/sys")


@dataclass(frozen=True)
class Reading:
    """One value of one sensor; see `gigaedge.benchmark.Gauge`."""

    name: str
    source: Source
    unit: Unit
    value: float


class Sensor(Protocol):
    """Something that is read every now and then."""

    label: str
    """What it is, for a person."""

    def read(self) -> Iterator[Reading]:
        """What it shows now: nothing while it is out of order."""


@dataclass(frozen=True)
class Found:
    """The sensors of this machine, and what it does not have, each with the reason."""

    sensors: tuple[Sensor, ...]
    absent: tuple[str, ...]


def find_sensors(proc: Path = PROC, sys: Path = SYS) -> Found:
    """Look for sensors that this user may read."""
    sensors: list[Sensor] = [ResidentMemory(proc)]
    absent: list[str] = []
    zones = sorted(sys.glob("class/powercap/intel-rapl:*"))
    for zone in zones:
        try:
            sensors.append(Rapl(zone))
        except PermissionError:
            absent.append(
                f"rapl {_zone_name(zone)}: only root may read it since Linux 5.10; "
                f"run as root, or: sudo chmod a+r {zone / 'energy_uj'}"
            )
        except (OSError, ValueError) as error:
            absent.append(f"rapl {zone.name}: not readable ({error})")
    if not zones:
        absent.append("rapl: no /sys/class/powercap/intel-rapl (no x86 processor, or a virtual machine)")
    if clocks := sorted(sys.glob("devices/system/cpu/cpufreq/policy*/scaling_cur_freq")):
        sensors.append(CpuClock(clocks))
    elif tuple(CpuInfoClock(proc).read()):
        sensors.append(CpuInfoClock(proc))
    else:
        absent.append("cpu clock: neither cpufreq in /sys nor MHz in /proc/cpuinfo (a virtual machine?)")
    if thermal := sorted(sys.glob("class/thermal/thermal_zone*")):
        sensors.append(ThermalZones(thermal))
    else:
        absent.append("temperatures: no /sys/class/thermal/thermal_zone* (a virtual machine?)")
    return Found(tuple(sensors), tuple(absent))


class Rapl:
    """The power of one zone of Intel's and AMD's running average power limit, from its energy counter.

    Documented in Documentation/power/powercap/powercap.rst of Linux: energy_uj counts microjoule and starts again at 0
    after max_energy_range_uj.
    """

    def __init__(self, zone: Path) -> None:
        """Raises OSError: no such zone, or not for this user."""
        self.name = _zone_name(zone)
        self.label = f"rapl {self.name}"
        self.joules = 0.0
        """Since the start."""
        self._file = zone / "energy_uj"
        self._range = _number(zone / "max_energy_range_uj")
        self._last, self._when = _number(self._file), monotonic()

    @property
    def whole(self) -> bool:
        """Whether it is a processor package, and no part of one."""
        return re.fullmatch(r"package-\d+(-die-\d+)?", self.name) is not None

    def read(self) -> Iterator[Reading]:
        """The mean power since the last reading."""
        counted, now = _number(self._file), monotonic()
        joules = (counted - self._last) % (self._range + 1) * 1e-6
        seconds = now - self._when
        self.joules += joules
        self._last, self._when = counted, now
        if seconds > 0:
            yield Reading(self.name, "rapl", "W", joules / seconds)


class CpuClock:
    """The mean clock of all cores, from cpufreq."""

    label = "cpu clock"

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def read(self) -> Iterator[Reading]:
        """One reading."""
        values = [_number(file) / 1e3 for file in self._files]
        yield Reading("cpu clock", "sysfs", "MHz", sum(values) / len(values))


class CpuInfoClock:
    """The mean clock of all cores, from /proc/cpuinfo, which only x86 has it in."""

    label = "cpu clock"

    def __init__(self, proc: Path = PROC) -> None:
        self._file = proc / "cpuinfo"

    def read(self) -> Iterator[Reading]:
        """One reading; none where there is no such line."""
        text = self._file.read_text(encoding="utf-8") if self._file.is_file() else ""
        values = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", text, re.MULTILINE)]
        if values:
            yield Reading("cpu clock", "proc", "MHz", sum(values) / len(values))


class ThermalZones:
    """The kernel's temperatures. A zone whose part is switched off refuses to be read, and is left out meanwhile."""

    label = "temperatures"

    def __init__(self, zones: Sequence[Path]) -> None:
        kinds = [(zone / "type").read_text(encoding="utf-8").strip() for zone in zones]
        several = Counter(kinds)
        self._files = {
            kind if several[kind] == 1 else f"{kind} {zone.name.removeprefix('thermal_zone')}": zone / "temp"
            for kind, zone in zip(kinds, zones, strict=True)
        }

    def read(self) -> Iterator[Reading]:
        """One reading per zone."""
        for name, file in self._files.items():
            try:
                value = _number(file)
            except (OSError, ValueError):
                continue
            yield Reading(name, "sysfs", "C", value / 1e3)


class ResidentMemory:
    """Of this process."""

    label = "resident memory"

    def __init__(self, proc: Path = PROC) -> None:
        self._file = proc / "self" / "status"

    def read(self) -> Iterator[Reading]:
        """One reading."""
        match = re.search(r"^VmRSS:\s+(\d+) kB$", self._file.read_text(encoding="utf-8"), re.MULTILINE)
        if match:
            yield Reading("resident memory", "proc", "MB", int(match[1]) * 1024 / 1e6)


def throttle_counts(sys: Path = SYS) -> dict[str, int]:
    """How often clocks were held back since the machine started, by what says so.

    x86 counts per core and package (Documentation/arch/x86, thermal_throttle); a Jetson counts its over-current alarms
    (NVIDIA Jetson Linux Developer Guide, oc*_event_cnt of the SOCTHERM driver).
    """
    counts: Counter[str] = Counter()
    for name, pattern in (
        ("CPU cores too hot", "devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"),
        ("CPU package too hot", "devices/system/cpu/cpu[0-9]*/thermal_throttle/package_throttle_count"),
        ("over-current alarm", "class/hwmon/hwmon*/oc*_event_cnt"),
    ):
        for file in sys.glob(pattern):
            try:
                counts[name] += _number(file)
            except (OSError, ValueError):
                continue
    return dict(counts)


@dataclass(frozen=True)
class ClockLimit:
    """How fast the CPU may run, MHz."""

    allowed: float
    """By the kernel, a person or a power mode, now."""
    possible: float


def clock_limit(sys: Path = SYS) -> ClockLimit | None:
    """That of the core which is held back most; None where none is, or none tells."""
    limits = []
    for policy in sys.glob("devices/system/cpu/cpufreq/policy*"):
        try:
            allowed, possible = (
                _number(policy / f"{name}_max_freq") / 1e3 for name in ("scaling", "cpuinfo")
            )
        except (OSError, ValueError):
            continue
        if allowed < possible:
            limits.append(ClockLimit(allowed, possible))
    return min(limits, key=lambda limit: limit.allowed / limit.possible, default=None)


def governors(sys: Path = SYS) -> list[str]:
    """The governors of the CPU's clock, in words."""
    files = sys.glob("devices/system/cpu/cpufreq/policy*/scaling_governor")
    names = sorted({file.read_text(encoding="ascii").strip() for file in files})
    return [f"CPU governor {name}" for name in names]


def _zone_name(zone: Path) -> str:
    """`package-0`; a part with that before it, `package-0 dram`."""
    name = (zone / "name").read_text(encoding="utf-8").strip()
    parent = zone.with_name(zone.name.rpartition(":")[0]) / "name"
    return f"{parent.read_text(encoding='utf-8').strip()} {name}" if parent.is_file() else name


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))
