"""What the network is asked: noise levels, times, velocities, and how the two losses weigh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gigaedge_export.config import Generation
from gigaedge_export.sampler import schedule
from gigaedge_export.training import losses as losses_module
from gigaedge_export.training.forward import Mask, Noisy, Observed, Velocities
from gigaedge_export.training.losses import losses, noise_levels, timesteps
from gigaedge_export.training.samples import Samples, following
from gigaedge_export.transformer import WorldActionTransformer
from tests.export.training import square


@pytest.mark.parametrize("shift", [1.0, 2.0, 5.0])
def test_levels_are_uniform_before_the_shift(shift: float) -> None:
    levels = noise_levels(4000, shift, torch.Generator().manual_seed(0)).double()
    before = (levels / (shift - (shift - 1) * levels)).sort().values
    # One in every 4000th part, but for the rounding.
    within = before * 4000 - torch.arange(4000)
    assert -0.01 < within.min() < within.max() < 1.01
    assert 0 <= levels.min() < levels.max() <= 1


def test_times_are_rounded_as_deployment_folds_them() -> None:
    plan = schedule(10, 5.0, "bf16")
    found = timesteps(torch.from_numpy(plan.sigmas[:-1]))
    assert found.tolist() == plan.timesteps.tolist()
    assert 948.0 in found


def test_the_losses_are_those_of_noise_minus_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = square.settings(steps=1, draws=3)
    lesson, _ = square.lesson(tmp_path, 8, chosen)
    samples = Samples(lesson.episodes, lesson.scaling, chosen.chunk, 30.0)
    batch = samples.draw(0, 0, 16, 4, 0.5)

    def answer(
        model: WorldActionTransformer, observed: Observed, action: Noisy, video: Noisy | None, mask: Mask
    ) -> Velocities:
        """The true velocity, off by 0.5 for actions and by 2 for the future: x = data + level * (noise - data)."""
        assert video is not None
        data, level = torch.from_numpy(batch.actions).unsqueeze(1), action.timestep[..., None, None] / 1000
        future, later = torch.from_numpy(batch.futures), video.timestep[:, None, None, None, None] / 1000
        return Velocities((action.values - data) / level + 0.5, (video.values - future) / later + 2)

    monkeypatch.setattr(losses_module, "velocities", answer)
    # Times are told rounded to 8 bits, the levels are not: the true velocity is known to about 1 %.
    found = losses(
        lesson.new_model(), batch, torch.from_numpy(lesson.prompts), chosen, torch.Generator().manual_seed(1)
    )
    assert float(found.action) == pytest.approx(0.25, rel=0.05)
    assert float(found.video) == pytest.approx(4.0, rel=0.05)
    assert float(found.total) == pytest.approx(5 * float(found.action) + float(found.video))


@pytest.mark.parametrize(("generation", "same"), [("GWP-0", True), ("GWP-0.5", False)])
def test_only_gwp_0_has_one_time_for_actions_and_the_future_that_sees_them(
    generation: Generation, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = square.settings(steps=1, draws=3, generation=generation)
    lesson, _ = square.lesson(tmp_path, 8, chosen)
    batch = Samples(lesson.episodes, lesson.scaling, chosen.chunk, 30.0).draw(0, 0, 16, 4, 0.5)
    told: list[tuple[torch.Tensor, torch.Tensor]] = []

    def listen(
        model: WorldActionTransformer, observed: Observed, action: Noisy, video: Noisy | None, mask: Mask
    ) -> Velocities:
        assert video is not None
        told.append((action.timestep[: len(video.values), 0], video.timestep))
        return Velocities(torch.zeros_like(action.values), torch.zeros_like(video.values))

    monkeypatch.setattr(losses_module, "velocities", listen)
    losses(
        lesson.new_model(), batch, torch.from_numpy(lesson.prompts), chosen, torch.Generator().manual_seed(1)
    )
    ((action, video),) = told
    assert torch.equal(action, video) is same


def test_samples_are_what_was_recorded(tmp_path: Path) -> None:
    chosen = square.settings(steps=1)
    lesson, _ = square.lesson(tmp_path, 8, chosen)
    samples = Samples(lesson.episodes, lesson.scaling, chosen.chunk, 30.0)
    batch = samples.draw(5, 7, 12, 4, 0.25)
    again = samples.draw(5, 7, 12, 4, 0.25)
    other = samples.draw(5, 8, 12, 4, 0.25)
    assert np.array_equal(batch.actions, again.actions)
    assert not np.array_equal(batch.actions, other.actions)
    assert batch.latents.shape == (12, 8, 1, 2, 2)
    assert batch.futures.shape == (4, 8, 1, 2, 2)
    states = batch.states[:, 0] * square.REACH
    targets = lesson.scaling.targets(states, batch.actions)
    for state, future in zip(states, targets, strict=True):
        (episode, frame) = next(
            (episode, frame)
            for episode in lesson.episodes
            for frame in episode.encoded.frames
            if np.allclose(episode.motion.states[frame], state, atol=1e-6)
        )
        expected = following(episode.motion, int(frame), chosen.chunk)
        np.testing.assert_allclose(future, expected, atol=1e-6)
        assert np.array_equal(expected[-1], episode.motion.actions[min(frame + 7, 11)])


def test_beginnings_are_drawn_more_often(tmp_path: Path) -> None:
    chosen = square.settings(steps=1)
    lesson, _ = square.lesson(tmp_path, 8, chosen)
    # 0.3 s at 10 Hz are three frames: of frames 0, 4 and 8, only the first is a beginning.
    samples = Samples(lesson.episodes, lesson.scaling, chosen.chunk, 10.0)
    firsts = np.stack([lesson.scaling.state(episode.motion.states[0]) for episode in lesson.episodes])

    def share(beginnings: float) -> float:
        states = samples.draw(0, 0, 900, 0, beginnings).states[:, 0]
        return float((states[:, None] == firsts).all(axis=2).any(axis=1).mean())

    assert share(0.0) == pytest.approx(1 / 3, abs=0.06)
    assert share(0.7) == pytest.approx(0.7 + 0.3 / 3, abs=0.06)
