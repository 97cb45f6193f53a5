"""`gigaedge plot`: a recorded run as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gigaedge.cli.common import ForceOption, needs, stage_progress
from gigaedge.cli.replay import FlightArgument


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("plot", epilog="Example: `gigaedge plot run.mcap --out run.html`")(plot_command)


def plot_command(
    flight: FlightArgument,
    out: Annotated[
        Path | None, typer.Option(help="Page to write; default: beside the record.", show_default=False)
    ] = None,
    force: ForceOption = False,
) -> None:
    """Draw a recorded run: every joint as measured, asked for and sent, its speed, the states and the loop's period.

    One HTML page that needs nothing else. Long runs are thinned out so that no peak is lost.
    """
    from gigaedge.files import require_free, write_text

    with needs("robot,plots"):
        from gigaedge.cli.flight_page import render
        from gigaedge_runtime.flight_reader import FlightRecord
        from gigaedge_runtime.flight_story import read_story
    target = out or flight.with_suffix(".html")
    record = FlightRecord(flight)
    require_free(target, replace=force)
    with stage_progress(False) as bar:
        bar("reading", 2 * record.size)
        story = read_story(record, bar.advance)
        bar("drawing")
        html = render(record, story)
    write_text(target, html)
    typer.echo(f"{target}: {story.ticks} ticks, {story.duration:.1f} s")
