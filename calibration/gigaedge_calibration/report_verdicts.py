"""The report's verdicts as tables: what is to be mended, every check with a column per camera, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from gigaedge.pages import Grade, Html, grade, paragraph, table
from gigaedge.robot import CAMERA_ROLES
from gigaedge_calibration.verdicts import Judgement, Limit, Verdict

GRADES: Final[dict[Verdict, Grade]] = {Verdict.PASS: "pass", Verdict.WARN: "warn", Verdict.FAIL: "fail"}

UNITS: Final = {
    "of the fitted error": "x fitted",
    "of the predicted error": "x predicted",
    "standard deviations": "sigma",
}
"""Shorter, for cells of a table."""


def verdict_tables(judgements: Sequence[Judgement]) -> list[str]:
    """What is not good, the gravest first and what nobody measured last; then everything."""
    bad = [row for row in judgements if row.verdict is not Verdict.PASS or not row.measured]
    bad.sort(key=lambda row: (-row.verdict, not row.measured))
    parts = [paragraph("Nothing is to be mended.")]
    if bad:
        # What several cameras have in common is said once.
        alike: dict[tuple[object, ...], list[Judgement]] = {}
        for row in bad:
            alike.setdefault((row.check, row.verdict, row.measured, row.cause, row.value), []).append(row)
        rows = [
            [
                _verdict(same[0]),
                same[0].check,
                Html("<br>".join(escape(row.subject) for row in same)),
                "; ".join(filter(None, (_value(same[0]), _limit(same[0].limit)))),
                _advice(same),
            ]
            for same in alike.values()
        ]
        header = ["", "to be mended", "of", "measured; warn / fail above", "cause, and what to do"]
        parts = [table(header, rows, left=(1, 2), prose=(4,))]
    cameras = [row for row in judgements if row.subject in CAMERA_ROLES]
    others = [row for row in judgements if row.subject not in CAMERA_ROLES]
    note = (
        "Why a limit: (S) from simulation with known truth, (D) derived from the training crop, (J) a judgement, to be "
        "revised on hardware. Measured values are ± 2 sigma where that is known."
    )
    return [*parts, _matrix(cameras), _list(others), paragraph(note)]


def _advice(same: Sequence[Judgement]) -> Html:
    """The cause, and a line for each thing to do."""
    mends = dict.fromkeys(row.mend for row in same if row.mend)
    return Html("<br>".join([escape(same[0].cause), *(f"&rarr; {escape(mend)}" for mend in mends)]))


def _matrix(judgements: Sequence[Judgement]) -> str:
    """A row per check and limit, a column per camera."""
    found: dict[tuple[str, Limit | None], dict[str, Judgement]] = {}
    for row in judgements:
        found.setdefault((row.check, row.limit), {})[row.subject] = row
    rows = []
    for (check, limit), by_role in sorted(found.items(), key=lambda item: _place(item[0][0], judgements)):
        cells = [_cell(by_role[role]) if role in by_role else "" for role in CAMERA_ROLES]
        rows.append([check, *cells, _limit(limit), limit.why if limit else ""])
    return table(["camera", *CAMERA_ROLES, "warn / fail above", "why this limit"], rows, prose=(5,))


def _place(check: str, judgements: Sequence[Judgement]) -> int:
    """Where a check comes first: one camera may have more checks than another."""
    return next(index for index, row in enumerate(judgements) if row.check == check)


def _list(judgements: Sequence[Judgement]) -> str:
    rows = [
        [row.check, row.subject, _cell(row), _limit(row.limit), row.limit.why if row.limit else ""]
        for row in judgements
    ]
    return table(["cell", "of", "", "warn / fail above", "why this limit"], rows, left=(1,), prose=(4,))


def _cell(row: Judgement) -> Html:
    """The value, or the verdict where there is none, in the verdict's colour."""
    value = _value(row)
    if not value or row.verdict is Verdict.PASS:
        return grade(value, "pass") if value else _verdict(row)
    return grade(f"{row.verdict.name} {value}", GRADES[row.verdict])


def _verdict(row: Judgement) -> Html:
    if not row.measured and row.verdict is Verdict.PASS:
        return grade("not measured", "none")
    return grade(row.verdict.name, GRADES[row.verdict])


def _value(row: Judgement) -> str:
    """In the unit of its limit."""
    if row.value is None:
        return ""
    return f"{row.value:.3g}" + ("" if row.sigma is None else f" ± {2 * row.sigma:.2g}")


def _limit(limit: Limit | None) -> str:
    return f"{limit.warn:g} / {limit.fail:g} {UNITS.get(limit.unit, limit.unit)}" if limit else ""
