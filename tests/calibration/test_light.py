import numpy as np
import pytest

from gigaedge.calibration import LightInfo
from gigaedge.errors import CalibrationError
from gigaedge_calibration.light import LockedLight, judge_light, light_figures
from gigaedge_calibration.verdicts import Verdict


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


# -- what was set ---------------------------------------------------------------------------------------------

SET = {"exposure": 0.01, "gain": 20.0, "white_balance": 4300.0}


def locked(on_frames=SET, trouble="", picture=None):
    figures = light_figures(flat(60, 120, 90) if picture is None else picture)
    return LockedLight("cam_high", SET, SET, on_frames, figures, trouble)


def test_a_camera_that_keeps_to_its_light_passes_and_is_written_down():
    light = locked()
    assert [(row.check, row.verdict, row.cause) for row in judge_light(light)] == [
        ("light locked", Verdict.PASS, ""),
        ("picture clipped", Verdict.PASS, ""),
    ]
    assert light.info.model_dump() == pytest.approx(
        LightInfo(**SET, luminance=90, red_to_green=0.5, blue_to_green=0.75).model_dump()
    )


def test_a_camera_that_does_not_keep_to_it_fails():
    row = judge_light(locked(trouble="cam_high: auto exposure came back; close other programs"))[0]
    assert (row.verdict, row.cause, row.mend) == (
        Verdict.FAIL,
        "auto exposure came back",
        "close other programs",
    )


def test_frames_that_do_not_tell_are_a_warning():
    row = judge_light(locked(on_frames={"exposure": 0.01}))[0]
    assert (row.verdict, row.cause) == (Verdict.WARN, "its frames do not tell their gain and white_balance")


@pytest.mark.parametrize(("rows", "verdict"), [(0, Verdict.PASS), (2, Verdict.WARN), (6, Verdict.FAIL)])
def test_clipped_pictures_are_judged(rows, verdict):
    picture = flat(60, 120, 90)
    picture[:rows] = 255
    row = judge_light(locked(picture=picture))[1]
    assert (row.verdict, row.value) == (verdict, pytest.approx(100 * rows / 40))
