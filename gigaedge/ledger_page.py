"""The ledger as a page: what an error costs in time, which joints it is in, and when in the chunk it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gigaedge.findings import SpreadInfo
from gigaedge.ledger import JOINT_NAMES, Comparison, Entry
from gigaedge.pages import COLOURS, figure, page, paragraph, section, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
                f"{times.p50:.1f}/{times.p95:.1f}",
                "-" if times.steps_p50 is None else f"{times.context_p50:.1f}+{times.steps_p50:.1f}",
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


def _new_figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(9.5, height), layout="constrained")


def _trade_off(comparison: Comparison) -> str:
    solvers = _solvers(comparison)
    series: dict[str, list[Entry]] = {}
    for each in comparison.entries:
        series.setdefault(f"{_title(each)}, {each.row.solver}", []).append(each)
    bundles = list(dict.fromkeys(each.bundle for each in comparison.entries))
    fig = _new_figure(4.4)
    axes = fig.subplots()
    for index, (label, entries) in enumerate(series.items()):
        entries.sort(key=lambda each: each.row.steps)
        times = [each.row.latency_milliseconds.p50 for each in entries]
        errors = [each.row.fingertip_millimetres.p95 for each in entries]
        colour = COLOURS[bundles.index(entries[0].bundle) % len(COLOURS)]
        line = LINES[solvers.index(entries[0].row.solver) % len(LINES)]
        axes.plot(times, errors, color=colour, linestyle=line, marker="o", markersize=5, label=label)
        offset = (4, 4 if index % 2 == 0 else -11)
        for each, x, y in zip(entries, times, errors, strict=True):
            steps = str(each.row.steps)
            axes.annotate(steps, (x, y), xytext=offset, textcoords="offset points", color=colour, fontsize=9)
    positive = [error for each in comparison.entries if (error := each.row.fingertip_millimetres.p95) > 0]
    axes.margins(x=0.1, y=0.1)
    axes.set_xlim(left=0)
    if positive:
        # Logarithmic, and linear from the smallest error down to zero, where the reference lies.
        axes.set_yscale("symlog", linthresh=min(positive), linscale=0.3)
    axes.grid(alpha=0.4)
    axes.set_xlabel("time of a chunk, p50 (ms)")
    axes.set_ylabel("fingertip error, p95 (mm)")
    fig.legend(loc="outside upper left", frameon=False, ncols=3)
    return figure(
        fig,
        f"Error against time; every point is labelled with its steps. The reference, {comparison.reference}, has no "
        "error.",
        "Fingertip error over the time of a chunk, one line per bundle and solver",
    )


def _per_joint(comparison: Comparison, compared: list[Entry]) -> str:
    def draw(axes: Any, each: Entry, style: dict[str, Any]) -> None:
        values = [each.per_joint[name].p95 for name in JOINT_NAMES]
        axes.plot(range(len(JOINT_NAMES)), values, marker="o", markersize=4, **style)

    fig, last = _panels(comparison, compared, "joint error, p95 (deg)", draw)
    last.set_xticks(range(len(JOINT_NAMES)), [_short(name) for name in JOINT_NAMES])
    return figure(
        fig, "Error of each joint.", "Joint errors, a panel per bundle and a line per way of sampling"
    )


def _over_time(comparison: Comparison, compared: list[Entry]) -> str:
    def draw(axes: Any, each: Entry, style: dict[str, Any]) -> None:
        axes.plot(np.arange(len(each.over_time)) / comparison.rate_hz, each.over_time, **style)

    fig, last = _panels(comparison, compared, "fingertip error, p95 (mm)", draw)
    last.set_xlabel("time since the observation (s)")
    return figure(
        fig,
        "Error over the chunk's time.",
        "Fingertip error over the time of a chunk, a panel per bundle and a line per way of sampling",
    )


def _panels(
    comparison: Comparison,
    compared: list[Entry],
    unit: str,
    draw: Callable[[Any, Entry, dict[str, Any]], None],
) -> tuple[Figure, Any]:
    """One panel per bundle, the same axes for all; returns the figure and its lowest axes."""
    titles = list(dict.fromkeys(map(_title, compared)))
    steps = sorted({each.row.steps for each in comparison.entries}, reverse=True)
    solvers = _solvers(comparison)
    fig = _new_figure(0.8 + 2.4 * len(titles))
    panels = dict(
        zip(titles, fig.subplots(len(titles), sharex=True, sharey=True, squeeze=False)[:, 0], strict=True)
    )
    drawn: dict[str, Any] = {}
    for each in compared:
        axes = panels[_title(each)]
        colour = COLOURS[steps.index(each.row.steps) % len(COLOURS)]
        draw(axes, each, {"color": colour, "linestyle": LINES[solvers.index(each.row.solver) % len(LINES)]})
        drawn[f"{each.row.steps} {each.row.solver}"] = axes.lines[-1]
    logarithmic = any(
        value > 0 for axes in panels.values() for line in axes.lines for value in line.get_ydata()
    )
    for title, axes in panels.items():
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_yscale("log" if logarithmic else "linear")
        axes.grid(alpha=0.4)
    fig.supylabel(unit, fontsize=10)
    fig.legend(list(drawn.values()), list(drawn), loc="outside upper left", frameon=False, ncols=5)
    return fig, panels[titles[-1]]


def _title(each: Entry) -> str:
    return f"{each.bundle} ({each.precision})"


def _solvers(comparison: Comparison) -> list[str]:
    return sorted({each.row.solver for each in comparison.entries})
