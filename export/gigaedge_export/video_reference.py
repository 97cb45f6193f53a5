"""The future of one chunk in plain PyTorch, all recomputed at every step: what video graphs are compared with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gigaedge.bundle import VideoInfo
from gigaedge_export.checkpoint import LoadedCheckpoint, load_decoder
from gigaedge_export.joint import joint_forward
from gigaedge_export.reference import normalised_state
from gigaedge_export.video_graphs import Flow
from gigaedge_export.video_vae import pictures


@torch.no_grad()
def reference_future(
    checkpoint: LoadedCheckpoint,
    info: VideoInfo,
    *,
    composite: NDArray[np.uint8],
    state: NDArray[np.float32],
    prompt: NDArray[np.float32],
    actions: NDArray[np.float32],
    action_noise: NDArray[np.float32],
    noise: NDArray[np.float32],
) -> dict[str, NDArray[np.float32]]:
    """`velocity` (steps, C, f, h, w) and `trajectory` (steps + 1, C, f, h, w) of the future latents.

    Shapes: composite (H, W, 3), state (14,), prompt (tokens, text_dim), actions as predicted, normalised, and the noise
    they were sampled from (chunk, channels), noise (C, f, h, w).
    """
    flow = Flow.of(info)
    reference = checkpoint.vae(torch.from_numpy(composite))
    clean, start = torch.from_numpy(actions), torch.from_numpy(action_noise)
    x = torch.from_numpy(noise)
    velocities, trajectory = [], [x]
    for delta, timestep, share, action_timestep in zip(
        flow.deltas, flow.timesteps, flow.action_sigmas, flow.action_timesteps, strict=True
    ):
        output = joint_forward(
            checkpoint.transformer,
            reference=reference,
            future=x,
            state=normalised_state(checkpoint, state),
            actions=(1 - float(share)) * clean + float(share) * start,
            prompt=torch.from_numpy(prompt),
            action_timestep=torch.tensor(action_timestep),
            video_timestep=torch.tensor(timestep),
        )
        velocity = output.video[:, reference.shape[1] :]
        x = x + float(delta) * velocity
        velocities.append(velocity)
        trajectory.append(x)
    return {"velocity": torch.stack(velocities).numpy(), "trajectory": torch.stack(trajectory).numpy()}


@torch.no_grad()
def reference_frames(
    checkpoint: LoadedCheckpoint, latents: NDArray[np.float32], future: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Frames (1 + n, H, W, 3) of the observation's latents (C, 1, h, w) and its future's (C, f, h, w)."""
    vae = load_decoder(checkpoint.paths.vae)
    clip = torch.from_numpy(np.concatenate((latents, future), axis=1)).unsqueeze(0)
    frames: NDArray[np.uint8] = pictures(vae.decode(vae.denormalise(clip)))[0].numpy()
    return frames
