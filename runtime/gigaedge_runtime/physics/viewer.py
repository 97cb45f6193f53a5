"""A process that looks at the running physical cell and shows it: in a window, or as an H.264 film (MP4).

It asks the cell as a camera does, so that it slows nobody's threads down, and it ends when its standard input does: the
command that started it says so, or is gone.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from gigaedge.clock import Deadlines, monotonic
from gigaedge.errors import DeviceError, GigaedgeError
from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge.simulation import PhysicalCell, load_cell
from gigaedge.video_writer import VideoWriter
from gigaedge_runtime.physics.film import FRAME, HIGH, frame
from gigaedge_runtime.physics.link import Snapshot, WorldLink
from gigaedge_runtime.physics.painter import Image
from gigaedge_runtime.physics.scene import Scene
from gigaedge_runtime.physics.watching import task_scene
from gigaedge_runtime.physics.world import PICTURE, PhysicalWorld

FPS: Final = 15
"""Frames per second: half of the cameras', so that the film leaves the computer to the cell."""

_TITLE: Final = "gigaedge: the physical cell"
_FINISH: Final = 20.0
"""s that a film may take to be finished."""
_NICE: Final = 10
"""The cell and what runs in it come first."""
_LONGEST_GAP: Final = 5 * FPS
"""Frames that are shown again at most where drawing could not keep up."""


@contextmanager
def watched(simulation: Path, channel: str, film: Path | None) -> Iterator[None]:
    """Show the cell that is served on `channel` during the block, in a window or in a film at `film` (replaced).

    `simulation` is the cell's file. Raises DeviceError afterwards: it could not be shown.
    """
    command = [sys.executable, "-m", "gigaedge_runtime.physics.viewer", str(simulation), channel]
    viewer = subprocess.Popen(
        [*command, *([str(film)] if film else [])],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the run; the film of it is finished
    )
    try:
        yield
    finally:
        try:
            _, problem = viewer.communicate(timeout=_FINISH)
        except subprocess.TimeoutExpired:
            viewer.kill()
            _, problem = viewer.communicate()
            problem = f"--view: no end within {_FINISH:g} s\n{problem}"
    if viewer.returncode != 0:
        lines = problem.strip().splitlines() or [f"the viewer ended with {viewer.returncode}"]
        raise DeviceError(f"--view: {lines[-1]}")


def main(arguments: list[str]) -> int:
    """`SIMULATION CHANNEL [FILM]`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    cell = load_cell(Path(arguments[0]))
    if not isinstance(cell, PhysicalCell):
        raise TypeError(f"{arguments[0]}: no physical cell")
    link = WorldLink(arguments[1])
    title = f"{cell.task}, seed {cell.seed}"
    try:
        with _Eyes(task_scene(cell)) as eyes:
            if len(arguments) < 3:
                _watch(eyes, link, title, _show)
                cv2.destroyAllWindows()
            else:
                _film(eyes, link, title, Path(arguments[2]))
    except GigaedgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


class _Eyes:
    """The three views as large as a frame shows them."""

    def __init__(self, scene: Scene) -> None:
        self._worlds = {
            role: PhysicalWorld(scene, HIGH if role == "cam_high" else PICTURE) for role in CAMERA_ROLES
        }

    def see(self, snapshot: Snapshot) -> dict[CameraRole, Image]:
        """Pictures of what is there at the moment of a snapshot."""
        for world in self._worlds.values():
            world.place(snapshot.configuration)
        return {role: world.picture(role) for role, world in self._worlds.items()}

    def __enter__(self) -> _Eyes:
        return self

    def __exit__(self, *_: object) -> None:
        for world in self._worlds.values():
            world.close()


def _film(eyes: _Eyes, link: WorldLink, title: str, target: Path) -> None:
    """Write a film, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}.mp4")
    try:
        with VideoWriter(unfinished, FPS, *FRAME) as film:
            frames = _watch(eyes, link, title, film.write)
        if not frames:
            raise DeviceError(f"{target} was not written: the cell ended before it was seen")
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _watch(eyes: _Eyes, link: WorldLink, title: str, show: Callable[[Image], None]) -> int:
    """Show frames on a fixed grid until standard input ends; return how many.

    What could not be drawn in time is shown again: a second of the film is a second of the run.
    """
    deadlines = Deadlines(1 / FPS)
    shown, begin = 0, 0.0
    while not select.select([sys.stdin], [], [], 0)[0]:
        deadlines.wait()
        snapshot = link.at(time.time())
        if snapshot is None:
            if shown:
                break
            continue
        image = frame(eyes.see(snapshot), _clock(snapshot), title)
        if not shown:
            begin = monotonic()
        due = int((monotonic() - begin) * FPS) + 1
        for _ in range(min(max(due - shown, 1), _LONGEST_GAP)):
            show(image)
            shown += 1
    return shown


def _show(image: Image) -> None:
    cv2.imshow(_TITLE, np.ascontiguousarray(image[..., ::-1]))
    cv2.waitKey(1)


def _clock(snapshot: Snapshot) -> str:
    done = "" if np.isnan(snapshot.done) else f"   done after {snapshot.done:.1f} s"
    return f"{snapshot.time:6.2f} s   {1e3 * snapshot.lag:.0f} ms behind{done}"


def has_display() -> bool:
    """Whether a window could be opened here."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
