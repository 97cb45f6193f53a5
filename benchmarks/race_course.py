"""What everybody races on: a random checkpoint, the bundles exported from it, one observation, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import Layout, Precision
from gigaedge.files import read_tensors, write_tensors

Generation = Literal["GWP-0", "GWP-0.5"]
Size = Literal["tiny", "small", "medium"]
GENERATIONS: Final[tuple[Generation, ...]] = ("GWP-0", "GWP-0.5")
_FILE: Final = "observation.safetensors"


@dataclass(frozen=True)
class Given:
    """What a chunk is computed from, and the sampler's schedule."""

    composite: NDArray[np.uint8]
    """RGB, (height, width, 3)."""
    state: NDArray[np.float32]
    """Joints rad and grippers m, (14,)."""
    noise: NDArray[np.float32]
    """(chunk, channels)."""
    prompt: NDArray[np.float32]
    """Embedded and padded, (length, text_dim)."""
    sigmas: NDArray[np.float32]
    """(steps + 1,)."""
    timesteps: NDArray[np.float32]
    """(steps,), rounded as upstream's."""


@dataclass(frozen=True)
class Course:
    """One generation and size; everything lies in `folder` and can be used again."""

    folder: Path
    generation: Generation
    size: Size

    @property
    def checkpoint(self) -> Path:
        """In the upstream layout, fp32."""
        return self.folder / "checkpoint"

    def bundle(self, precision: Precision, layout: Layout) -> Path:
        """Exported from the checkpoint."""
        return self.folder / f"{precision}-{layout}"

    def vae(self, precision: Precision, layout: Layout) -> Path:
        """The bundle's way from the picture to the latents, alone."""
        return self.folder / f"{precision}-{layout}.vae.onnx"

    def given(self) -> Given:
        """The observation."""
        tensors: dict[str, NDArray[Any]] = read_tensors(self.folder / _FILE)
        return Given(**tensors)

    def write(self, given: Given) -> None:
        """Set the observation."""
        write_tensors(self.folder / _FILE, vars(given))
