"""Boxes and clearance, on poses whose points are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.kinematics import arm_points
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import Site
from gigaedge_runtime.workspace import Workspace, _segments

HOME = np.array([0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03] * 2)
WIDE = Workspace(np.full((2, 3), -np.inf), np.full((2, 3), np.inf))
FACING = replace(WIDE, clearance=0.1, base=np.array([[0.0, 0.3, 0.1, 0.0], [0.0, -0.3, 0.1, 0.5]]))


def site(left: dict[str, object], right: dict[str, object], **limits: object) -> Site:
    return Site.model_validate(
        {
            "bundle": "demo",
            "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
            "arms": [
                {"side": "right", "driver": "sim", **right},
                {"side": "left", "driver": "sim", **left},
            ],
            "limits": limits,
        }
    )


def test_of_a_site() -> None:
    assert Workspace.of(site({"base": {}}, {})) is None
    box = {"min": (-0.1, -0.2, -0.3), "max": (0.4, 0.5, 0.6)}
    one = Workspace.of(site({}, {"workspace": box}, profile="piper-before-1.6-3"))
    assert one is not None
    assert one.low.tolist() == [[-np.inf] * 3, [-0.1, -0.2, -0.3]]
    assert one.high.tolist() == [[np.inf] * 3, [0.4, 0.5, 0.6]]
    assert (one.dh_is_offset, one.clearance, one.base) == (0, 0.0, None)
    assert (WIDE.dh_is_offset, WIDE.clearance, WIDE.base) == (1, 0.0, None)
    left, right = {"x": 1.0, "y": 2.0, "z": 3.0, "yaw": 4.0}, {"y": -1.0}
    both = Workspace.of(site({"base": left}, {"base": right}, clearance=0.2))
    assert both is not None
    assert both.base is not None
    assert both.base.tolist() == [[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 0.0, 0.0]]
    assert (both.dh_is_offset, both.clearance) == (1, 0.2)


def test_points_are_each_arms_own() -> None:
    path = HOME + np.linspace(0, 0.3, 3)[:, np.newaxis] * (np.arange(14) != 2)
    for offset in (0, 1):
        points = replace(WIDE, dh_is_offset=offset).points(path)
        np.testing.assert_allclose(points[:, 0], arm_points(path[:, :6], offset))
        np.testing.assert_allclose(points[:, 1], arm_points(path[:, 7:13], offset))


def shifted(*depths: float) -> NDArray[np.float64]:
    """A path of points of which the left wrist's y, else at most 0, is beyond 0.2 m by these depths."""
    points = np.zeros((len(depths), 2, 3, 3))
    points[:, 0, 1, 1] = 0.2 + np.array(depths)
    return points


