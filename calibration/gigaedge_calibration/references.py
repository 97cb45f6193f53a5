"""Reference pictures: what every camera saw when all was well, where the robot was then, and where both are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import (
    Calibration,
    CameraCalibration,
    IntrinsicsInfo,
    LightInfo,
    ViewInfo,
)
from gigaedge.errors import CalibrationError
from gigaedge.files import sha256
from gigaedge.lens import Lens
from gigaedge.poses import from_quaternion, pose
from gigaedge.robot import CameraRole
from gigaedge.tiles import Tile, tile
from gigaedge_calibration.aiming import flipped, scene_distance
from gigaedge_calibration.captures import Capture, load_captures, save_captures
from gigaedge_calibration.gripper import check_region
from gigaedge_calibration.lens_uncertainty import lens_of
from gigaedge_calibration.light import light_figures
from gigaedge_calibration.matching import Features, find_features

PLAIN: Final = 60
"""Features that a reference needs."""
STILL: Final = float(np.radians(0.1))
"""An arm whose joints span more while pictures are taken moves, rad."""


@dataclass(frozen=True)
class Reference:
    """One camera's reference picture."""

    role: CameraRole
    image: NDArray[np.uint8]
    """RGB, shape (height, width, 3), after the site's `flip`."""
    info: ViewInfo
    lens: Lens | None = None
    """Of pictures like `image`; None: not known."""
    distance: float | None = None
    """To what the camera looks at, m; None: not known."""
    serial: str = ""
    mirror: bool = False
    """`image` is mirrored against the world."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.image.shape[1], self.image.shape[0]

    def tile(self, size: tuple[int, int]) -> Tile:
        """Where a picture of this camera, of `size` (width, height), lies in the composite."""
        return tile(self.role, size, self.info.composite, self.info.layout)

    @cached_property
    def features(self) -> Features:
        """Of the scenery: within its region, without the gripper."""
        return self._find(mirrored=False)

    @cached_property
    def mirrored(self) -> Features:
        """Of the scenery, mirrored left to right."""
        return self._find(mirrored=True)

    def _find(self, *, mirrored: bool) -> Features:
        region, gripper = self.info.region, self.info.gripper
        return find_features(
            self.image, self.tile(self.size), region=region, without=gripper, mirrored=mirrored
        )


def load_references(file: Path, calibration: Calibration) -> dict[CameraRole, Reference]:
    """The reference pictures that a calibration in `file` has; raises CalibrationError: missing or altered."""
    references = {}
    for camera in calibration.cameras:
        view = camera.view
        if view is None:
            continue
        kept = [c for c in calibration.captures if (c.purpose, c.subject) == ("views", camera.role)]
        if not kept:
            raise CalibrationError(
                f"{file}: the view of {camera.role} has no captures; run `gigaedge calibrate views SITE --capture`"
            )
        folder = file.parent / kept[-1].folder
        captures = load_captures(folder)
        if sha256(folder / view.image) != view.sha256 or captures[0].role != camera.role:
            raise CalibrationError(
                f"{folder}: holds another picture of {camera.role} than {file.name} says; restore that folder, or "
                f"run `gigaedge calibrate views SITE --capture --role {camera.role}`"
            )
        references[camera.role] = Reference(
            camera.role,
            captures[0].image,
            view,
            _lens(camera, captures[0].image),
            _distance(camera),
            camera.serial,
            camera.stream.flip in ("horizontal", "vertical"),
        )
    return references


def average(captures: Sequence[Capture]) -> Capture:
    """One capture of several of the same camera: less noise. Raises CalibrationError: an arm moved, sizes differ."""
    first = captures[0]
    if any(capture.image.shape != first.image.shape for capture in captures):
        raise CalibrationError(f"{first.role}: pictures of several sizes; capture again")
    joints = first.joints
    if joints is not None:
        states = np.array([capture.joints for capture in captures if capture.joints is not None])
        if np.ptp(states, axis=0).max() > STILL:
            raise CalibrationError(
                "an arm moved while pictures were taken; let both stand still and capture again"
            )
        joints = tuple(float(value) for value in states.mean(axis=0))
    image = np.mean([capture.image for capture in captures], axis=0, dtype=np.float32)
    return Capture(first.role, np.rint(image).astype(np.uint8), joints, first.captured)


def check_reference(reference: Reference) -> None:
    """Raise CalibrationError when nothing could ever be compared with this picture."""
    for name, region in (("gripper region", reference.info.gripper), ("region", reference.info.region)):
        if region is not None:
            check_region(region, reference.image, name)
    found = len(reference.features.points)
    if found < PLAIN:
        raise CalibrationError(
            f"{reference.role}: too plain, dark or blurred to be a reference ({found} features, {PLAIN} needed); "
            "put something with print on it where the camera sees it and nothing moves"
        )


def store_reference(folder: Path, capture: Capture, view: ViewInfo) -> Reference:
    """Keep a picture in `folder`, in place of one that is there; nothing is changed if it is no good.

    `view` says all but what the picture is called. Raises CalibrationError: too plain, or no such gripper region.
    """
    check_reference(Reference(capture.role, capture.image, view))
    save_captures(folder, [capture], replace=True)
    name = picture_name(capture.role)
    kept = view.model_copy(update={"image": name, "sha256": sha256(folder / name), "joints": capture.joints})
    return Reference(capture.role, capture.image, kept)


def picture_name(role: CameraRole) -> str:
    """What `save_captures` calls the one picture of a set."""
    return f"000-{role}.png"


def with_reference(
    entry: CameraCalibration, reference: Reference, factory: IntrinsicsInfo | None = None
) -> CameraCalibration:
    """A camera's entry with this view and its light; `factory`: the lens as the camera itself knows it."""
    figures = light_figures(reference.image)
    seen = {name: getattr(figures, name) for name in ("luminance", "red_to_green", "blue_to_green")}
    light = entry.light.model_copy(update=seen) if entry.light else LightInfo(**seen)
    return entry.model_copy(
        update={"view": reference.info, "light": light, "factory": factory or entry.factory}
    )


def _lens(camera: CameraCalibration, image: NDArray[np.uint8]) -> Lens | None:
    known = camera.intrinsics or camera.factory
    if known is None or (known.height, known.width) != image.shape[:2]:
        return None
    flip = camera.stream.flip
    return flipped(
        lens_of(known), horizontally=flip in ("horizontal", "both"), vertically=flip in ("vertical", "both")
    )


def _distance(camera: CameraCalibration) -> float | None:
    if camera.mount is None or camera.role != "cam_high":
        return None
    transform = camera.mount.transform
    turn = from_quaternion(np.array(transform.quaternion))
    return scene_distance(pose(turn, np.array(transform.translation)))
