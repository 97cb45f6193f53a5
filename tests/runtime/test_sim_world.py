"""The synthetic cell is exact: what is drawn lies where lens and poses say, and nothing else changes a picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.errors import ConfigError
from gigaedge.kinematics import link6_pose
from gigaedge.poses import apply, inverse
from gigaedge.robot import CAMERA_ROLES, CameraRole
from gigaedge.simulation import LensConfig, LightConfig, SimulatedBoard, World
from gigaedge_runtime.devices.sim_cast import Rays
from gigaedge_runtime.devices.sim_hand import DWELL, MOVE
from gigaedge_runtime.devices.sim_scene import true_joints
from gigaedge_runtime.devices.sim_world import Renderer

HOME = (0.0, 1.1, -1.05, 0.0, 0.8, 0.0, 0.03)
STATE = np.array([-0.45, *HOME[1:], 0.45, *HOME[1:]])
BOARD = SimulatedBoard()
WORLD = World(board=BOARD)
QUARTER = (160, 120)
"""px; small pictures where only brightness or sameness matters."""


def quiet(world: World, role: CameraRole, **kwargs: int) -> Renderer:
    """A view without noise and shading."""
    return Renderer(world.with_camera(role, noise=0.0, vignette=0.0), role, **kwargs)


def detected(
    image: NDArray[np.uint8], board: SimulatedBoard
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers and pixels of the corners that OpenCV finds."""
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    pattern = cv2.aruco.CharucoBoard((board.columns, board.rows), board.square, board.marker, dictionary)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(pattern).detectBoard(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    )
    if corners is None:
        return np.empty(0, int), np.empty((0, 2))
    return ids.reshape(-1).astype(int), corners.reshape(-1, 2).astype(float)


@pytest.mark.parametrize("role", ["cam_high", "cam_left_wrist"])
def test_opencv_finds_the_corners_where_they_truly_are(role: CameraRole) -> None:
    shown = WORLD.model_copy(update={"board": BOARD.model_copy(update={"at": "hand", "shown_to": role})})
    renderer = quiet(shown, role, supersample=3)
    errors = []
    for number in range(9):
        time = number * (DWELL + MOVE)
        ids, pixels = detected(renderer.render(STATE, time), BOARD)
        truth = renderer.corners(STATE, time)
        # Refined with a window that no marker reaches into: the picture is tested, not the detector's choice of one.
        grey = cv2.cvtColor(renderer.render(STATE, time), cv2.COLOR_RGB2GRAY)
        stop = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, 100, 1e-4)
        start = pixels.astype(np.float32).reshape(-1, 1, 2).copy()
        refined = cv2.cornerSubPix(grey, start, (3, 3), (-1, -1), stop).reshape(-1, 2)
        errors.append((refined - truth.pixels[ids])[truth.visible[ids]])
    found = np.concatenate(errors)
    assert len(found) > 100
    assert np.abs(found.mean(axis=0)).max() < 0.02
    assert np.sqrt((found**2).sum(axis=1).mean()) < 0.1


