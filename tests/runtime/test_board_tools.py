"""Lines of tegrastats and nvidia-smi, and the processes that print them."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gigaedge_runtime import board_tools
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

JETPACK_4 = (
    "RAM 2488/3956MB (lfb 2x4MB) SWAP 27/1978MB (cached 1MB) CPU [12%@1479,8%@1479,off,off] EMC_FREQ 0% "
    "GR3D_FREQ 33% PLL@40C CPU@42.5C PMIC@100C GPU@41C AO@49.5C thermal@41.75C "
    "POM_5V_IN 4059/4020 POM_5V_GPU 163/163 POM_5V_CPU 1099/950"
)
JETPACK_5_NANO = (
    "03-14-2023 10:02:11 RAM 3021/7337MB (lfb 4x1MB) SWAP 0/3668MB (cached 0MB) "
    "CPU [10%@1510,20%@1510,0%@729,2%@729,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 41%@[611] "
    "CV0@-256C CPU@50.5C SOC2@48.1C GPU@49C tj@50.5C "
    "VDD_IN 5980mW/5511mW VDD_CPU_GPU_CV 1643mW/1202mW VDD_SOC 1364mW/1350mW"
)
JETPACK_6_AGX = (
    "11-14-2024 12:34:56 RAM 3162/62841MB (lfb 6x4MB) SWAP 0/31420MB (cached 0MB) CPU [100%@2201,0%@729] "
    "EMC_FREQ 1%@3199 GR3D_FREQ 98%@[1300,1300] NVENC off NVDEC off cpu@47.968C soc2@44.375C gpu@46.343C tj@47.968C "
    "VDD_GPU_SOC 13260mW/9021mW VDD_CPU_CV 2070mW/1950mW VIN_SYS_5V0 7590mW/7001mW"
)
JETPACK_7_ORIN = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 0%@[1300,1300] NVENC0 off APE 174 cpu@52.968C/52.968C tj@53C/53C VDD_GPU_SOC 4000mW/4000mW"
)
JETPACK_7_THOR = (
    "07-02-2026 08:00:00 RAM 9000/125771MB (lfb 1x4MB) CPU [5%@2601] GR3D_FREQ @[1575,1575,1560] "
    "cpu@61.5C gpu@62.906C/62.906C tj@62.9C "
    "VDD_GPU 2392mW/2400mW VDD_CPU_SOC_MSS 6510mW/6400mW VIN_SYS_5V0 6520mW/6500mW VIN 23010mW/22800mW"
)


def values(line: str) -> dict[str, float]:
    return {f"{reading.name} {reading.unit}": reading.value for reading in parse_tegrastats(line)}


def test_a_line_of_jetpack_4() -> None:
    found = values(JETPACK_4)
    assert found == {
        "RAM MB": 2488,
        "CPU load %": 10,
        "CPU clock MHz": 1479,
        "GR3D load %": 33,
        "PLL C": 40,
        "CPU C": 42.5,
        "PMIC C": 100,
        "GPU C": 41,
        "AO C": 49.5,
        "thermal C": 41.75,
        "POM_5V_IN W": 4.059,
        "POM_5V_GPU W": 0.163,
        "POM_5V_CPU W": 1.099,
    }


def test_a_line_of_jetpack_5_with_cores_and_parts_switched_off() -> None:
    assert values(JETPACK_5_NANO) == {
        "RAM MB": 3021,
        "CPU load %": 8,
        "CPU clock MHz": 1119.5,
        "GR3D load %": 41,
        "GR3D clock MHz": 611,
        "CPU C": 50.5,
        "SOC2 C": 48.1,
        "GPU C": 49,
        "tj C": 50.5,
        "VDD_IN W": 5.98,
        "VDD_CPU_GPU_CV W": 1.643,
        "VDD_SOC W": 1.364,
    }


def test_a_line_of_jetpack_6() -> None:
    assert values(JETPACK_6_AGX) == {
        "RAM MB": 3162,
        "CPU load %": 50,
        "CPU clock MHz": 1465,
        "GR3D load %": 98,
        "GR3D clock MHz": 1300,
        "cpu C": 47.968,
        "soc2 C": 44.375,
        "gpu C": 46.343,
        "tj C": 47.968,
        "VDD_GPU_SOC W": 13.26,
        "VDD_CPU_CV W": 2.07,
        "VIN_SYS_5V0 W": 7.59,
    }


def test_a_line_of_jetpack_7_on_orin() -> None:
    assert values(JETPACK_7_ORIN) == {
        "RAM MB": 20642,
        "CPU load %": 16.5,
        "CPU clock MHz": 2201,
        "GR3D load %": 0,
        "GR3D clock MHz": 1300,
        "cpu C": 52.968,
        "tj C": 53,
        "VDD_GPU_SOC W": 4,
    }


def test_a_line_of_jetpack_7_on_thor_has_no_load_of_the_gpu() -> None:
    assert values(JETPACK_7_THOR) == {
        "RAM MB": 9000,
        "CPU load %": 5,
        "CPU clock MHz": 2601,
        "GR3D clock MHz": 1575,
        "cpu C": 61.5,
        "gpu C": 62.906,
        "tj C": 62.9,
        "VDD_GPU W": 2.392,
        "VDD_CPU_SOC_MSS W": 6.51,
        "VIN_SYS_5V0 W": 6.52,
        "VIN W": 23.01,
    }


def test_another_line_tells_nothing() -> None:
    assert not values("tegrastats: permission denied")


@pytest.mark.parametrize(
    ("line", "rails"),
    [
        (JETPACK_4, ["POM_5V_IN"]),
        (JETPACK_5_NANO, ["VDD_IN"]),
        (JETPACK_6_AGX, ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]),
        (JETPACK_7_THOR, ["VIN"]),
    ],
)
def test_the_boards_power_is_its_input_or_all_rails(line: str, rails: list[str]) -> None:
    assert board_rails([reading.name for reading in parse_tegrastats(line) if reading.unit == "W"]) == rails


def test_a_line_of_nvidia_smi() -> None:
    found = list(parse_smi("1, 312.45, 1980, 2619, 54, 97, 1000, 0x0000000000000004"))
    assert {f"{reading.name} {reading.unit}": reading.value for reading in found} == {
        "GPU 1 power W": 312.45,
        "GPU 1 SM clock MHz": 1980,
        "GPU 1 memory clock MHz": 2619,
        "GPU 1 temperature C": 54,
        "GPU 1 load %": 97,
        "GPU 1 memory MB": 1048.576,
    }
    assert {reading.source for reading in found} == {"nvidia-smi"}


def test_what_a_gpu_does_not_have_is_left_out() -> None:
    line = "0, [N/A], 1020, [N/A], [Not Supported], [Unknown Error], , [N/A]"
    assert [(reading.name, reading.value) for reading in parse_smi(line)] == [("GPU 0 SM clock", 1020.0)]
    assert not list(smi_slowdowns(line))


def test_idling_and_a_persons_setting_are_no_throttling() -> None:
    assert not list(smi_slowdowns("0, 60, 345, 2619, 30, 0, 4, 0x0000000000000103"))


def test_every_reason_for_throttling_is_in_words() -> None:
    assert list(smi_slowdowns("0, 700, 900, 2619, 90, 99, 4, 0x00000000000000EC")) == [
        "GPU 0 held to its power limit",
        "GPU 0 slowed down by the hardware",
        "GPU 0 slowed down by the driver, too hot",
        "GPU 0 slowed down by the hardware, too hot",
        "GPU 0 slowed down by the power supply's brake",
    ]


def test_another_line_of_nvidia_smi_tells_nothing() -> None:
    line = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    assert not list(parse_smi(line))
    assert not list(smi_slowdowns(line))


Tool = Callable[[str, str], Path]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """`tool(name, script)`: an executable on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(name: str, script: str) -> Path:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return file

    return write


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_commands_are_asked_for_the_interval(tool: Tool) -> None:
    tegrastats, smi = tool("tegrastats", ""), tool("nvidia-smi", "echo clocks_event_reasons.active")
    assert tegrastats_command(0.25) == [str(tegrastats), "--interval", "250"]
    fields = "index,power.draw,clocks.sm,clocks.mem,temperature.gpu,utilization.gpu,memory.used"
    assert smi_command(0.25) == [
        str(smi),
        f"--query-gpu={fields},clocks_event_reasons.active",
        "--format=csv,noheader,nounits",
        "--loop-ms=250",
    ]


