"""Run a cell for long and say whether anything grows, and whether every late tick can be explained.

    python tools/soak.py                                      ten minutes of examples/bimanual.yaml
    python tools/soak.py cell.yaml --for 8h --report soak.json
    python tools/soak.py cell.yaml --for 1h --record soak.mcap

It starts `gigaedge run` and looks at its processes twice a second, as /proc counts them. Growth is the difference
between the medians of the first and the last fifth of the samples after the warm-up. Exit 1 when memory, descriptors
or threads grew, a record was dropped, or a tick was late by more than 20 ms for no reason that the kernel counted.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gigaedge.cli.common import ReportOption, draw_bar, print_table, run_script
from gigaedge.cli.run import parse_duration
from gigaedge.errors import CheckFailedError, DeviceError
from gigaedge.files import write_text
from gigaedge.machine import describe_machine

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "bimanual.yaml"
INTERVAL = 0.5
"""s between two looks."""
WARM_UP = 0.2
"""Share of the run, at most a minute, whose samples do not count: caches and pools fill."""
GROWTH = 5.0
"""MB (2^20 bytes) of all processes together that are no growth."""
NAMES = {
    "gigaedge_runtime.control_process": "control",
    "gigaedge_runtime.policy_process": "policy",
    "gigaedge_runtime.record_process": "recorder",
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Sample:
    """One look at one process."""

    time: float
    """Since the start, s."""
    anonymous: float
    """Memory that belongs to no file, MB."""
    resident: float
    """Memory of any kind, MB."""
    descriptors: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """How one process changed between the beginning and the end."""

    anonymous: float
    """MB at the beginning."""
    growth: float
    """MB since."""
    resident: float
    """MB at the end."""
    descriptors: float
    """More at the end."""
    threads: float
    """More at the end."""


def processes(parent: int) -> dict[str, int]:
    """The run's processes by name."""
    found = {"supervisor": parent}
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
            module = next((part for part in command if part.startswith("gigaedge_runtime.")), None)
            if module is not None:
                found[NAMES.get(module, module)] = int(child)
    return found


def look(pid: int, now: float) -> Sample:
    """A process as it is now."""
    status = Path(f"/proc/{pid}/status").read_text()

    def field(name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+)", status, re.MULTILINE)
        return int(found[1]) if found else 0

    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Sample(now, field("RssAnon") / 1024, field("VmRSS") / 1024, descriptors, field("Threads"))


def watch(run: subprocess.Popen[str], seconds: float) -> dict[str, list[Sample]]:
    """Look at a run until it ends."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    begin = time.monotonic()
    with draw_bar(_columns(), quiet=False) as bar:
        task = bar.add_task("soaking", total=seconds)
        while run.poll() is None:
            elapsed = time.monotonic() - begin
            try:
                for name, pid in processes(run.pid).items():
                    samples[name].append(look(pid, elapsed))
            except (FileNotFoundError, ProcessLookupError):
                pass  # one ended between two looks
            bar.update(task, completed=elapsed)
            time.sleep(INTERVAL)
    return samples


def growth(samples: list[Sample], seconds: float) -> Growth:
    """Between the first and the last fifth after the warm-up; the end of the run is not looked at."""
    settled = [s for s in samples if min(WARM_UP * seconds, 60.0) <= s.time <= seconds]
    fifth = max(1, len(settled) // 5)

    def median(name: str, part: slice) -> float:
        return float(np.median([getattr(s, name) for s in settled[part]]))

    first, last = slice(fifth), slice(-fifth, None)
    return Growth(
        anonymous=median("anonymous", first),
        growth=median("anonymous", last) - median("anonymous", first),
        resident=median("resident", last),
        descriptors=median("descriptors", last) - median("descriptors", first),
        threads=median("threads", last) - median("threads", first),
    )


def problems(report: dict[str, Any], grown: dict[str, Growth]) -> list[str]:
    """What a soak must not show, in words."""
    found = []
    total = sum(process.growth for process in grown.values())
    if total > GROWTH:
        found.append(f"memory grew by {total:.1f} MB, more than {GROWTH:g} MB")
    found += [
        f"{name} holds {change:g} more {what} than at the beginning"
        for name, process in grown.items()
        for what, change in (("descriptors", process.descriptors), ("threads", process.threads))
        if change > 0
    ]
    control = report["control"]
    if unexplained := control["late"].get("blocked", 0):
        found.append(
            f"{unexplained} ticks were late while the control thread was blocked (a lock or a system call)"
        )
    if control["failed_sends"]:
        found.append(f"{control['failed_sends']} commands were not taken by the bus")
    if dropped := (report.get("recording") or {}).get("packets_dropped", 0):
        found.append(f"{dropped} records were dropped")
    return found


@app.command()
def soak(
    site: Annotated[Path, typer.Argument(help="Site file of the robot cell.")] = EXAMPLE,
    duration: Annotated[str, typer.Option("--for", help="How long, as in 600s, 10m or 8h.")] = "10m",
    record: Annotated[Path | None, typer.Option(help="Record the run, too.", show_default=False)] = None,
    report: ReportOption = None,
) -> None:
    """Run a cell for long; exit 1 when something grew or a late tick is unexplained."""
    seconds = parse_duration(duration)
    command = [sys.executable, "-m", "gigaedge", "run", str(site), "--for", f"{seconds:g}s", "--json"]
    command += ["--record", str(record)] if record else []
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        samples = watch(run, seconds)
    finally:
        output, _ = run.communicate()
    if run.returncode != 0:
        raise DeviceError(f"the run ended with exit code {run.returncode}; what it said stands above")
    result = json.loads(output)
    grown = {name: growth(seen, seconds) for name, seen in samples.items()}
    found = problems(result, grown)
    if report is not None:
        data = {
            "machine": describe_machine(),
            "seconds": seconds,
            "problems": found,
            "processes": {name: asdict(process) for name, process in grown.items()},
            "samples": {name: [asdict(sample) for sample in seen] for name, seen in samples.items()},
            "run": result,
        }
        write_text(report, json.dumps(data, indent=1) + "\n")
    _print(result, grown)
    if found:
        raise CheckFailedError("; ".join(found))


def _print(result: dict[str, Any], grown: dict[str, Growth]) -> None:
    control, policy = result["control"], result["policy"]
    print_table(
        f"Soak, {result['duration']:.0f} s, {describe_machine()}",
        ["process", "anonymous, MB", "growth, MB", "resident, MB", "descriptors", "threads"],
        [
            [name, f"{p.anonymous:.1f}", f"{p.growth:+.2f}", f"{p.resident:.1f}",
             f"{p.descriptors:+g}", f"{p.threads:+g}"]
            for name, p in grown.items()
        ],
    )  # fmt: skip
    spreads = {"control period": control["period"], "control work": control["work"], **policy["stages"]}
    print_table(
        "Latency, ms",
        ["", "count", "p50", "p99", "p99.9", "max"],
        [
            [name, str(s["count"]), *(f"{1e3 * s[key]:.2f}" for key in ("p50", "p99", "p999", "max"))]
            for name, s in spreads.items()
        ],
    )
    late = ", ".join(f"{cause} x {count}" for cause, count in control["late"].items()) or "none"
    print(f"chunks {result['chunks']}, refused {policy['refused'] or 'none'}, ticks {control['ticks']},")
    print(f"missed {control['missed']}, late by more than 20 ms: {late}; {control['scheduling']}")


def _columns() -> tuple[Any, ...]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return (
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


if __name__ == "__main__":
    run_script(app)
