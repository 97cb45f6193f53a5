"""Sensors of the kernel, on a made-up /proc and /sys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gigaedge_runtime import sensors
from gigaedge_runtime.sensors import (
    ClockLimit,
    Rapl,
    Reading,
    clock_limit,
    find_sensors,
    governors,
    throttle_counts,
)

Tree = Callable[[dict[str, object]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """`tree({path: content})`: files below one root."""

    def write(files: dict[str, object]) -> Path:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{content}\n")
        return tmp_path

    return write


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that sensors see, s."""
    now = [100.0]
    monkeypatch.setattr(sensors, "monotonic", lambda: now[0])
    return now


STATUS = {"self/status": "Name:\tpython\nVmRSS:\t  2000 kB"}


def package(energy: int, name: str = "package-0", zone: str = "intel-rapl:0") -> dict[str, object]:
    folder = f"class/powercap/{zone}"
    return {
        f"{folder}/name": name,
        f"{folder}/energy_uj": energy,
        f"{folder}/max_energy_range_uj": 999_999_999,
    }


def readings(found: sensors.Found) -> list[Reading]:
    return [reading for sensor in found.sensors for reading in sensor.read()]


def test_power_is_the_energy_since_the_last_reading(tree: Tree, clock: list[float]) -> None:
    root = tree(package(5_000_000))
    zone = Rapl(root / "class/powercap/intel-rapl:0")
    tree(package(35_000_000))
    clock[0] += 2
    assert list(zone.read()) == [Reading("package-0", "rapl", "W", pytest.approx(15.0))]
    tree(package(36_000_000))
    clock[0] += 0.5
    assert list(zone.read()) == [Reading("package-0", "rapl", "W", pytest.approx(2.0))]
    assert zone.joules == pytest.approx(31.0)


def test_a_counter_that_started_again_is_no_negative_power(tree: Tree, clock: list[float]) -> None:
    zone = Rapl(tree(package(999_000_000)) / "class/powercap/intel-rapl:0")
    tree(package(1_000_000))
    clock[0] += 1
    assert next(zone.read()).value == pytest.approx(2.0)


def test_a_part_of_a_package_has_its_name_before_its_own(tree: Tree) -> None:
    root = tree(
        package(0)
        | package(0, "dram", "intel-rapl:0:1")
        | package(0, "psys", "intel-rapl:1")
        | package(0, "package-1-die-0", "intel-rapl:2")
        | STATUS
    )
    zones = [sensor for sensor in find_sensors(root, root).sensors if isinstance(sensor, Rapl)]
    assert {zone.name: zone.whole for zone in zones} == {
        "package-0": True,
        "package-0 dram": False,
        "psys": False,
        "package-1-die-0": True,
    }


def test_energy_that_only_root_may_read_is_absent_with_the_mend(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(package(0) | STATUS)
    read = sensors._number

    def refuse(file: Path) -> int:
        if file.name == "energy_uj":
            raise PermissionError
        return read(file)

    monkeypatch.setattr(sensors, "_number", refuse)
    found = find_sensors(root, root)
    assert not any(isinstance(sensor, Rapl) for sensor in found.sensors)
    assert found.absent[0] == (
        "rapl package-0: only root may read it since Linux 5.10; run as root, or: sudo chmod a+r "
        f"{root}/class/powercap/intel-rapl:0/energy_uj"
    )


def test_energy_that_is_no_number_is_absent(tree: Tree) -> None:
    root = tree(package(0) | STATUS | {"class/powercap/intel-rapl:0/energy_uj": "?"})
    assert find_sensors(root, root).absent[0].startswith("rapl intel-rapl:0: not readable (invalid literal")


def test_the_clock_is_the_mean_of_the_cores(tree: Tree) -> None:
    policies = {f"devices/system/cpu/cpufreq/policy{n}/scaling_cur_freq": 1_000_000 * n for n in (1, 2)}
    root = tree(policies | STATUS)
    assert Reading("cpu clock", "sysfs", "MHz", 1500.0) in readings(find_sensors(root, root))


def test_without_cpufreq_the_clock_is_that_of_cpuinfo(tree: Tree) -> None:
    root = tree({"cpuinfo": "processor : 0\ncpu MHz\t\t: 2000.5\n\nprocessor : 1\ncpu MHz : 3000.5"} | STATUS)
    assert Reading("cpu clock", "proc", "MHz", 2500.5) in readings(find_sensors(root, root))


def test_temperatures_have_their_zones_names(tree: Tree) -> None:
    zones = {"0": ("cpu-thermal", 45500), "1": ("acpitz", 30000), "2": ("acpitz", 31000)}
    files: dict[str, object] = {}
    for number, (kind, value) in zones.items():
        files[f"class/thermal/thermal_zone{number}/type"] = kind
        files[f"class/thermal/thermal_zone{number}/temp"] = value
    root = tree(files | STATUS)
    found = [reading for reading in readings(find_sensors(root, root)) if reading.unit == "C"]
    assert {reading.name: reading.value for reading in found} == {
        "cpu-thermal": 45.5,
        "acpitz 1": 30.0,
        "acpitz 2": 31.0,
    }


def test_a_zone_that_is_switched_off_is_left_out(tree: Tree) -> None:
    root = tree({"class/thermal/thermal_zone0/type": "gpu-thermal"} | STATUS)
    assert [reading.name for reading in readings(find_sensors(root, root))] == ["resident memory"]


def test_resident_memory_is_in_megabytes(tree: Tree) -> None:
    root = tree(STATUS)
    assert readings(find_sensors(root, root)) == [Reading("resident memory", "proc", "MB", 2.048)]


def test_what_a_machine_does_not_have_is_said(tree: Tree) -> None:
    root = tree(STATUS)
    assert find_sensors(root, root).absent == (
        "rapl: no /sys/class/powercap/intel-rapl (no x86 processor, or a virtual machine)",
        "cpu clock: neither cpufreq in /sys nor MHz in /proc/cpuinfo (a virtual machine?)",
        "temperatures: no /sys/class/thermal/thermal_zone* (a virtual machine?)",
    )


def test_throttling_is_counted_over_cores_and_alarms(tree: Tree) -> None:
    root = tree(
        {
            "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": 2,
            "devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": 3,
            "devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": 1,
            "class/hwmon/hwmon4/oc1_event_cnt": 7,
            "class/hwmon/hwmon4/oc2_event_cnt": "?",
        }
    )
    assert throttle_counts(root) == {
        "CPU cores too hot": 5,
        "CPU package too hot": 1,
        "over-current alarm": 7,
    }


def test_the_clock_limit_is_that_of_the_core_held_back_most(tree: Tree) -> None:
    policy = "devices/system/cpu/cpufreq/policy"
    root = tree({f"{policy}0/{name}_max_freq": 2_000_000 for name in ("scaling", "cpuinfo")})
    assert clock_limit(root) is None
    for number, allowed in ((1, 1_500_000), (2, 1_200_000)):
        tree({f"{policy}{number}/scaling_max_freq": allowed, f"{policy}{number}/cpuinfo_max_freq": 2_000_000})
    tree({f"{policy}3/scaling_max_freq": 1})
    assert clock_limit(root) == ClockLimit(1200.0, 2000.0)


def test_governors_are_named_once(tree: Tree) -> None:
    policy = "devices/system/cpu/cpufreq/policy"
    names = ("schedutil", "performance", "schedutil")
    root = tree({f"{policy}{number}/scaling_governor": name for number, name in enumerate(names)})
    assert governors(root) == ["CPU governor performance", "CPU governor schedutil"]
