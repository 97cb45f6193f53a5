from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from gigaedge import librealsense
from gigaedge.errors import CameraError
from gigaedge.lens import Lens
from gigaedge_runtime.devices.sim_realsense import SoftwareCamera

SERIAL = "lens-1"


@pytest.fixture
def camera(private_home: object) -> Iterator[SoftwareCamera]:
    device = SoftwareCamera(SERIAL, 640, 480, 30)
    handle = librealsense.register(device.device)
    yield device
    del handle


def test_the_lens_that_a_camera_says_of_itself(camera: SoftwareCamera) -> None:
    lens = librealsense.factory_lens(SERIAL, 640, 480)
    assert isinstance(lens, Lens)
    assert (lens.width, lens.height, lens.distortion) == (640, 480, ())
    assert lens.fx == pytest.approx(0.95 * 640)
    assert librealsense.factory_lens(SERIAL, 1280, 720) is None


def test_a_camera_that_is_not_there(camera: SoftwareCamera) -> None:
    with pytest.raises(CameraError, match="lens-2: no such camera is connected"):
        librealsense.factory_lens("lens-2", 640, 480)


@dataclass
class Intrinsics:
    model: str
    coeffs: list[float]
    width: int = 640
    height: int = 480
    fx: float = 600.0
    fy: float = 601.0
    ppx: float = 320.0
    ppy: float = 241.0


def lens_of(intrinsics: Any) -> Lens:
    return librealsense._lens(SERIAL, intrinsics)


def test_distortion_is_taken_over() -> None:
    coefficients = [0.1, -0.2, 0.001, 0.002, 0.05]
    for model in ("distortion.brown_conrady", "distortion.inverse_brown_conrady"):
        lens = lens_of(Intrinsics(model, coefficients))
        assert lens == Lens(640, 480, 600.0, 601.0, 320.0, 241.0, tuple(coefficients))
    assert lens_of(Intrinsics("distortion.ftheta", [0.0] * 5)).distortion == ()
    with pytest.raises(CameraError, match=r"distortion distortion\.ftheta is not known here"):
        lens_of(Intrinsics("distortion.ftheta", coefficients))
