"""Policies that were trained in different ways, side by side: what they get wrong, and what they get done.

    python tools/ablations.py causal no-video full-mask --episodes 20

Each argument is a checkpoint that `gigaedge train` wrote. All of them run in PyTorch, with the mask that they were
trained with: the exported graphs know the causal one only. Errors on held-out episodes are those of training.json;
successes are counted on scenes of lift-block that nobody was trained on, in lockstep (docs/trials.md), chunks handed
over by a cross-fade.
"""

from __future__ import annotations

import argparse
import json
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gigaedge.cli.common import run_script
from gigaedge.errors import InputError
from gigaedge.prompts import read_embedding
from gigaedge.robot import ROBOT_DIM
from gigaedge.site import load_site
from gigaedge.trials_statistics import wilson
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
from gigaedge_export.sampler import schedule
from gigaedge_export.training.forward import Observed
from gigaedge_export.training.latents import LatentEncoder
from gigaedge_export.training.publish import ABOUT
from gigaedge_export.training.sample import STEPS, sample_chunks
from gigaedge_export.training.samples import Scaling
from gigaedge_export.training.settings import ACTION_SHIFT
from gigaedge_runtime.policy_process import Actions, Planned, Planner
from gigaedge_runtime.tasks import RATE
from gigaedge_runtime.trials import Contender, Job, play_with, seeds_of

SITE = Path(__file__).parents[1] / "examples" / "cell.yaml"
LATENCY = 0.06
"""s of simulated time; the same for all, so that it is the training that differs."""


class TorchPolicy:
    """A checkpoint as it was trained, in PyTorch."""

    def __init__(self, folder: Path) -> None:
        """Load it. Raises InputError: nothing that `gigaedge train` wrote."""
        try:
            self.about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{folder / ABOUT}: no such file; name checkpoints of `gigaedge train`"
            ) from error
        settings = self.about["settings"]
        checkpoint = load_checkpoint(CheckpointPaths.in_directory(folder))
        self._model = checkpoint.transformer.eval()
        self._encoder = LatentEncoder(folder / "vae", futures=False)
        self._scaling = Scaling(checkpoint.stats, settings["sizes"]["action_channels"])
        self._chunk, self._mask = settings["chunk"], settings["mask"]
        (prompt,) = (folder / "prompts").glob("*.safetensors")
        self._prompt = torch.from_numpy(read_embedding(prompt)).float()[None]
        self._plan = schedule(STEPS, ACTION_SHIFT, "bf16")
        self.chunks: list[float] = []
        """Seconds of each one so far."""

    @torch.no_grad()
    def chunk(
        self, composite: NDArray[np.uint8], state: NDArray[np.float32], noise: NDArray[np.float32]
    ) -> Actions:
        """As `gigaedge_runtime.policy.Policy.chunk`."""
        begin = perf_counter()
        latents = torch.from_numpy(self._encoder.pictures(composite[None]).astype(np.float32)).unsqueeze(2)
        states = torch.from_numpy(self._scaling.state(state[None]))[:, None]
        observed = Observed(latents, states, self._prompt, torch.zeros(1, dtype=torch.int64))
        found = sample_chunks(self._model, observed, torch.from_numpy(noise)[None], self._plan, self._mask)
        actions = self._scaling.targets(state[None], found.numpy())[0, :, :ROBOT_DIM]
        self.chunks.append(perf_counter() - begin)
        return Actions(actions, RATE)

    def planner(self, random: np.random.Generator) -> Planner:
        """What the policy's loop takes."""

        def plan(composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Planned:
            noise = random.standard_normal((self._chunk, self._scaling.channels), np.float32)
            return self.chunk(composite, state, noise)

        width, height = self.about["settings"]["view"]
        return Planner((width, height), "tshape", plan)


@cache
def loaded(folder: Path) -> TorchPolicy:
    """Each one once."""
    return TorchPolicy(folder)


def played(folder: Path, seed: int, attempts: int) -> bool:
    """Whether one episode ended with success."""
    job = Job(load_site(SITE), Contender(None, None, "fade", LATENCY), "lift-block", seed, attempts)
    random = np.random.default_rng((seed, 0))
    return play_with(job, lambda *_: loaded(folder).planner(random)).episode.outcome == "success"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--attempts", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| checkpoint | mask | video loss | steps | fingertips, mm | target, mm | success | 95 % | ms |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for folder in options.checkpoints:
        policy = loaded(folder)
        settings, error = policy.about["settings"], policy.about["held_out_error"]
        ends = [played(folder, seed, options.attempts) for seed in seeds_of(0, options.episodes)]
        low, high = wilson(sum(ends), len(ends))
        print(
            f"| {folder.name} | {settings['mask']} | {settings['video_weight']:g} | {policy.about['steps']} "
            f"| {error['fingertips_mm']:.1f} | {error['first_end_moving_mm']:.1f} | {sum(ends)}/{len(ends)} "
            f"| {100 * low:.0f} to {100 * high:.0f} % | {1e3 * np.median(policy.chunks):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    run_script(main)
