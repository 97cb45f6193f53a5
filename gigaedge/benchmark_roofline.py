"""How near a bundle is to what its machine can do: every stage and big operator under the roofs that were measured.

The model is that of S. Williams, A. Waterman, D. Patterson, Roofline, CACM 52(4), 2009: work of a given number of
operations per byte read is bounded by the memory's rate on the left of the ridge and by arithmetic on its right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from gigaedge.benchmark import BenchReport, OperatorInfo, Peaks, StageProfile, StepsRow
from gigaedge.benchmark_plots import GREY, new_figure, number, plain_log
from gigaedge.pages import COLOURS

BIG: Final = 0.03
"""Fraction of its stage's time from which an operator is drawn."""
SMALL: Final = 0.01
"""Fraction of its stage's time below which an operator is not listed by itself."""

OPERATORS_HEADER: Final = (
    *("operator", "in the plot", "nodes", "ms", "of the stage", "GFLOP", "GFLOP/s", "weights, MB"),
    *("floor, ms", "reached"),
)
STAGES_HEADER: Final = (
    *("stage", "ms", "GFLOP", "weights, MB", "floor, arithmetic, ms", "floor, memory, ms", "bound by"),
    *("reached", "nodes ran on"),
)


def floor_of(report: BenchReport, row: StepsRow) -> float | None:
    """No chunk of this row can be quicker on this machine, ms; None where the profile does not say.

    Layout split: VAE and context once, a step as often as the row says. Layout single was profiled with one step
    count, that of the first row, and says nothing of others.
    """
    floors = {stage.stage: stage.floor for stage in report.profile}
    if "step" in floors:
        return sum(floors[name] for name in ("vae", "context") if name in floors) + row.steps * floors["step"]
    first = report.rows[0]
    same = (row.steps, row.solver) == (first.steps, first.solver)
    return floors.get("policy") if same else None


def numbered(profile: Sequence[StageProfile]) -> dict[tuple[str, str], int]:
    """(stage, operator) -> its number in the figure, from 1; operators that read weights and take long enough."""
    found = [(stage, op) for stage in profile for op in _by_time(stage) if _drawn(stage, op)]
    return {(stage.stage, op.operator): place + 1 for place, (stage, op) in enumerate(found)}


def _by_time(stage: StageProfile) -> list[OperatorInfo]:
    return sorted(stage.operators, key=lambda op: -op.time)


def _drawn(stage: StageProfile, op: OperatorInfo) -> bool:
    return op.gflop > 0 and op.weight_mb > 0 and op.time > 0 and op.time >= BIG * stage.time


