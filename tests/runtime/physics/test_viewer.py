from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.cli.run import print_run
from gigaedge.errors import DeviceError
from gigaedge.robot import CAMERA_ROLES
from gigaedge_runtime.physics.film import FRAME, frame
from gigaedge_runtime.physics.viewer import watched
from gigaedge_runtime.report import PhysicsReport, RunReport, Spread
from tests.command_line import fails

EXAMPLES = Path(__file__).parents[3] / "examples"


def flat(level: int, width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def test_a_frame_has_the_three_views_and_the_clock() -> None:
    pictures = dict(zip(CAMERA_ROLES, (flat(50), flat(100, 640, 480), flat(150)), strict=True))
    whole = frame(pictures, "12.3 s", "lift-block")
    assert whole.shape == (FRAME[1], FRAME[0], 3) == (512, 960, 3)
    assert [whole[place].tolist() for place in ((240, 300), (100, 800), (400, 800))] == [
        [50] * 3,
        [100] * 3,
        [150] * 3,
    ]
    text = whole[480:]
    assert text[:, :100].max() > 200
    assert text[:, -100:].max() > 200
    assert text[:, 400:600].max() == 0


def test_a_film_of_a_cell_that_never_was_is_not_written(tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    channel = f"test-{os.getpid()}-nobody"
    with (
        pytest.raises(
            DeviceError, match=r"--view: .*film\.mp4 was not written: the cell ended before it was seen"
        ),
        watched(EXAMPLES / "cell-world.yaml", channel, target),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_view_says_what_it_cannot_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    cell = EXAMPLES / "cell.yaml"
    fails("--view: there is no display for a window here; give it a file", "run", cell, "--view")
    fails("--view: there is no display", "run", "--view", cell)
    fails("--view shows a physical cell, and this site has none", "run", EXAMPLES / "sim.yaml", "--view")
    film = tmp_path / "film.mp4"
    film.write_bytes(b"older")
    fails("film.mp4 exists already; remove it, choose another --view", "run", cell, "--view", film)
    assert film.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("skipped", "done", "expected"),
    [
        (0.0, None, ("lift-block, seed 7: not done", "8.0 s, p99 1 ms behind the clock")),
        (1.25, 4.2, ("lift-block, seed 7: done after 4.2 s", "1.2 s left out: this computer is too slow")),
    ],
)
def test_a_run_says_what_became_of_the_task_and_of_time(
    capsys: pytest.CaptureFixture[str], skipped: float, done: float | None, expected: tuple[str, str]
) -> None:
    physics = PhysicsReport("lift-block", 7, 8.0, Spread.of([0.001]), skipped, done)
    print_run(RunReport("duration", None, 5.0, False, physics=physics))
    said = capsys.readouterr().out
    assert all(text in said for text in expected)
    assert ("left out" in said) == (skipped > 0)
