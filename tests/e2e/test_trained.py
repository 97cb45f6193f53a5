"""The policy that comes with gigaedge: how it was made, and that it does its task when it sees, and only then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gigaedge.cli.named import make_trained_bundle, trained_checkpoint
from tests.command_line import answer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained_bundle(tmp_path_factory.mktemp("trained") / "bundle", quiet=True)


def test_it_is_small_and_says_how_it_was_made() -> None:
    folder = trained_checkpoint()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    about = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert about["command"].startswith("gigaedge train ")
    assert about["date"].startswith("20")
    assert about["settings"]["seed"] == 0
    assert json.loads((folder / "vae" / "training.json").read_text(encoding="utf-8"))["options"]["seed"] == 0


def test_it_lifts_the_block_and_blind_it_does_not(bundle: Path) -> None:
    """Of scenes that it was not trained on; lockstep, so that the machine's speed decides nothing."""
    found = answer(
        *("trials", ROOT / "examples" / "cell.yaml", "--tasks", "lift-block", "--bundle", bundle),
        *("--episodes", 5, "--attempts", 2, "--latency", "60ms", "--modes", "rtc", "--blind"),
    )
    sees, blind = found["rows"]
    assert sees["summary"]["successes"] >= 4
    assert blind["summary"]["successes"] <= 1
