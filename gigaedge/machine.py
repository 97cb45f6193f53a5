"""Naming the computer that a measurement was made on, and the packages that made it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROC = Path("/proc")
BOARD = Path("/sys/firmware/devicetree/base/model")


def describe_machine(*, proc: Path = PROC, board: Path = BOARD) -> str:
    """Processor or board, usable cores and NVIDIA GPUs, as in `Intel(R) Xeon(R) CPU @ 2.60GHz, 2 cores`."""
    cores = f"{len(os.sched_getaffinity(0))} cores"
    drivers = sorted(proc.glob("driver/nvidia/gpus/*/information"))
    gpus = [_field(file, "Model") for file in drivers]
    processor = _board(board) or _field(proc / "cpuinfo", "model name") or platform.machine()
    return ", ".join([processor, cores, *filter(None, gpus)])


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Package name -> version, of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _board(file: Path) -> str:
    """The name in a device tree, which ends with a zero byte; empty where there is none."""
    return file.read_text(encoding="utf-8").strip("\0\n ") if file.is_file() else ""


def _field(file: Path, name: str) -> str:
    """The first `name : value` of a file of /proc; empty where there is none."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    match = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else ""
