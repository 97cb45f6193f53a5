"""Latency budgets: how many milliseconds a stage may take, and whether it did."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gigaedge.benchmark import PATH_ARMS, PATH_STAGES, BenchReport, Distribution, PathInfo, StepsRow, Verdict
from gigaedge.errors import InputError

CHUNK: Final = "chunk"
SPLIT_STAGES: Final = ("context", "step", "steps")
SINGLE_STAGES: Final = ("policy",)
PROFILED_STAGES: Final = ("vae", "transformer")
COLD_STAGES: Final = ("load", "first_chunk")
LOOP_STAGES: Final = ("exposure_to_can", *PATH_STAGES, "host", "tick_work")
STAGES: Final = (CHUNK, *SPLIT_STAGES, *PROFILED_STAGES, *SINGLE_STAGES, *COLD_STAGES, *LOOP_STAGES)
"""Everything that can have a budget."""


@dataclass(frozen=True)
class Budget:
    """What a stage's p99 must not exceed; a start's stages have no percentiles, there it is their worst."""

    stage: str
    limit: float
    """ms."""

    def __str__(self) -> str:
        """As it is passed."""
        return f"--budget-ms {self.stage}={self.limit:g}"


def parse_budget(text: str) -> Budget:
    """`300` (of a chunk) or `STAGE=300`. Raises InputError: no number above zero, a stage that there is not."""
    stage, separator, number = text.rpartition("=")
    if not separator:
        stage = CHUNK
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise InputError(f"--budget-ms {text!r}: expected milliseconds above zero, as in 300 or context=80")
    if stage not in STAGES:
        raise InputError(f"--budget-ms {text!r}: no stage {stage!r}; there are {', '.join(STAGES)}")
    return Budget(stage, limit)


def require_measured(budgets: Iterable[Budget], *, layout: str, profile: bool, path: bool) -> None:
    """Raise InputError for a budget of something that will not be measured."""
    of_layout = SPLIT_STAGES if layout == "split" else SINGLE_STAGES
    for budget in budgets:
        if budget.stage in (*SPLIT_STAGES, *SINGLE_STAGES, *PROFILED_STAGES) and (
            budget.stage not in (*of_layout, *(PROFILED_STAGES if layout == "split" else ()))
        ):
            raise InputError(
                f"{budget}: a bundle of layout {layout} has no such stage; its chunk has {', '.join(of_layout)}"
            )
        if budget.stage in PROFILED_STAGES and not profile:
            raise InputError(f"{budget}: known by the profile only; drop --no-profile")
        if budget.stage in LOOP_STAGES and not path:
            raise InputError(f"{budget}: measured in the whole loop only; drop --no-path")


def judge(report: BenchReport, budgets: Iterable[Budget]) -> tuple[Verdict, ...]:
    """One verdict per budget, of the whole loop one with one arm and one with two; a chunk's of the first row."""
    return tuple(verdict for budget in budgets for verdict in _judge(report, budget))


def _judge(report: BenchReport, budget: Budget) -> list[Verdict]:
    if budget.stage in COLD_STAGES:
        times = report.cold.load if budget.stage == "load" else report.cold.first_chunk
        return [_verdict(budget, max(times), f"worst of {len(times)} processes")]
    if budget.stage in LOOP_STAGES:
        paths = {path.arms: path for path in report.path}
        return [_of_loop(paths.get(arms), arms, budget) for arms in PATH_ARMS]
    row = report.rows[0]
    times_of = _of_row(row, budget)
    return [_verdict(budget, times_of.p99, _sample(times_of, f"{row.steps} steps {row.solver}"))]


def _of_loop(path: PathInfo | None, arms: int, budget: Budget) -> Verdict:
    which = f"{arms} {'arm' if arms == 1 else 'arms'}"
    if path is None:
        missing = "it was not measured: no chunk came in time for the loop"
        return Verdict(name=f"budget {budget.stage}, {which}", passed=False, text=missing)
    times = {
        "exposure_to_can": path.exposure_to_can,
        "host": path.host,
        "tick_work": path.tick_work,
        **path.stages,
    }[budget.stage]
    return _verdict(budget, times.p99, _sample(times, which), f", {which}")


def _of_row(row: StepsRow, budget: Budget) -> Distribution:
    if budget.stage == CHUNK:
        return row.chunk
    if budget.stage not in row.stages:
        raise InputError(f"{budget}: it was not measured; there are {', '.join((CHUNK, *row.stages))}")
    return row.stages[budget.stage]


def _sample(times: Distribution, what: str) -> str:
    return f"p99 of {times.count}, {what}"


def _verdict(budget: Budget, found: float, how: str, which: str = "") -> Verdict:
    passed = found <= budget.limit
    word = "within" if passed else "beyond"
    return Verdict(
        name=f"budget {budget.stage}{which}",
        passed=passed,
        text=f"{budget.stage} takes {found:.4g} ms ({how}), {word} its budget of {budget.limit:g} ms",
    )
