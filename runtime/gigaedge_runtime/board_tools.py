"""NVIDIA's tools that print the state of a board again and again: tegrastats and nvidia-smi.

The lines of tegrastats are those of the Jetson Linux Developer Guide (releases 35, 36 and 38: JetPack 5, 6 and 7) and
of lines that users published; the output of nvidia-smi is that of its manual. No board was at hand.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Thread

from gigaedge_runtime.sensors import Reading

_ENDING_SECONDS = 2.0
_ASKING_SECONDS = 10.0
_OFF_CELSIUS = -200.0
"""tegrastats writes -256 for a part that is switched off."""

SMI_FIELDS = (
    *("index", "power.draw", "clocks.sm", "clocks.mem", "temperature.gpu", "utilization.gpu", "memory.used"),
    "clocks_event_reasons.active",
)
OLD_REASONS = "clocks_throttle_reasons.active"
"""Its name before driver 535."""
_SLOWDOWNS = {
    0x04: "held to its power limit",
    0x08: "slowed down by the hardware",
    0x20: "slowed down by the driver, too hot",
    0x40: "slowed down by the hardware, too hot",
    0x80: "slowed down by the power supply's brake",
}
"""Bits of NVML's clocks event reasons that are no idling and no person's setting (nvml.h)."""


def parse_tegrastats(line: str) -> Iterator[Reading]:
    """Memory, mean CPU load and clock, GPU load and clock, temperatures, and rails, of one line.

    A rail has its power now before its mean: `VDD_GPU_SOC 3175mW/3021mW`; before JetPack 5 `POM_5V_IN 1234/1111`.
    JetPack 7 has a second figure after temperatures, `cpu@52.9C/52.9C`, and on Thor no load of the GPU.
    """
    if match := re.search(r"\bRAM (\d+)/\d+MB", line):
        yield Reading("RAM", "tegrastats", "MB", float(match[1]))
    if match := re.search(r"\bCPU \[([^]]*)]", line):
        cores = re.findall(r"(\d+)%@(\d+)", match[1])
        if cores:
            for name, unit, column in (("CPU load", "%", 0), ("CPU clock", "MHz", 1)):
                mean = sum(float(core[column]) for core in cores) / len(cores)
                yield Reading(name, "tegrastats", unit, mean)  # type: ignore[arg-type]
    if match := re.search(r"\bGR3D_FREQ (?:(\d+)%)?(?:@\[?([\d,]+))?", line):
        if match[1]:
            yield Reading("GR3D load", "tegrastats", "%", float(match[1]))
        if match[2]:
            yield Reading(
                "GR3D clock", "tegrastats", "MHz", float(max(map(int, match[2].strip(",").split(","))))
            )
    for name, value in re.findall(r"\b([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C\b", line):
        if float(value) > _OFF_CELSIUS:
            yield Reading(name, "tegrastats", "C", float(value))
    for name, value in re.findall(r"\b([A-Z][A-Z0-9_]+) (-?\d+)(?:mW)?/-?\d+(?:mW)?(?=\s|$)", line):
        yield Reading(name, "tegrastats", "W", float(value) / 1e3)


def board_rails(names: list[str]) -> list[str]:
    """The rails that together are what the board takes: its input where it is measured, or else all there are."""
    inputs = [name for name in names if name in ("VDD_IN", "VIN", "POM_5V_IN")]
    return inputs[:1] or names


def parse_smi(line: str) -> Iterator[Reading]:
    """The readings of one GPU from a line of nvidia-smi; those that it does not have are `[N/A]`."""
    for name, unit, text in zip(
        ("power", "SM clock", "memory clock", "temperature", "load", "memory"),
        ("W", "MHz", "MHz", "C", "%", "MB"),
        _cells(line)[1:-1],
        strict=True,
    ):
        if re.fullmatch(r"-?\d+(\.\d+)?", text):
            value = float(text) * (1.048576 if name == "memory" else 1.0)  # from MiB
            yield Reading(f"GPU {_cells(line)[0]} {name}", "nvidia-smi", unit, value)  # type: ignore[arg-type]


def smi_slowdowns(line: str) -> Iterator[str]:
    """Why the clocks of a GPU are held back now, in words."""
    index, *_, reasons = _cells(line)
    if re.fullmatch(r"0x[0-9a-fA-F]+", reasons):
        for bit, words in _SLOWDOWNS.items():
            if int(reasons, 16) & bit:
                yield f"GPU {index} {words}"


def _cells(line: str) -> list[str]:
    cells = [cell.strip() for cell in line.split(",")]
    return cells if len(cells) == len(SMI_FIELDS) else ["", *[""] * (len(SMI_FIELDS) - 1)]


@dataclass
class Stream:
    """A tool that runs until it is stopped; `take` gets its lines in a thread of its own."""

    command: list[str]
    take: Callable[[str], bool]
    """Whether it could read the line."""
    _process: subprocess.Popen[str] = field(init=False)
    _thread: Thread = field(init=False)
    _running: bool = field(default=True, init=False)
    _understood: bool = field(default=False, init=False)
    _ended: int | None = field(default=None, init=False)
    """Its exit status, where it ended by itself."""
    _other: str = field(default="", init=False)
    """The last line that was not understood."""

    def start(self) -> None:
        """Begin. Raises OSError: it cannot be started."""
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the program that measures, which then ends this one
        )
        self._thread = Thread(target=self._follow, name=self.command[0], daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            if line.strip() and self.take(line.strip()):
                self._understood = True
            elif line.strip():
                self._other = line.strip()

    def stop(self) -> None:
        """End it, and be sure that it is gone."""
        self._ended, self._running = self._process.poll(), False
        self._process.terminate()
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(_ENDING_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def problem(self) -> str:
        """Why there is nothing from it; empty when there is something."""
        if self._understood:
            return ""
        ended = self._process.poll() if self._running else self._ended
        if ended is not None:
            return f"ended with {ended}: {self._other or 'it said nothing'}"
        return f"said nothing that is known here: {self._other}" if self._other else "said nothing so far"


def tegrastats_command(interval: float) -> list[str] | None:
    """None where there is no tegrastats."""
    tool = shutil.which("tegrastats")
    return [tool, "--interval", str(round(interval * 1e3))] if tool else None


def smi_command(interval: float) -> list[str] | None:
    """None where there is no nvidia-smi."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    known = _ask([tool, "--help-query-gpu"])
    reasons = OLD_REASONS if OLD_REASONS in known and SMI_FIELDS[-1] not in known else SMI_FIELDS[-1]
    query = ",".join((*SMI_FIELDS[:-1], reasons))
    return [
        tool,
        f"--query-gpu={query}",
        "--format=csv,noheader,nounits",
        f"--loop-ms={round(interval * 1e3)}",
    ]


def power_mode() -> list[str]:
    """The power mode of a Jetson, in words; empty elsewhere."""
    tool = shutil.which("nvpmodel")
    match = re.search(r"NV Power Mode: *(\S+)", _ask([tool, "-q"])) if tool else None
    return [f"power mode {match[1]} (nvpmodel)"] if match else []


def _ask(command: list[str]) -> str:
    """What a tool prints; empty when it does not answer."""
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_ASKING_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout
