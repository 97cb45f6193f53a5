"""`gigaedge collect` as a person calls it: two processes make what one does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gigaedge.lerobot import Dataset
from gigaedge.robot import CAMERA_ROLES
from gigaedge_runtime.collect import Collected
from tests.command_line import answer, fails, gigaedge, gigaedge_process


def test_two_processes_make_the_dataset_that_one_does(tmp_path: Path) -> None:
    asked = ("collect", "--task", "lift-block", "--episodes", "2", "--seed", "100000", "--json")
    done = gigaedge_process(*asked, "--out", tmp_path / "two", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["episodes"], told["complete"]) == (2, True)
    assert answer(*asked[:-1], "--out", tmp_path / "one")["frames"] == told["frames"]
    for path in sorted(tmp_path.glob("two/**/*.parquet")):
        assert path.read_bytes() == (tmp_path / "one" / path.relative_to(tmp_path / "two")).read_bytes(), path
    with Dataset(tmp_path / "two", cameras=True) as dataset:
        assert dataset.notices == []
        assert sum(episode.length for episode in dataset.episodes) == told["frames"]
        for episode in dataset.episodes:
            motion = episode.motion()
            # What was commanded is what then happens, but for the time the servos take.
            assert np.abs(motion.actions[:-1] - motion.states[1:])[:, :6].max() < 0.1
            for role in CAMERA_ROLES:
                assert episode.frame(role, episode.length - 1).shape == (240, 320, 3)


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    out = ("--out", tmp_path / "d")
    fails(
        "seeds below 100000 are held out for trials", "collect", "--task", "lift-block", "--seed", "7", *out
    )
    fails("--task 'juggle': no such task; there are lift-block", "collect", "--task", "juggle", *out)
    assert not (tmp_path / "d").exists()


def test_an_interruption_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Collected:
        return Collected(episodes=3, failed=1, frames=270, complete=False)

    monkeypatch.setattr("gigaedge_runtime.collect.collect", interrupted)
    result = gigaedge("collect", "--task", "lift-block", "--episodes", "9", "--out", tmp_path / "d")
    assert result.returncode == 130
    assert "3 episodes, 270 frames; 1 of 4 attempts failed" in result.stdout
    assert result.stderr == "interrupted at 3 of 9 episodes; go on with --resume\n"


def test_help_shows_an_example() -> None:
    assert "Example" in gigaedge("collect", "--help").stdout
