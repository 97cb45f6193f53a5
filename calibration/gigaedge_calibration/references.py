"""Reference pictures: what every camera saw when all was well, where the robot was then, and where both are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.calibration import (
    Calibration,
    CameraCalibration,
    CaptureInfo,
    IntrinsicsInfo,
    LightInfo,
    StreamInfo,
    ViewInfo,
)
from gigaedge.errors import CalibrationError
from gigaedge.files import sha256
from gigaedge.lens import Lens
from gigaedge.poses import from_quaternion, pose
from gigaedge.robot import CameraRole
from gigaedge.tiles import Tile, tile
from gigaedge_calibration.aiming import flipped, scene_distance
from gigaedge_calibration.captures import LOOKS, Capture, load_captures, save_captures
from gigaedge_calibration.gripper import Region, check_region
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
        """Of the scenery: without the gripper."""
        return find_features(self.image, self.tile(self.size), without=self.info.gripper)

    @cached_property
    def mirrored(self) -> Features:
        """Of the scenery, mirrored left to right."""
        return find_features(self.image, self.tile(self.size), without=self.info.gripper, mirrored=True)


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
    if reference.info.gripper is not None:
        check_region(reference.info.gripper, reference.image)
    found = len(reference.features.points)
    if found < PLAIN:
        raise CalibrationError(
            f"{reference.role}: too plain, dark or blurred to be a reference ({found} features, {PLAIN} needed); "
            "put something with print on it where the camera sees it and nothing moves"
        )


def store_reference(
    file: Path, capture: Capture, info: Mapping[str, object], gripper: Region | None, source: str
) -> Reference:
    """Keep the picture beside the calibration `file`; nothing is kept of one that is no good.

    `info` has `composite` and `layout` of the view. Raises CalibrationError.
    """
    name = f"000-{capture.role}.png"
    fields = {**info, "image": name, "source": source, "joints": capture.joints, "gripper": gripper}
    check_reference(
        Reference(capture.role, capture.image, ViewInfo.model_validate({**fields, "sha256": "0" * 64}))
    )
    folder = views_folder(file, capture.role)
    save_captures(folder, [capture], replace=True)
    view = ViewInfo.model_validate({**fields, "sha256": sha256(folder / name)})
    return Reference(capture.role, capture.image, view)


def views_folder(file: Path, role: CameraRole) -> Path:
    """Where the reference of a camera is kept, for the calibration `file`."""
    return file.with_name(f"{file.stem}.captures") / f"views-{role}"


def with_reference(
    calibration: Calibration, file: Path, reference: Reference, serial: str, stream: StreamInfo
) -> Calibration:
    """The calibration with this view, and with its light where none is known."""
    role = reference.role
    old = calibration.camera(role) or CameraCalibration(role=role, serial=serial, stream=stream)
    figures = light_figures(reference.image)
    known = old.light.model_dump() if old.light else {}
    light = LightInfo(
        **known
        | {
            "luminance": figures.luminance,
            "red_to_green": figures.red_to_green,
            "blue_to_green": figures.blue_to_green,
        }
    )
    new = old.model_copy(update={"serial": serial, "stream": stream, "view": reference.info, "light": light})
    cameras = (*(c for c in calibration.cameras if c.role != role), new)
    folder = views_folder(file, role)
    kept = CaptureInfo(
        purpose="views",
        subject=role,
        folder=str(folder.relative_to(file.parent)),
        sha256=sha256(folder / LOOKS),
    )
    others = (c for c in calibration.captures if (c.purpose, c.subject) != ("views", role))
    return calibration.model_copy(update={"cameras": cameras, "captures": (*others, kept)})


def _lens(camera: CameraCalibration, image: NDArray[np.uint8]) -> Lens | None:
    known: IntrinsicsInfo | None = camera.intrinsics or camera.factory
    if known is None or (known.height, known.width) != image.shape[:2]:
        return None
    lens = Lens(known.width, known.height, known.fx, known.fy, known.cx, known.cy, known.distortion)
    flip = camera.stream.flip
    return flipped(lens, horizontally=flip in ("horizontal", "both"), vertically=flip in ("vertical", "both"))


def _distance(camera: CameraCalibration) -> float | None:
    if camera.mount is None or camera.role != "cam_high":
        return None
    transform = camera.mount.transform
    turn = from_quaternion(np.array(transform.quaternion))
    return scene_distance(pose(turn, np.array(transform.translation)))
