"""An earlier report as the measure of a later one: what must be the same, and what the comparison says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gigaedge.benchmark import SCHEMA, BenchReport, StepsRow, Verdict
from gigaedge.errors import InputError
from gigaedge.regression import MIN_PROCESSES, Comparison, Measured, Timed, compare
from gigaedge.validation import first_problem

_MEND = "measure the baseline anew under the same conditions"


@dataclass(frozen=True)
class Conditions:
    """What two measurements must have in common; another bundle of the same size is what is compared."""

    machine: str
    provider: str
    threads: int
    chunk: int
    view: str
    rows: tuple[tuple[int, str], ...]
    """Steps and solver."""

    @classmethod
    def of(cls, report: BenchReport) -> Conditions:
        """Of a report."""
        subject = report.subject
        return cls(
            machine=report.machine.name,
            provider=report.settings.provider,
            threads=report.settings.threads,
            chunk=subject.chunk,
            view=f"{subject.view_width}x{subject.view_height}",
            rows=tuple((row.steps, row.solver) for row in report.rows),
        )


def read_baseline(file: Path) -> tuple[BenchReport, ...]:
    """The reports in a file that `gigaedge bench --out` wrote.

    Raises InputError: no file, no JSON, another schema, a key that is wrong.
    """
    mend = "pass a file that `gigaedge bench --out` wrote"
    if not file.is_file():
        raise InputError(f"--baseline {file}: no such file; {mend}")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"--baseline {file}: not valid JSON ({error}); {mend}") from error
    parts = data if isinstance(data, list) else [data]
    schemas = {part.get("schema") if isinstance(part, dict) else None for part in parts}
    if schemas != {SCHEMA}:
        found = ", ".join(sorted(map(repr, schemas))) or "nothing"
        raise InputError(f"--baseline {file}: expected schema {SCHEMA!r}, found {found}; {mend}")
    try:
        return TypeAdapter(tuple[BenchReport, ...]).validate_python(parts)
    except ValidationError as error:
        raise InputError(f"--baseline {file}: {first_problem(error, BenchReport)}; {mend}") from error


def match(baselines: Sequence[BenchReport], count: int, file: Path) -> list[BenchReport]:
    """One baseline for each of `count` bundles: the only one, or one each in their order. Raises InputError."""
    if len(baselines) not in (1, count):
        raise InputError(
            f"--baseline {file}: it has reports of {len(baselines)} bundles and {count} are measured; "
            "pass the same bundles, or a baseline of one"
        )
    return [baselines[index if len(baselines) == count else 0] for index in range(count)]


def require_comparable(now: Conditions, baseline: BenchReport, processes: int, file: Path) -> None:
    """Raise InputError when a comparison with the baseline would compare something else than bundles."""
    before = Conditions.of(baseline)
    for what, ours, theirs in (
        ("the machine", now.machine, before.machine),
        ("the provider", now.provider, before.provider),
        ("the number of threads", now.threads, before.threads),
        ("the chunk's length", now.chunk, before.chunk),
        ("the view", now.view, before.view),
    ):
        if ours != theirs:
            raise InputError(f"--baseline {file}: {what} was {theirs} and is {ours}; {_MEND}")
    for row in now.rows:
        if row not in before.rows:
            have = ", ".join(map(_name, before.rows))
            raise InputError(f"--baseline {file}: it has no row {_name(row)} (it has {have}); {_MEND}")
    for whose, count in (("it", baseline.settings.processes), ("this measurement", processes)):
        if count < MIN_PROCESSES:
            raise InputError(
                f"--baseline {file}: {whose} has {count} processes; a comparison needs at least {MIN_PROCESSES}"
            )


def compare_rows(now: BenchReport, before: BenchReport, tolerance: float) -> list[Comparison]:
    """Every row of a report beside the same row of the baseline; `tolerance` is a fraction."""
    found = []
    for row in now.rows:
        other = before.row(row.steps, row.solver)
        if other is None:
            raise ValueError(f"the baseline has no row {_name((row.steps, row.solver))}")
        on_cpu = now.settings.provider == "cpu"
        found.append(compare(_measured(row, on_cpu), _measured(other, on_cpu), tolerance))
    return found


def judge(now: BenchReport, before: BenchReport, tolerance: float) -> tuple[Verdict, ...]:
    """One verdict per row."""
    rows = zip(now.rows, compare_rows(now, before, tolerance), strict=True)
    return tuple(
        Verdict(
            name=f"baseline {_name((row.steps, row.solver))}",
            passed=not comparison.slower,
            text=f"{_subjects(now, before)}{comparison}",
        )
        for row, comparison in rows
    )


def notices(now: BenchReport, before: BenchReport) -> tuple[str, ...]:
    """What differs without forbidding the comparison: versions."""
    ours, theirs = now.machine.versions, before.machine.versions
    return tuple(
        f"the baseline was measured with {name} {theirs.get(name, 'absent')}, this with {ours.get(name, 'absent')}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    )


def _measured(row: StepsRow, on_cpu: bool) -> Measured:
    """What the yardstick and processor time say is of the CPU only; for a GPU the clock has to do."""
    if not on_cpu:
        constant = tuple((1.0,) * len(times) for times in row.samples)
        return Measured(Timed(row.samples, constant))
    work = Timed(row.work, row.yardstick_work) if row.work else None
    return Measured(Timed(row.samples, row.yardstick), work)


def _name(row: tuple[int, str]) -> str:
    return f"{row[0]} steps {row[1]}"


def _subjects(now: BenchReport, before: BenchReport) -> str:
    """Says it where it is not the same bundle."""
    if now.subject.manifest_sha256 == before.subject.manifest_sha256:
        return ""
    ours, theirs = ((each.subject.precision, each.subject.layout) for each in (now, before))
    if ours == theirs:
        return "another bundle than the baseline's; "
    return f"{' '.join(ours)} against the baseline's {' '.join(theirs)}; "
