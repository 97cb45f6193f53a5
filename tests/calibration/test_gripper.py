import numpy as np
import pytest

from gigaedge.errors import CalibrationError
from gigaedge_calibration.gripper import check_region, gripper_offset
from tests.calibration.view_references import reference
from tests.calibration.view_scene import GRIPPER, Scene, other_day, render

BEFORE = reference("cam_left_wrist").image


def found(seed, gripper):
    live = render(other_day(seed, role="cam_left_wrist", background=seed, gripper=gripper))
    return gripper_offset(BEFORE, live, GRIPPER)


def test_the_gripper_is_found_before_any_background():
    rng = np.random.default_rng(0)
    errors, scores = [], []
    for seed in range(16):
        reach = (0.0, 3.0, 10.0, 20.0)[seed % 4]
        truth = np.array([*rng.uniform(-reach, reach, 2), rng.uniform(-reach, reach) / 4])
        offset = found(seed, tuple(truth))
        error = np.array([*(offset.shift - truth[:2]), offset.roll - np.radians(truth[2])])
        errors.append(error)
        scores.append(error / np.sqrt(np.diag(offset.covariance)))
    assert np.abs(np.array(errors)[:, :2]).max() < 0.15
    assert np.degrees(np.abs(np.array(errors)[:, 2]).max()) < 0.06
    assert np.sqrt(np.mean(np.square(scores))) < 1.5


def test_an_offset_is_repeatable():
    first, second = (found(3, (4.0, -2.0, 1.0)) for _ in range(2))
    assert first.shift.tolist() == second.shift.tolist()
    assert first.roll == second.roll


def test_another_gripper_is_not_recognised():
    other = render(Scene(role="cam_left_wrist", background=3))
    other[GRIPPER[1] :, :] = np.random.default_rng(1).integers(
        60, 160, (480 - GRIPPER[1], 640, 3), dtype=np.uint8
    )
    with pytest.raises(
        CalibrationError, match=r"the gripper is not recognised \(\d+ % of its region fits, 35 % needed"
    ):
        gripper_offset(BEFORE, other, GRIPPER)


def test_sizes_must_agree():
    with pytest.raises(CalibrationError, match="pictures of 640x480 and 320x480 px cannot be compared"):
        gripper_offset(BEFORE, BEFORE[:, ::2], GRIPPER)


@pytest.mark.parametrize(
    "region", [(-1, 0, 100, 100), (600, 0, 700, 100), (0, 0, 100, 40), (100, 100, 50, 200)]
)
def test_a_region_must_be_in_the_picture(region):
    with pytest.raises(
        CalibrationError, match="expected left,top,right,bottom within the picture of 640x480 px, at least"
    ):
        check_region(region, BEFORE)
