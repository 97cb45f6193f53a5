"""Trains a small VAE of the Wan-2.2 layout on the composites of a dataset.

    python -m gigaedge_export.training.vae DATASET --out FOLDER --minutes 25 [--resume]

FOLDER becomes `vae/` of a checkpoint: `config.json` with the latents' measured mean and deviation, the weights,
`training.json`, which tells how they were made and how well pictures come back, and `losses.jsonl`, one JSON object
per line. Until then FOLDER.training holds the clips and the state that `--resume` goes on from.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from gigaedge.errors import GigaedgeError
from gigaedge.files import atomic_directory, require_free
from gigaedge.progress import QUIET, Progress
from gigaedge_export.training.vae_measure import encode_clips
from gigaedge_export.training.vae_run import REPORT, Run, VaeSizes, VaeTraining
from gigaedge_export.training.vae_step import Batch
from gigaedge_export.video_vae import CONFIG

__all__ = ["Batch", "VaeSizes", "VaeTraining", "encode_clips", "main", "train_vae"]


def train_vae(dataset: Path, out: Path, options: VaeTraining, progress: Progress = QUIET) -> None:
    """Write a trained VAE to `out`. Raises InputError: `out` exists, or a stopped run is in the way; DatasetError."""
    require_free(out, replace=False)
    work = out.with_name(f"{out.name}.training")
    run = Run(dataset, work, options, progress)
    run.train()
    with atomic_directory(out, mark=CONFIG) as folder:
        run.finish(folder)
    shutil.rmtree(work)


def main(arguments: list[str] | None = None) -> int:
    """The command of the module's description; returns the exit code."""
    parser = argparse.ArgumentParser(prog="gigaedge_export.training.vae", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="LeRobot v3 folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--minutes", type=float, default=VaeTraining.minutes, help="wall time for everything")
    parser.add_argument("--steps", type=int, help="steps, instead of minutes: the same everywhere")
    parser.add_argument("--clips", type=int, default=VaeTraining.clips, help="clips to train with")
    parser.add_argument("--seed", type=int, default=VaeTraining.seed)
    parser.add_argument("--resume", action="store_true", help="go on with a training that was stopped")
    given = parser.parse_args(arguments)
    options = VaeTraining(
        minutes=given.minutes, steps=given.steps, clips=given.clips, seed=given.seed, resume=given.resume
    )
    try:
        train_vae(given.dataset, given.out, options, _Lines())
    except GigaedgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; --resume goes on from the last saved step", file=sys.stderr)
        return 130
    print((given.out / REPORT).read_text(encoding="utf-8"), end="")
    return 0


class _Lines:
    """Progress as a line per stage and per tenth of it, on stderr."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def __call__(self, what: str, total: int = 0) -> None:
        """A stage begins."""
        self.total, self.done = total, 0
        print(what, file=sys.stderr)

    def advance(self, amount: int) -> None:
        """Some of it is done."""
        tenths = 10 * self.done // self.total if self.total else 0
        self.done += amount
        if self.total and 10 * self.done // self.total > tenths:
            print(f"  {self.done} of {self.total}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
