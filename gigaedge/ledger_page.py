"""The ledger as a page: what an error costs in time, which joints it is in, and when in the chunk it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gigaedge.bundle import SpreadInfo
from gigaedge.ledger import JOINT_NAMES, Comparison, Entry
from gigaedge.pages import figure, page, paragraph, section, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Final = ("#3b82c4", "#e07b39", "#3a9d5d", "#c2559d", "#8a6fd1", "#b08a1e")
"""One per bundle, of middle brightness."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
"""One per step count."""
LINES: Final = ("-", "--", ":", "-.")
"""One per solver."""

HEADER: Final = (
    *("bundle", "precision", "steps", "joints, deg", "fingertip, mm", "gripper, mm"),
    *("chunk, ms", "context+steps"),
)


def rows(comparison: Comparison) -> list[list[str]]:
    """The ledger's table, one row per entry under `HEADER`.

    Errors are p50 / p95 / worst, chunk times p50 / p95, context and steps p50.
    """
    found = []
    for each in comparison.entries:
        row, times = each.row, each.row.latency_milliseconds
        errors = [row.joint_degrees, row.fingertip_millimetres, row.gripper_millimetres]
        is_reference = each.name == comparison.reference
        found.append(
            [
                *(each.bundle, each.precision, f"{row.steps} {row.solver}"),
                *(["reference", "", ""] if is_reference else [_spread(error) for error in errors]),
                *(f"{times.p50:.1f}/{times.p95:.1f}", f"{times.context_p50:.1f}+{times.steps_p50:.1f}"),
            ]
        )
    return found


def _spread(spread: SpreadInfo) -> str:
    return "/".join(map(_number, (spread.p50, spread.p95, spread.worst)))


def _number(value: float) -> str:
    """Degrees or mm to about three figures; the arm resolves 0.001 of either."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def render(comparison: Comparison) -> str:
    """The whole page. Needs matplotlib."""
    compared = [each for each in comparison.entries if each.name != comparison.reference]
    how = (
        f"Reference: {comparison.reference}. {comparison.observations} observations, {comparison.chunks} chunks "
        "per row, with the same noise and prompt for all. Joint errors are over all chunks, actions and joints; "
        "fingertip errors are distances between the points that two actions lead to, by forward kinematics, over "
        "both arms; gripper errors are of the opening. Errors: p50/p95/worst. Times: p50/p95 of a chunk "
        "after warm-up, and the p50 of its parts."
    )
    machine = f"Measured on {comparison.machine}."
    parts = [section("Ledger", paragraph(how), paragraph(machine), table(HEADER, rows(comparison)))]
    if compared:
        joints = [
            [each.name, *(f"{_number(s.p95)}/{_number(s.worst)}" for s in each.per_joint.values())]
            for each in compared
        ]
        parts += [
            section("What an error costs", _trade_off(comparison)),
            section("Where the error is", _per_joint(comparison, compared)),
            section(
                "Joints, degrees", paragraph("p95/worst."), table(["", *map(_short, JOINT_NAMES)], joints)
            ),
            section("When the error comes", _over_time(comparison, compared)),
        ]
    return page("Fidelity ledger", parts)


def _short(joint: str) -> str:
    """left_joint_3 -> left 3."""
    return joint.replace("_joint_", " ")


class _Look:
    """The same bundle, step count and solver look the same in every figure."""

    def __init__(self, comparison: Comparison) -> None:
        self.bundles = list(dict.fromkeys(each.bundle for each in comparison.entries))
        self.steps = sorted({each.row.steps for each in comparison.entries}, reverse=True)
        self.solvers = sorted({each.row.solver for each in comparison.entries})

    def of(self, each: Entry) -> dict[str, Any]:
        return {
            "color": COLOURS[self.bundles.index(each.bundle) % len(COLOURS)],
            "marker": MARKERS[self.steps.index(each.row.steps) % len(MARKERS)],
            "linestyle": LINES[self.solvers.index(each.row.solver) % len(LINES)],
            "markersize": 5,
            "linewidth": 1.5,
        }


def _new_figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(9.5, height), layout="constrained")


def _trade_off(comparison: Comparison) -> str:
    look = _Look(comparison)
    fig = _new_figure(4.2)
    axes = fig.subplots()
    series: dict[tuple[str, str, str], list[Entry]] = {}
    for each in comparison.entries:
        series.setdefault((each.bundle, each.precision, each.row.solver), []).append(each)
    for index, ((bundle, precision, solver), entries) in enumerate(series.items()):
        entries.sort(key=lambda each: each.row.steps)
        times = [each.row.latency_milliseconds.p50 for each in entries]
        errors = [each.row.fingertip_millimetres.p95 for each in entries]
        style = {**look.of(entries[0]), "marker": MARKERS[0]}
        offset = (5, 5 if index % 2 == 0 else -11)
        axes.plot(times, errors, label=f"{bundle} ({precision}), {solver}", **style)
        for each, x, y in zip(entries, times, errors, strict=True):
            steps = f"{each.row.steps} {solver}"
            axes.annotate(steps, (x, y), xytext=offset, textcoords="offset points", fontsize=8)
    positive = [error for each in comparison.entries if (error := each.row.fingertip_millimetres.p95) > 0]
    axes.margins(x=0.1, y=0.1)
    axes.set_xlim(left=0)
    if positive:
        # Logarithmic, and linear from the smallest error down to zero, where the reference lies.
        axes.set_yscale("symlog", linthresh=min(positive), linscale=0.3)
    axes.grid(alpha=0.4)
    axes.set_xlabel("time of a chunk, p50 (ms)")
    axes.set_ylabel("fingertip error, p95 (mm)")
    fig.legend(loc="outside upper left", frameon=False, ncols=2)
    return figure(
        fig,
        f"Error against time; points are labelled by steps and solver. The reference, {comparison.reference}, "
        "lies at zero error.",
        "Fingertip error over the time of a chunk, one line per bundle and solver",
    )


def _per_joint(comparison: Comparison, compared: list[Entry]) -> str:
    look = _Look(comparison)
    fig = _new_figure(4.6)
    axes = fig.subplots()
    for each in compared:
        values = [each.per_joint[name].p95 for name in JOINT_NAMES]
        axes.plot(range(len(JOINT_NAMES)), values, label=each.name, **look.of(each))
    _log_axis(axes)
    axes.set_xticks(range(len(JOINT_NAMES)), [_short(name) for name in JOINT_NAMES])
    axes.set_ylabel("joint error, p95 (degrees)")
    fig.legend(loc="outside upper left", frameon=False, ncols=2)
    return figure(fig, "Error of each joint.", "Joint error in degrees, one point per joint and combination")


def _over_time(comparison: Comparison, compared: list[Entry]) -> str:
    look = _Look(comparison)
    fig = _new_figure(4.6)
    axes = fig.subplots()
    for each in compared:
        times = np.arange(len(each.over_time)) / comparison.rate_hz
        axes.plot(times, each.over_time, label=each.name, markevery=6, **look.of(each))
    _log_axis(axes)
    axes.set_xlabel("time since the observation (s)")
    axes.set_ylabel("fingertip error, p95 (mm)")
    fig.legend(loc="outside upper left", frameon=False, ncols=2)
    return figure(
        fig,
        "Error over the chunk's time.",
        "Fingertip error over the time of a chunk, one line per combination",
    )


def _log_axis(axes: Any) -> None:
    """Logarithmic, unless every error is zero."""
    if any(value > 0 for line in axes.lines for value in line.get_ydata()):
        axes.set_yscale("log")
    axes.grid(alpha=0.4)
