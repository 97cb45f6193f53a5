"""A race's result for people: the table on the terminal, the same in Markdown, and a page with bars."""

from __future__ import annotations

from typing import Final

from gigaedge import pages
from race_contestants import REFERENCE
from race_result import ContestantResult, GenerationResult, RaceReport, RatioResult

HEADER: Final = (
    "contestant",
    "transformer, ms",
    "times eager",
    "95 %",
    "whole chunk, ms",
    "VAE, ms",
    "CPU, ms",
    "normalised",
    "joints, deg",
    "fingertip, mm",
    "load, s",
    "first chunk, s",
    "RSS, MiB",
)
NOTES: Final = (
    "transformer: median of a ten-step chunk without the VAE, host memory to host memory; from ONNX contestants only "
    "the shortest time that the VAE's graph ever took alone is taken off, which is less than it costs there",
    "times eager: how many times faster than eager, without the VAE, with a 95 % bootstrap interval over rounds",
    "normalised, joints, fingertip: largest difference from the fp32 eager's actions, on random weights",
    "CPU: processor time of a whole chunk, all threads; first chunk: with compiling, where something compiles",
)


def rows(result: GenerationResult) -> list[list[str]]:
    """One row per contestant, under `HEADER`."""
    against = {ratio.fast: ratio for ratio in result.ratios if ratio.slow == REFERENCE}
    return [_row(each, against.get(each.name)) for each in result.contestants]


def _row(each: ContestantResult, ratio: RatioResult | None) -> list[str]:
    times, interval = "1.00", ""
    if ratio is not None:
        times, interval = f"{ratio.ratio:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}"
    return [
        each.name,
        f"{each.transformer_ms:.1f}",
        times,
        interval,
        f"{each.chunk_ms:.1f}",
        f"{each.vae_ms:.1f}",
        f"{each.cpu_ms:.0f}",
        f"{each.fidelity.normalized:.1e}",
        f"{each.fidelity.joint_degrees:.1e}",
        f"{each.fidelity.fingertip_millimetres:.1e}",
        f"{each.load_s:.2f}",
        f"{each.first_s:.2f}",
        f"{each.rss_mib:.0f}",
    ]


def title(report: RaceReport, result: GenerationResult) -> str:
    """As in `GWP-0, medium (205 M weights), 2 threads, 9 rounds; AMD EPYC, 2 cores`."""
    return (
        f"{result.generation}, {report.size} ({result.weights_m:.1f} M weights), "
        f"{_count(report.threads, 'thread')}, {_count(report.rounds, 'round')}; {report.machine}"
    )


def gate_lines(report: RaceReport) -> list[str]:
    """As in `GWP-0: gigaedge-int8/eager>=8: 8.31, holds`."""
    verdict = {True: "holds", False: "DOES NOT HOLD"}
    return [f"{g.generation}: {_bare(g.claim)}: {g.ratio:.2f}, {verdict[g.passed]}" for g in report.gates]


def markdown(report: RaceReport) -> str:
    """Tables for `benchmarks/README.md`."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    parts = [f"{report.machine}; {versions}."]
    for result in report.generations:
        parts += [f"**{title(report, result)}**", _markdown_table(HEADER, rows(result))]
    if report.gates:
        parts.append("\n".join(f"- {line}" for line in gate_lines(report)))
    return "\n\n".join(parts) + "\n"


def html(report: RaceReport) -> str:
    """A page with a bar per contestant. Needs matplotlib."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    sections = []
    for result in report.generations:
        parts = [_bars(result), pages.table(HEADER, rows(result), left=[0])]
        sections.append(pages.section(title(report, result), *parts))
    if report.gates:
        sections.append(pages.section("Gates", pages.bullets(gate_lines(report))))
    about = pages.section("How it was measured", pages.bullets(NOTES), pages.paragraph(versions))
    return pages.page("The same chunk, raced", [*sections, about])


def _bars(result: GenerationResult) -> str:
    from matplotlib.figure import Figure

    names = [each.name for each in result.contestants]
    times = [each.transformer_ms for each in result.contestants]
    figure = Figure(figsize=(9, 0.6 + 0.32 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(
        names, times, color=["#d9822b" if n.startswith("gigaedge") else "#4c78a8" for n in names]
    )
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("ten-step chunk without the VAE, ms")
    fastest = min(result.contestants, key=lambda each: each.transformer_ms)
    return pages.figure(
        figure,
        f"{result.generation}: median over rounds.",
        f"Bars of {len(names)} contestants; {fastest.name} is the shortest with {fastest.transformer_ms:.0f} ms.",
    )


def _markdown_table(header: tuple[str, ...], body: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] + ["---:"] * (len(header) - 1), *body)]
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _bare(claim: str) -> str:
    return claim.rpartition(":")[2]
