"""Who moved? Looks at a fixed board tell which joint, camera or board is not where it was, and by how much.

Every supposition of `witness_model` is fitted and the one of least squared residuals plus penalty believed. The penalty
is what noise alone hardly gains by it: 9 for one unknown, 22 for six. With three looks, the front view and the gripper
2 of 100 quiet cells were suspected, neither beyond a limit (tests/calibration/witness_trials.py).

Two pairs look the same to the wrist camera for ever: joint 1 and a board that was turned about the base's axis; joint 6
and a camera that was turned about the flange. The front camera's view of the board tells the first pair apart, the
gripper's place in the wrist camera's picture the second. Without them neither is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gigaedge.errors import CalibrationError
from gigaedge.robot import Side
from gigaedge_calibration.acceptance import WITNESS_JOINT, WITNESS_SHIFT, WITNESS_TURN
from gigaedge_calibration.verdicts import Judgement, Limit, Verdict
from gigaedge_calibration.witness_model import SUPPOSITIONS, Evidence, Fit, Supposition, fit

PENALTIES: Final = {0: 0.0, 1: 9.0, 6: 22.0}
"""Of a supposition with so many unknowns of its own."""
_MARGIN: Final = 4.6
"""What a supposition must be better by than another one to be believed instead: odds of ten to one."""
_SURPRISE: Final = 3.7
"""Standard deviations that the residuals of the best supposition may exceed their mean by: one in ten thousand."""
_CERTAIN: Final = 3.0
"""Standard deviations beyond a warning from which on a move is a failure."""


@dataclass(frozen=True)
class Finding:
    """Who moved, as far as the looks tell."""

    candidates: tuple[Fit, ...]
    """Best first; more than one: they cannot be told apart. Of supposition `nothing` alone: all is where it was."""
    fits: tuple[Fit, ...]
    """Every supposition."""
    significance: float
    """Of the best candidate against `nothing`, standard deviations."""
    certain: bool
    """Beyond what a warning needs by three standard deviations."""
    explained: bool
    """The best candidate leaves no more than noise."""
    front: bool
    gripper: bool
    """What could be told apart with."""

    @property
    def moved(self) -> bool:
        """Anything at all."""
        return self.candidates[0].supposition != "nothing"

    @property
    def named(self) -> Supposition | None:
        """The one thing that moved; None: several are possible."""
        return self.candidates[0].supposition if len(self.candidates) == 1 else None


def find(evidence: Evidence) -> Finding:
    """Fit every supposition and weigh them. Raises CalibrationError: no looks."""
    fits = tuple(fit(evidence, each) for each in SUPPOSITIONS if each != "front camera" or evidence.front)
    ranked = sorted(fits, key=_score)
    best, quiet = ranked[0], fits[0]
    candidates = [best]
    if best is not quiet:
        near = [other for other in ranked[1:] if _score(other) - _score(best) < _MARGIN]
        candidates += [other for other in near if other is not quiet]
        for joint, twin, told in (
            ("joint 1", "board", evidence.front),
            ("joint 6", "wrist camera", evidence.gripper),
        ):
            suspects = {candidate.supposition for candidate in candidates}
            if joint in suspects and twin not in suspects and not told:
                candidates.append(next(other for other in fits if other.supposition == twin))
    significance = float(np.sqrt(max(0.0, quiet.chi2 - best.chi2)))
    needed = float(np.sqrt(PENALTIES[len(best.change)])) + _CERTAIN
    return Finding(
        tuple(candidates),
        fits,
        significance,
        best is not quiet and significance >= needed,
        best.chi2 <= _greatest_chi2(best.freedom),
        evidence.front,
        evidence.gripper,
    )


def judge(finding: Finding, side: Side) -> list[Judgement]:
    """One row per thing that was looked at; of those that moved, with what a person can do."""
    if not finding.explained:
        return [_unexplained(finding, side)]
    if not finding.moved:
        quiet = [other for other in finding.fits if other.supposition not in ("nothing", *_untold(finding))]
        return [row for other in quiet for row in _rows(other, side)]
    best = finding.candidates[0]
    # What is certain of a group is only that one of them moved.
    cause, mend = _words(finding, side)
    rows = []
    for row in _rows(best, side):
        limit = row.limit
        verdict = limit.judge(abs(row.value)) if limit is not None and row.value is not None else Verdict.WARN
        # A turn that looks like a shift, and vice versa, makes neither certain.
        sure = finding.certain and abs(row.value or 0.0) >= _CERTAIN * (row.sigma or 0.0)
        if not sure or best.supposition == "board":
            verdict = min(verdict, Verdict.WARN)
        check = row.check if finding.named else f"{row.check}, or another"
        rows.append(Judgement(check, row.subject, verdict, row.value, row.sigma, limit, cause, mend))
    return rows


def not_seen(side: Side, looks: Sequence[int]) -> Judgement:
    """The row of a board that was stored in looks (from 0) and is not seen there now."""
    names = ", ".join(str(look + 1) for look in looks)
    return Judgement(
        "board in view",
        f"{side} arm",
        Verdict.FAIL,
        cause=f"the wrist camera does not see the board in look {names}, where it did when the looks were stored",
        mend="see that the board is in place, lit and not covered, and that the lens is clean; if all is, an arm "
        "joint or a camera is far off: `gigaedge calibrate hand-eye`",
    )


def _score(candidate: Fit) -> float:
    return candidate.chi2 + PENALTIES[len(candidate.change)]


def _greatest_chi2(freedom: int) -> float:
    """By Wilson and Hilferty's cube root."""
    ninth = 2 / (9 * max(freedom, 1))
    return float(max(freedom, 1) * (1 - ninth + _SURPRISE * np.sqrt(ninth)) ** 3)


