"""The command line under test: in this process, or in one of its own where that is what is tested."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest

from gigaedge.cli import main


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def gigaedge(*arguments: object) -> Result:
    """Run a command here: starting Python and its imports anew takes longer than most of them work."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["gigaedge", *map(str, arguments)])
        patch.setattr(signal, "signal", lambda *_: None)  # SIGTERM is still to end the tests
        with pytest.raises(SystemExit) as end:
            main()
    return Result(int(end.value.code or 0), out.getvalue(), err.getvalue())


def gigaedge_process(*arguments: object) -> Result:
    """Run a command as a person does."""
    command = [sys.executable, "-m", "gigaedge", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def succeeds(*arguments: object) -> Result:
    result = gigaedge(*arguments)
    assert result.returncode == 0, result.stderr
    return result


def answer(*arguments: object) -> dict[str, Any]:
    """What a command that succeeds prints with --json."""
    return dict(json.loads(succeeds(*arguments, "--json").stdout))


def fails(message: str, *arguments: object, code: int = 2) -> None:
    """A command ends with `code` and one line on stderr that holds `message`; bad input prints nothing else."""
    result = gigaedge(*arguments)
    assert result.returncode == code, result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert code != 2 or result.stdout == ""
