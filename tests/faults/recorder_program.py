"""The recorder process as it is, but its disk can be made full. --launch FD"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

from gigaedge_runtime.record_process import main
from tests.faults.wires import Mouth


class Disk:
    """Stands before the files that are opened for writing."""

    def __init__(self) -> None:
        self._open = Path.open
        self.full = False

    def fill(self) -> None:
        """From now on nothing more can be written."""
        self.full = True

    def open(self, path: Path, mode: str = "r", *options: Any, **more: Any) -> Any:
        return DiskFile(path) if mode == "wb" else self._open(path, mode, *options, **more)


class DiskFile(io.BufferedWriter):
    """A file for writing, on `disk`."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))

    def write(self, data: Any) -> int:
        if disk.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


if __name__ == "__main__":
    mouth = Mouth("recorder")
    disk = Disk()
    Path.open = lambda path, *options, **more: disk.open(path, *options, **more)
    mouth.obey({"fill": disk.fill})
    sys.exit(main())
