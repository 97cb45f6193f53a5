"""Figures of the calibration report: what the policy sees and how far training moved it, mounts, joint zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from gigaedge.calibration import Calibration
from gigaedge.robot import CAMERA_ROLES, JOINTS, CameraRole
from gigaedge.tiles import Layout, tile
from gigaedge_calibration import acceptance

SEEN, OUTERMOST, LIMIT = "#d9822b", "#3b82c4", "#e03131"
COLOURS: Final = {"cam_high": "#3b82c4", "cam_left_wrist": "#d9822b", "cam_right_wrist": "#2f9e44"}

_HALO: Final = (withStroke(linewidth=3.2, foreground="#ffffff"),)
"""Lines are seen on any picture."""

Picture = NDArray[np.uint8]


def views_figure(composite: Picture, pictures: Mapping[CameraRole, Picture], layout: Layout) -> Figure:
    """The composite, RGB of shape (H, W, 3), and each picture with the crops of inference and of training."""
    height, width = composite.shape[:2]
    fig = Figure(figsize=(9.5, 7.4), layout="constrained")
    grid = fig.add_gridspec(3, 2, width_ratios=(1.25, 1))
    whole = fig.add_subplot(grid[:, 0])
    whole.imshow(composite, interpolation="none")
    whole.set_title(f"what the policy sees, {width} x {height}", fontsize=10)
    for row, role in enumerate(CAMERA_ROLES):
        source = pictures[role].shape[1], pictures[role].shape[0]
        place = tile(role, source, (width, height), layout)
        corner = (place.x - 0.5, place.y - 0.5)
        whole.add_patch(Rectangle(corner, place.width, place.height, fill=False, ec=SEEN, lw=1.2))
        axes = fig.add_subplot(grid[row, 1])
        _crops(axes, pictures[role], role, (width, height), layout)
    for axes in fig.axes:
        axes.set_xticks([])
        axes.set_yticks([])
    return fig


def _crops(axes: Any, image: Picture, role: CameraRole, composite: tuple[int, int], layout: Layout) -> None:
    """One picture, in composite px, with what is cut out of it."""
    place = tile(role, (image.shape[1], image.shape[0]), composite, layout)
    width, height = image.shape[1] * place.scale[0], image.shape[0] * place.scale[1]
    axes.imshow(image, interpolation="none", extent=(0, width, height, 0))
    x, y = place.slack
    outer = [(sx * x, sy * y) for sx, sy in ((-1, -1), (1, 1))]
    for shift_x, shift_y in outer if (x or y) else ():
        axes.add_patch(
            Rectangle(
                (place.cut[0] + shift_x, place.cut[1] + shift_y), place.width, place.height,
                fill=False, ec=OUTERMOST, lw=1.6, ls="--", path_effects=_HALO,
            )
        )  # fmt: skip
    axes.add_patch(
        Rectangle(place.cut, place.width, place.height, fill=False, ec=SEEN, lw=1.6, path_effects=_HALO)
    )
    axes.set_xlim(-2, width + 2)
    axes.set_ylim(height + 2, -2)
    slack = f"training moved it by up to {max(x, y):g} px" if x or y else "no slack"
    axes.set_title(f"{role}: {slack}", fontsize=9)


def mounts_figure(calibration: Calibration) -> Figure | None:
    """Two standard deviations of every mount's angles and places, by axis; None: no mount has a covariance."""
    known = {
        camera.role: np.sqrt(np.diagonal(np.array(camera.mount.transform.covariance)))
        for camera in calibration.cameras
        if camera.mount is not None and camera.mount.transform.covariance is not None
    }
    if not known:
        return None
    fig = Figure(figsize=(9.5, 2.9), layout="constrained")
    panels = fig.subplots(1, 2)
    rows = (
        (
            slice(0, 3),
            np.degrees(2.0),
            "rotation, 2 sigma (degrees)",
            acceptance.WRIST_ROTATION,
            acceptance.FRONT_ROTATION,
        ),
        (
            slice(3, 6),
            2e3,
            "translation, 2 sigma (mm)",
            acceptance.WRIST_TRANSLATION,
            acceptance.FRONT_TRANSLATION,
        ),
    )
    for axes, (part, scale, label, wrist, front) in zip(panels, rows, strict=True):
        for index, (role, sigmas) in enumerate(known.items()):
            places = np.arange(3) + 0.25 * (index - (len(known) - 1) / 2)
            axes.bar(places, scale * sigmas[part], 0.22, color=COLOURS[role], label=role)
        axes.axhline(wrist.warn, color=LIMIT, lw=0.9, ls="--", label="limit, wrists")
        axes.axhline(front.warn, color=LIMIT, lw=0.9, ls=":", label="limit, front")
        axes.set_xticks(range(3), ["about x", "about y", "about z"] if part.start == 0 else ["x", "y", "z"])
        axes.set_ylabel(label, fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper left", frameon=False, ncols=5, fontsize=9)
    return fig


def zeros_figure(calibration: Calibration) -> Figure | None:
    """What every joint's zero is off by, with two standard deviations, as each wrist camera saw it; None: none did."""
    known = {
        camera.role: camera.mount
        for camera in calibration.cameras
        if camera.mount is not None and any(camera.mount.zero_sigmas)
    }
    if not known:
        return None
    fig = Figure(figsize=(9.5, 2.7), layout="constrained")
    axes = fig.subplots()
    joints = np.arange(JOINTS)
    limit = acceptance.WITNESS_JOINT.warn
    for index, (role, mount) in enumerate(known.items()):
        # Joints 1 and 6 look like the board and the camera turned: nothing is known of them.
        told = np.array(mount.zero_sigmas) > 0
        axes.errorbar(
            (joints + 0.15 * (index - (len(known) - 1) / 2))[told],
            np.degrees(mount.zero_offsets)[told],
            2 * np.degrees(mount.zero_sigmas)[told],
            fmt="o", ms=4, capsize=3, color=COLOURS[role], label=role,
        )  # fmt: skip
    axes.axhspan(-limit, limit, color="#868e96", alpha=0.15, lw=0)
    axes.set_xticks(joints, [f"joint {joint + 1}" for joint in joints])
    axes.set_xlim(-0.5, JOINTS - 0.5)
    axes.set_ylabel("zero offset (degrees)", fontsize=9)
    fig.legend(loc="outside upper left", frameon=False, ncols=3, fontsize=9)
    return fig
