"""Comparing a bundle with golden recordings and with PyTorch, stage by stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gigaedge.bundle import Manifest, open_bundle, read_manifest
from gigaedge.compose import Compositor
from gigaedge.errors import CheckFailedError, InputError
from gigaedge.fidelity import GATES, Check, compare, compare_actions, compare_picture, summary, worst
from gigaedge.files import read_tensors, sha256
from gigaedge.findings import FidelityInfo
from gigaedge.robot import CAMERA_ROLES, ROBOT_DIM
from gigaedge.sampling import Solver
from gigaedge_runtime.policy import Chunk, Observation, Policy

if TYPE_CHECKING:
    from gigaedge_export.checkpoint import LoadedCheckpoint

PROOF_SEED = 2026
RECORDED = (
    *("composite", "ref_latents", "state", "prompt_embeds", "noise", "sigmas", "timesteps"),
    *("velocity", "trajectory", "trajectory_bf16_timesteps", "action"),
)
"""Keys that a golden recording must have, beside the three images."""


@dataclass(frozen=True)
class Gates:
    """Relative L2 that passes; infinite where an error is only reported."""

    velocity: float
    rest: float

    @classmethod
    def of(cls, manifest: Manifest, tolerance: float | None = None) -> Gates:
        """Those of the bundle's coarsest precision. `tolerance` replaces the one on velocities.

        fp32 holds every stage to it; a lossy precision is judged by the network's velocities alone.
        """
        precision = manifest.precision.coarsest
        velocity = GATES[precision] if tolerance is None else tolerance
        if velocity is None:
            velocity = math.inf
        return cls(velocity, velocity if precision == "fp32" else math.inf)


def against_golden(bundle: Path, golden: Path, tolerance: float | None = None) -> list[Check]:
    """Compare with a recording of the upstream implementation: composite, latents, velocities, actions.

    A bundle with bf16-rounded timesteps is compared with the recording's `trajectory_bf16_timesteps`, from which
    velocities and actions follow. When the folder also holds the checkpoint and PyTorch is installed, the joint
    forward with future video tokens is compared, too.
    """
    io = read_golden(golden)
    policy = Policy.load(bundle, steps=len(io["timesteps"]))
    gates = Gates.of(policy.manifest, tolerance)
    policy.set_prompt_embedding(io["prompt_embeds"])
    view = policy.manifest.view
    images = {role: io[f"image.{role}"] for role in CAMERA_ROLES}
    composite = Compositor((view.width, view.height), view.layout).compose(images)
    if composite.shape != io["composite"].shape:
        raise InputError(
            f"{golden}: its composite is {io['composite'].shape}, the bundle's is {composite.shape}; "
            "export with the --view-size of the recording"
        )
    # The network is judged on the recorded picture, the compositor by itself.
    chunk = policy.chunk(Observation(io["composite"], io["state"], io["noise"][0]), intermediate=True)
    rounded = policy.manifest.sampler.timestep_rounding == "bf16"
    trajectory = io["trajectory_bf16_timesteps" if rounded else "trajectory"]
    velocity = io["velocity"]
    action = io["action"]
    if rounded:
        deltas = np.diff(io["sigmas"])[:, np.newaxis, np.newaxis]
        velocity = np.diff(trajectory.astype(np.float64), axis=0) / deltas
        action = denormalized(policy, trajectory[-1], io["state"])
    checks = [
        compare_picture("composite", composite, io["composite"]),
        *_compare_chunk(chunk, io["ref_latents"], velocity, trajectory, action, gates),
    ]
    if "joint.video_velocity" in io and (golden / "transformer" / "config.json").is_file():
        checks += _joint(golden, io)
    return checks


def against_checkpoint(bundle: Path, loaded: LoadedCheckpoint, tolerance: float | None = None) -> list[Check]:
    """Compare with our PyTorch modules on a random picture, state and noise, for every step count."""
    manifest = open_bundle(bundle).manifest
    sources = {source.name: source.sha256 for source in manifest.source}
    for name, path in loaded.paths.files().items():
        if sources.get(name) != sha256(path):
            raise InputError(
                f"{path}: the bundle {bundle} was not made from this file; pass its own checkpoint"
            )
    return _against_pytorch(bundle, loaded, manifest, Gates.of(manifest, tolerance))


def _against_pytorch(bundle: Path, loaded: LoadedCheckpoint, manifest: Manifest, gates: Gates) -> list[Check]:
    from gigaedge_export.graphs import Geometry
    from gigaedge_export.reference import reference_chunk
    from gigaedge_export.sampler import schedule
    from gigaedge_export.settle import random_sample

    prompt = read_tensors(bundle / manifest.prompts.file)[manifest.prompts.names[0]].astype(np.float32)
    view, length = manifest.view, manifest.prompts.length
    geometry = Geometry(view.width, view.height, manifest.action.chunk, length)
    sample = random_sample(loaded, geometry, prompt, PROOF_SEED)
    composite, state, noise = sample.composite, sample.state, sample.noise
    checks: list[Check] = []
    policy = Policy.load(bundle)
    for index, info in enumerate(manifest.sampler.schedules):
        policy.set_sampler(info.steps, info.solver)
        chunk = policy.chunk(Observation(composite, state, noise), intermediate=True)
        exact = schedule(info.steps, manifest.sampler.shift, manifest.sampler.timestep_rounding, info.solver)
        expected = reference_chunk(
            loaded, exact, composite=composite, state=state, prompt=prompt, noise=noise, context=index == 0
        )
        bad = [name for name, array in expected.items() if not np.isfinite(array).all()]
        if bad:
            raise CheckFailedError(
                f"the checkpoint itself computes values that are not finite ({bad[0]}) on noise for a picture; "
                "its weights are too large for fp32"
            )
        context = [name for name in expected if name.startswith("context.") and name in chunk.intermediate]
        if index == 0 and context:
            rows = [
                compare(name[8:], chunk.intermediate[name], expected[name], gates.rest) for name in context
            ]
            checks.append(worst("context", rows))
        rows = _compare_chunk(
            chunk,
            expected["ref_latents"],
            expected["velocity"],
            expected["trajectory"],
            expected["action"],
            gates,
            info.solver,
        )
        checks += rows if index == 0 else rows[1:]
    if manifest.video is not None:
        from gigaedge.cli.proof_video import compare_future

        policy.set_sampler(None)
        checks += compare_future(policy, loaded, prompt, Observation(composite, state, noise), gates)
    return checks


def prove(bundle: Path, loaded: LoadedCheckpoint) -> FidelityInfo:
    """Compare with PyTorch; raise CheckFailedError where fp32 disagrees, for that is a defect and not a loss."""
    # The bundle has just been made from `loaded`: its sources need no second hash.
    manifest = read_manifest(bundle)
    gates = Gates.of(manifest)
    checks = _against_pytorch(bundle, loaded, manifest, gates)
    failed = [check for check in checks if not check.passed]
    if failed and manifest.precision.coarsest == "fp32":
        row = failed[0].row
        raise CheckFailedError(
            f"the exported graphs disagree with PyTorch: {row.stage} has relative L2 {row.relative_l2:.1e} "
            f"(limit {gates.velocity:.0e}); nothing was written"
        )
    return summary("PyTorch", checks, GATES[manifest.precision.coarsest])


def read_golden(folder: Path) -> dict[str, NDArray[Any]]:
    """The recording in `folder/io.safetensors`."""
    io = read_tensors(folder / "io.safetensors")
    missing = sorted({*RECORDED, *(f"image.{role}" for role in CAMERA_ROLES)} - io.keys())
    if missing:
        raise InputError(f"{folder}/io.safetensors: key {missing[0]} is missing; this is no golden recording")
    return dict(io)


def denormalized(
    policy: Policy, normalized: NDArray[np.float32], state: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Sampler output (chunk, width) -> absolute actions (chunk, 14)."""
    action = policy.manifest.action
    low, high = np.array(action.q01), np.array(action.q99)
    predicted = (normalized[:, :ROBOT_DIM].astype(np.float64) + 1) / 2 * np.maximum(high - low, 1e-8) + low
    return predicted + state * np.array(action.delta)  # type: ignore[no-any-return]


