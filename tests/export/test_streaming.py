"""An export's memory does not grow with the checkpoint, and an interrupted one leaves nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gigaedge.bundle import open_bundle
from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint

SMALL = Sizes(layers=2)
LARGE = Sizes(layers=6, heads=8, head_dim=128, ffn=8192, text_dim=1024)
"""Thirty-two MB in fp32 is the largest of its matrices, half a GB all of them."""
ALLOWED_MB = 160
"""How much more the large one may take: a few times its largest matrix, far less than its weights."""
PEAK_MEMORY = Path(__file__).parents[2] / "tools" / "peak_memory.py"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, sizes in (("small", SMALL), ("large", LARGE)):
        write_random_checkpoint(folder / name, "GWP-0", sizes, dtype=torch.bfloat16, shard_bytes=64_000_000)
    return {name: folder / name for name in ("small", "large")}


def command(checkpoint: Path, out: Path, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "gigaedge", "export", "--checkpoint", str(checkpoint)),
        *(
            "--prompt",
            f"p={checkpoint / PROMPT}",
            "--steps",
            "10,5",
            "--no-verify",
            "--out",
            str(out),
            *options,
        ),
    ]


def peak(*arguments: object) -> int:
    """Peak of anonymous memory, MB, as the tool that the README names measures it."""
    done = subprocess.run(
        [sys.executable, str(PEAK_MEMORY), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"peak (\d+) MB anonymous, (\d+) MB resident", done.stderr)
    assert found, done.stderr
    return int(found[1])


@pytest.mark.parametrize("options", [("fp16", "cuda"), ("int8", "cpu")], ids=lambda options: options[0])
def test_memory_does_not_grow_with_the_weights(
    checkpoints: dict[str, Path], tmp_path: Path, options: tuple[str, str]
) -> None:
    flags = ("--precision", options[0], "--target", options[1])
    small, large = (peak(*command(checkpoints[name], tmp_path / name, *flags)) for name in ("small", "large"))
    manifest = open_bundle(tmp_path / "large").manifest
    assert 4 * manifest.model.parameters > 3e6 * ALLOWED_MB
    assert large - small < ALLOWED_MB


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_export_leaves_nothing(
    checkpoints: dict[str, Path], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        command(checkpoints["large"], tmp_path / "b"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()), "the export never began to write"
    process.send_signal(number)
    assert process.wait(60) == code
    assert list(tmp_path.iterdir()) == []
