"""A bench report in the terminal: a row per stage, the loop, what limits it, the verdicts."""

from __future__ import annotations

from collections.abc import Iterator

from gigaedge.benchmark import BenchReport, Distribution, GaugesInfo, StageProfile, StepsRow
from gigaedge.cli.common import FILE_WIDTH, print_table

_FIGURES = ["p50", "p90", "p99", "p99.9", "max", "jitter"]


def print_report(report: BenchReport) -> None:
    """Print it, with colours where the output is a terminal."""
    from rich.console import Console
    from rich.text import Text

    subject, settings = report.subject, report.settings
    title = f"{subject.path}: {subject.generation} {subject.precision} {subject.layout}"
    how = f"ms, {settings.processes} x {settings.repeats} chunks"
    print_table(f"{title}; {how}", ["", *_FIGURES], [line for row in report.rows for line in _row(row)])
    if report.path:
        loops = [
            _line(f"{path.arms} {'arm' if path.arms == 1 else 'arms'}", path.exposure_to_can)
            for path in report.path
        ]
        print_table("exposure to CAN frame, simulated devices; ms", ["", *_FIGURES], loops)
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    for line in _lines(report):
        console.print(Text(line))
    for verdict in report.verdicts:
        word = Text("passed  ", style="green") if verdict.passed else Text("FAILED  ", style="bold red")
        console.print(word + f"{verdict.name}: {verdict.text}")


def _row(row: StepsRow) -> Iterator[list[str]]:
    yield _line(f"{row.steps} steps {row.solver}: chunk", row.chunk)
    for stage, times in row.stages.items():
        yield _line(f"  {'each step' if stage == 'step' else stage}", times)


def _line(name: str, times: Distribution) -> list[str]:
    figures = (times.p50, times.p90, times.p99, times.p999, times.max, times.jitter)
    return [name, *(f"{figure:.2f}" for figure in figures)]


def _lines(report: BenchReport) -> Iterator[str]:
    settings = report.settings
    threads = f"{settings.threads} {'thread' if settings.threads == 1 else 'threads'}"
    yield f"on: {report.machine.name}; provider {settings.provider}, {threads}"
    cold = report.cold
    yield f"cold start: load {max(cold.load):.0f} ms, first chunk {max(cold.first_chunk):.1f} ms at worst"
    yield "memory: " + ", ".join(f"{name} {size:.0f} MB" for name, size in report.memory_mb.items())
    if report.profile:
        yield "limit: " + "; ".join(_limit(stage) for stage in report.profile)
    if report.board is not None:
        yield from _board(report.board)
    if report.soak is not None:
        soak = report.soak
        grown = f"memory {soak.memory_growth_mb:+.1f} MB"
        yield f"soak: {soak.duration_s:.0f} s, {soak.chunks} chunks, drift {soak.drift:+.1%}, {grown}"


def _limit(stage: StageProfile) -> str:
    bound = "memory" if stage.floor_memory > stage.floor_compute else "arithmetic"
    return f"{stage.stage} reaches {stage.reached:.0%} of its roofline ({bound})"


def _board(board: GaugesInfo) -> Iterator[str]:
    watts = [f"{gauge.name} {gauge.mean:.1f} W" for gauge in board.gauges if gauge.unit == "W"]
    if board.joule_per_chunk is not None:
        watts.append(f"{board.joule_per_chunk:.2f} J per chunk ({board.joule_source})")
    if watts:
        yield "power: " + ", ".join(watts)
    yield from (f"throttled: {sign}" for sign in board.throttled)
