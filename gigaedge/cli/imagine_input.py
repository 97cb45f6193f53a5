"""What `gigaedge imagine` begins with, and what then happened: from an observation's file, a dataset, or both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.cli.dataset import EpisodePrompts, open_dataset
from gigaedge.cli.observations import RecordedObservation, read_observation
from gigaedge.compose import Compositor
from gigaedge.errors import InputError, ObservationError
from gigaedge.files import read_tensors
from gigaedge.lerobot import Dataset, Episode
from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge_runtime.policy import Policy

SAME_STATE: Final = 1e-4
"""rad and m; a state that was written and read again differs by less."""


@dataclass(frozen=True)
class Recorded:
    """A moment, and what was seen after it."""

    composite: NDArray[np.uint8]
    """What the policy sees at that moment, RGB (H, W, 3)."""
    state: NDArray[np.float32]
    """Joints rad, grippers m, (14,)."""
    noise: NDArray[np.float32] | None
    """Start of the sampler, (chunk, width); None: drawn by the policy."""
    after: tuple[NDArray[np.uint8] | None, ...]
    """Composites at the times of the expected frames; None where nothing was recorded."""


@dataclass(frozen=True)
class Moment:
    """A frame of a dataset."""

    dataset: Path
    episode: int
    frame: int

    def __str__(self) -> str:
        return f"{self.dataset}, episode {self.episode}, frame {self.frame}"


def read_moment(
    policy: Policy,
    seconds: tuple[float, ...],
    observation: Path | None,
    actual: Path | Moment | None,
    prompt: str | None,
) -> tuple[Recorded, list[str]]:
    """Read what there is and set the policy's prompt, unless `prompt` named one; also return notices for the person.

    `seconds` are the times after the observation at which frames are expected. Raises InputError, ObservationError or
    DatasetError for what is missing or does not belong together.
    """
    seen = read_observation(observation) if observation is not None else None
    if seen is not None and seen.prompt is not None and prompt is None:
        policy.set_prompt_embedding(seen.prompt)
    if isinstance(actual, Moment):
        return _from_dataset(policy, seconds, seen, actual, prompt)
    if seen is None:
        raise InputError("imagine needs an observation: a safetensors file, or --actual DATASET")
    nothing: tuple[NDArray[np.uint8] | None, ...] = (None,) * len(seconds)
    after = nothing if actual is None else _from_file(policy, actual, len(seconds))
    composite = seen.compose(policy.manifest.view)
    return Recorded(composite, seen.state, seen.noise, after), []


def _from_file(policy: Policy, path: Path, count: int) -> tuple[NDArray[np.uint8], ...]:
    tensors = read_tensors(path)
    keys: dict[CameraRole, str] = {role: f"image.{role}" for role in CAMERA_ROLES}
    for key in keys.values():
        if key not in tensors:
            raise ObservationError(f"{path}: key {key} is missing; it needs {', '.join(keys.values())}")
        if tensors[key].ndim != 4 or len(tensors[key]) != count:
            raise ObservationError(
                f"{path}: {key}: expected ({count}, height, width, 3), a picture for each expected frame; "
                f"got {tensors[key].shape}"
            )
    compose = _composer(policy)
    return tuple(compose({role: tensors[key][i] for role, key in keys.items()}) for i in range(count))


def _from_dataset(
    policy: Policy,
    seconds: tuple[float, ...],
    seen: RecordedObservation | None,
    moment: Moment,
    prompt: str | None,
) -> tuple[Recorded, list[str]]:
    with open_dataset(moment.dataset, cameras=True) as dataset:
        episode = _episode(dataset, moment)
        rate = policy.manifest.action.rate_hz
        if not math.isclose(dataset.fps, rate, rel_tol=1e-3):
            raise InputError(
                f"{moment.dataset} has {dataset.fps:g} frames per second, {policy.bundle.path} plays {rate:g} actions "
                f"per second; if the policy was trained on this dataset, export it with --rate {dataset.fps:g}"
            )
        state = episode.motion().states[moment.frame]
        compose = _composer(policy)

        def picture(frame: int) -> NDArray[np.uint8]:
            return compose({role: episode.frame(role, frame) for role in CAMERA_ROLES})

        notices = [*dataset.notices]
        if seen is None:
            prompts = EpisodePrompts(policy, prompt)
            prompts.use(episode)
            notices += prompts.notices
            composite, noise = picture(moment.frame), None
        else:
            distance = float(np.abs(seen.state - state).max())
            if not distance <= SAME_STATE:
                raise InputError(
                    f"the observation is not frame {moment.frame} of episode {moment.episode}: their states differ by "
                    f"up to {distance:.3g} rad or m; pass the frame it was taken from, or leave it out"
                )
            composite, state, noise = seen.compose(policy.manifest.view), seen.state, seen.noise
        frames = [moment.frame + round(at * dataset.fps) for at in seconds]
        after = tuple(picture(frame) if frame < episode.length else None for frame in frames)
        return Recorded(composite, state, noise, after), notices


def _episode(dataset: Dataset, moment: Moment) -> Episode:
    if moment.episode >= len(dataset.episodes):
        raise InputError(
            f"--episode {moment.episode}: {dataset.root} has episodes 0 to {len(dataset.episodes) - 1}"
        )
    episode = dataset.episodes[moment.episode]
    if moment.frame >= episode.length:
        raise InputError(
            f"--frame {moment.frame}: episode {moment.episode} has frames 0 to {episode.length - 1}"
        )
    episode.require_files()
    return episode


def _composer(policy: Policy) -> Callable[[Mapping[CameraRole, NDArray[np.uint8]]], NDArray[np.uint8]]:
    view = policy.manifest.view
    compositor = Compositor((view.width, view.height), view.layout)
    return lambda images: compositor.compose(images).copy()