def test_an_older_driver_is_asked_by_the_older_name(tool: Tool) -> None:
    tool("nvidia-smi", 'echo \'"clocks_throttle_reasons.active" or "clocks_event_reasons"\'')
    command = smi_command(1.0)
    assert command is not None
    assert command[1].endswith(",memory.used,clocks_throttle_reasons.active")


def test_a_machine_without_the_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tegrastats_command(1.0) is None
    assert smi_command(1.0) is None
    assert power_mode() == []


def test_the_power_mode_is_told(tool: Tool) -> None:
    tool("nvpmodel", 'test "$1" = -q && printf "NV Power Mode: MAXN\\n0\\n"')
    assert power_mode() == ["power mode MAXN (nvpmodel)"]


def test_a_tool_that_hangs_or_does_not_start_is_not_waited_for(
    tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_tools, "_ASKING_SECONDS", 0.2)
    tool("nvpmodel", "exec sleep 60")
    assert power_mode() == []
    tool("nvpmodel", "").write_text("#!/does/not/exist\n")
    assert power_mode() == []


def gone(stream: Stream) -> bool:
    """Whether its process has ended and was waited for."""
    return not Path(f"/proc/{stream._process.pid}").exists()


def test_a_stream_hands_its_lines_on_and_ends_when_it_is_stopped(tool: Tool) -> None:
    lines: list[str] = []

    def take(line: str) -> bool:
        lines.append(line)
        return line == "two"

    stream = Stream([str(tool("tegrastats", "echo one; echo; echo two; exec sleep 60"))], take)
    stream.start()
    assert not gone(stream)
    wait_for(lambda: len(lines) == 2)
    stream.stop()
    assert gone(stream)
    assert lines == ["one", "two"]
    assert stream.problem == ""


