import numpy as np
import pytest

from gigaedge.compose import LAYOUTS, Compositor
from gigaedge.robot import CAMERA_ROLES
from gigaedge.tiles import cover, tile

SIZES = [(640, 480), (1280, 720), (848, 480), (320, 240), (480, 640)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("role", CAMERA_ROLES)
def test_a_mark_in_a_picture_is_where_the_compositor_puts_it(role, size, layout):
    width, height = size
    mark = np.array([width * 0.55, height * 0.45])
    pictures = {other: np.zeros((height, width, 3), np.uint8) for other in CAMERA_ROLES}
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    blob = 255 * np.exp(-((columns - mark[0]) ** 2 + (rows - mark[1]) ** 2) / (2 * 8.0**2))
    pictures[role] = np.repeat(blob[..., np.newaxis], 3, axis=2).astype(np.uint8)
    composite = Compositor((320, 384), layout).compose(pictures)[..., 0].astype(float)
    rows, columns = np.mgrid[:384, :320]
    seen = np.array([np.sum(columns * composite), np.sum(rows * composite)]) / composite.sum()
    place = tile(role, size, (320, 384), layout)
    np.testing.assert_allclose(seen, place.composite(mark), atol=0.2)
    np.testing.assert_allclose(place.picture(place.composite(mark)), mark, atol=1e-9)


def test_slack_of_the_usual_stream():
    assert tile("cam_high", (640, 480)).slack == (0.0, 24.0)
    assert tile("cam_left_wrist", (640, 480)).slack == (48.0, 0.0)
    assert tile("cam_high", (640, 480)).scale == (0.5, 0.5)
    assert tile("cam_right_wrist", (640, 480)).scale == (0.4, 0.4)


def test_cover_cuts_the_centre():
    fit = cover((640, 480), (320, 192))
    assert (fit.scaled, fit.left, fit.upper) == ((320, 240), 0, 24)
