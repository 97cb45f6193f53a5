"""`gigaedge replay`: a recorded run again, without hardware."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gigaedge.cli.common import (
    JsonOption,
    StageProgress,
    needs,
    print_json,
    print_notices,
    print_table,
    stage_progress,
)
from gigaedge.errors import CheckFailedError, ConfigError, InputError
from gigaedge.robot import SIDES

if TYPE_CHECKING:
    from gigaedge.site import Site
    from gigaedge_runtime.flight_reader import FlightRecord
    from gigaedge_runtime.replay import ControlReplay, WhatIf
    from gigaedge_runtime.replay_policy import ChunkReplay

FlightArgument = Annotated[
    Path, typer.Argument(help="Flight record, of `gigaedge run --record`.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("replay", epilog="Example: `gigaedge replay run.mcap --limits slower.yaml`")(replay_command)


def replay_command(
    flight: FlightArgument,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle to compute the chunks with; default: the one they were made with."),
    ] = None,
    limits: Annotated[
        Path | None,
        typer.Option(help="Site file, or one with a section `limits`: tell what would have been sent."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a recorded run again, without hardware, through the same code.

    Every sent value and every chunk must come out as recorded (sent values to 1e-12, chunks to 1e-5); exit code 1
    names the first that does not. With another bundle, chunks are compared but not judged. With --limits, the
    recorded arms and chunks go through other limits, and nothing is judged.
    """
    if bundle is not None and limits is not None:
        raise InputError(
            "--limits is about what was sent and needs no bundle; pass one of --bundle and --limits"
        )
    with needs("robot"):
        from gigaedge_runtime.flight_reader import FlightRecord
    record = FlightRecord(flight)
    if limits is not None:
        _other_limits(record, with_limits(record.site, limits), quiet=json)
    else:
        _again(record, bundle, quiet=json)


def with_limits(recorded: Site, path: Path) -> Site:
    """The recorded site, with the limits and arms of another site file, or of a file with a section `limits` only.

    Raises ConfigError: no such file, no YAML, a wrong key or value, or another arm is absent.
    """
    import yaml
    from pydantic import ValidationError

    from gigaedge.site import LimitsConfig, load_site
    from gigaedge.validation import first_problem

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if isinstance(data, dict) and set(data) == {"limits"}:
        try:
            return recorded.model_copy(update={"limits": LimitsConfig.model_validate(data["limits"])})
        except ValidationError as error:
            raise ConfigError(f"{path}: limits: {first_problem(error, LimitsConfig)}") from error
    other = load_site(path)
    for side in SIDES:
        if (other.arm(side).driver == "absent") != (recorded.arm(side).driver == "absent"):
            raise ConfigError(f"{path}: the {side} arm is absent either there or in the record, not in both")
    return recorded.model_copy(update={"limits": other.limits, "arms": other.arms})


def _again(record: FlightRecord, bundle: Path | None, *, quiet: bool) -> None:
    from gigaedge_runtime.replay import replay_control

    chosen = bundle or _recorded_bundle(record, quiet=quiet)
    with stage_progress(quiet) as bar:
        bar("running control again", record.size)
        control = replay_control(record, bar.advance)
        chunks = _chunks(record, chosen, bundle is not None, bar) if chosen else None
    notes = _notes(record, chunks)
    problem = control.first or control.broken_off
    if problem is None and chunks is not None and chunks.same_bundle and not chunks.equal:
        problem = chunks.first or f"{chunks.missing} chunks were not recorded"
    if quiet:
        compared = {
            "equal": problem is None,
            "control": asdict(control),
            "chunks": _finite(asdict(chunks)) if chunks else None,
        }
        print_json({"flight": str(record.path), **compared, "notes": notes})
    else:
        print_table(f"Replay of {record.path}", ["", ""], _control_rows(control) + _chunk_rows(chunks))
        print_notices(notes)
    if problem is not None:
        raise CheckFailedError(f"{record.path}: {problem}")


