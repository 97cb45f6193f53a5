"""The table of faults: one line each on a terminal, and the rows of docs/faults.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gigaedge.machine import describe_machine
from tests.faults.case import Case, Outcome, Reaction

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"

_BEGIN, _END = "<!-- table: written by `python -m tests.faults --write` -->", "<!-- end of table -->"
_HEAD = (
    "fault",
    "what is done",
    "detected by",
    "reaction",
    "ms (bound), since",
    "stands after",
    "lost",
    "a person reads",
)
_ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (.*?) \| (.*?) \| (.*?) \|", re.MULTILINE)


def line(outcome: Outcome, width: int = 0) -> str:
    """One line for a terminal; `width`: of the longest name."""
    verdict = "ok  " if outcome.passed else "FAIL"
    text = " | ".join(
        (
            f"{verdict} {outcome.case:{width}}",
            f"{outcome.detected_by:15}",
            f"{outcome.reaction:46}",
            f"{_number(outcome.milliseconds):>5} ms",
            f"stand {_number(outcome.standing):>4} ms",
            f"lost {outcome.lost}",
            outcome.read if len(outcome.read) <= 80 else outcome.read[:77] + "...",
        )
    )
    notes = list(outcome.problems)
    if outcome.attempts > 1:
        notes.append(f"attempt {outcome.attempts}: this computer had stalled")
    return "\n".join([text, *(f"     {note}" for note in notes)])


def rows(cases: Iterable[Case], outcomes: Mapping[str, Outcome]) -> str:
    """The Markdown table with what was measured, and where."""
    table = [
        f"Measured on {describe_machine()}; every case as promised.",
        "",
        f"| {' | '.join(_HEAD)} |",
        "|---" * len(_HEAD) + "|",
    ]
    for case in cases:
        outcome = outcomes[case.name]
        bound = f"{1e3 * case.within:.0f}, {case.since.value}"
        if case.reaction is Reaction.ABANDONED:
            bound = f"{1e3 * case.within:.0f}, {case.since.value} to the end of the run"
        took = "-" if outcome.milliseconds is None else f"{_number(outcome.milliseconds)} ({bound})"
        standing = "-" if outcome.standing is None else f"{_number(outcome.standing)} ms"
        cells = (
            f"`{case.name}`",
            case.injected,
            case.detector.replace("_", " "),
            case.reaction.value,
            took,
            standing,
            outcome.lost,
            f"`{outcome.read}`" if outcome.read else "-",
        )
        table.append(f"| {' | '.join(_escaped(cell) for cell in cells)} |")
    return "\n".join(table)


def write(cases: Sequence[Case], outcomes: Mapping[str, Outcome], document: Path = DOCUMENT) -> None:
    """Replace the table in the document; the words around it stay."""
    text = document.read_text(encoding="utf-8")
    before, rest = text.split(_BEGIN, 1)
    _, after = rest.split(_END, 1)
    document.write_text(f"{before}{_BEGIN}\n\n{rows(cases, outcomes)}\n\n{_END}{after}", encoding="utf-8")


def written(document: Path = DOCUMENT) -> list[tuple[str, str, str, str]]:
    """What the document's table says: name, what is done, detector and reaction of each row."""
    return [
        (name, *(cell.replace("\\|", "|") for cell in cells))
        for name, *cells in _ROW.findall(document.read_text(encoding="utf-8"))
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 0.0 else "before"


def _escaped(cell: str) -> str:
    """What changes from run to run gets a name, and what means something in Markdown means nothing."""
    cell = re.sub(r"\(pid \d+\)", "(pid N)", cell)
    cell = re.sub(r"gigaedge-faults-[a-z0-9_]+-(left|right)\b", r"can_\1", cell)
    cell = re.sub(r"/\S*/gigaedge-faults-[a-z0-9_]+/", "", cell)
    return cell.replace("|", "\\|")