def _compare_chunk(
    chunk: Chunk,
    latents: NDArray[Any],
    velocity: NDArray[Any],
    trajectory: NDArray[Any],
    action: NDArray[Any],
    gates: Gates,
    solver: Solver = "euler",
) -> list[Check]:
    found = chunk.intermediate
    steps = len(velocity)
    name = f"{steps}" if solver == "euler" else f"{steps} {solver}"
    per_step = [compare(f"step {i}", found["velocity"][i], velocity[i], gates.velocity) for i in range(steps)]
    return [
        compare("latents", found["ref_latents"], latents, gates.rest),
        worst(f"velocity/{name}", per_step),
        compare(f"trajectory/{name}", found["trajectory"], trajectory, gates.rest),
        compare_actions(f"action/{name}", chunk.actions, action, gates.rest),
    ]


def _joint(golden: Path, io: dict[str, NDArray[Any]]) -> list[Check]:
    """The joint forward of our PyTorch modules against the recording; nothing where PyTorch is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return []
    from gigaedge_export.checkpoint import load_transformer
    from gigaedge_export.joint import joint_forward

    model, _ = load_transformer(golden / "transformer")
    tensors = {name: torch.from_numpy(array) for name, array in io.items()}
    per_token = tensors["joint.timestep"][0]
    first_action = per_token.shape[0] - _future_tokens(model.config.patch_size, io) - io["noise"].shape[1]
    with torch.no_grad():
        output = joint_forward(
            model,
            reference=tensors["ref_latents"],
            future=tensors["joint.future_latents"],
            state=tensors["state_normalized"].unsqueeze(0),
            actions=tensors["noise"],
            prompt=tensors["prompt_embeds"],
            action_timestep=per_token[first_action : first_action + 1],
            video_timestep=per_token[-1:],
        )
    return [
        compare("joint action", output.action.numpy(), io["joint.action_velocity"]),
        compare("joint video", output.video.numpy(), io["joint.video_velocity"]),
    ]


def _future_tokens(patch: tuple[int, int, int], io: dict[str, NDArray[Any]]) -> int:
    frames, height, width = io["joint.future_latents"].shape[-3:]
    return int(frames * (height // patch[1]) * (width // patch[2]))
