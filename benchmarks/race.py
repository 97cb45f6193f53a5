"""The honest comparison: the same policy and the same chunk in PyTorch, OpenVINO and gigaedge, on this machine.

    python benchmarks/race.py --size medium --threads 2 --json race.json
    python benchmarks/race.py --size small --contestants compile,gigaedge-int8
    python benchmarks/race.py --size medium --work DIR --gates --markdown table.md

Every contestant has a process of its own; all are alive, and all but one asleep, while one takes a chunk. Each round
has another order. Exit 1 when a gate does not hold. See README.md beside this file for what is fair and what is not.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray

from gigaedge.cli.common import needs, print_table, progress, run_script
from gigaedge.errors import CheckFailedError, InputError
from gigaedge.files import write_text
from gigaedge.machine import describe_machine, installed_versions
from race_contestants import PYTORCH, REFERENCE, Lap, able, bundle_of, chosen
from race_course import GENERATIONS, Course, Generation, Size
from race_process import Racer, line_up
from race_report import HEADER, NOTES, gate_lines, html, markdown, rows, title
from race_result import (
    GATES,
    ContestantResult,
    Gate,
    GateResult,
    GenerationResult,
    RaceReport,
    fidelity,
    judge,
    parse_gate,
    ratios,
    transformer_times,
)

PAUSE_S: Final = 0.05
"""Between laps: threads that spin for work (OpenMP's and TBB's do for a moment) are asleep by then."""
PACKAGES: Final = ("gigaedge", "torch", "openvino", "onnxruntime", "onnxruntime-gpu", "numpy")


def main(
    size: Annotated[
        Size, typer.Option(help="How large the policy is; tiny is for trying this out.")
    ] = "medium",
    generation: Annotated[str, typer.Option(help="Architectures.")] = ",".join(GENERATIONS),
    contestants: Annotated[
        str, typer.Option(help="Who races, with commas; eager always does, `all` is everybody who can.")
    ] = "all",
    threads: Annotated[int, typer.Option(help="CPU threads of every contestant.", min=1)] = 2,
    rounds: Annotated[int, typer.Option(help="Chunks of every contestant that count.", min=1)] = 9,
    warmup: Annotated[int, typer.Option(help="Rounds before those.", min=0)] = 1,
    require: Annotated[
        list[str],
        typer.Option(help="A gate, as gigaedge-int8/eager>=8, with GWP-0: before it for one generation."),
    ] = [],  # noqa: B006 - typer's way of a repeatable option
    gates: Annotated[bool, typer.Option("--gates", help="gigaedge's own claims as gates.")] = False,
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for checkpoints and bundles, kept and used again.", show_default=False),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Report to write.", show_default=False)] = None,
    page: Annotated[Path | None, typer.Option("--html", help="Page to write.", show_default=False)] = None,
    table: Annotated[
        Path | None, typer.Option("--markdown", help="Tables to write.", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Race, print a table per generation, and check the gates."""
    names = chosen(contestants)
    claims = [*(parse_gate(text) for text in require), *(GATES if gates else ())]
    generations = _generations(generation)
    _check_gates(claims, names, generations)
    _check_outputs(json, page, table)
    results, judged = [], []
    with _work_folder(work) as folder:
        for each in generations:
            course = Course(folder / f"{each}-{size}", each, size)
            result, found = race(course, names, claims, threads, rounds, warmup, quiet=quiet)
            results.append(result)
            judged += found
    report = RaceReport(
        machine=describe_machine(),
        versions=installed_versions(PACKAGES),
        size=size,
        threads=threads,
        rounds=rounds,
        absent=able()[1] if contestants == "all" else {},
        generations=tuple(results),
        gates=tuple(judged),
    )
    _publish(report, json, page, table)
    failed = [line for line, gate in zip(gate_lines(report), report.gates, strict=True) if not gate.passed]
    if failed:
        raise CheckFailedError(f"{len(failed)} of {len(report.gates)} gates do not hold; first: {failed[0]}")


