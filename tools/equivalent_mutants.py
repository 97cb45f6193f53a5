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
    "pursuit: slowest = np.where(motion[0] < self._lower, 0.0, -self._velocity) [Lt -> LtE]": (
        "exactly at the end of its range, a joint has nowhere to brake and is aimed inwards anyway"
    ),
    "pursuit: fastest = np.where(motion[0] > self._upper, 0.0, self._velocity) [Gt -> GtE]": (
        "exactly at the end of its range, a joint has nowhere to brake and is aimed inwards anyway"
    ),
    "pursuit: fastest = np.where(motion[0] > self._upper, 0.0, self._velocity) [0.0 -> 1.0]": (
        "outside its range a joint is aimed inwards, at full jerk while it still goes outwards"
    ),
    "pursuit: np.abs(wanted) > self._limit + ROUNDING, [Gt -> GtE]": (
        "whether exactly ROUNDING beyond a limit is counted is nobody's business"
    ),
    "pursuit: np.abs(pushed) > self._acceleration + ROUNDING, [Gt -> GtE]": (
        "whether exactly ROUNDING beyond a limit is counted is nobody's business"
    ),
    "pursuit: np.abs(change) > self._jerk + ROUNDING, [Gt -> GtE]": (
        "whether exactly ROUNDING beyond a limit is counted is nobody's business"
    ),
    "workspace: np.divide(ab * br - ar * bb, spread, out=s, where=spread > 1e-12 * aa * bb) [Gt -> GtE]": (
        "two links exactly as parallel as that: both ways are right"
    ),
    "workspace: arms = path.reshape(-1, ROBOT_DIM // ARM_DIM, ARM_DIM) [1 -> 2]": (
        "numpy takes any negative size for the one it is to find"
    ),
    "workspace: np.divide(ab * br - ar * bb, spread, out=s, where=spread > 1e-12 * aa * bb) [Mult -> Div]": (
        "any small number tells parallel links from others; theirs are all a few tenths of a metre long"
    ),
    "workspace: return np.asarray((beyond[1:] <= before + ROUNDING).all(axis=(0, 2, 3))) [LtE -> Lt]": (
        "whether exactly ROUNDING further out is still rounding is nobody's business"
    ),
    "workspace: return bool((short[1:] <= np.maximum(short[:-1], 0.0) + ROUNDING).all()) [LtE -> Lt]": (
        "whether exactly ROUNDING nearer is still rounding is nobody's business"
    ),
    "limits: self._take(self._motion, self._stop_from(self._motion)) [statement dropped]": (
        "before the first pose nobody may ask for the stop; `reset` makes one"
    ),
    "limits: self.clamps.position += np.abs(within - target) > ROUNDING [Gt -> GtE]": (
        "whether exactly ROUNDING beyond a limit is counted is nobody's business"
    ),
    "limits: self.clamps.lead += np.abs(near - within) > ROUNDING [Gt -> GtE]": (
        "whether exactly ROUNDING beyond a limit is counted is nobody's business"
    ),
    "limits: good: Bools = np.abs(gained) <= limits.jerk * period * (1 + SLACK) [LtE -> Lt]": (
        "whether exactly SLACK beyond a limit is still rounding is nobody's business"
    ),
}
