"""`gigaedge bench`: how long a bundle takes on this machine, judged by budgets and by a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigaedge.cli.common import (
    JsonOption,
    ProviderOption,
    SeedOption,
    SolverOption,
    needs,
    parts_progress,
    print_notices,
)
from gigaedge.cli.named import find_bundle
from gigaedge.errors import CheckFailedError

if TYPE_CHECKING:
    from gigaedge.benchmark import BenchReport
    from gigaedge.budgets import Budget
    from gigaedge_runtime.bench_job import Plan

STEADY = 3.0
"""s of chunks without a pause, beside the board's sensors."""
PATH_SECONDS = 4.0
"""s of the whole loop, for each number of arms."""

_EXAMPLES = """\
Examples:

`gigaedge bench demo` measures a tiny random policy, `gigaedge bench trained` the shipped one.

`gigaedge bench int8 --steps 10,5 --report int8.html --budget-ms 300 --budget-ms exposure_to_can=400`

`gigaedge bench int8 --out base.json`, and after a change `gigaedge bench int8 --baseline base.json --junit bench.xml`

`gigaedge bench int8 --soak 10m --report soak.html`
"""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("bench", epilog=_EXAMPLES)(bench_command)


def bench_command(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE",
            help="Bundle folders; or `demo` (tiny, random), `trained` (shipped).",
            show_default=False,
        ),
    ],
    steps: Annotated[
        str | None,
        typer.Option(help="Step counts, as in 10,5; default: all that the bundle has.", show_default=False),
    ] = None,
    solver: SolverOption = "euler",
    prompt: Annotated[
        str | None, typer.Option(help="Prompt of the bundles; default: the first.", show_default=False)
    ] = None,
    provider: ProviderOption = "cpu",
    threads: Annotated[
        int, typer.Option(help="Threads on the CPU; 0: as `gigaedge run` takes, all cores but one.", min=0)
    ] = 0,
    processes: Annotated[int, typer.Option(help="Fresh processes that measure.", min=1)] = 5,
    repeats: Annotated[int, typer.Option(help="Chunks timed per process and step count.", min=1)] = 20,
    warmup: Annotated[int, typer.Option(help="Chunks before those, not timed.", min=0)] = 3,
    seed: SeedOption = 0,
    soak: Annotated[
        str | None,
        typer.Option(help="Go on for so long, as in 10m, and report the drift.", show_default=False),
    ] = None,
    path: Annotated[
        bool, typer.Option("--path/--no-path", help="Measure exposure to CAN with simulated devices.")
    ] = True,
    profile: Annotated[
        bool, typer.Option("--profile/--no-profile", help="Measure the machine's peaks, profile the graphs.")
    ] = True,
    budget_ms: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[STAGE=]MS",
            help="Largest p99 that passes, of a chunk or of STAGE; may be repeated.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="JSON that --out wrote: must not be slower.", show_default=False)
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Per cent that a bundle may be slower than its baseline.", min=0.0)
    ] = 5.0,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.", show_default=False)] = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to write.", show_default=False)] = None,
    junit: Annotated[Path | None, typer.Option(help="JUnit XML to write.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Measure how long bundles take on this machine, and judge it.

    Chunks are timed in several fresh processes, together with a fixed piece of work that tells what the machine did
    meanwhile. Then come a steady run beside the board's sensors, the machine's peaks with a profile of the graphs, and
    the whole loop from a camera's exposure to the CAN frame, on simulated devices. Exit 1 when a budget is exceeded or
    a bundle is slower than its baseline beyond doubt; exit 3 when the provider does not run every node.
    """
    with needs("robot,cpu"):
        from gigaedge_runtime.bench import measure
    if report is not None:
        # Told now rather than after all the measuring.
        with needs("plots"):
            import matplotlib  # noqa: F401
    from gigaedge.budgets import parse_budget
    from gigaedge.cli.export import parse_steps
    from gigaedge.cli.run import parse_duration
    from gigaedge_runtime.bench_job import Plan

    budgets = [parse_budget(text) for text in budget_ms or ()]
    counts = parse_steps(steps) if steps is not None else ()
    duration = STEADY if soak is None else parse_duration(soak, "--soak")
    found = [find_bundle(each, quiet=json) for each in bundles]
    plans = [
        replace(
            Plan.read(each, steps=counts, solver=solver, prompt=prompt),
            provider=provider,
            threads=threads,
            processes=processes,
            repeats=repeats,
            warmup=warmup,
            seed=seed,
            steady=duration,
            soak=soak is not None,
            limits=profile,
            path=PATH_SECONDS if path else 0.0,
        )
        for each in found
    ]
    before = _check(plans, budgets, baseline)
    with parts_progress(json) as progress:
        reports = measure(plans, progress)
    reports = [
        _judged(each, budgets, before[index] if before else None, tolerance / 100)
        for index, each in enumerate(reports)
    ]
    _write(reports, out, report, junit)
    _show(reports, json=json)
    failed = [verdict for each in reports for verdict in each.verdicts if not verdict.passed]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise CheckFailedError(f"{failed[0].name}: {failed[0].text}{more}")


def _check(
    plans: Sequence[Plan], budgets: Sequence[Budget], baseline: Path | None
) -> list[BenchReport] | None:
    """Everything that can be refused before minutes of measuring; returns the baseline of each plan."""
    from gigaedge.baseline import Conditions, match, read_baseline, require_comparable
    from gigaedge.budgets import require_measured
    from gigaedge.machine import describe_machine

    for plan in plans:
        require_measured(budgets, layout=plan.manifest.layout, profile=plan.limits, path=bool(plan.path))
    if baseline is None:
        return None
    before = match(read_baseline(baseline), len(plans), baseline)
    for plan, other in zip(plans, before, strict=True):
        view = plan.manifest.view
        now = Conditions(
            machine=describe_machine(),
            provider=plan.provider,
            threads=plan.workers,
            chunk=plan.manifest.action.chunk,
            view=f"{view.width}x{view.height}",
            rows=tuple((sampler.steps, sampler.solver) for sampler in plan.samplers),
        )
        require_comparable(now, other, plan.processes, baseline)
    return before


def _judged(
    report: BenchReport, budgets: Sequence[Budget], before: BenchReport | None, tolerance: float
) -> BenchReport:
    from gigaedge import baseline
    from gigaedge import budgets as rules
    from gigaedge.benchmark import Verdict

    ran_on = ", ".join(report.ran_on)
    verdicts = [Verdict(name="provider", passed=True, text=f"every node ran on {ran_on}, as asked for")]
    verdicts += rules.judge(report, budgets)
    told = list(report.notices)
    if before is not None:
        verdicts += baseline.judge(report, before, tolerance)
        told += baseline.notices(report, before)
    return report.model_copy(update={"verdicts": tuple(verdicts), "notices": tuple(told)})


def _write(reports: Sequence[BenchReport], out: Path | None, page: Path | None, junit: Path | None) -> None:
    from gigaedge.benchmark import to_json
    from gigaedge.files import write_text

    if out is not None:
        write_text(out, to_json(reports))
    if junit is not None:
        from gigaedge.junit import render as render_junit

        write_text(junit, render_junit(reports))
    if page is not None:
        from gigaedge.benchmark_page import render

        write_text(page, render(reports))


def _show(reports: Sequence[BenchReport], *, json: bool) -> None:
    if json:
        from gigaedge.benchmark import to_json

        typer.echo(to_json(reports), nl=False)
        return
    from gigaedge.cli.bench_table import print_report

    for each in reports:
        print_report(each)
        print_notices(list(each.notices))