def race(
    course: Course,
    names: Sequence[str],
    claims: Sequence[Gate],
    threads: int,
    rounds: int,
    warmup: int,
    *,
    quiet: bool,
) -> tuple[GenerationResult, list[GateResult]]:
    """One generation, from the checkpoint to the finish."""
    tell = _narrator(quiet)
    _prepare(course, names, tell)
    order = random.Random(0)
    laps: dict[str, list[Lap]] = {name: [] for name in names}
    with line_up(course, names, threads) as starting:
        racers: list[Racer] = []
        for name in names:
            tell(f"{course.generation}: {name} loads")
            racers.append(next(starting))
        with progress((warmup + rounds) * len(names), quiet) as begin:
            for number in range(-warmup, rounds):
                for racer in order.sample(racers, len(racers)):
                    begin(f"{course.generation}: round {number + 1} of {rounds}: {racer.name}")
                    time.sleep(PAUSE_S)
                    lap = racer.lap()
                    if number >= 0:
                        laps[racer.name].append(lap)
    times = {r.name: transformer_times(laps[r.name], vae_inside=r.ready.vae_inside) for r in racers}
    chunks = {name: np.array([lap.chunk for lap in laps[name]]) for name in names}
    reference = next(racer for racer in racers if racer.name == REFERENCE)
    weights = sum(path.stat().st_size for path in course.checkpoint.glob("*/*.safetensors"))
    result = GenerationResult(
        generation=course.generation,
        weights_m=weights / 4e6,
        steps=len(course.given().timesteps),
        contestants=tuple(_result(racer, reference, laps[racer.name], times[racer.name]) for racer in racers),
        ratios=ratios(names, times, chunks),
    )
    judged = [judge(claim, course.generation, times) for claim in claims]
    return result, [each for each in judged if each is not None]


def _result(
    racer: Racer, reference: Racer, laps: Sequence[Lap], transformer: NDArray[np.float64]
) -> ContestantResult:
    ready = racer.ready
    vae = [lap.vae for lap in laps]
    return ContestantResult(
        name=racer.name,
        load_s=ready.load_s,
        first_s=ready.first.chunk,
        rss_mib=ready.rss_mib,
        transformer_ms=float(np.median(transformer)) * 1e3,
        chunk_ms=float(np.median([lap.chunk for lap in laps])) * 1e3,
        vae_ms=float(min(vae) if ready.vae_inside else np.median(vae)) * 1e3,
        cpu_ms=float(np.median([lap.cpu for lap in laps])) * 1e3,
        fidelity=fidelity(ready.outcome, reference.ready.outcome),
        transformer_laps_ms=tuple((transformer * 1e3).tolist()),
    )


def _prepare(course: Course, names: Sequence[str], tell: Callable[[str], None]) -> None:
    """In this process, whose PyTorch is not one of the contestants'."""
    with needs("export"):
        from race_preparation import prepare
    prepare(course, {bundle_of(name) for name in names if name not in PYTORCH}, tell)


def _generations(text: str) -> list[Generation]:
    wanted = text.split(",")
    for each in wanted:
        if each not in GENERATIONS:
            raise InputError(f"--generation {text!r}: {each!r} is none of {', '.join(GENERATIONS)}")
    return [each for each in GENERATIONS if each in wanted]


def _check_gates(claims: Sequence[Gate], names: Sequence[str], generations: Sequence[Generation]) -> None:
    """Before minutes of work: raises InputError for a gate whose contestants do not race."""
    nothing = {name: np.ones(1) for name in names}
    for claim in claims:
        for each in generations:
            judge(claim, each, nothing)


def _check_outputs(json: Path | None, page: Path | None, table: Path | None) -> None:
    """Before minutes of work, too: raises InputError for a folder or a package that is missing."""
    for option, path in (("--json", json), ("--html", page), ("--markdown", table)):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"{option} {path}: no folder {path.parent}; make it first")
    if page is not None:
        with needs("plots"):
            import matplotlib.figure  # noqa: F401


def _narrator(quiet: bool) -> Callable[[str], None]:
    return lambda text: None if quiet else typer.echo(text, err=True)


@contextmanager
def _work_folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="gigaedge-race-") as folder:
        yield Path(folder)


def _publish(report: RaceReport, json: Path | None, page: Path | None, table: Path | None) -> None:
    for result in report.generations:
        print_table(title(report, result), list(HEADER), rows(result))
        typer.echo()
    for note in (*NOTES, *(f"{name} did not race: {why}" for name, why in report.absent.items())):
        typer.echo(note)
    for line in gate_lines(report):
        typer.echo(f"gate {line}")
    if json:
        write_text(json, report.model_dump_json(indent=1) + "\n")
    if table:
        write_text(table, markdown(report))
    if page:
        write_text(page, html(report))


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    run_script(app)
