import numpy as np
import pytest

from gigaedge_calibration.light_score import clipped, light_score
from tests.calibration.view_references import reference
from tests.calibration.view_scene import Scene, render

SAME = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def score(region=None, transform=SAME, **changes):
    live = render(Scene(objects=7, arm=0.05, seed=9, **changes))
    return light_score(reference("cam_high").image, live, transform, region)


def test_other_things_and_another_arm_change_nothing():
    found = score()
    assert abs(found.luminance) < 0.005
    assert abs(found.red_to_green) < 0.003
    assert abs(found.blue_to_green) < 0.003
    assert found.focus < 0.3
    assert found.blocks > 300


def test_light_and_colour_are_read_to_half_a_percent():
    found = score(light=0.8, white_balance=(1.05, 0.9))
    assert found.red_to_green == pytest.approx(0.05, abs=0.005)
    assert found.blue_to_green == pytest.approx(-0.1, abs=0.005)
    assert score(light=1.1).luminance == pytest.approx(0.1, abs=0.005)


def test_noise_is_not_taken_for_sharpness_nor_for_blur():
    assert score(noise=4.0).focus < 0.3


@pytest.mark.parametrize("blur", [1.5, 2.5])
def test_blur_is_read_to_a_quarter(blur):
    truth = np.hypot(blur, 0) ** 2 - 0.6**2
    assert score(blur=blur).focus == pytest.approx(np.sqrt(truth), rel=0.25)


def test_a_shifted_picture_is_laid_over_the_reference():
    picture = reference("cam_high").image
    shifted = np.roll(picture, (4, -7), axis=(0, 1))
    move = np.array([[1.0, 0.0, -7.0], [0.0, 1.0, 4.0]])
    found = light_score(picture, shifted, move)
    assert abs(found.luminance) < 1e-6
    assert light_score(picture, shifted, SAME) is None or light_score(picture, shifted, SAME).blocks < 100


def test_a_region_alone_is_looked_at():
    assert score(region=(100, 100, 300, 300)).blocks <= 12 * 12


def test_nothing_alike_is_nothing_to_compare():
    assert score(background=4) is None


def test_a_picture_without_red_is_no_division_by_nothing():
    picture = reference("cam_high").image.copy()
    picture[..., 0] = 0
    found = light_score(picture, picture, SAME)
    assert found.red_to_green == 0


def test_clipped_parts():
    image = np.full((10, 10, 3), 100, np.uint8)
    image[:2] = (255, 100, 100)
    image[2:5] = 3
    assert clipped(image) == (pytest.approx(0.2), pytest.approx(0.3))
