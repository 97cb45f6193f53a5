"""From demonstrations to a checkpoint: latents, statistics, prompts, training, files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gigaedge import norm_stats
from gigaedge.errors import CheckpointError, DatasetError, InputError
from gigaedge.files import locked, write_text
from gigaedge.lerobot import Dataset, Episode
from gigaedge.progress import Progress
from gigaedge.prompts import fit as fit_prompt
from gigaedge.prompts import read_embedding
from gigaedge.word_embedding import embedding as embed_words
from gigaedge_export.checkpoint import load_norm_stats
from gigaedge_export.config import VaeConfig, load_config
from gigaedge_export.prompts import read_pickled
from gigaedge_export.training.fit import Fitted, Watcher, fit
from gigaedge_export.training.latents import Encoding, encode_dataset
from gigaedge_export.training.publish import publish
from gigaedge_export.training.sample import OpenLoop
from gigaedge_export.training.samples import Demonstration, Scaling
from gigaedge_export.training.settings import PolicyTraining
from gigaedge_export.training.state import STATE
from gigaedge_export.training.team import Lesson


class Observer(Progress, Watcher, Protocol):
    """Who is told of every stage and of the training itself."""


@dataclass(frozen=True)
class Origin:
    """What a checkpoint says of where it comes from."""

    command: str
    date: str
    """ISO 8601."""
    machine: str


def train_policy(
    dataset: Dataset,
    vae: Path,
    out: Path,
    work: Path,
    settings: PolicyTraining,
    origin: Origin,
    observer: Observer,
    *,
    resume: bool,
    replace: bool = False,
) -> Fitted:
    """Train on an opened dataset (with its cameras) and write the checkpoint `out`.

    `work` keeps what a resumed run needs; it may be removed afterwards. Raises DatasetError, CheckpointError,
    InputError.
    """
    work.mkdir(parents=True, exist_ok=True)
    with locked(work):
        begun = (work / STATE).is_file()
        if begun and not resume:
            raise InputError(f"{work} holds a run that was begun; pass --resume, or remove the folder")
        held_out = _held_out(dataset, settings)
        for episode in dataset.episodes:
            episode.require_files()
        encoding = Encoding(
            dataset.root,
            vae,
            settings.view,
            settings.stride,
            settings.clip_stride,
            settings.offsets if settings.video_weight else (),
        )
        folder = work / f"latents-{encoding.name()}"
        encoded = encode_dataset(encoding, dataset.episodes, folder, jobs=settings.jobs, progress=observer)
        observer("reading states and actions", len(dataset.episodes))
        motions = [episode.motion() for episode in dataset.episodes]
        stats = _write_statistics(work / "norm_stats.json", dataset, settings, motions)
        prompts, chosen = _prompts(dataset.episodes, settings)
        demonstrations = [
            Demonstration(episode.index, motion, latents, prompt)
            for episode, motion, latents, prompt in zip(
                dataset.episodes, motions, encoded, chosen, strict=True
            )
        ]
        lesson = Lesson(
            settings,
            [demonstration for demonstration in demonstrations if demonstration.number not in held_out],
            Scaling(load_norm_stats(work / "norm_stats.json"), settings.sizes.action_channels),
            np.stack(list(prompts.values())),
            load_config(vae / "config.json", VaeConfig).z_dim,
            dataset.fps,
        )
        kept = [demonstration for demonstration in demonstrations if demonstration.number in held_out]
        fitted = fit(lesson, kept, work, observer, resume=begun)
        about = {
            **asdict(origin),
            "dataset": str(dataset.root),
            "episodes": len(lesson.episodes),
            "held_out": sorted(held_out),
            "frames": sum(len(episode.motion.states) for episode in lesson.episodes),
            "prompts": {instruction: list(map(int, value.shape)) for instruction, value in prompts.items()},
            "settings": asdict(settings),
            "steps": fitted.steps,
            "seconds": round(fitted.seconds, 1),
            "held_out_error": _errors(fitted.evaluation),
            "held_out_error_of_the_last_weights": _errors(fitted.last),
        }
        publish(out, fitted.model, vae, stats, prompts, about, replace=replace)
    return fitted


def _held_out(dataset: Dataset, settings: PolicyTraining) -> set[int]:
    """Numbers of the episodes that are only evaluated on, spread over the dataset: its tasks may follow each other."""
    every = len(dataset.episodes)
    count = min(settings.held_out, every // 4)
    if count < 1:
        raise DatasetError(
            f"{dataset.root}: {every} episodes; training needs at least 4, of which it holds one out"
        )
    return {(2 * place + 1) * every // (2 * count) for place in range(count)}


def _errors(found: OpenLoop) -> dict[str, float]:
    return {
        "joints_deg": found.report.joints.mean_abs,
        "fingertips_mm": found.report.fingertips.mean_abs,
        "first_end_moving_mm": found.moving,
    }


def _write_statistics(
    path: Path, dataset: Dataset, settings: PolicyTraining, motions: Sequence[Any]
) -> dict[str, Any]:
    """norm_stats.json of the whole dataset; returns its content."""
    metadata = {
        "datasets": [str(dataset.root)],
        "episodes": len(motions),
        "fps": dataset.fps,
        "chunk": settings.chunk,
    }
    found = norm_stats.norm_stats(motions, settings.chunk)
    content = norm_stats.document(found, settings.sizes.action_channels, metadata)
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return content


def _prompts(
    episodes: Sequence[Episode], settings: PolicyTraining
) -> tuple[Mapping[str, NDArray[np.float32]], list[int]]:
    """The different instructions with their embeddings, (prompt_length, width), and the number of each episode's.

    The embedding is the dataset's where it has one, else that of the instruction's words.
    """
    found: dict[str, NDArray[np.float32]] = {}
    chosen = []
    for episode in episodes:
        if episode.task not in found:
            found[episode.task] = _embedding(episode, settings)
        chosen.append(list(found).index(episode.task))
    widths = {value.shape[1] for value in found.values()}
    if len(widths) > 1:
        raise CheckpointError(
            f"{episodes[0].dataset.root}: embeddings of different widths, {sorted(widths)}; "
            "make all of them with one encoder"
        )
    return found, chosen


def _embedding(episode: Episode, settings: PolicyTraining) -> NDArray[np.float32]:
    path = episode.embedding()
    if path is None:
        raw = embed_words(episode.task)
    else:
        raw = read_embedding(path) if path.suffix == ".safetensors" else read_pickled(path)
    fitted, _ = fit_prompt(raw, path or episode.task, length=settings.prompt_length, width=raw.shape[-1])
    return fitted
