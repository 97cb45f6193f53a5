import numpy as np
import pytest

from gigaedge.lens import Lens
from gigaedge.tiles import tile
from gigaedge_calibration.aiming import aim, arrows, flipped, scene_distance
from gigaedge_calibration.matching import find_features, match
from tests.calibration.view_references import reference
from tests.calibration.view_scene import GRIPPER, LENSES, Scene, other_day, render

SIZE = (640, 480)


def seen(scene):
    without = None if scene.role == "cam_high" else GRIPPER
    return find_features(render(scene), tile(scene.role, SIZE), without=without)


def matched(scene):
    return match(reference(scene.role).features, seen(scene))


def aimed(role, *move):
    found = matched(other_day(5, role=role, move=(*move, *(0.0,) * (6 - len(move)))))
    return found, aim(found, tile(role, SIZE), LENSES[role], reference(role).distance)


@pytest.mark.parametrize("role", ["cam_high", "cam_left_wrist"])
def test_no_move_reads_under_one_composite_pixel_in_thirty_scenes(role):
    found = [matched(other_day(seed, role=role)) for seed in range(30)]
    assert max(np.abs(one.shift).max() for one in found) < 1.0
    assert max(abs(np.degrees(one.roll)) for one in found) < 0.1
    assert max(abs(one.scale - 1) for one in found) < 0.008


@pytest.mark.parametrize("role", ["cam_high", "cam_left_wrist"])
@pytest.mark.parametrize(("axis", "sign"), [(0, 1), (1, -1)])
def test_a_degree_reads_as_the_lens_says_to_a_pixel(role, axis, sign):
    move = [0.0, 0.0]
    move[axis] = 1.0
    found, _ = aimed(role, *move)
    lens, place = LENSES[role], tile(role, SIZE)
    truth = np.zeros(2)
    truth[1 - axis] = sign * lens.fx * place.scale[0] * np.tan(np.radians(1.0))
    assert np.abs(found.shift - truth).max() < 1.0


@pytest.mark.parametrize("degrees", [2.0, 5.0, 180.0])
def test_roll_is_read_exactly(degrees):
    found, _ = aimed("cam_high", 0.0, 0.0, degrees)
    # The camera turned clockwise, so the picture turned the other way.
    assert np.degrees(np.angle(np.exp(1j * (found.roll + np.radians(degrees))))) == pytest.approx(0, abs=0.1)


def test_a_camera_that_only_turned_is_told_from_one_that_was_moved():
    for turn in ((0, 1), (4, 0), (2, 1, 3)):
        assert not aimed("cam_high", *turn)[1].parallax
    for push in ((0.02, 0, 0), (0, 0.02, 0), (0, 0, 0.02)):
        assert aimed("cam_high", 0, 0, 0, *push)[1].parallax


def test_the_turn_is_read_to_a_twentieth_of_a_degree():
    _, seen_by = aimed("cam_high", 2.0, 1.0, 3.0)
    turned = np.degrees([seen_by.right, seen_by.down, seen_by.clockwise])
    np.testing.assert_allclose(turned, [1.0, -2.0, 3.0], atol=0.05)


def test_arrows_say_the_way_back():
    _, turned = aimed("cam_high", 2.0, 1.0, 3.0)
    assert (
        arrows(turned)
        == "turn it left 1.0 degrees, tilt it down 2.0 degrees, roll it counter-clockwise 3.0 degrees"
    )
    assert (
        arrows(turned, mirror=True)
        == "turn it right 1.0 degrees, tilt it down 2.0 degrees, roll it clockwise 3.0 degrees"
    )
    _, raised = aimed("cam_high", 0, 0, 0, 0, -0.02, 0)
    assert "lower it" in arrows(raised)
    assert -raised.moved_down == pytest.approx(0.02, abs=0.004)
    _, still = aimed("cam_high", 0.0)
    assert arrows(still) == ""


def test_without_a_distance_a_push_is_told_as_a_turn():
    found = matched(Scene(move=(0, 0, 0, 0.02, 0, 0), seed=3))
    seen_by = aim(found, tile("cam_high", SIZE), LENSES["cam_high"])
    assert seen_by.parallax
    assert seen_by.moved_right is None
    assert arrows(seen_by).startswith("turn it left 0.9 degrees")


def test_another_room_matches_nothing():
    assert matched(other_day(5, background=3)) is None
    blank = np.full((480, 640, 3), 128, np.uint8)
    assert match(reference("cam_high").features, find_features(blank, tile("cam_high", SIZE))) is None


def test_a_mirrored_picture_is_found_in_the_mirrored_reference_alone():
    picture = np.ascontiguousarray(render(other_day(5))[:, ::-1])
    features = find_features(picture, tile("cam_high", SIZE))
    assert match(reference("cam_high").features, features) is None
    found = match(reference("cam_high").mirrored, features)
    assert found.mirrored
    assert np.abs(found.shift).max() < 1.0


def test_another_size_of_the_same_picture_reads_the_same_view():
    import cv2

    small = cv2.resize(render(other_day(2)), (320, 240), interpolation=cv2.INTER_AREA)
    found = match(reference("cam_high").features, find_features(small, tile("cam_high", (320, 240))))
    assert np.abs(found.shift).max() < 0.2
    assert found.scale == pytest.approx(1, abs=0.002)


def test_a_region_bounds_where_features_are_looked_for():
    features = find_features(render(Scene()), tile("cam_high", SIZE), region=(100, 100, 300, 300))
    pixels = tile("cam_high", SIZE).picture(features.points)
    assert len(pixels) > 10
    assert pixels.min() > 98
    assert pixels.max() < 302


def test_the_lens_of_a_mirrored_picture():
    lens = Lens(640, 480, 600.0, 610.0, 300.0, 250.0, (0.1, -0.2, 0.003, -0.002, 0.05))
    point = np.array([0.2, -0.1, 1.0])
    u, v = lens.project(point)
    left_right = flipped(lens, horizontally=True, vertically=False).project(point * (-1, 1, 1))
    np.testing.assert_allclose(left_right, [639 - u, v], atol=1e-9)
    both = flipped(lens, horizontally=True, vertically=True).project(point * (-1, -1, 1))
    np.testing.assert_allclose(both, [639 - u, 479 - v], atol=1e-9)


def test_distance_to_the_table_along_the_axis():
    down = np.diag([1.0, -1.0, -1.0, 1.0])
    down[2, 3] = 0.9
    assert scene_distance(down) == pytest.approx(0.9)
    level = np.eye(4)
    level[2, 3] = 0.9
    assert scene_distance(level) is None
