"""A training of the VAE that can be stopped and resumed: options, clips, optimiser, and how far they have come."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from gigaedge.errors import InputError
from gigaedge.files import atomic_file, write_text
from gigaedge.lerobot import Dataset
from gigaedge.progress import QUIET, Progress
from gigaedge_export.training.state import STATE, Log
from gigaedge_export.training.vae_data import choose, open_clips, read_clips, split
from gigaedge_export.training.vae_measure import fidelity, spread
from gigaedge_export.training.vae_optimiser import Muon, initialise
from gigaedge_export.training.vae_step import Batch, Losses, backward, crops
from gigaedge_export.video_vae import VideoVae, VideoVaeConfig, save_video_vae

WARM_UP: Final = 100
"""Steps until the learning rate is full. They are timed, and tell how many there will be."""
LAST_RATE: Final = 0.01
"""What is left of the learning rate at the end, as a share."""
SAVE_EVERY: Final = 200
LOG_EVERY: Final = 20
"""Steps; states are saved where losses are logged."""
MEASURED: Final = 32
"""Clips that the fidelity is measured on, of episodes that training does not see."""
SPREAD: Final = 100
"""Training clips that the latents' mean and deviation are measured on."""
MEASURING: Final = 0.05
"""Share of the time that is kept for that."""
STORED: Final = torch.float16
"""Type of the weights on disk. Rounded before anything is measured with them."""
LOSSES, REPORT = "losses.jsonl", "training.json"
TRAIN_CLIPS, HELD_CLIPS = "train.npy", "held.npy"


@dataclass(frozen=True)
class VaeSizes:
    """What makes the VAE large or small. The encoder runs for every chunk, the decoder only to look."""

    base_dim: int = 12
    decoder_base_dim: int = 12
    z_dim: int = 48
    num_res_blocks: int = 1

    def config(self, mean: Sequence[float] = (), std: Sequence[float] = ()) -> VideoVaeConfig:
        """Upstream's configuration of these sizes, with the latents' `mean` and deviation where they are known."""
        return VideoVaeConfig.model_validate(
            {
                "_class_name": "AutoencoderKLWan",
                "base_dim": self.base_dim,
                "decoder_base_dim": self.decoder_base_dim,
                "z_dim": self.z_dim,
                "dim_mult": [1, 2, 4, 4],
                "num_res_blocks": self.num_res_blocks,
                "temperal_downsample": [False, True, True],
                "in_channels": 12,
                "out_channels": 12,
                "patch_size": 2,
                "is_residual": True,
                "latents_mean": mean or [0.0] * self.z_dim,
                "latents_std": std or [1.0] * self.z_dim,
            }
        )


@dataclass(frozen=True)
class VaeTraining:
    """How to train. The same options and number of steps give the same weights, on one machine and thread count."""

    minutes: float = 25.0
    """Wall time for everything, when `steps` is not given."""
    steps: int | None = None
    """At least the warm-up's 100."""
    seed: int = 0
    clips: int = 400
    """Of five composites each; 1.8 MB of disk per clip."""
    learning_rate: float = 0.02
    resume: bool = False
    """Go on with a training that was stopped, where one was."""
    sizes: VaeSizes = field(default_factory=VaeSizes)
    batch: Batch = field(default_factory=Batch)


