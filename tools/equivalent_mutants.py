"""Mutants of the limit layer that do what the original does, each with the reason; see mutate_limits.py."""

from __future__ import annotations

from typing import Final

EQUIVALENT: Final[dict[str, str]] = {
    "stopping: return np.where(time >= self.durations, self.end, path) [GtE -> Gt]": (
        "at that very time, path is the end, too"
    ),
}
