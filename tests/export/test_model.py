"""The PyTorch modules against recordings of the upstream implementation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gigaedge.fidelity import compare
from gigaedge_export.checkpoint import load_transformer, load_vae
from gigaedge_export.joint import joint_forward


@pytest.fixture(scope="module")
def io(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "io.safetensors")


def joint(golden: Path, io: dict[str, torch.Tensor], batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    def repeat(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.expand(batch, *tensor.shape[1:])

    with torch.no_grad():
        return joint_forward(
            load_transformer(golden / "transformer")[0],
            reference=repeat(io["ref_latents"]),
            future=repeat(io["joint.future_latents"]),
            state=repeat(io["state_normalized"].unsqueeze(0)),
            actions=repeat(io["noise"]),
            prompt=repeat(io["prompt_embeds"]),
            action_timestep=repeat(io["joint.timestep"][:, 121]),
            video_timestep=repeat(io["joint.timestep"][:, -1]),
        )


def test_the_folded_encoder_gives_the_recorded_latents(golden: Path, io: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        latents = load_vae(golden / "vae")[0](io["composite"])
    assert compare("latents", latents.unsqueeze(0).numpy(), io["ref_latents"].numpy()).passed


@pytest.mark.parametrize("batch", [1, 2])
def test_the_joint_forward_is_the_recorded_one(golden: Path, io: dict[str, torch.Tensor], batch: int) -> None:
    action, video = joint(golden, io, batch)
    for sample in range(batch):
        assert compare(
            "action", action[sample : sample + 1].numpy(), io["joint.action_velocity"].numpy()
        ).passed
        assert compare("video", video[sample : sample + 1].numpy(), io["joint.video_velocity"].numpy()).passed


def test_actions_do_not_see_the_future(golden: Path, io: dict[str, torch.Tensor]) -> None:
    action, video = joint(golden, io)
    changed = io | {"joint.future_latents": io["joint.future_latents"] + 1}
    same_action, other_video = joint(golden, changed)
    assert torch.equal(action, same_action)
    assert not torch.allclose(video, other_video)
    assert torch.equal(video[:, :, 0], other_video[:, :, 0])


def test_the_joint_forward_can_be_trained(golden: Path, io: dict[str, torch.Tensor]) -> None:
    model = load_transformer(golden / "transformer")[0].requires_grad_(True)
    output = joint_forward(
        model,
        reference=io["ref_latents"],
        future=io["joint.future_latents"],
        state=io["state_normalized"].unsqueeze(0),
        actions=io["noise"],
        prompt=io["prompt_embeds"],
        action_timestep=torch.tensor([640.0]),
        video_timestep=torch.tensor([320.0]),
    )
    (output.action.square().mean() + output.video.square().mean()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
