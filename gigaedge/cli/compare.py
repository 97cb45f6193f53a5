"""`gigaedge compare`: the fidelity ledger of steps, solvers and precisions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigaedge.cli.common import (
    HtmlOption,
    JsonOption,
    ProviderOption,
    SeedOption,
    needs,
    print_json,
    print_table,
    progress,
)
from gigaedge.errors import CheckFailedError

if TYPE_CHECKING:
    from gigaedge.ledger import Comparison

DEFAULT_NOISES = 3
DEFAULT_REPEATS = 10
REFERENCE_STEPS = 10


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("compare", epilog=_EXAMPLE)(compare_command)


_EXAMPLE = "Example: `gigaedge compare fp32 int8 --observations observations/ --html ledger.html --gate-mm 2`"


def compare_command(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE", help="Bundles of one checkpoint.", show_default=False)
    ],
    observations: Annotated[
        list[Path],
        typer.Option(
            help="A safetensors file as `infer` reads it, or a folder of them; may be repeated.",
            show_default=False,
        ),
    ],
    reference: Annotated[
        Path | None, typer.Option(help="Bundle to compare with; default: the first fp32 one given.")
    ] = None,
    reference_steps: Annotated[
        int, typer.Option(help="Steps of the reference, which is sampled with Euler.", min=1)
    ] = REFERENCE_STEPS,
    prompt: Annotated[
        str | None, typer.Option(help="Prompt of the reference bundle; wins over the observations'.")
    ] = None,
    noises: Annotated[
        int, typer.Option(help="Noises drawn for an observation that brings none.", min=1)
    ] = DEFAULT_NOISES,
    seed: SeedOption = 0,
    repeats: Annotated[
        int, typer.Option(help="Chunks to time per row, at least; one more warms up.", min=1)
    ] = DEFAULT_REPEATS,
    provider: ProviderOption = "cpu",
    gate_deg: Annotated[
        float | None, typer.Option(help="Largest p95 joint error that passes, degrees.", min=0.0)
    ] = None,
    gate_mm: Annotated[
        float | None, typer.Option(help="Largest p95 fingertip error that passes, mm.", min=0.0)
    ] = None,
    html: HtmlOption = None,
    write: Annotated[
        bool, typer.Option("--write", help="Store each bundle's rows in its manifest, also beyond a gate.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare bundles on the same observations and noise: degrees, fingertip millimetres and latency.

    Every step count and solver of every bundle is a row, compared with the fp32 bundle at 10 Euler steps. Exit 1
    when a row's p95 is beyond a gate.
    """
    with needs("robot,cpu"):
        from gigaedge.cli.comparison import count_chunks, make_plan, read_samples, run_plan
        from gigaedge.cli.observations import find_observations
    if html is not None:
        # Told now rather than after all the measuring.
        with needs("plots"):
            import matplotlib  # noqa: F401
    from gigaedge.ledger import first_beyond

    plan = make_plan(bundles, reference, reference_steps)
    samples = read_samples(find_observations(observations), plan, prompt=prompt, noises=noises, seed=seed)
    with progress(count_chunks(plan, samples, repeats), json) as begin:
        comparison = run_plan(plan, samples, provider=provider, repeats=repeats, begin=begin)
    beyond = first_beyond(comparison.entries, gate_deg, gate_mm)
    if write:
        _write_ledgers(comparison, plan.bundles, gate_deg, gate_mm)
    if html is not None:
        from gigaedge.files import write_text
        from gigaedge.ledger_page import render

        write_text(html, render(comparison))
    if json:
        print_json(_as_json(comparison, gate_deg, gate_mm, beyond))
    else:
        _print(comparison, html)
    if beyond is not None:
        raise CheckFailedError(beyond)


def _write_ledgers(
    comparison: Comparison,
    bundles: dict[str, Path],
    gate_degrees: float | None,
    gate_millimetres: float | None,
) -> None:
    from gigaedge.bundle import Manifest, update_manifest

    for label, folder in bundles.items():
        ledger = comparison.info(label, gate_degrees, gate_millimetres)
        # A `gigaedge prompt` meanwhile has put another manifest there.
        update_manifest(folder, partial(Manifest.model_copy, update={"ledger": ledger}))


def _as_json(
    comparison: Comparison, gate_degrees: float | None, gate_millimetres: float | None, beyond: str | None
) -> dict[str, Any]:
    return {
        "passed": beyond is None,
        "reference": comparison.reference,
        "observations": comparison.observations,
        "chunks": comparison.chunks,
        "machine": comparison.machine,
        "gate_degrees": gate_degrees,
        "gate_millimetres": gate_millimetres,
        "rows": [each.as_json() for each in comparison.entries],
    }


def _print(comparison: Comparison, html: Path | None) -> None:
    from gigaedge.ledger_page import HEADER, rows

    print_table(f"Errors against {comparison.reference}", list(HEADER), rows(comparison))
    page = f"   page: {html}" if html is not None else ""
    typer.echo(
        f"errors: p50/p95/worst of {comparison.observations} observations, {comparison.chunks} chunks; "
        f"chunk: p50/p95 on {comparison.machine}{page}"
    )
