"""Mutants of the limit layer that do what the original does, each with the reason; see mutate_limits.py."""

from __future__ import annotations

from typing import Final

EQUIVALENT: Final[dict[str, str]] = {
    "stopping: return np.where(time >= self.durations, self.end, path) [GtE -> Gt]": (
        "at that very time, path is the end, too"
    ),
    "journey: self._elapsed = 0.0 [0.0 -> 1.0]": "set anew with every plan, and the first step plans",
    "journey: self._expected: Motion = np.empty((3, len(velocity))) [3 -> 4]": (
        "compared only once there is a target, and then it is a step that was made"
    ),
}