def _recorded_bundle(record: FlightRecord, *, quiet: bool) -> Path | None:
    """Where the bundle lies that made the chunks; None when none did."""
    from gigaedge.cli.named import find_bundle, is_named
    from gigaedge.files import user_cache

    if record.bundle is None:
        return None
    name = record.bundle.parent.name.split("-")[0]
    if record.bundle.is_relative_to(user_cache().resolve()) and is_named(name):
        return find_bundle(name, quiet=quiet)
    if not record.bundle.is_dir():
        raise InputError(
            f"{record.bundle}: the bundle of this record is not there; pass it with --bundle DIR"
        )
    return record.bundle


def _chunks(record: FlightRecord, bundle: Path, chosen: bool, bar: StageProgress) -> ChunkReplay:
    with needs("robot,cpu"):
        from gigaedge_runtime.replay_policy import is_same_bundle, replay_chunks

    if not chosen and not is_same_bundle(record, bundle):
        raise InputError(
            f"{bundle}: not the bundle that made these chunks any more; pass that one with --bundle, "
            f"or --bundle {bundle} to see how far this one's chunks are from the recorded ones"
        )
    bar("computing chunks again", record.size)
    return replay_chunks(record, bundle, bar.advance)


def _notes(record: FlightRecord, chunks: ChunkReplay | None) -> list[str]:
    notes = []
    if record.ended_early:
        notes.append(
            "the file lacks its end, as when the recorder was killed; it was compared as far as it goes"
        )
    if chunks is None:
        notes.append("the run was recorded without a bundle; chunks are not computed again")
    elif not chunks.same_bundle:
        notes.append("this is not the bundle that made the chunks; its differences are no failure")
    return notes


def _control_rows(control: ControlReplay) -> list[list[str]]:
    return [
        ["ticks compared", str(control.ticks)],
        ["ticks that differ", str(control.differing)],
        ["sent values compared", str(control.values)],
        ["largest difference", f"{control.worst:.3g} rad or m"],
    ]


def _chunk_rows(chunks: ChunkReplay | None) -> list[list[str]]:
    if chunks is None:
        return []
    worst = {name: _degrees(name, value) for name, value in chunks.worst.items()}
    return [
        ["chunks compared", str(chunks.chunks)],
        ["chunks that differ", str(chunks.differing)],
        *([f"chunks, largest difference of {name}", value] for name, value in worst.items()),
    ]


def _other_limits(record: FlightRecord, site: Site, *, quiet: bool) -> None:
    from gigaedge_runtime.replay import replay_limits

    with stage_progress(quiet) as bar:
        bar("running control under other limits", record.size)
        found = replay_limits(record, site, bar.advance)
    if quiet:
        print_json({"flight": str(record.path), **asdict(found)})
        return
    print_table(f"{record.path} under other limits", ["", ""], _limits_rows(found))
    if found.broken_off is not None:
        print_notices([f"{found.broken_off}; the record is followed up to there"])


def _limits_rows(found: WhatIf) -> list[list[str]]:
    first = "never" if found.first_time is None else f"after {found.first_time:.3f} s"
    return [
        ["ticks", str(found.ticks)],
        ["differs for the first time", first],
        ["last state", found.state + (f": {found.fault}" if found.fault else "")],
        *([f"{kind} limits hit", f"{was} -> {now}"] for kind, (was, now) in found.clamps.items()),
        *([f"largest difference of {name}", _degrees(name, v)] for name, v in found.largest.items()),
    ]


def _degrees(name: str, value: float) -> str:
    return f"{value * 1e3:.3g} mm" if name.endswith("gripper") else f"{math.degrees(value):.3g} deg"


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity, which is the difference to a value that is not finite."""
    worst: dict[str, float] = data["worst"]
    return {**data, "worst": {name: v if math.isfinite(v) else None for name, v in worst.items()}}
