"""The part of a latency page that is about the machine: memory, sensors, a long run, and how it all was measured."""

from __future__ import annotations

from gigaedge.benchmark import BenchReport, GaugesInfo, SoakInfo
from gigaedge.benchmark_plots import UNITS, gauges_figure, number, soak_figure
from gigaedge.pages import banner, bullets, figure, paragraph, section, table


def machine_sections(report: BenchReport) -> list[str]:
    """Soak, memory, board, settings, notices, and what was not measured."""
    parts = [_soak(report.soak), _memory(report), _board(report.board), _how(report)]
    if report.notices:
        parts.append(section("Notices", bullets(report.notices)))
    absent = _absent(report)
    if absent:
        parts.append(section("Not in this report", bullets(absent)))
    return [part for part in parts if part]


def _soak(soak: SoakInfo | None) -> str:
    if soak is None or not soak.series:
        return ""
    caption = (
        f"{soak.chunks} chunks in {number(soak.duration_s)} s. p50 of the last fifth {100 * soak.drift:+.1f} % against "
        f"the first; resident memory {soak.memory_growth_mb:+.1f} MB after the first fifth."
    )
    alt = f"p50 and p99 of the chunks over a long run, drift {100 * soak.drift:+.1f} %"
    return section("A long run", figure(soak_figure(soak), caption, alt))


def _memory(report: BenchReport) -> str:
    if not report.memory_mb:
        return ""
    meanings = {
        "bundle": "on disk",
        "loaded": "resident, of a measuring process once it had loaded the bundle",
        "peak": "resident, of that process at most",
        "gpu": "of the GPU",
    }
    rows = [[name, meanings.get(name, ""), number(value)] for name, value in report.memory_mb.items()]
    return section("Memory", table(["", "", "MB"], rows, left=(1,)))


def _board(board: GaugesInfo | None) -> str:
    if board is None:
        return ""
    parts = []
    if board.throttled:
        parts.append(banner("CLOCKS WERE HELD BACK", "warn", "; ".join(board.throttled)))
    drawn = [gauge for gauge in board.gauges if gauge.series]
    if drawn:
        caption = f"What the board told, every {number(board.interval_s)} s, while it was measured."
        parts.append(
            figure(gauges_figure(drawn), caption, f"Sensors over time: {', '.join(g.name for g in drawn)}")
        )
    if board.gauges:
        rows = [
            [
                *(gauge.name, gauge.source, UNITS[gauge.unit]),
                *map(number, (gauge.mean, gauge.min, gauge.max)),
            ]
            for gauge in board.gauges
        ]
        parts.append(table(["sensor", "read by", "", "mean", "min", "max"], rows, left=(1, 2)))
    if board.joule_per_chunk is not None:
        source = f" ({board.joule_source})" if board.joule_source else ""
        parts.append(paragraph(f"Energy: {number(board.joule_per_chunk)} J per chunk{source}."))
    if board.settings:
        parts.append(paragraph(f"Set on the board: {'; '.join(board.settings)}."))
    if board.absent:
        parts += [paragraph("Could not be read here:"), bullets(board.absent)]
    return section("Board", *parts) if parts else ""


def _how(report: BenchReport) -> str:
    machine, subject, settings = report.machine, report.subject, report.settings
    ran = ", ".join(f"{name} {nodes or 'uncounted'} nodes" for name, nodes in report.ran_on.items())
    picture = f"{subject.view_width}x{subject.view_height}"
    if subject.context_tokens:
        picture += f", {subject.context_tokens} tokens with the state"
    rate = f" at {subject.rate_hz:g} per s" if subject.rate_hz is not None else ""
    rows = [
        ["measured", f"{report.created}, gigaedge {report.gigaedge}"],
        ["machine", f"{machine.name}; load average before: {machine.load_before:.2f}"],
        ["bundle", f"{subject.path}, manifest SHA-256 {subject.manifest_sha256[:12]}"],
        [
            "policy",
            f"{subject.generation}, {subject.parameters / 1e6:.3g} M parameters, {subject.precision} for "
            f"{subject.target}, layout {subject.layout}",
        ],
        ["work", f"chunks of {subject.chunk} actions{rate}; picture {picture}"],
        ["ran on", ran or "not told"],
        ["asked for", f"{settings.provider}, {settings.threads} threads"],
        [
            "samples",
            f"{settings.processes} processes, each {settings.repeats} per row after {settings.warmup} of warm-up",
        ],
        ["prompt and seed", f"{settings.prompt}, {settings.seed}"],
        ["versions", ", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items()))],
    ]  # fmt: skip
    return section("How it was measured", table(["", ""], rows, prose=(1,)))


def _absent(report: BenchReport) -> list[str]:
    """Every section that is left out for want of data, with what would bring it."""
    found = [
        (
            bool(report.path),
            "exposure to CAN and the control loop: the loop on simulated devices was not run",
        ),
        (bool(report.profile), "roofline and operators: the bundle was not profiled"),
        (len(report.rows) > 1, "cost of a step: only one step count was timed"),
        (report.board is not None, "power, clocks and temperatures: the board was not watched"),
        (report.soak is not None and bool(report.soak.series), "drift over a long run: no soak was made"),
        (bool(report.memory_mb), "memory: it was not measured"),
        (bool(report.cold.load and report.cold.first_chunk), "cold start: it was not measured"),
    ]
    return [text for there, text in found if not there]
