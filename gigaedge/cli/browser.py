"""A page as a picture: by whatever Chromium there is, without a window, without a network."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from gigaedge.errors import GigaedgeError, InputError
from gigaedge.files import atomic_file

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
SIZE: Final = (1200, 2400)
"""px; what is further down the page is not in the picture."""
PATIENCE: Final = 120.0
"""s; a cold start on a small computer takes some seconds."""

# No sandbox: it needs what containers do not give, and the page is our own and can load nothing.
_OPTIONS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


def find_browser() -> str | None:
    """The first Chromium on PATH."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def screenshot(page: Path, target: Path, size: tuple[int, int] = SIZE) -> str:
    """Write what a browser shows of a page as PNG, `size` px; returns the document as the browser understood it.

    Raises InputError: there is no browser; GigaedgeError: it made no picture.
    """
    browser = find_browser()
    if browser is None:
        raise InputError(f"no {' or '.join(NAMES)} on PATH; install one (`apt-get install chromium`)")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [
            *(browser, *_OPTIONS, f"--user-data-dir={folder}", f"--window-size={size[0]},{size[1]}"),
            *("--dump-dom", f"--screenshot={shot}", page.resolve().as_uri()),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired as error:
            raise GigaedgeError(f"{browser} made no picture of {page} within {PATIENCE:.0f} s") from error
        if not shot.is_file():
            last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise GigaedgeError(f"{browser} made no picture of {page}: {last}")
        with atomic_file(target) as temporary:
            temporary.write_bytes(shot.read_bytes())
    return done.stdout
