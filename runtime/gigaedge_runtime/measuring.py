"""A policy to be measured: always the same observation, and a record of where its graphs really ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

from gigaedge.bundle import Manifest
from gigaedge.robot import ROBOT_DIM
from gigaedge_runtime.policy import Observation
from gigaedge_runtime.sessions import Device


@dataclass(frozen=True)
class RecordingDevice(Device):
    """A device that remembers which execution providers its sessions got, and for how many nodes."""

    ran_on: Counter[str] = field(default_factory=Counter)

    def session(self, path: Path, *, model: str = "", capture: bool = False) -> ort.InferenceSession:
        """See `Device`."""
        session = super().session(path, model=model, capture=capture)
        self.ran_on[session.get_providers()[0]] += 0
        if self.provider != "cpu" and hasattr(session, "get_provider_graph_assignment_info"):
            for part in session.get_provider_graph_assignment_info():
                self.ran_on[part.ep_name] += len(part.get_nodes())
        return session


def observe(manifest: Manifest, seed: int) -> Observation:
    """A random observation that fits a bundle; the same for the same seed."""
    return random_observation(
        (manifest.view.height, manifest.view.width),
        (manifest.state.q01, manifest.state.q99),
        (manifest.action.chunk, manifest.action.width),
        seed,
    )


def random_observation(
    picture: tuple[int, int],
    limits: tuple[Sequence[float], Sequence[float]],
    noise: tuple[int, int],
    seed: int,
) -> Observation:
    """A picture (height, width, 3), a state between two limits (14,) and noise (chunk, channels)."""
    random = np.random.default_rng(seed)
    low, high = map(np.array, limits)
    return Observation(
        random.integers(0, 256, (*picture, 3), np.uint8),
        (low + (high - low) * random.random(ROBOT_DIM)).astype(np.float32),
        random.standard_normal(noise, np.float32),
    )
