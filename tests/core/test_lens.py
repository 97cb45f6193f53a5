"""The lens, against OpenCV's projectPoints and against itself."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaedge.lens import Lens

COEFFICIENTS = (0.12, -0.25, 0.001, -0.0005, 0.1, 0.03, -0.02, 0.01)
TERMS = st.sampled_from([0, 4, 5, 8])


@st.composite
def lenses(draw: st.DrawFn) -> Lens:
    """Lenses of a webcam's kind: one-to-one over their picture."""
    distortion = tuple(scale * draw(st.floats(-1, 1)) for scale in COEFFICIENTS[: draw(TERMS)])
    focal = draw(st.floats(400, 700))
    return Lens(
        640, 480, focal, focal * draw(st.floats(0.98, 1.02)), 320 + draw(st.floats(-9, 9)),
        240 + draw(st.floats(-9, 9)), distortion,
    )  # fmt: skip


@st.composite
def points(draw: st.DrawFn) -> np.ndarray:
    """Points in the picture's cone, m, shape (n, 3)."""
    count = draw(st.integers(1, 6))
    directions = draw(
        st.lists(st.tuples(st.floats(-0.6, 0.6), st.floats(-0.5, 0.5)), min_size=count, max_size=count)
    )
    depths = np.array(draw(st.lists(st.floats(0.05, 3), min_size=count, max_size=count)))
    return np.column_stack([np.array(directions) * depths[:, np.newaxis], depths])


@given(lenses(), points())
def test_projection_is_opencvs(lens: Lens, ahead: np.ndarray) -> None:
    expected, _ = cv2.projectPoints(ahead, np.zeros(3), np.zeros(3), lens.matrix, lens.coefficients)
    np.testing.assert_allclose(lens.project(ahead), expected.reshape(-1, 2), atol=1e-9)


@given(lenses(), points())
def test_the_jacobian_is_the_slope(lens: Lens, ahead: np.ndarray) -> None:
    pixels, slope = lens.project_jacobian(ahead)
    np.testing.assert_allclose(pixels, lens.project(ahead), atol=1e-9)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = 1e-6
        numeric = (lens.project(ahead + step) - lens.project(ahead - step)) / 2e-6
        np.testing.assert_allclose(slope[..., axis], numeric, rtol=1e-4, atol=1e-2)


@given(lenses(), st.lists(st.tuples(st.floats(0, 0.75), st.floats(0, 2 * np.pi)), min_size=1, max_size=6))
def test_a_ray_is_where_its_pixel_came_from(lens: Lens, places: list[tuple[float, float]]) -> None:
    """Within the radius where these lenses are one-to-one."""
    radius, angle = np.array(places).T
    directions = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(len(places))])
    np.testing.assert_allclose(lens.rays(lens.project(directions)), directions, atol=1e-9)


def test_nothing_behind_the_camera_has_a_pixel() -> None:
    lens = Lens(640, 480, 600, 600, 320, 240, COEFFICIENTS)
    found = lens.project(np.array([[0.1, 0.1, 1.0], [0.1, 0.1, 0.0], [0.1, 0.1, -1.0]]))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1:]).all()


def test_a_wrong_number_of_coefficients_is_refused() -> None:
    with pytest.raises(ValueError, match=r"distortion: expected \(0, 4, 5, 8\) coefficients, got 3"):
        Lens(640, 480, 600, 600, 320, 240, (0.1, 0.2, 0.3))