def test_zero_errors_move_the_picture_as_the_lens_predicts() -> None:
    role: CameraRole = "cam_left_wrist"
    errors = (0.0, 0.5, -0.4, 0.3, 0.6, -0.7)
    wrong = WORLD.with_arm("left", zero_errors=errors, joint_noise=0.0)
    renderer = quiet(wrong, role, supersample=3)
    ids, pixels = detected(renderer.render(STATE), BOARD)
    assert len(ids) >= 12
    camera, arm = WORLD.camera(role), WORLD.arm("left")
    assert arm is not None
    points = np.array([[i % 6 + 1, i // 6 + 1, 0] for i in ids]) * BOARD.square

    def predicted(joints: NDArray[np.float64]) -> NDArray[np.float64]:
        t_cell_cam = arm.base @ link6_pose(joints) @ camera.mount.transform
        return renderer.lens.project(apply(inverse(t_cell_cam) @ BOARD.transform, points))

    reported = STATE[:6]
    without = pixels - predicted(reported)
    with_them = pixels - predicted(reported + np.radians(errors))
    assert np.linalg.norm(without, axis=1).min() > 3
    assert np.sqrt((with_them**2).sum(axis=1).mean()) < 0.2


def test_corners_are_visible_where_nothing_hides_them() -> None:
    high, left = Renderer(WORLD, "cam_high"), Renderer(WORLD, "cam_left_wrist")
    assert high.corners(STATE).visible.all()
    reaching = STATE.copy()
    reaching[:6] = -0.6, 2.0, -1.3, 0.0, 0.6, 0.0
    assert 0 < high.corners(reaching).visible.sum() < 24, "the arm reaches over the board"
    away = STATE.copy()
    away[0] = 1.5
    assert not left.corners(away).visible.any(), "the wrist looks elsewhere"
    turned = BOARD.model_copy(update={"at": "left"})
    held = Renderer(WORLD.model_copy(update={"board": turned}), "cam_high")
    assert held.corners(STATE).visible.any()
    over = STATE.copy()
    over[5] = np.pi - 0.3
    assert not held.corners(over).visible.any(), "its back"


def test_the_same_arguments_give_the_same_picture() -> None:
    for role in CAMERA_ROLES:
        first, second = (Renderer(WORLD, role, *QUARTER) for _ in range(2))
        second.render(STATE + 0.1)
        np.testing.assert_array_equal(first.render(STATE, number=3), second.render(STATE, number=3))
        assert (first.render(STATE, number=3) != first.render(STATE, number=4)).any()


def test_looking_only_where_a_face_can_be_changes_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    low, high = (
        np.array([-1.0, 0.3, -1.6, -1, -0.9, -1, 0.0] * 2),
        np.array([1.0, 1.8, -0.3, 1, 0.9, 1, 0.07] * 2),
    )
    states = [STATE, *rng.uniform(low, high, (4, 14))]
    views = [Renderer(WORLD, role, *QUARTER, supersample=2) for role in CAMERA_ROLES]
    quick = [[view.render(state) for state in states] for view in views]
    views = [Renderer(WORLD, role, *QUARTER, supersample=2) for role in CAMERA_ROLES]
    monkeypatch.setattr(Rays, "region", lambda rays, outline: (slice(rays.shape[0]), slice(rays.shape[1])))
    for view, pictures in zip(views, quick, strict=True):
        for state, picture in zip(states, pictures, strict=True):
            np.testing.assert_array_equal(view.render(state), picture)


def test_noise_is_as_strong_as_the_file_says() -> None:
    renderer = Renderer(WORLD.with_camera("cam_high", noise=3.0), "cam_high", *QUARTER)
    pictures = np.stack([renderer.render(STATE, number=number) for number in range(12)]).astype(float)
    assert pictures.std(axis=0).mean() == pytest.approx(3.0, rel=0.1)


def test_what_stands_still_is_drawn_sharper_when_asked_again() -> None:
    renderer = quiet(WORLD, "cam_left_wrist", sharpen=3)
    exact = quiet(WORLD, "cam_left_wrist", supersample=3).render(STATE)
    quick = renderer.render(STATE)
    assert (quick != exact).any()
    np.testing.assert_array_equal(renderer.render(STATE), exact)
    np.testing.assert_array_equal(
        renderer.render(STATE + 0.01), quiet(WORLD, "cam_left_wrist").render(STATE + 0.01)
    )


def test_light_and_colour_are_factors() -> None:
    base = Renderer(WORLD.with_camera("cam_high", noise=0.0), "cam_high", *QUARTER).render(STATE)
    light = LightConfig(level=0.8, red=0.9, blue=1.05)
    changed = WORLD.model_copy(update={"light": light}).with_camera("cam_high", noise=0.0, exposure=0.9)
    picture = Renderer(changed, "cam_high", *QUARTER).render(STATE)
    kept = (base > 40) & (base < 230)
    for channel, factor in enumerate((0.8 * 0.9 * 0.9, 0.8 * 0.9, 0.8 * 0.9 * 1.05)):
        mask = kept[..., channel]
        ratio = picture[..., channel][mask].mean() / base[..., channel][mask].mean()
        assert ratio == pytest.approx(factor, abs=0.01)
    sloped = WORLD.model_copy(update={"light": LightConfig(gradient=(0.4, 0.0))}).with_camera(
        "cam_high", noise=0.0
    )
    ratios = Renderer(sloped, "cam_high", *QUARTER).render(STATE).astype(float) / np.maximum(base, 1)
    assert ratios[:, -20:].mean() - ratios[:, :20].mean() == pytest.approx(0.4 * 140 / 160, abs=0.03)


@pytest.mark.parametrize("role", CAMERA_ROLES)
def test_a_view_has_hundreds_of_features_of_all_sizes(role: CameraRole) -> None:
    image = Renderer(World(), role).render(STATE)
    points = cv2.SIFT_create().detect(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    assert len(points) > 500
    assert sum(point.size > 12 for point in points) > 40


def test_other_objects_change_a_part_of_the_view_only() -> None:
    first, second = (
        Renderer(WORLD.model_copy(update={"objects": objects}).with_camera("cam_high", noise=0.0), "cam_high")
        for objects in (1, 2)
    )
    changed = (np.abs(first.render(STATE).astype(int) - second.render(STATE)) > 8).any(axis=2).mean()
    assert 0.01 < changed < 0.3


def test_an_arm_is_seen_to_move() -> None:
    renderer = quiet(WORLD, "cam_high")
    before = renderer.render(STATE).astype(int)
    moved = STATE.copy()
    moved[0] += 0.1
    changed = (np.abs(renderer.render(moved) - before) > 15).any(axis=2)
    assert changed[:, :320].mean() > 0.04, "the left arm is on the left"
    assert changed[:, 400:].mean() < 0.01


def test_joint_noise_has_the_strength_it_is_given_and_a_pose_keeps_its_error() -> None:
    arm = World().with_arm("left", joint_noise=0.05).arms[0]
    rng = np.random.default_rng(0)
    poses = rng.uniform(-1, 1, (400, 6))
    errors = np.degrees([true_joints(arm, q, seed=1) - q for q in poses])
    assert np.sqrt((errors**2).mean(axis=0)) == pytest.approx(np.full(6, 0.05), rel=0.2)
    assert np.abs(np.corrcoef(errors.T) - np.eye(6)).max() < 0.2, "joints err independently"
    np.testing.assert_array_equal(true_joints(arm, poses[0], 1), true_joints(arm, poses[0], 1))


def test_a_board_at_hand_dwells_and_is_whole_in_the_picture() -> None:
    shown = WORLD.model_copy(
        update={"board": BOARD.model_copy(update={"at": "hand", "shown_to": "cam_high"})}
    )
    renderer = Renderer(shown, "cam_high", *QUARTER)
    period = DWELL + MOVE
    places = []
    for number in range(18):
        start, end = (renderer.board_pose(STATE, number * period + part * DWELL) for part in (0.01, 0.99))
        np.testing.assert_array_equal(start, end)
        pixels = renderer.corners(STATE, number * period).pixels
        assert (pixels > 0).all()
        assert (pixels < QUARTER).all()
        places.append(pixels.mean(axis=0))
        tilt = np.degrees(np.arccos(start[2, 2]))
        assert 9 < tilt < 50
    assert np.ptp(places, axis=0) == pytest.approx(np.array(QUARTER) * 0.55, rel=0.35)
    between = renderer.board_pose(STATE, DWELL + MOVE / 2)
    assert not np.allclose(between, renderer.board_pose(STATE, 0.0))


def test_a_camera_may_be_in_the_wrong_place() -> None:
    left, right = (WORLD.with_camera(role, noise=0.0) for role in CAMERA_ROLES[1:])
    swapped = left.with_camera("cam_left_wrist", at="right")
    picture = Renderer(swapped, "cam_left_wrist", *QUARTER).render(STATE)
    np.testing.assert_array_equal(picture, Renderer(right, "cam_right_wrist", *QUARTER).render(STATE))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="cam_right_wrist has no right arm to be mounted on"):
        Renderer(World(arms=World().arms[:1]), "cam_right_wrist")
    with pytest.raises(ConfigError, match="OpenCV has no dictionary 'DICT_9X9'; try DICT_5X5_100"):
        Renderer(World(board=SimulatedBoard(dictionary="DICT_9X9")), "cam_high")
    with pytest.raises(ConfigError, match="simulated board of 19x19 squares"):
        Renderer(World(board=SimulatedBoard(columns=19, rows=19)), "cam_high")
    with pytest.raises(ConfigError, match="this world has no board"):
        Renderer(World(), "cam_high", *QUARTER).corners(STATE)


def test_the_factorys_lens_is_its_own() -> None:
    factory = LensConfig(fx=600, fy=601, cx=320, cy=240)
    renderer = Renderer(WORLD.with_camera("cam_high", factory=factory), "cam_high", 320, 240)
    assert (renderer.factory.fx, renderer.factory.distortion) == (300, ())
    assert Renderer(WORLD, "cam_high").factory.fx == WORLD.camera("cam_high").lens.fx