def roofline_figure(profile: Sequence[StageProfile], peaks: Peaks) -> Figure | None:
    """Rates over operations per byte of weights; None where nothing both computes and reads weights."""
    whole = [stage for stage in profile if stage.gflop > 0 and stage.weight_mb > 0 and stage.time > 0]
    numbers = numbered(profile)
    if not whole:
        return None
    fig = new_figure(5.2)
    axes: Any = fig.subplots()
    reached = [_place(stage) for stage in whole]
    for index, stage in enumerate(profile):
        colour = COLOURS[index % len(COLOURS)]
        if stage in whole:
            axes.plot(*_place(stage), "D", color=colour, ms=9, alpha=0.8, label=stage.stage, zorder=3)
        for op in stage.operators:
            key = (stage.stage, op.operator)
            if key in numbers:
                place = _place(op)
                reached.append(place)
                axes.plot(*place, "o", color=colour, ms=7, mfc="none", mew=1.6, zorder=4)
                beside = {"xytext": (-8, 0), "ha": "right", "va": "center", "fontsize": 8}
                axes.annotate(str(numbers[key]), place, textcoords="offset points", **beside)
    left, right = min(x for x, _ in reached) / 4, max(x for x, _ in reached) * 4
    ridge = peaks.fp32_gflop_s / peaks.read_gb_s
    span = np.geomspace(min(left, ridge / 4), max(right, ridge * 4), 200)
    roofs = [("fp32", peaks.fp32_gflop_s, "-")]
    if peaks.int8_gop_s is not None:
        roofs.append(("int8", peaks.int8_gop_s, "--"))
    for name, peak, style in roofs:
        axes.plot(span, np.minimum(peak, peaks.read_gb_s * span), color=GREY, ls=style, lw=1.4)
        label = f"{name}: {number(peak)} {'GFLOP/s' if name == 'fp32' else 'GOP/s'}"
        axes.annotate(
            label, (span[-1], peak), xytext=(0, 4), textcoords="offset points", ha="right", fontsize=9
        )
    memory = f"memory: {number(peaks.read_gb_s)} GB/s"
    start = (span[0], peaks.read_gb_s * span[0])
    axes.annotate(memory, start, xytext=(8, -4), textcoords="offset points", va="top", fontsize=9)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(span[0], span[-1])
    low, high = axes.get_ylim()
    axes.set_ylim(low / 1.5, high * 2)
    plain_log(axes, "x")
    plain_log(axes, "y")
    axes.grid(alpha=0.4)
    axes.set_xlabel("operations per byte of weights (FLOP/byte)")
    axes.set_ylabel("rate (GFLOP/s)")
    fig.legend(loc="outside upper left", frameon=False, ncols=4, fontsize=9)
    return fig


def _place(work: StageProfile | OperatorInfo) -> tuple[float, float]:
    """FLOP/byte and GFLOP/s."""
    return 1e3 * work.gflop / work.weight_mb, 1e3 * work.gflop / work.time


def stage_rows(profile: Sequence[StageProfile]) -> list[list[str]]:
    """The stages under `STAGES_HEADER`."""
    return [
        [
            *(stage.stage, number(stage.time), number(stage.gflop), number(stage.weight_mb)),
            *(number(floor) if floor else "-" for floor in (stage.floor_compute, stage.floor_memory)),
            "arithmetic" if stage.floor_compute >= stage.floor_memory else "memory",
            f"{100 * stage.reached:.0f} %",
            ", ".join(f"{_short(name)} {count}" for name, count in stage.provider_nodes.items()),
        ]
        for stage in profile
    ]


def operator_rows(stage: StageProfile, numbers: dict[tuple[str, str], int]) -> list[list[str]]:
    """The operators of a stage under `OPERATORS_HEADER`, the longest first; those below `SMALL` in one row."""
    rows: list[list[str]] = []
    small = [op for op in stage.operators if op.time < SMALL * stage.time]
    for op in _by_time(stage):
        if op not in small:
            place = numbers.get((stage.stage, op.operator))
            rows.append(_operator(stage, op, "" if place is None else str(place)))
    if small:
        rest = OperatorInfo(
            operator=f"{len(small)} others",
            nodes=sum(op.nodes for op in small),
            time=sum(op.time for op in small),
            gflop=sum(op.gflop for op in small),
            weight_mb=sum(op.weight_mb for op in small),
            floor=sum(op.floor for op in small),
        )
        rows.append(_operator(stage, rest, ""))
    return rows


def _operator(stage: StageProfile, op: OperatorInfo, place: str) -> list[str]:
    return [
        *(op.operator, place, str(op.nodes), number(op.time)),
        f"{100 * op.time / stage.time:.1f} %" if stage.time else "-",
        number(op.gflop) if op.gflop else "-",
        number(1e3 * op.gflop / op.time) if op.gflop and op.time else "-",
        number(op.weight_mb) if op.weight_mb else "-",
        number(op.floor) if op.floor else "-",
        f"{100 * op.floor / op.time:.0f} %" if op.floor and op.time else "-",
    ]


def _short(provider: str) -> str:
    """CPUExecutionProvider -> CPU."""
    return provider.removesuffix("ExecutionProvider")
