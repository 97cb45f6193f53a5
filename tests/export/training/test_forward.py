"""The forward that training uses, against the joint forward that golden recordings judge."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from gigaedge_export.checkpoint import load_transformer
from gigaedge_export.joint import joint_forward
from gigaedge_export.training.forward import Mask, Noisy, Observed, velocities

BATCH, DRAWS, FUTURES = 3, 2, 2


@pytest.fixture(scope="module")
def case(golden):  # type: ignore[no-untyped-def]
    """A golden transformer, and random observations with two prompts for it."""
    io = load_file(golden / "io.safetensors")
    model = load_transformer(golden / "transformer")[0]
    random = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random)

    latents, channels = io["ref_latents"].shape[1:], io["noise"].shape[-1]
    observed = Observed(
        draw(BATCH, *latents),
        draw(BATCH, 1, channels),
        torch.cat((io["prompt_embeds"], io["prompt_embeds"].flip(1))),
        torch.tensor([0, 1, 0]),
    )
    action = Noisy(draw(BATCH, DRAWS, 48, channels), torch.rand(BATCH, DRAWS, generator=random) * 1000)
    video = Noisy(draw(FUTURES, *latents), torch.tensor([320.0, 870.0]))
    return model, observed, action, video


def test_every_draw_is_the_joint_forward(case) -> None:  # type: ignore[no-untyped-def]
    model, observed, action, video = case
    with torch.no_grad():
        found = velocities(model, observed, action, video, "causal")
        for picture in range(BATCH):
            for draw in range(DRAWS):
                future = min(picture, FUTURES - 1)
                expected = joint_forward(
                    model,
                    reference=observed.reference[picture],
                    future=video.values[future],
                    state=observed.state[picture],
                    actions=action.values[picture, draw],
                    prompt=observed.prompts[observed.prompt[picture]],
                    action_timestep=action.timestep[picture, draw],
                    video_timestep=video.timestep[future],
                )
                torch.testing.assert_close(found.action[picture, draw], expected.action, rtol=1e-4, atol=1e-5)
                if picture == future and draw == 0:
                    torch.testing.assert_close(
                        found.video[picture], expected.video[:, 1:], rtol=1e-4, atol=1e-5
                    )


@pytest.mark.parametrize("mask", ["causal", "full"])
def test_what_the_future_says_of_the_actions(case, mask: Mask) -> None:  # type: ignore[no-untyped-def]
    model, observed, action, video = case
    other = Noisy(video.values + 1, video.timestep)
    with torch.no_grad():
        one, two = (velocities(model, observed, action, future, mask) for future in (video, other))
        without = velocities(model, observed, action, None, mask)
    assert without.video is None
    changed = (one.action - two.action).abs().amax(dim=(2, 3)) > 1e-4
    seeing = torch.zeros(BATCH, DRAWS, dtype=torch.bool)
    seeing[:FUTURES, 0] = mask == "full"
    assert torch.equal(changed, seeing)
    torch.testing.assert_close(one.action[~seeing], without.action[~seeing], rtol=1e-4, atol=1e-5)


def test_under_the_full_mask_the_context_sees_the_actions(case) -> None:  # type: ignore[no-untyped-def]
    model, observed, action, _ = case
    with torch.no_grad():
        causal, full = (velocities(model, observed, action, None, mask).action for mask in ("causal", "full"))
    assert (causal - full).abs().max() > 1e-3
