"""Run a command and say what it took: time, and the peaks of anonymous and of all resident memory.

    python tools/peak_memory.py gigaedge export --checkpoint ckpt --prompt p=p.pt --precision fp16 --out bundle

Anonymous memory is what must fit; file pages (a mapped checkpoint) are dropped under pressure. Only the command's own
process is watched, ten times a second, as /proc/PID/status counts it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

FIELDS = {"RssAnon": "anonymous", "VmRSS": "resident"}


def watch(command: list[str]) -> tuple[int, float, dict[str, int]]:
    """Exit code, seconds, and peaks in MB (2^20 bytes)."""
    start = time.monotonic()
    process = subprocess.Popen(command)
    peaks = dict.fromkeys(FIELDS.values(), 0)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except FileNotFoundError:
            break
        for field, name in FIELDS.items():
            found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
            if found:
                peaks[name] = max(peaks[name], int(found[1]) // 1024)
        time.sleep(0.1)
    return process.wait(), time.monotonic() - start, peaks


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python tools/peak_memory.py COMMAND [ARGUMENT]...")
    code, seconds, peaks = watch(sys.argv[1:])
    numbers = ", ".join(f"{value} MB {name}" for name, value in peaks.items())
    print(f"exit {code} after {seconds:.0f} s; peak {numbers}", file=sys.stderr)
    sys.exit(code)
