"""Mutants of the limit layer that do what the original does, each with the reason; see mutate_limits.py."""

from __future__ import annotations

from typing import Final

_SAME: Final = "where both are equal, both ways give the same number"
_COUNTED: Final = "whether exactly ROUNDING beyond a limit is counted is nobody's business"

EQUIVALENT: Final[dict[str, str]] = {
    "stopping: return np.asarray(np.where(time >= durations, end, path)) [GtE -> Gt]": (
        "at that very time, path is the end, too"
    ),
    "stopping: if peak > limit: [Gt -> GtE]": _SAME,
    "stopping: rise = (peak - along) / jerk if peak > along else 0.0 [Gt -> GtE]": _SAME,
    "stopping: hold = beyond / (jerk * limit) if beyond > 0.0 else 0.0 [Gt -> GtE]": _SAME,
    "stopping: low, high = (position, end) if position < end else (end, position) [Lt -> LtE]": _SAME,
    "stopping: peak_squared = jerk * abs(left) + (along * along if along > 0.0 else 0.0) [Gt -> GtE]": _SAME,
    "journey: self._elapsed = 0.0 [0.0 -> 1.0]": "set anew with every plan, and the first step plans",
    "journey: self._expected: Motion = np.empty((3, len(velocity))) [3 -> 4]": (
        "compared only once there is a target, and then it is a step that was made"
    ),
    "pursuit: if headroom < 0.0: [Lt -> LtE]": _SAME,
    "pursuit: if slower < closing: [Lt -> LtE]": _SAME,
    "pursuit: if aim > most: [Gt -> GtE]": _SAME,
    "pursuit: if slower < push: [Lt -> LtE]": _SAME,
    "pursuit: if held > hardest: [Gt -> GtE]": _SAME,
    "pursuit: if jerk > most_jerk: [Gt -> GtE]": _SAME,
    "pursuit: if reached < -down: [Lt -> LtE]": _SAME,
    "pursuit: if reached > up: [Gt -> GtE]": _SAME,
    "pursuit: if jerk < -most_jerk: [Lt -> LtE]": _SAME,
    "pursuit: least = braked(room, ramp, twice) if room > 0.0 else 0.0 [Gt -> GtE]": _SAME,
    "pursuit: most = braked(room, ramp, twice) if room > 0.0 else 0.0 [Gt -> GtE]": _SAME,
    "pursuit: aim = wanted if wanted > least else least [Gt -> GtE]": _SAME,
    "pursuit: pushed = push if missing >= 0.0 else -push [GtE -> Gt]": _SAME,
    "pursuit: held = pushed if pushed > -hardest else -hardest [Gt -> GtE]": _SAME,
    "pursuit: jerk = change if change > -most_jerk else -most_jerk [Gt -> GtE]": _SAME,
    "pursuit: elif jerk > most_jerk: [Gt -> GtE]": _SAME,
    "pursuit: wanted = feed + (closing if error >= 0.0 else -closing) [GtE -> Gt]": _SAME,
    "pursuit: least, most = -least if least < fastest else -fastest, most if most < fastest else fastest [Lt -> LtE]": (
        _SAME
    ),
    "pursuit: down = steepest(middle if place < lower else middle + fastest, most_jerk, half) [Lt -> LtE]": (
        "exactly at the end of its range, a joint has nowhere to brake and is aimed inwards anyway"
    ),
    "pursuit: up = steepest(-middle if place > upper else fastest - middle, most_jerk, half) [Gt -> GtE]": (
        "exactly at the end of its range, a joint has nowhere to brake and is aimed inwards anyway"
    ),
    "pursuit: bound[0].append(abs(wanted) > limit + ROUNDING) [Gt -> GtE]": _COUNTED,
    "pursuit: bound[1].append(abs(pushed) > hardest + ROUNDING) [Gt -> GtE]": _COUNTED,
    "pursuit: bound[2].append(abs(change) > most_jerk + ROUNDING) [Gt -> GtE]": _COUNTED,
    "room: self._gap = 0.0 [0.0 -> 1.0]": "looked at only once a pose was measured, which sets it",
    "room: moved[0] + HAIR < self._boxes[0] [Lt -> LtE]": (
        "what just fits may be checked in full or not: both find the same"
    ),
    "room: and moved[1] + HAIR < self._boxes[1] [Lt -> LtE]": (
        "what just fits may be checked in full or not: both find the same"
    ),
    "room: and moved[0] + moved[1] + HAIR < self._gap [Lt -> LtE]": (
        "what just fits may be checked in full or not: both find the same"
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
    "limits: if abs(within - wanted) > ROUNDING: [Gt -> GtE]": _COUNTED,
    "limits: if abs(near - within) > ROUNDING: [Gt -> GtE]": _COUNTED,
    "limits: good = abs(gained) <= jerk * period * (1 + SLACK) [LtE -> Lt]": (
        "whether exactly SLACK beyond a limit is still rounding is nobody's business"
    ),
}