def _untold(finding: Finding) -> tuple[Supposition, ...]:
    """Joints that say nothing by themselves."""
    return (*(() if finding.front else ("joint 1",)), *(() if finding.gripper else ("joint 6",)))


def _rows(moved: Fit, side: Side) -> list[Judgement]:
    """An angle, or a turn and a shift, with their standard deviations; verdict PASS."""
    subject = {"board": "board", "front camera": "cam_high", "wrist camera": f"cam_{side}_wrist"}.get(
        moved.supposition, f"{side} arm"
    )
    if len(moved.change) == 1:
        value, sigma = np.degrees(moved.change[0]), np.degrees(np.sqrt(moved.covariance[0, 0]))
        return [_row(f"{moved.supposition} off", subject, value, sigma, WITNESS_JOINT)]
    rows = []
    for what, part, scale, limit in (
        ("turned", slice(0, 3), 180 / np.pi, WITNESS_TURN),
        ("shifted", slice(3, 6), 1e3, WITNESS_SHIFT),
    ):
        vector, covariance = moved.change[part], moved.covariance[part, part]
        length = float(np.linalg.norm(vector))
        # Of a length: along the vector; of one that is all noise, that of its widest direction.
        along = vector / length if length > 0 else np.zeros(3)
        sigma = max(float(along @ covariance @ along), 1e-30) ** 0.5
        rows.append(_row(f"{moved.supposition} {what}", subject, scale * length, scale * sigma, limit))
    return rows


def _row(check: str, subject: str, value: float, sigma: float, limit: Limit) -> Judgement:
    return Judgement(check, subject, Verdict.PASS, float(value), float(sigma), limit)


def _words(finding: Finding, side: Side) -> tuple[str, str]:
    """Cause and mend."""
    best = finding.candidates[0]
    if finding.named:
        return _story(best, side), _MENDS.get(best.supposition, _MEND_JOINT).format(side=side)
    names = [candidate.supposition for candidate in finding.candidates]
    causes = [
        f"either {' or '.join(names)} moved: these looks do not tell which ({_story(best, side)}, if so)"
    ]
    mends = []
    if {"joint 1", "board"} <= set(names) and not finding.front:
        causes.append("joint 1 or the board: turned together they look the same")
        mends.append("let the front camera see the board")
    if {"joint 6", "wrist camera"} <= set(names) and not finding.gripper:
        causes.append("joint 6 or the wrist camera: turned together they look the same")
        mends.append("give the wrist camera a reference view (`gigaedge calibrate views`)")
    mends.append("store more looks (`gigaedge calibrate witness --looks 3`) once all is in order again")
    return "; ".join(causes), "; ".join(mends)


def _story(moved: Fit, side: Side) -> str:
    """What moved and by how much, with two standard deviations."""
    if len(moved.change) == 1:
        value, sigma = np.degrees(moved.change[0]), np.degrees(np.sqrt(moved.covariance[0, 0]))
        return (
            f"{moved.supposition} of the {side} arm stands {value:+.2f} +- {2 * sigma:.2f} degrees from what it "
            "reports"
        )
    turn, shift = _rows(moved, side)
    name = f"the {side} wrist camera" if moved.supposition == "wrist camera" else f"the {moved.supposition}"
    return (
        f"{name} was turned by {turn.value or 0:.2f} +- {2 * (turn.sigma or 0):.2f} degrees and shifted by "
        f"{shift.value or 0:.1f} +- {2 * (shift.sigma or 0):.1f} mm"
    )


_MEND_JOINT: Final = (
    "set this joint's zero of the {side} arm again as AgileX describes, then check again; if the arm shall stay as it "
    "is, `gigaedge calibrate hand-eye` and `gigaedge calibrate witness`"
)
_MENDS: Final[dict[Supposition, str]] = {
    "wrist camera": "tighten the {side} wrist camera in its old place, or `gigaedge calibrate hand-eye` and "
    "`gigaedge calibrate witness` where it is now",
    "board": "put the board back, or store new looks with `gigaedge calibrate witness`; the policy is not concerned",
    "front camera": "turn the front camera back (`gigaedge calibrate views` shows how), or `gigaedge calibrate "
    "hand-eye` where it is now",
}


def _unexplained(finding: Finding, side: Side) -> Judgement:
    best = finding.candidates[0]
    return Judgement(
        "looks explained",
        f"{side} arm",
        Verdict.FAIL,
        cause=f"no single move explains the looks (chi-squared {best.chi2:.0f} where {best.freedom} is usual): more "
        "than one thing moved, or the lens, the board or the noise is not what the calibration says",
        mend="`gigaedge calibrate hand-eye`, then `gigaedge calibrate witness`",
    )


def require_sensitivity(finding: Finding) -> None:
    """Raise CalibrationError when these looks could not have seen a joint that is off by what must fail."""
    for each in finding.fits:
        if len(each.change) == 1 and each.supposition not in _untold(finding):
            sigma = float(np.degrees(np.sqrt(each.covariance[0, 0])))
            if 3 * sigma > WITNESS_JOINT.fail:
                raise CalibrationError(
                    f"witness: these looks tell {each.supposition} to +-{2 * sigma:.2f} degrees only; store more, from "
                    "poses that differ in reach and rotation, with `gigaedge calibrate witness`"
                )