class Run:
    """One training. `work` holds the clips, the losses and the saved state."""

    def __init__(self, dataset: Path, work: Path, options: VaeTraining, progress: Progress = QUIET) -> None:
        """Prepare a run, or open a stopped one. Raises InputError, DatasetError."""
        self.work, self.options, self.progress = work, options, progress
        self.origin = {"dataset": dataset.resolve().name, "options": asdict(replace(options, resume=False))}
        self.step = 0
        """Steps done."""
        self.total = options.steps
        """Steps in all; not known before the warm-up ends where the time decides."""
        self.seconds = 0.0
        """Wall time so far, over all sittings."""
        self._recent: list[Losses] = []
        state = work / STATE
        stopped = state.exists()
        if stopped and not options.resume:
            raise InputError(f"{work}: a training was stopped here; pass --resume, or remove the folder")
        if options.steps is not None and options.steps < WARM_UP:
            raise InputError(f"{options.steps} steps of training; it takes {WARM_UP} to warm up")
        torch.manual_seed(options.seed)
        self.vae = VideoVae(options.sizes.config())
        initialise(self.vae)
        self.optimiser = Muon(self.vae.parameters(), options.learning_rate)
        if stopped:
            self._restore(torch.load(state, weights_only=True))
        else:
            began = time.monotonic()
            self._read(dataset)
            self.seconds = time.monotonic() - began
        self.clips = open_clips(work / TRAIN_CLIPS)
        self._log = Log(work, self.step, LOSSES)

    def train(self) -> None:
        """Every step that is left."""
        self.vae.train()
        before, began = self.seconds, time.monotonic()
        self.progress("training the VAE", self.total or 0)
        self.progress.advance(self.step)
        while self.total is None or self.step < self.total:
            self._advance()
            self.seconds = before + time.monotonic() - began
            if self.total is None and self.step == WARM_UP:
                left = self.options.minutes * 60 * (1 - MEASURING) - self.seconds
                self.total = WARM_UP + max(0, int(left / ((self.seconds - before) / WARM_UP)))
                self.progress("training the VAE", self.total)
                self.progress.advance(self.step - 1)
            self.progress.advance(1)
            if self.step % SAVE_EVERY == 0 or self.step == self.total:
                self._save()

    def finish(self, folder: Path) -> None:
        """Measure, and write the VAE and its report into `folder`, which exists."""
        weights = {name: value.to(STORED).float() for name, value in self.vae.state_dict().items()}
        self.vae.load_state_dict(weights)
        self.vae.eval()
        used = self.clips[:: max(1, len(self.clips) // SPREAD)]
        self.progress("measuring the latents", len(used))
        found = spread(self.vae, used, self.progress)
        self.vae.config = self.options.sizes.config(found.mean, found.std)
        held = open_clips(self.work / HELD_CLIPS)
        self.progress("measuring pictures that training did not see", len(held))
        ratios = fidelity(self.vae, held, self.progress)
        save_video_vae(self.vae, folder, STORED)
        report = {
            **self.origin,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "steps": self.total,
            "seconds": round(self.seconds, 1),
            "threads": torch.get_num_threads(),
            "weights": sum(value.numel() for value in weights.values()),
            "psnr_db": {name: round(value, 2) for name, value in asdict(ratios).items()},
        }
        write_text(folder / REPORT, json.dumps(report, indent=2) + "\n")
        write_text(folder / LOSSES, (self.work / LOSSES).read_text(encoding="utf-8"))

    def _read(self, dataset: Path) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        with Dataset(dataset, cameras=True) as opened:
            parts = split(len(opened.episodes))
            for numbers, count, file in zip(
                parts, (self.options.clips, MEASURED), (TRAIN_CLIPS, HELD_CLIPS), strict=True
            ):
                episodes = [opened.episodes[number] for number in numbers]
                moments = choose(episodes, count, self.options.seed)
                read_clips(episodes, moments, self.work / file, self.progress)

    def _advance(self) -> None:
        options = self.options
        random = np.random.default_rng((options.seed, self.step))
        batches = crops(self.clips, options.batch, self.step, random)
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        rate = options.learning_rate * schedule(self.step, self.total)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        self._recent.append(backward(self.vae, batches, generator))
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        if self.step % LOG_EVERY == 0:
            losses, self._recent = Losses.mean(self._recent), []
            times = {"rate": round(rate, 8), "seconds": round(self.seconds, 1)}
            self._log.add({"step": self.step, **losses.log(), **times})

    def _save(self) -> None:
        state = {
            "origin": json.dumps(self.origin),
            "step": self.step,
            "total": self.total,
            "seconds": self.seconds,
            "weights": self.vae.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        with atomic_file(self.work / STATE) as temporary:
            torch.save(state, temporary)

    def _restore(self, state: dict[str, Any]) -> None:
        mine = json.dumps(self.origin)
        if state["origin"] != mine:
            raise InputError(
                f"{self.work}: was started with other options ({state['origin']}, now {mine}); pass the same, "
                "or remove the folder"
            )
        self.step, self.total, self.seconds = state["step"], state["total"], state["seconds"]
        self.vae.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])


def schedule(step: int, total: int | None) -> float:
    """Share of the learning rate: a linear warm-up, then half a cosine down to the last rate."""
    if total is None or step < WARM_UP:
        return min(1.0, (step + 1) / WARM_UP)
    done = (step - WARM_UP) / max(1, total - WARM_UP)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))
