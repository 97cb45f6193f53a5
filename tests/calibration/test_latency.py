"""Latency from motion: on motions of known delay, with the noise that stamps and pictures have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.errors import CalibrationError
from gigaedge_calibration.latency import Latency, estimate_latency, front_path, wrist_path
from gigaedge_calibration.picture_motion import picture_motion, picture_motions, thumbnail

HOME = np.radians([9.0, 61.0, -51.0, -1.0, 45.0, -33.0])
SEEDS = 20


def swung(
    times: NDArray[Any], seed: int, joints: tuple[int, ...], degrees: float = 4.0
) -> NDArray[np.float64]:
    """Joint angles at some times: each of `joints` swings to and fro at two rates."""
    random = np.random.default_rng(seed)
    angles = np.tile(HOME, (len(times), 1))
    for joint in joints:
        for rate in (0.5, 1.2):
            phase, exact = random.uniform(0, 2 * np.pi), rate * random.uniform(0.8, 1.2)
            angles[:, joint - 1] += np.radians(degrees) * np.sin(2 * np.pi * exact * times + phase)
    return angles


@dataclass
class Recorded:
    """What a camera and an arm deliver in eight seconds; `delay` is how late the camera's pictures are."""

    seed: int
    delay: float
    joints: tuple[int, ...] = (4, 5, 6)
    fixed: bool = False
    noise: float = 0.1
    degrees: float = 4.0
    seconds: float = 8.0

    def latency(self) -> Latency:
        random = np.random.default_rng(1000 + self.seed)
        stamps = np.sort(np.arange(-0.5, self.seconds + 0.5, 0.005) + random.normal(0, 3e-4, self.samples))
        joints = swung(stamps, self.seed, self.joints, self.degrees)
        joints += random.normal(0, 2e-5, joints.shape)
        frames = np.arange(0, self.seconds, 1 / 30)
        frames = frames[random.uniform(size=len(frames)) > 0.02]
        path = front_path if self.fixed else wrist_path
        shown = path(swung(frames - self.delay, self.seed, self.joints, self.degrees))
        motion = np.diff(shown, axis=0) @ random.standard_normal((6, 4))
        motion += self.noise * motion.std(axis=0) * random.standard_normal(motion.shape)
        stamped = frames + random.normal(0, 3e-3, len(frames))
        return estimate_latency(stamps, joints, path(joints), stamped, motion)

    @property
    def samples(self) -> int:
        return len(np.arange(-0.5, self.seconds + 0.5, 0.005))


def errors(fixed: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of twenty recordings, s, and in their own standard deviations."""
    delays = np.random.default_rng(5).uniform(-0.02, 0.1, SEEDS)
    found = [Recorded(seed, delay, fixed=fixed).latency() for seed, delay in enumerate(delays)]
    off = np.array([each.seconds + delay for each, delay in zip(found, delays, strict=True)])
    return off, off / [each.sigma for each in found]


def test_a_wrist_camera_s_latency_is_within_3_ms_and_its_sigma_honest() -> None:
    off, in_sigmas = errors(fixed=False)
    assert np.abs(off).max() < 3e-3
    assert 0.5 < np.sqrt(np.mean(in_sigmas**2)) < 1.6


def test_a_fixed_camera_s_too() -> None:
    off, in_sigmas = errors(fixed=True)
    assert np.abs(off).max() < 3e-3
    assert 0.5 < np.sqrt(np.mean(in_sigmas**2)) < 1.6


def test_one_joint_is_enough() -> None:
    found = Recorded(3, 0.045, joints=(5,)).latency()
    assert found.seconds == pytest.approx(-0.045, abs=3e-3)
    assert found.explained > 0.9
    assert found.frames > 200


def test_noisier_pictures_say_that_they_know_less() -> None:
    assert Recorded(1, 0.03, noise=0.6).latency().sigma > 2 * Recorded(1, 0.03).latency().sigma


def test_an_arm_that_stands_still_tells_nothing() -> None:
    with pytest.raises(CalibrationError, match=r"the arm moved by \d+\.\d degrees in all, 20 are needed"):
        Recorded(2, 0.03, degrees=0.02).latency()


def test_a_picture_that_does_not_follow_is_refused() -> None:
    with pytest.raises(CalibrationError, match="time: "):
        Recorded(2, 0.03, noise=5.0).latency()


def test_too_short_a_recording_is_refused() -> None:
    with pytest.raises(CalibrationError, match="frames lie within the joint feedback, 45 are needed"):
        Recorded(2, 0.03, seconds=1.2).latency()


def scene(shift: tuple[float, float] = (0.0, 0.0), turn: float = 0.0) -> NDArray[np.uint8]:
    """A textured picture, moved, px and degrees (counter-clockwise as one sees it)."""
    noise = np.random.default_rng(0).uniform(0, 255, (480, 640)).astype(np.float32)
    soft = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 8.0), None, 0, 255, cv2.NORM_MINMAX)
    move = cv2.getRotationMatrix2D((319.5, 239.5), turn, 1.0)
    move[:, 2] += shift
    grey = cv2.warpAffine(soft, move, (640, 480), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


def test_a_picture_s_motion_is_measured() -> None:
    still = thumbnail(scene())
    assert still.shape == (120, 160)
    np.testing.assert_allclose(picture_motion(still, still), 0, atol=1e-3)
    right, down, turned, wider = picture_motion(still, thumbnail(scene((4.0, -2.0))))
    assert (right, down) == (pytest.approx(1.0, abs=0.1), pytest.approx(-0.5, abs=0.1))
    assert abs(turned) < 0.05
    assert abs(wider) < 0.05
    moments = picture_motion(still, thumbnail(scene(turn=-1.0)))
    assert moments[2] > 5 * np.abs(moments[[0, 1, 3]]).max(), "clockwise: from x to y"


def test_motions_come_one_per_interval() -> None:
    pictures = np.stack([thumbnail(scene((2.0 * step, 0.0))) for step in range(3)])
    motions = picture_motions(pictures)
    assert motions.shape == (2, 4)
    np.testing.assert_allclose(motions[:, 0], 0.5, atol=0.06)
