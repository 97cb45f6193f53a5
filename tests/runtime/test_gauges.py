"""What a board told over a while, from made-up sensors and tools."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gigaedge.benchmark import Gauge, GaugesInfo
from gigaedge_runtime import gauges as module
from gigaedge_runtime.gauges import Gauges

STATUS = "VmRSS:\t  2000 kB"
ZONE = "class/powercap/intel-rapl:0"
POLICY = "devices/system/cpu/cpufreq/policy0"


class Board:
    """A machine made of files and scripts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/self/status", STATUS)
        (root / "sys").mkdir()
        (root / "bin").mkdir()

    def write(self, name: str, content: object) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # Another file in its place: a reader sees the one or the other.
        new = file.with_name(f".{file.name}")
        new.write_text(f"{content}\n")
        new.rename(file)

    def tool(self, name: str, script: str) -> None:
        """An executable that leaves its process number behind."""
        file = self.root / "bin" / name
        file.write_text(f"#!/bin/sh\necho $$ > {self.root / name}.pid\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def running(self, name: str) -> bool:
        return Path(f"/proc/{(self.root / f'{name}.pid').read_text().strip()}").exists()

    def gauges(self, interval: float = 0.01) -> Gauges:
        return Gauges(interval, proc=self.root / "proc", sys=self.root / "sys")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return made


def gauge(info: GaugesInfo, name: str) -> Gauge:
    return next(gauge for gauge in info.gauges if gauge.name == name)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_gauge(gauges: Gauges, name: str) -> None:
    wait_for(lambda: any(gauge.name == name for gauge in gauges.report(1).gauges))


def test_a_bare_machine_has_its_memory_and_says_what_it_lacks(board: Board) -> None:
    with board.gauges() as gauges:
        pass
    info = gauges.report(3)
    assert [gauge.name for gauge in info.gauges] == ["resident memory"]
    memory = gauge(info, "resident memory")
    assert (memory.mean, memory.min, memory.max, memory.unit, memory.source) == (
        2.048,
        2.048,
        2.048,
        "MB",
        "proc",
    )
    assert [text.split(":")[0] for text in info.absent] == [
        *("rapl", "cpu clock", "temperatures", "tegrastats", "nvidia-smi")
    ]
    assert info.joule_per_chunk is None
    assert info.throttled == ()


def test_samples_are_taken_while_it_runs_and_none_afterwards(board: Board) -> None:
    board.write(f"sys/{POLICY}/scaling_cur_freq", 1_000_000)
    with board.gauges() as gauges:
        wait_for_gauge(gauges, "cpu clock")
        board.write(f"sys/{POLICY}/scaling_cur_freq", 3_000_000)
        wait_for(lambda: gauge(gauges.report(1), "cpu clock").max == 3000)
    info = gauges.report(1)
    clock = gauge(info, "cpu clock")
    assert (clock.min, clock.max) == (1000, 3000)
    assert 1000 < clock.mean < 3000
    times = [seconds for seconds, _ in clock.series]
    assert times == sorted(times)
    assert gauges.report(1) == info


def test_energy_per_chunk_is_that_of_the_packages_and_the_gpus(board: Board) -> None:
    for number, name in enumerate(("package-0", "package-1", "psys")):
        board.write(f"sys/{ZONE[:-1]}{number}/name", name)
        board.write(f"sys/{ZONE[:-1]}{number}/energy_uj", 0)
        board.write(f"sys/{ZONE[:-1]}{number}/max_energy_range_uj", 10**12)
    with board.gauges(60) as gauges:
        for number, joules in enumerate((30, 10, 500)):
            board.write(f"sys/{ZONE[:-1]}{number}/energy_uj", joules * 10**6)
        info = gauges.report(8)
    assert info.joule_per_chunk == pytest.approx(5.0)
    assert info.joule_source == "rapl package-0 + rapl package-1"


def test_energy_of_a_jetson_is_that_of_its_input(board: Board) -> None:
    board.tool("tegrastats", 'echo "RAM 1/2MB VDD_IN 6000mW/1mW VDD_SOC 2000mW/1mW"; exec sleep 60')
    with board.gauges() as gauges:
        wait_for_gauge(gauges, "VDD_IN")
        info = gauges.report(2)
    assert gauge(info, "VDD_IN").mean == 6.0
    seconds = max(gauge.series[-1][0] for gauge in info.gauges)
    assert info.joule_per_chunk == pytest.approx(6.0 * seconds / 2)
    assert info.joule_source == "tegrastats VDD_IN"


def test_energy_of_gpus_is_their_mean_power_over_time(board: Board) -> None:
    script = 'echo "0, 100, 1, 1, 50, 9, 1, 0x0"; echo "1, 50, 1, 1, 50, 9, 1, 0x40"; exec sleep 60'
    board.tool("nvidia-smi", f'test "$1" = --help-query-gpu || {{ {script}; }}')
    with board.gauges() as gauges:
        wait_for_gauge(gauges, "GPU 1 power")
        info = gauges.report(1)
    seconds = max(gauge.series[-1][0] for gauge in info.gauges)
    assert info.joule_per_chunk == pytest.approx(150 * seconds)
    assert info.joule_source == "nvidia-smi GPU 0 power + nvidia-smi GPU 1 power"
    assert info.throttled == ("GPU 1 slowed down by the hardware, too hot, in 1 samples",)
    assert not any(text.startswith("nvidia-smi") for text in info.absent)


def test_throttling_is_what_was_counted_meanwhile(board: Board) -> None:
    count = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    board.write(count, 5)
    with board.gauges() as gauges:
        assert gauges.report(1).throttled == ()
        board.write(count, 8)
        assert gauges.report(1).throttled == ("CPU cores too hot: 3 times",)


def test_a_limit_of_the_clock_is_a_setting_until_it_changes(board: Board) -> None:
    board.write(f"sys/{POLICY}/scaling_governor", "schedutil")
    board.write(f"sys/{POLICY}/cpuinfo_max_freq", 2_000_000)
    board.write(f"sys/{POLICY}/scaling_max_freq", 1_500_000)
    board.tool("nvpmodel", "echo NV Power Mode: 15W")
    with board.gauges() as gauges:
        info = gauges.report(1)
        assert info.settings == (
            *("CPU governor schedutil", "power mode 15W (nvpmodel)", "CPU clock limited to 1500 of 2000 MHz"),
        )
        assert info.throttled == ()
        board.write(f"sys/{POLICY}/scaling_max_freq", 1_000_000)
        info = gauges.report(1)
    assert info.settings == ("CPU governor schedutil", "power mode 15W (nvpmodel)")
    assert info.throttled == ("CPU clock limited for a while, down to 1000 of 2000 MHz",)


def test_a_sensor_that_fails_at_times_keeps_what_it_said(board: Board) -> None:
    board.write(f"sys/{POLICY}/scaling_cur_freq", 1_000_000)
    with board.gauges(60) as gauges:
        gauges.report(1)
        board.write(f"sys/{POLICY}/scaling_cur_freq", "<unknown>")
        info = gauges.report(1)
    assert len(gauge(info, "cpu clock").series) == 1
    assert any(text.startswith("cpu clock: not readable at times (invalid literal") for text in info.absent)


def test_a_tool_that_fails_is_absent_with_its_words(board: Board) -> None:
    board.tool("nvidia-smi", "echo no driver; exit 9")
    with board.gauges() as gauges:
        wait_for(lambda: "nvidia-smi: ended with 9: no driver" in gauges.report(1).absent)


def test_a_tool_that_cannot_be_started_is_absent(board: Board) -> None:
    board.tool("tegrastats", "")
    (board.root / "bin" / "tegrastats").write_text("#!/does/not/exist\n")
    with board.gauges() as gauges:
        assert "tegrastats: cannot be started (No such file or directory)" in gauges.report(1).absent


def test_tools_and_thread_end_with_the_context_also_on_an_error(board: Board) -> None:
    board.tool("tegrastats", "echo RAM 1/2MB; exec sleep 60")
    threads = threading.active_count()

    def measure() -> None:
        with board.gauges() as gauges:
            wait_for_gauge(gauges, "RAM")
            assert board.running("tegrastats")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure()
    assert not board.running("tegrastats")
    assert threading.active_count() == threads


def test_tools_end_when_another_one_stops_the_start(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    board.tool("tegrastats", "echo RAM 1/2MB; exec sleep 60")

    def interrupt(_: float) -> list[str]:
        wait_for((board.root / "tegrastats.pid").exists)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "smi_command", interrupt)
    with pytest.raises(KeyboardInterrupt):
        board.gauges().__enter__()
    assert not board.running("tegrastats")


def test_a_long_series_is_thinned(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SERIES", 4)
    with board.gauges(60) as gauges:
        for _ in range(10):
            info = gauges.report(1)
    series = gauge(info, "resident memory").series
    assert len(series) == 4
    assert {value for _, value in series} == {2.048}


def test_a_report_without_chunks_has_no_energy_of_one(board: Board) -> None:
    board.write(f"sys/{ZONE}/name", "package-0")
    board.write(f"sys/{ZONE}/energy_uj", 0)
    board.write(f"sys/{ZONE}/max_energy_range_uj", 10**12)
    with board.gauges() as gauges:
        assert gauges.report(0).joule_per_chunk is None