@pytest.mark.parametrize(
    ("depths", "holds"),
    [
        ((-0.1, 0.0), True),
        ((-0.1, 1e-6), False),
        ((-0.1, -0.1, 1e-6, -0.1), False),
        ((0.1, 0.1), True),
        ((0.1, 0.1 + 1e-6), False),
        ((0.1, 0.05), True),
        ((0.1, 0.05, 0.06), False),
        ((0.1, -0.05, 0.01), False),
        ((0.1, -0.05, -0.01), True),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_no_point_leaves_its_box_or_gets_further_out(
    depths: tuple[float, ...], holds: bool, side: int, sign: int
) -> None:
    box = replace(WIDE, low=np.full((2, 3), -0.2), high=np.full((2, 3), 0.2))
    points = sign * shifted(*depths)
    if side:
        points = points[:, ::-1]
    expected = [True, True]
    expected[side] = holds
    assert box.boxes_hold(points).tolist() == expected


def brute(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    share = np.linspace(0, 1, 301)[:, np.newaxis]
    one, two = a[0] + share * (a[1] - a[0]), b[0] + share * (b[1] - b[0])
    return float(np.linalg.norm(one[:, np.newaxis] - two, axis=-1).min())


@pytest.mark.parametrize("seed", range(5))
def test_distance_of_segments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 40, 2, 3))
    b[:8] = a[:8] + rng.normal(size=(8, 1, 3)) * 0.3
    found = _segments(a[:, 0], a[:, 1] - a[:, 0], b[:, 0], b[:, 1] - b[:, 0])
    np.testing.assert_allclose(found, [brute(*pair) for pair in zip(a, b, strict=True)], atol=2e-2)
    sure = [brute(*pair) for pair in zip(a, b, strict=True)]
    assert (found <= np.array(sure) + 1e-9).all(), "no sampled pair of points is nearer"


@pytest.mark.parametrize(
    ("a", "b", "gap"),
    [
        (((0, 0, 0), (1, 0, 0)), ((0.5, -1, 2), (0.5, 1, 2)), 2.0),
        (((0, 0, 0), (1, 0, 0)), ((2, 3, 0), (2, 9, 0)), np.sqrt(10)),
        (((0, 0, 0), (1, 0, 0)), ((-1, 0, 0), (-3, 0, 0)), 1.0),
        (((0, 0, 0), (1, 0, 0)), ((3, 1, 0), (0.5, 1, 0)), 1.0),
        (((0, 0, 0), (1, 0, 0)), ((0.2, -1, 0), (0.4, 1, 0)), 0.0),
        (((0, 0, 0), (1, 0, 0)), ((0.25, 3, 0), (0.25, 2, 0)), 2.0),
        (((0, 0, 0), (1, 0, 0)), ((-4, 3, 0), (0, 3, 0)), 3.0),
    ],
)
def test_distance_of_segments_at_their_ends(
    a: tuple[tuple[float, ...], ...], b: tuple[tuple[float, ...], ...], gap: float
) -> None:
    one, two = np.array(a, dtype=float), np.array(b, dtype=float)
    for first, second in ((one, two), (two, one), (one[::-1], two), (two[::-1], one[::-1])):
        found = _segments(first[0], first[1] - first[0], second[0], second[1] - second[0])
        assert found == pytest.approx(gap, abs=1e-12)


def test_distance_of_two_arms() -> None:
    turned = HOME.copy()
    turned[0], turned[7], turned[9] = -1.0, 0.7, -0.6
    points = FACING.points(np.array([HOME, turned]))
    placed = []
    assert FACING.base is not None
    for side, (x, y, z, yaw) in enumerate(FACING.base):
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        placed.append(points[:, side] @ turn.T + [x, y, z])
    for row, found in enumerate(FACING.distance(points)):
        links = [
            brute(placed[0][row, i : i + 2], placed[1][row, j : j + 2]) for i in range(2) for j in range(2)
        ]
        assert found == pytest.approx(min(links), abs=5e-3)


@pytest.mark.parametrize(
    ("gaps", "holds"),
    [
        ((0.2, 0.1), True),
        ((0.2, 0.1 - 1e-6), False),
        ((0.05, 0.05), True),
        ((0.05, 0.05 - 1e-6), False),
        ((0.05, 0.07), True),
        ((0.05, 0.07, 0.06), False),
        ((0.05, 0.2, 0.099), False),
    ],
)
def test_arms_keep_their_clearance_or_come_no_nearer(gaps: tuple[float, ...], holds: bool) -> None:
    beside = replace(FACING, base=np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    points = np.zeros((len(gaps), 2, 3, 3))
    points[..., 2] = [0.0, 0.25, 0.5]
    points[:, 1, :, 0] = np.array(gaps)[:, np.newaxis]
    assert beside.clearance_holds(beside.shortfall(points)) is holds
    unwatched = replace(beside, base=None, clearance=0.0)
    assert unwatched.clearance_holds(unwatched.shortfall(points))


def test_without_bases_there_is_no_distance() -> None:
    with pytest.raises(ValueError, match="needs to know where they stand"):
        WIDE.distance(np.zeros((1, 2, 3, 3)))
