"""The command line. Heavy packages are imported inside the commands, so that `--help` is quick.

Exit codes: 0 done, 1 a check failed, 2 bad input, 3 a device failed, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

import gigaedge
from gigaedge.cli import (
    arms,
    bench,
    calibrate,
    collect,
    compare,
    dataset,
    demo,
    export,
    imagine,
    plot,
    policy,
    prompt,
    replay,
    run,
    train,
    trials,
)
from gigaedge.errors import GigaedgeError

app = typer.Typer(
    name="gigaedge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="GigaWorld-Policy on the robot: export a checkpoint to ONNX, verify it, and drive PiPER arms with it.",
    epilog="Start with `gigaedge demo`: it needs no hardware.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    demo,
    export,
    policy,
    imagine,
    compare,
    bench,
    dataset,
    prompt,
    collect,
    train,
    run,
    trials,
    replay,
    plot,
):
    module.register(app)
app.add_typer(arms.app, name="arms")
app.add_typer(calibrate.app, name="calibrate")

_debug = False
_stopped = 0
"""Exit code of the signal that came."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gigaedge {gigaedge.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    global _debug
    _debug = debug


def _stop(number: int, frame: object) -> None:
    """End as Ctrl-C does, so that whatever is half-written is removed."""
    global _stopped
    _stopped = 128 + number
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(_stopped)


def main() -> None:
    """Run the command line; every error on purpose becomes one line on stderr and its exit code."""
    signal.signal(signal.SIGTERM, _stop)
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # a shell's background job ignores Ctrl-C
        signal.signal(signal.SIGINT, _stop)
    try:
        app()
    except GigaedgeError as error:
        if _debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if _debug:
            raise
        if _stopped:  # libraries make errors of their own of what is raised while they are imported
            sys.exit(_stopped)
        text = " ".join(str(error).split())
        typer.echo(f"error: {type(error).__name__}: {text} (gigaedge --debug ... shows where)", err=True)
        sys.exit(1)
