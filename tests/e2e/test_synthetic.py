"""The synthetic example as calibration meets it: librealsense's pictures show the board where it truly is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gigaedge import librealsense
from gigaedge.poses import apply
from gigaedge.robot import CAMERA_ROLES
from gigaedge.simulation import load_simulation
from gigaedge.site import load_site
from gigaedge_runtime.cell import open_cell
from gigaedge_runtime.devices.sim_world import Renderer

pytestmark = pytest.mark.realtime

EXAMPLE = Path(__file__).parents[2] / "examples" / "synthetic.yaml"


@pytest.mark.usefixtures("private_home")
def test_all_three_cameras_of_the_example_see_the_board() -> None:
    site = load_site(EXAMPLE)
    assert site.simulation is not None
    world = load_simulation(site.simulation)
    board = world.board
    assert board is not None
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, board.dictionary))
    pattern = cv2.aruco.CharucoBoard((board.columns, board.rows), board.square, board.marker, dictionary)
    detector = cv2.aruco.CharucoDetector(pattern)
    with open_cell(site) as cell:
        serials = {info.serial: info.usb for info in librealsense.list_devices()}
        assert serials == {f"sim-{role}": "3.2" for role in CAMERA_ROLES}
        # Each camera's second picture is drawn with all rays: nothing moves.
        cell.next_pictures(20.0)
        pictures = cell.next_pictures(20.0)
        state = cell.state()
    for role in CAMERA_ROLES:
        grey = cv2.cvtColor(pictures[role].image, cv2.COLOR_RGB2GRAY)
        corners, ids, _, _ = detector.detectBoard(grey)
        assert corners is not None, role
        truth = Renderer(world, role).corners(state)
        error = corners.reshape(-1, 2) - truth.pixels[ids.reshape(-1)]
        assert len(error) >= 12, role
        # Noise, and the joints that the arm reports in steps of 0.001 degrees.
        assert np.sqrt((error**2).sum(axis=1).mean()) < 0.35, role


def test_the_example_says_where_the_arms_are_and_the_world_agrees() -> None:
    site = load_site(EXAMPLE)
    assert site.simulation is not None
    world = load_simulation(site.simulation)
    for arm in world.arms:
        base = site.arm(arm.side).base
        assert base is not None
        np.testing.assert_allclose(apply(arm.base, np.zeros((1, 3)))[0], [base.x, base.y, base.z])
