"""Observations from files, as `infer` and `compare` read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import ViewInfo
from gigaedge.compose import Compositor
from gigaedge.errors import InputError, ObservationError
from gigaedge.files import read_tensors
from gigaedge.robot import CAMERA_ROLES, CameraRole

KEYS = (*(f"image.{role}" for role in CAMERA_ROLES), "state")


@dataclass(frozen=True)
class RecordedObservation:
    """What a file says the robot saw."""

    images: dict[CameraRole, NDArray[np.uint8]]
    """RGB, (height, width, 3) each."""
    state: NDArray[np.float32]
    """Joints rad, grippers m, (14,)."""
    noise: NDArray[np.float32] | None
    """Start of the sampler, (chunk, width)."""
    prompt: NDArray[Any] | None
    """Prompt embedding, (tokens, width) or (1, tokens, width)."""

    def compose(self, view: ViewInfo) -> NDArray[np.uint8]:
        """The one picture the policy sees, (height, width, 3)."""
        return Compositor((view.width, view.height), view.layout).compose(self.images)


def read_observation(path: Path) -> RecordedObservation:
    """Read a safetensors file with three images and a state; noise and prompt embedding are optional.

    Raises InputError (no such file) or ObservationError (a key is missing).
    """
    tensors = read_tensors(path)
    missing = [key for key in KEYS if key not in tensors]
    if missing:
        raise ObservationError(f"{path}: key {missing[0]} is missing; it needs {', '.join(KEYS)}")
    noise = tensors.get("noise")
    if noise is not None and noise.ndim == 3 and noise.shape[0] == 1:
        noise = noise[0]
    return RecordedObservation(
        images={role: tensors[f"image.{role}"] for role in CAMERA_ROLES},
        state=tensors["state"],
        noise=noise,
        prompt=tensors.get("prompt_embeds"),
    )


def find_observations(paths: Sequence[Path]) -> list[Path]:
    """The safetensors files among `paths`, and those directly in the folders among them, sorted by name.

    Raises InputError: a folder without one.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(path.glob("*.safetensors"))
        if not inside:
            raise InputError(
                f"{path}: no .safetensors file in this folder; `gigaedge infer --help` says what is in one"
            )
        files += inside
    return files
