"""Which lines of the limit layer its tests do not run; ends with 1 when there are any.

    python tools/coverage_limits.py

Counts with Python's own trace function, so that nothing needs to be installed for it.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

MODULES = {
    ROOT / "runtime/gigaedge_runtime" / f"{name}.py"
    for name in ("limits", "stopping", "pursuit", "journey", "workspace", "room")
} | {ROOT / "gigaedge/profiles.py"}

TESTS = [
    *(
        f"tests/runtime/test_{name}.py"
        for name in ("stopping", "pursuit", "journey", "workspace", "room", "limits")
    ),
    "tests/core/test_profiles.py",
]


def executable(path: Path) -> set[int]:
    """Lines that hold code, by the compiler's own account."""
    lines: set[int] = set()
    waiting = [compile(path.read_text(encoding="utf-8"), str(path), "exec")]
    while waiting:
        code = waiting.pop()
        lines |= {line for _, _, line in code.co_lines() if line}
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return lines


def main() -> int:
    """Run the tests under a trace; the exit code."""
    watched = {str(path) for path in MODULES}
    seen: dict[str, set[int]] = {name: set() for name in watched}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in watched:
            return None
        seen[frame.f_code.co_filename].add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    threading.settrace(trace)
    result = pytest.main(["-q", "-p", "no:cacheprovider", *TESTS])
    sys.settrace(None)
    missed = {name: sorted(executable(Path(name)) - lines) for name, lines in seen.items()}
    for name, lines in sorted(missed.items()):
        total = len(executable(Path(name)))
        where = f", not run: {', '.join(map(str, lines))}" if lines else ""
        print(f"{Path(name).relative_to(ROOT)}: {total - len(lines)} of {total} lines{where}")
    return 1 if result or any(missed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
