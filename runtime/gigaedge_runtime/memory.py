"""How much memory a loaded policy takes, measured in a fresh process: `python -m gigaedge_runtime.memory BUNDLE`.

Two sessions that share weights may hold two packed copies of them, a mapped weights file counts while it is used, and
the first run allocates: none of it can be read off a manifest.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from gigaedge.errors import ProcessError

FP32_BYTES = 4
MEBIBYTE = 1 << 20
MEASURING_TIMEOUT = 600.0
"""s; a bundle of several billion weights takes minutes to load."""


@dataclass(frozen=True)
class MemoryUse:
    """Growth of a process beyond what it had before it loaded a policy; bytes of resident memory."""

    weights: int
    """Size of the bundle's weights file."""
    weights_fp32: int
    """What as many weights take as float32."""
    loaded: int
    first_chunk: int
    """After one chunk."""
    peak: int

    @property
    def ratio(self) -> float:
        """Growth after a chunk, in units of the weights at float32."""
        return self.first_chunk / self.weights_fp32


def measure_memory(bundle: Path) -> MemoryUse:
    """Load a bundle in a process of its own, on the CPU, and let it make one chunk.

    Raises ProcessError when that process fails, as for want of memory.
    """
    command = [sys.executable, "-m", "gigaedge_runtime.memory", str(bundle)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=MEASURING_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessError(
            f"{bundle}: loading it took more than {MEASURING_TIMEOUT:.0f} s; try again on an idle machine"
        ) from error
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message; was it killed for want of memory?"]
        raise ProcessError(
            f"{bundle}: the process that loaded it ended with {result.returncode}: {lines[-1]}"
        )
    return MemoryUse(**json.loads(result.stdout))


def main(argv: Sequence[str]) -> int:
    """Measure this process and print a MemoryUse as JSON."""
    from gigaedge_runtime.policy import Observation, Policy

    before = resident("VmRSS")
    policy = Policy.load(argv[0])
    gc.collect()
    loaded = resident("VmRSS")
    policy.chunk(Observation.make_example(policy.manifest.view))
    manifest = policy.manifest
    use = MemoryUse(
        weights=manifest.weights.bytes,
        weights_fp32=FP32_BYTES * manifest.model.parameters,
        loaded=loaded - before,
        first_chunk=resident("VmRSS") - before,
        peak=resident("VmHWM") - before,
    )
    print(json.dumps(asdict(use)))
    return 0


def resident(field: Literal["VmRSS", "VmHWM"]) -> int:
    """Of this process, bytes; VmRSS: now, VmHWM: at most so far (Linux, proc(5))."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def gpu_used() -> int | None:
    """Bytes in use on the first GPU, by whomever; None without nvidia-smi, or where it does not tell (Jetson)."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        result = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
        return int(result.stdout) * MEBIBYTE
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
