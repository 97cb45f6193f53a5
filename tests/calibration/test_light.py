import numpy as np
import pytest

from gigaedge.errors import CalibrationError
from gigaedge_calibration.light import light_figures


def flat(*rgb, shape=(40, 60)):
    return np.full((*shape, 3), rgb, np.uint8)


def test_figures_of_a_flat_picture():
    figures = light_figures(flat(60, 120, 90))
    assert figures.luminance == 90
    assert figures.red_to_green == pytest.approx(0.5)
    assert figures.blue_to_green == pytest.approx(0.75)
    assert figures.clipped == 0


def test_clipped_and_dark_pixels_say_nothing_of_colour():
    image = flat(60, 120, 90)
    image[:10] = 255
    image[10:20] = (5, 5, 0)
    figures = light_figures(image)
    assert figures.red_to_green == pytest.approx(0.5)
    assert figures.blue_to_green == pytest.approx(0.75)
    assert figures.clipped == pytest.approx(0.25)
    assert figures.luminance == pytest.approx((255 + (10 / 3) + 90 * 2) / 4, abs=0.1)


def test_exposure_changes_luminance_and_no_ratio():
    rng = np.random.default_rng(3)
    scene = rng.uniform(20, 110, (60, 80, 3))
    dim, bright = light_figures(scene.astype(np.uint8)), light_figures((2 * scene).astype(np.uint8))
    assert bright.luminance == pytest.approx(2 * dim.luminance, rel=0.01)
    assert bright.red_to_green == pytest.approx(dim.red_to_green, rel=0.01)
    assert bright.blue_to_green == pytest.approx(dim.blue_to_green, rel=0.01)


@pytest.mark.parametrize(("level", "part"), [(0, "0 %"), (255, "100 %")])
def test_a_picture_without_colour_is_refused(level, part):
    with pytest.raises(CalibrationError, match=f"no colour to measure: {part} of it is clipped"):
        light_figures(flat(level, level, level))
