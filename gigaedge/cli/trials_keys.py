"""Single keys from the terminal, without Enter; Ctrl-C stays what it is."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from gigaedge.errors import InputError


class TerminalKeys:
    """Keys of the terminal behind a descriptor (`gigaedge_runtime.trials_person.Keys`)."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def pressed(self, timeout: float) -> str | None:
        """The next key, small letter; None when none was pressed within `timeout`, s."""
        ready, _, _ = select.select([self._fd], [], [], timeout)
        if not ready:
            return None
        key = os.read(self._fd, 1)
        # A terminal that is gone is a person who is gone.
        return key.decode(errors="ignore").lower() if key else "q"

    def forget(self) -> None:
        """Keys that were pressed before now count for nothing."""
        termios.tcflush(self._fd, termios.TCIFLUSH)


@contextmanager
def terminal_keys() -> Iterator[TerminalKeys]:
    """Keys for as long as the block lasts; the terminal is put back after it. Raises InputError: there is none."""
    if not sys.stdin.isatty():
        raise InputError("a person judges a real robot key by key: start this in a terminal, stdin is none")
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield TerminalKeys(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
