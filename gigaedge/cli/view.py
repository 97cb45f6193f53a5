"""The option `--view`: a physical cell is shown while it runs, in a window or as a film."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from gigaedge.cli.common import needs
from gigaedge.errors import InputError

if TYPE_CHECKING:
    from gigaedge.site import Site

FILM = ".mp4"
WINDOW = "window"
"""The value of `--view` without a file."""

ViewOption = Annotated[
    str | None,
    typer.Option(
        "--view",
        metavar="[FILE.mp4]",
        help="Show a physical cell while it runs: in a window, or as a film where FILE.mp4 is given.",
        show_default=False,
    ),
]


class ViewCommand(TyperCommand):
    """A command whose `--view` may stand alone: an option of Typer's takes a value always or never."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer does, with the value of a `--view` without one."""
        completed: list[str] = []
        for place, word in enumerate(args):
            completed.append(word)
            following = args[place + 1] if place + 1 < len(args) else ""
            if word == "--view" and not following.endswith(FILM):
                completed.append(WINDOW)
        return super().parse_args(ctx, completed)


def shown(site: Site, view: str, *, replace: bool) -> AbstractContextManager[None]:
    """What shows the site's physical cell, which this process hosts, while it is entered.

    Args:
        site: of the cell.
        view: the option's value.
        replace: whether a film that exists is replaced.

    Raises InputError: no physical cell, no display for a window, a film that exists or is no MP4.
    """
    from gigaedge.files import require_free
    from gigaedge.simulation import PhysicalCell, load_cell

    simulation = site.simulation
    if simulation is None or not isinstance(load_cell(simulation), PhysicalCell):
        raise InputError(
            "--view shows a physical cell, and this site has none (its `simulation` is no file of kind physics); "
            "see examples/cell.yaml"
        )
    film = None if view == WINDOW else Path(view)
    if film is not None:
        if film.suffix != FILM:
            raise InputError(f"--view {film}: a film is an MP4 file; call it {film.stem}{FILM}")
        require_free(film, replace=replace, option="--view")
    with needs("robot,dataset,sim"):
        from gigaedge_runtime.hosting import sim_channel
        from gigaedge_runtime.physics.link import world_channel
        from gigaedge_runtime.physics.viewer import has_display, watched
    if film is None and not has_display():
        raise InputError("--view: there is no display for a window here; give it a file, as --view run.mp4")
    return watched(simulation, world_channel(sim_channel("left")), film)
