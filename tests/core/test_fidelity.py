from __future__ import annotations

import numpy as np
import pytest

from gigaedge.fidelity import compare, compare_picture, worst


def test_equal_arrays_pass() -> None:
    check = compare("a", np.ones(3), np.ones(3))
    assert check.passed
    assert check.row.relative_l2 == check.row.max_abs == 0
    assert check.row.cosine == pytest.approx(1)


def test_the_tolerance_is_a_boundary() -> None:
    reference = np.ones(100)
    assert compare("a", reference * (1 + 0.99e-4), reference).passed
    assert not compare("a", reference * (1 + 1.01e-4), reference).passed


def test_nan_never_passes() -> None:
    assert not compare("a", np.array([np.nan, 1]), np.ones(2), tolerance=np.inf).passed


def test_pictures_may_differ_by_one_in_a_thousandth_of_the_pixels() -> None:
    reference = np.full((100, 100, 3), 7, np.uint8)
    near = reference.copy()
    near[0, :10] += 1
    assert compare_picture("p", near, reference).passed
    near[1, :10] += 1
    assert not compare_picture("p", near, reference).passed
    far = reference.copy()
    far[0, 0, 0] += 2
    assert not compare_picture("p", far, reference).passed


def test_worst_names_the_culprit() -> None:
    check = worst("all", [compare("x", np.ones(2), np.ones(2)), compare("y", np.zeros(2), np.ones(2))])
    assert check.row.stage == "all (worst: y)"
    assert not check.passed
