"""PSNR and SSIM have the properties that their definitions give them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.similarity import LUMA, Similarity, psnr, ssim


def noise(seed: int, height: int = 40, width: int = 30) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def flat(value: int) -> NDArray[np.float64]:
    return np.full((20, 20), float(value))


def test_equal_pictures_are_equal() -> None:
    assert Similarity.of(noise(0), noise(0)) == Similarity(None, pytest.approx(1.0))


def test_psnr_of_a_known_error() -> None:
    """One step of 255 everywhere: 20 log10(255) dB. A tenth of the values off by 10: ten times the squared error."""
    one = np.full((20, 20, 3), 100, np.uint8)
    assert psnr(one, one + np.uint8(1)) == pytest.approx(20 * math.log10(255))
    tenth = one.copy()
    tenth.reshape(-1)[::10] += np.uint8(10)
    assert psnr(one, tenth) == pytest.approx(20 * math.log10(255) - 10)
    assert psnr(np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255, np.uint8)) == pytest.approx(0)


def test_psnr_sees_colours_of_one_luma() -> None:
    red, grey = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 76, np.uint8)
    red[..., 0] = 255
    assert float((red[0, 0] - 1.0 * grey[0, 0]) @ LUMA) == pytest.approx(0, abs=0.5)
    found = Similarity.of(red, grey)
    assert found.ssim > 0.99
    assert found.psnr is not None
    assert found.psnr < 10


def test_ssim_of_flat_pictures_is_that_of_their_light() -> None:
    """No contrast: (2 a b + C1) / (a^2 + b^2 + C1), by hand."""
    floor = (0.01 * 255) ** 2
    expected = (2 * 50 * 150 + floor) / (50**2 + 150**2 + floor)
    assert ssim(flat(50), flat(150)) == pytest.approx(expected, rel=1e-9)
    assert ssim(flat(0), flat(0)) == 1


def test_ssim_of_one_window_is_the_formula_of_the_paper() -> None:
    """A picture as large as the window: every sum written out."""
    a, b = (noise(seed, 11, 11) @ LUMA for seed in (1, 2))
    weights = np.array(
        [[math.exp(-(x * x + y * y) / (2 * 1.5**2)) for x in range(-5, 6)] for y in range(-5, 6)]
    )
    weights /= weights.sum()
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    variance_a, variance_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
    covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
    light = (2 * mean_a * mean_b + 6.5025) / (mean_a**2 + mean_b**2 + 6.5025)
    structure = (2 * covariance + 58.5225) / (variance_a + variance_b + 58.5225)
    assert ssim(a, b) == pytest.approx(light * structure, rel=1e-9)


def test_ssim_is_symmetric_and_falls_with_noise_and_blur() -> None:
    picture = noise(3) @ LUMA
    other = noise(4) @ LUMA
    assert ssim(picture, other) == pytest.approx(ssim(other, picture))
    smooth = np.add.outer(np.linspace(0, 150, 40), 40 * np.sin(np.arange(30) / 3))
    disturbance = np.random.default_rng(5).normal(size=smooth.shape)
    scores = [ssim(smooth, smooth + sigma * disturbance) for sigma in (0, 2, 8, 32)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 1
    assert scores[-1] < 0.5


def test_ssim_of_a_negative_is_below_zero() -> None:
    picture = noise(6)
    assert Similarity.of(picture, 255 - picture).ssim < -0.9


def test_a_shift_of_light_costs_less_than_a_loss_of_structure() -> None:
    """What the measure was made for: two pictures of one PSNR."""
    picture = noise(7) // 2 + np.uint8(60)
    brighter = picture + np.uint8(20)
    signs = np.random.default_rng(8).choice([-20, 20], picture.shape)
    rough = (picture + signs).astype(np.uint8)
    assert psnr(picture, brighter) == pytest.approx(psnr(picture, rough))
    assert Similarity.of(picture, brighter).ssim > Similarity.of(picture, rough).ssim + 0.05


def test_pictures_that_cannot_be_compared() -> None:
    with pytest.raises(
        ValueError, match=r"at least 11 px wide and high; got \(40, 30, 3\) and \(41, 30, 3\)"
    ):
        Similarity.of(noise(0), noise(0, 41))
    with pytest.raises(ValueError, match="at least 11 px"):
        Similarity.of(noise(0, 10), noise(0, 10))
    with pytest.raises(ValueError, match="expected two RGB pictures"):
        Similarity.of(noise(0)[..., 0], noise(0)[..., 0])
