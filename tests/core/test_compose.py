from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gigaedge.compose import LAYOUTS, Compositor, Layout, _cheapest, _cover
from gigaedge.errors import InputError, ObservationError
from gigaedge.files import read_tensors
from gigaedge.robot import CAMERA_ROLES

GOLDEN = Path(__file__).parents[1] / "golden"


def pictures(sizes_wh, seed=0):
    rng = np.random.default_rng(seed)
    return {
        role: rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        for role, (w, h) in zip(CAMERA_ROLES, sizes_wh, strict=True)
    }


@pytest.mark.parametrize("case", ["gwp0-tiny", "gwp05-tiny"])
def test_golden_composite_is_reproduced_exactly(case):
    tensors = read_tensors(GOLDEN / case / "io.safetensors")
    height, width, _ = tensors["composite"].shape
    composite = Compositor((width, height)).compose({r: tensors[f"image.{r}"] for r in CAMERA_ROLES})
    np.testing.assert_array_equal(composite, tensors["composite"])


def reference_tile(image, tile_w, tile_h):
    """Whole view scaled by the larger of the two factors, then the centre, in plain Pillow calls."""
    view = Image.fromarray(image)
    w, h = view.size
    if float(tile_h) / h >= float(tile_w) / w:
        new_w, new_h = int(round(float(tile_h) / h * w)), tile_h  # noqa: RUF046
    else:
        new_w, new_h = tile_w, int(round(float(tile_w) / w * h))  # noqa: RUF046
    scaled = np.asarray(view.resize((new_w, new_h), resample=Image.BILINEAR))
    x, y = (new_w - tile_w) // 2, (new_h - tile_h) // 2
    return scaled[y : y + tile_h, x : x + tile_w]


def reference(images, width, height, layout):
    high, left, right = (images[role] for role in CAMERA_ROLES)
    if layout == "horizontal":
        h, w, _ = high.shape
        views = [
            np.asarray(Image.fromarray(v).resize((w, h), resample=Image.BILINEAR))
            for v in (high, left, right)
        ]
        strip = np.concatenate(views, axis=1)
        return np.asarray(Image.fromarray(strip).resize((width, height), resample=Image.BILINEAR))
    top, middle = height // 2, width // 2
    bottom = np.concatenate(
        [
            reference_tile(left, middle, height - top),
            reference_tile(right, width - middle, height - top),
        ],
        axis=1,
    )
    return np.concatenate([reference_tile(high, width, top), bottom])


side = st.integers(1, 150)
size = st.tuples(side, side)


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.tuples(size, size, size),
    width=st.integers(2, 120),
    height=st.integers(2, 120),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 1000),
)
def test_any_size_equals_the_reference(sizes, width, height, layout, seed):
    images = pictures(sizes, seed)
    composite = Compositor((width, height), layout).compose(images)
    assert composite.dtype == np.uint8
    np.testing.assert_array_equal(composite, reference(images, width, height, layout))


@pytest.mark.parametrize("tile", [(320, 192), (160, 192), (192, 160), (64, 64), (100, 99)])
@pytest.mark.parametrize(
    "source", [(640, 480), (1280, 720), (848, 480), (424, 240), (320, 576), (500, 500), (1920, 1080)]
)
def test_a_part_of_a_picture_has_the_pixels_of_the_whole(source, tile):
    picture = pictures([source] * 3, seed=7)[CAMERA_ROLES[0]]
    np.testing.assert_array_equal(_cover(picture, *tile), reference_tile(picture, *tile))


def test_what_is_cut_off_a_camera_picture_is_not_scaled():
    columns, rows = _cheapest((640, 480), (320, 192))
    assert (rows.begin, rows.end, rows.pixels, rows.skipped) == (48.0, 432.0, 192, 0)
    columns, rows = _cheapest((640, 480), (160, 192))
    assert (columns.begin, columns.end, columns.pixels, columns.skipped) == (120.0, 520.0, 160, 0)
    columns, rows = _cheapest((848, 480), (160, 192))
    assert (columns.begin, columns.end) == (0.0, 848), "848 to 339 pixels is not exact"


def test_layout_names_agree():
    assert get_args(Layout) == LAYOUTS


def test_views_lie_where_they_belong():
    colours = {role: np.full((48, 64, 3), 10 * (i + 1), np.uint8) for i, role in enumerate(CAMERA_ROLES)}
    tshape = Compositor((21, 15)).compose(colours)
    assert (tshape[:7] == 10).all()
    assert (tshape[7:, :10] == 20).all()
    assert (tshape[7:, 10:] == 30).all()
    horizontal = Compositor((30, 10), "horizontal").compose(colours)
    assert horizontal[5, [2, 14, 27], 0].tolist() == [10, 20, 30]


def test_output_buffer_is_reused_and_inputs_stay_as_they_were():
    compositor = Compositor((32, 32))
    images = pictures([(64, 48)] * 3)
    before = {role: image.copy() for role, image in images.items()}
    first = compositor.compose(images)
    assert compositor.compose(images) is first
    for role in CAMERA_ROLES:
        np.testing.assert_array_equal(images[role], before[role])


def test_a_view_that_is_not_contiguous_is_the_same_picture():
    images = pictures([(64, 48)] * 3)
    expected = Compositor((32, 32)).compose(images).copy()
    strided = {role: image[::-1].copy()[::-1] for role, image in images.items()}
    np.testing.assert_array_equal(Compositor((32, 32)).compose(strided), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((48, 64, 3), np.float32),
        np.zeros((48, 64), np.uint8),
        np.zeros((3, 48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_a_wrong_picture_is_named(wrong):
    images = pictures([(64, 48)] * 3) | {"cam_left_wrist": wrong}
    with pytest.raises(
        ObservationError, match=r"cam_left_wrist: expected an RGB picture, uint8.*got"
    ) as caught:
        Compositor((32, 32)).compose(images)
    assert str(wrong.shape) in str(caught.value)
    assert str(wrong.dtype) in str(caught.value)


def test_a_missing_picture_is_named():
    images = pictures([(64, 48)] * 3)
    del images["cam_right_wrist"]
    with pytest.raises(ObservationError, match="cam_right_wrist: no picture"):
        Compositor((32, 32)).compose(images)


def test_impossible_composites_are_refused():
    with pytest.raises(InputError, match="at least 2x2 px; got 1x32"):
        Compositor((1, 32))
    with pytest.raises(InputError, match="unknown view layout 'grid'; valid: tshape, horizontal"):
        Compositor((32, 32), "grid")
