"""Comparing a bundle's video graphs with PyTorch, the network and the decoder each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import BundleError
from gigaedge.fidelity import Check, compare, compare_picture, worst
from gigaedge_runtime.imagine import Imagination
from gigaedge_runtime.policy import Observation, Policy

if TYPE_CHECKING:
    from gigaedge.cli.proof import Gates
    from gigaedge_export.checkpoint import LoadedCheckpoint


def compare_future(
    policy: Policy,
    loaded: LoadedCheckpoint,
    prompt: NDArray[np.float32],
    observation: Observation,
    gates: Gates,
) -> list[Check]:
    """Velocities and latents of the future, given the actions that the bundle predicts; frames, given its latents."""
    from gigaedge_export.video_reference import reference_frames, reference_future

    info = policy.manifest.video
    if info is None:
        raise BundleError(f"{policy.bundle.path}: has no video graphs to compare")
    found = Imagination(policy).imagine(observation, intermediate=True)
    velocity, trajectory = found.intermediate["velocity"], found.intermediate["trajectory"]
    expected = reference_future(
        loaded,
        info,
        composite=observation.composite,
        state=observation.state,
        prompt=prompt,
        actions=found.chunk.normalized,
        action_noise=found.chunk.inputs["noise"],
        noise=found.noise,
    )
    per_step = [
        compare(f"step {i}", velocity[i], expected["velocity"][i], gates.velocity) for i in range(info.steps)
    ]
    frames = reference_frames(loaded, found.chunk.intermediate["ref_latents"][0], trajectory[-1])
    return [
        worst(f"future velocity/{info.steps}", per_step),
        compare(f"future trajectory/{info.steps}", trajectory, expected["trajectory"], gates.rest),
        compare_picture("frames", found.frames, frames),
    ]
