"""`gigaedge trials`: does the policy do the task, in closed loop, and does each export of it?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

import gigaedge
from gigaedge.cli.common import (
    JsonOption,
    needs,
    print_notices,
    print_table,
)
from gigaedge.cli.named import find_bundle
from gigaedge.cli.run import INTERRUPTED, parse_duration
from gigaedge.errors import InputError

if TYPE_CHECKING:
    from gigaedge.trials import Mode, TrialsReport
    from gigaedge.trials_page import Clip

_JUDGES: Final = {"person": "a person judges", "simulation": "the simulation judges"}

_EXAMPLES = """\
Examples:

`gigaedge trials examples/cell.yaml --tasks lift-block --episodes 20 --report trials.html`

`gigaedge trials examples/cell.yaml --bundle fp32 --bundle int8 --steps 10,5 --modes rtc,synchronous --jobs 2`

`gigaedge trials examples/cell.yaml --tasks lift-block --episodes 100 --blind --expert --out trials.json`

`gigaedge trials cell.yaml --tasks towel --limit 60s` scores a real robot: press s or f.
"""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("trials", epilog=_EXAMPLES)(trials_command)


def trials_command(
    site: Annotated[Path, typer.Argument(help="Site file of the robot cell.", show_default=False)],
    tasks: Annotated[str, typer.Option(help="Tasks, as in lift-block,scan; or `all`.")] = "all",
    episodes: Annotated[int, typer.Option(help="Episodes per row.", min=1)] = 20,
    attempts: Annotated[int, typer.Option(help="Attempts allowed per episode.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the first scene; the others follow.", min=0)] = 0,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(help="Bundle folder, may be repeated; default: the site's.", show_default=False),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(help="Sampler steps, as in 10,5; default: each bundle's first.", show_default=False),
    ] = None,
    modes: Annotated[str, typer.Option(help="How chunks follow each other: rtc, fade, synchronous.")] = "rtc",
    blind: Annotated[
        bool,
        typer.Option("--blind", help="Also the first way of each task with grey pictures, as a control."),
    ] = False,
    expert: Annotated[
        bool, typer.Option("--expert", help="Also each task's scripted expert: what the loop allows.")
    ] = False,
    latency: Annotated[
        str | None,
        typer.Option(
            help="Simulated time from an observation to its chunk, as in 150ms; default: measured here.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Episodes that are played side by side.", min=1)] = 1,
    judge: Annotated[
        Literal["simulation", "person"] | None,
        typer.Option(help="Default: a person where the site has a real arm.", show_default=False),
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option(
            help="With a person: an attempt's time, as in 60s; default: the task's.", show_default=False
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Page with table, plot and clips to write.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Score a policy by what it gets done: success rate with its interval, for every bundle, step count and mode.

    In simulation an episode is a random scene of the task, tried up to --attempts times in simulated time, with the
    control loop and the limits of a real run; the same seed gives the same result. With a person at a real robot,
    every attempt is a run: confirm, watch, press s (success) or f (failure). Nothing moves without the confirmation.
    Ctrl-C prints what there is.
    """
    from gigaedge.site import load_site

    loaded = load_site(site)
    with needs("robot,cpu,sim"):
        from gigaedge.cli.trials_plan import parse_modes, plan_ways
    if report is not None:
        with needs("plots"):
            import matplotlib  # noqa: F401  that it is missing is said here, not after all the trials
        with needs("dataset"):
            import av  # noqa: F401
    real = any(arm.driver == "piper" for arm in loaded.arms)
    chosen = judge or ("person" if real else "simulation")
    chosen_modes = parse_modes(modes)
    given = {
        "--blind": blind,
        "--expert": expert,
        "--latency": latency is not None,
        "--limit": limit is not None,
    }
    _refuse_contradictions(chosen, given, chosen_modes)
    if chosen == "simulation" and real:
        raise InputError(
            f"{site}: has a real arm; --judge simulation is for a site whose arms are simulated, as examples/cell.yaml"
        )
    counts = None
    if steps is not None:
        from gigaedge.cli.export import parse_steps

        counts = parse_steps(steps)
    found = [find_bundle(each, quiet=json) for each in (bundle or (loaded.bundle,))]
    ways = plan_ways(loaded, found, counts, chosen_modes)
    if chosen == "person":
        from gigaedge.cli.trials_person import score

        duration = None if limit is None else parse_duration(limit, "--limit")
        scored = score(loaded, tasks.split(","), ways, episodes, attempts, duration)
    else:
        from gigaedge.cli.trials_simulation import simulate

        scored = simulate(
            loaded,
            tasks,
            ways,
            episodes=episodes,
            attempts=attempts,
            seed=seed,
            latency=None if latency is None else parse_duration(latency, "--latency"),
            blind=blind,
            expert=expert,
            jobs=jobs,
            film=report is not None,
            quiet=json,
        )
    from gigaedge.machine import describe_machine
    from gigaedge.trials import TrialsReport, compared

    made = TrialsReport(
        schema="gigaedge.trials/1",
        gigaedge=gigaedge.__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=shlex.join(["gigaedge", *sys.argv[1:]]),
        machine=describe_machine(),
        site=str(site),
        judge=chosen,
        episodes=episodes,
        attempts=attempts,
        seed=seed if chosen == "simulation" else None,
        interrupted=not scored.whole,
        notices=scored.notices,
        rows=compared(scored.rows),
    )
    _write(made, scored.clips, report, out)
    _show(made, json=json)
    if made.interrupted:
        raise typer.Exit(INTERRUPTED)


def _refuse_contradictions(judge: str, given: dict[str, bool], modes: Sequence[Mode]) -> None:
    """Options that say nothing where they are given. `given`: by option, whether it was."""
    for option in ("--blind", "--expert", "--latency") if judge == "person" else ("--limit",):
        if given[option]:
            raise InputError(f"{option} says nothing where {_JUDGES[judge]}; leave it out")
    if judge == "person" and "synchronous" in modes:
        raise InputError("--modes synchronous: only in simulation do arms wait for the policy; try rtc,fade")


def _write(made: TrialsReport, clips: Sequence[Clip], page: Path | None, out: Path | None) -> None:
    from gigaedge.files import write_text

    if out is not None:
        write_text(out, made.model_dump_json(indent=1, by_alias=True) + "\n")
    if page is not None:
        from gigaedge.trials_page import render

        write_text(page, render(made, clips))


def _show(made: TrialsReport, *, json: bool) -> None:
    if json:
        typer.echo(made.model_dump_json(indent=1, by_alias=True))
        return
    from gigaedge.trials_page import SHORT_HEADER, how, short_cells

    print_table("Trials", list(SHORT_HEADER), [short_cells(row) for row in made.rows])
    typer.echo(how(made))
    print_notices(list(made.notices))