def test_a_stream_that_does_not_listen_is_killed(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_tools, "_ENDING_SECONDS", 0.2)
    lines: list[str] = []
    script = "trap '' TERM; echo deaf; while :; do read -r _ < /dev/zero; done"
    stream = Stream([str(tool("tegrastats", script))], lambda line: bool(lines.append(line)))
    stream.start()
    wait_for(lambda: lines == ["deaf"])
    stream.stop()
    assert gone(stream)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo no driver >&2; exit 9", "ended with 9: no driver"),
        ("exit 3", "ended with 3: it said nothing"),
    ],
)
def test_a_stream_that_ends_by_itself_says_why(tool: Tool, script: str, problem: str) -> None:
    stream = Stream([str(tool("nvidia-smi", script))], lambda _: False)
    stream.start()
    wait_for(lambda: stream.problem == problem)
    stream.stop()
    assert stream.problem == problem


def test_a_stream_that_is_not_understood_says_what_it_said(tool: Tool) -> None:
    stream = Stream([str(tool("nvidia-smi", "echo; exec sleep 60"))], lambda _: False)
    stream.start()
    assert stream.problem == "said nothing so far"
    stream.stop()
    assert stream.problem == "said nothing so far"
    stream = Stream([str(tool("nvidia-smi", "echo strange; exec sleep 60"))], lambda _: False)
    stream.start()
    wait_for(lambda: "strange" in stream.problem)
    stream.stop()
    assert stream.problem == "said nothing that is known here: strange"
