"""The commands behind a GPU report: each in a process of its own, with a log and a time limit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gigaedge.files import write_tensors
from gigaedge.robot import CAMERA_ROLES
from gigaedge_export.random_checkpoint import HOME

TOOLS = Path(__file__).parent
LIMIT_S = 3600.0
"""Longest that one command may take."""
CALIBRATIONS = 4
"""Observations to measure activations on, for TensorRT's int8."""


class StepError(Exception):
    """A command failed; the text is one line."""


def tool(script: str, *arguments: object) -> list[str]:
    """A command that runs a script beside this one."""
    return [sys.executable, str(TOOLS / script), *map(str, arguments)]


def run(command: Sequence[str], log: Path) -> Any:
    """What a command printed as JSON on its last line, None where that is none; its stderr goes to `log`.

    Raises StepError with the last line of the log.
    """
    log.parent.mkdir(exist_ok=True)
    with log.open("w", encoding="utf-8") as errors:
        try:
            result = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise StepError(f"took more than {LIMIT_S:.0f} s (see {log})") from error
    if result.returncode:
        said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
        last = said[-1].strip() if said else f"ended with {result.returncode}; out of memory?"
        raise StepError(f"{last} (see {log})")
    printed = result.stdout.strip().splitlines()
    return json.loads(printed[-1]) if printed and printed[-1][0] in "[{" else None


def make_calibration(folder: Path) -> Path:
    """A few observations, made once: random pictures, and states around a comfortable pose."""
    folder.mkdir(exist_ok=True)
    for index in range(CALIBRATIONS):
        file = folder / f"{index}.safetensors"
        if file.is_file():
            continue
        random = np.random.default_rng(index)
        state = np.array([*HOME, *HOME]) + random.normal(0, 0.01, 2 * len(HOME))
        pictures = {
            f"image.{role}": random.integers(0, 256, (480, 640, 3), np.uint8) for role in CAMERA_ROLES
        }
        write_tensors(file, {**pictures, "state": state.astype(np.float32)})
    return folder
