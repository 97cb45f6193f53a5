"""The calibration of a cell as one page that an integrator can hand over: verdicts first, and what they do not prove.

The same file, pictures and judgements give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gigaedge.calibration import (
    CONVENTIONS,
    Calibration,
    CameraCalibration,
    IntrinsicsInfo,
    MountInfo,
    TransformInfo,
)
from gigaedge.calibration_chain import Chain, KeptCapture
from gigaedge.pages import banner, bullets, figure, page, paragraph, section, table
from gigaedge.robot import CAMERA_ROLES, JOINTS, CameraRole
from gigaedge.tiles import Layout
from gigaedge_calibration.figures import sigma_figure
from gigaedge_calibration.file_verdicts import summary
from gigaedge_calibration.lens_uncertainty import policy_crop
from gigaedge_calibration.report_figures import Picture, mounts_figure, views_figure, zeros_figure
from gigaedge_calibration.report_verdicts import GRADES, verdict_tables
from gigaedge_calibration.verdicts import Judgement

NOT_PROVEN: Final = (
    "That the arm's fingertip meets a point the camera sees. What stands here as 2 sigma is how well the "
    "estimate repeats, for noise as it was assumed: in simulation 0.06 degrees and 0.4 mm at a wrist (95 "
    "% of trials). Gravity sag, backlash and flexing depend on the pose and were not in it. Until a touch "
    "test on this cell says otherwise, claim about 0.1 degrees and 1 mm at the wrists, and 2 mm at the "
    "front camera.",
    "That the policy succeeds. The limits of a view's shift come from how training cropped its pictures; "
    "those of roll, scale, brightness and colour are judgements. No curve of success against any of them "
    "is known for this policy.",
    "That joints 1 and 6 stand at their zero. To a camera on the wrist, joint 1 looks like the board "
    "turned, joint 6 like the camera turned on its bracket; only the witness, with the front view and the "
    "gripper, tells them apart.",
    "When light really fell on a sensor. Latency is against the arm's joint feedback, whose own delay is "
    "in it; rolling shutter and the middle of the exposure are not modelled. The skew between cameras is "
    "free of the feedback's delay.",
    "That the cell is still as it was. This page says how it was at calibration; `gigaedge calibrate "
    "check` says how it is now, and does so at every start.",
    "That anybody is safe. Nothing here is a safety function.",
)


@dataclass(frozen=True)
class Views:
    """The reference pictures, and the composite that the policy sees of them."""

    composite: Picture
    """RGB, shape (H, W, 3)."""
    pictures: Mapping[CameraRole, Picture]
    """RGB, shape (height, width, 3), of all three cameras."""
    layout: Layout = "tshape"


def render(
    title: str,
    calibration: Calibration,
    judgements: Sequence[Judgement],
    chain: Chain,
    captures: Sequence[KeptCapture],
    views: Views | None,
    views_missing: str = "",
) -> str:
    """The whole page; `views_missing` says why there are no `views`."""
    verdict, counts = summary(judgements)
    head = chain.links[0]
    cameras = sorted(calibration.cameras, key=lambda camera: CAMERA_ROLES.index(camera.role))
    text = f"{counts}. {head.file.name} of {calibration.created:%Y-%m-%d %H:%M} UTC, SHA-256 {head.sha256[:16]}..."
    parts = [
        banner(verdict.name, GRADES[verdict], text),
        section("Verdicts", *verdict_tables(judgements)),
        section("What this does not prove", bullets(NOT_PROVEN)),
        section("What the policy sees", _views(views, views_missing)),
        *(section(camera.role, *_camera(camera)) for camera in cameras),
        section("Mounts and joint zeros", *_mounts(calibration)),
        section("Time", _time(calibration)),
        section("Board and arms", _board(calibration)),
        section("Where it comes from", *_origin(calibration, chain, captures)),
    ]
    return page(title, parts)


def _views(views: Views | None, missing: str) -> str:
    if views is None:
        return paragraph(f"Not drawn: {missing}")
    caption = (
        "Left: the reference pictures as the policy sees them. Right: each whole picture; solid: what is cut out of "
        "it, dashed: the outermost crops of training. What the policy sees is never undistorted."
    )
    alt = "The composite of the three reference pictures, and each picture with its crops"
    return figure(views_figure(views.composite, views.pictures, views.layout), caption, alt)


def _camera(camera: CameraCalibration) -> list[str]:
    stream = camera.stream
    rows = [
        ["serial", camera.serial],
        ["model, firmware, USB", f"{camera.name}, {camera.firmware}, {camera.usb}"],
        ["stream", f"{stream.width} x {stream.height} at {stream.fps}/s, flip {stream.flip}"],
        ["place proven by", "motion" if camera.proof == "motion" else "its serial number alone"],
        ["light", _light(camera)],
        ["reference view", _view(camera)],
    ]
    rows += _lens("lens", camera.intrinsics) + _lens("lens, factory's", camera.factory)
    if camera.mount is not None:
        rows += _mount(camera.mount)
    parts = [table(["", ""], rows, prose=(1,))]
    if camera.intrinsics is not None:
        lens = camera.intrinsics
        drawn = sigma_figure(lens, policy_crop(camera.role, (lens.width, lens.height)))
        if drawn is not None:
            worst = f"{lens.projection_sigma:.2g} px" if lens.projection_sigma is not None else "not stated"
            parts.append(
                figure(
                    drawn,
                    "Standard deviation of a projected point; framed: what the policy sees.",
                    f"Map of projection uncertainty of {camera.role}, worst within the policy's crop {worst}",
                )
            )
    return parts


def _light(camera: CameraCalibration) -> str:
    light = camera.light
    if light is None:
        return "not measured"
    exposure = "not fixed" if light.exposure is None else f"{1e3 * light.exposure:g} ms"
    gain = "not fixed" if light.gain is None else f"{light.gain:g}"
    white = "not fixed" if light.white_balance is None else f"{light.white_balance:g} K"
    return (
        f"exposure {exposure}, gain {gain}, white balance {white}; reference: luminance {light.luminance:.0f}, R/G "
        f"{light.red_to_green:.3f}, B/G {light.blue_to_green:.3f}"
    )


def _view(camera: CameraCalibration) -> str:
    if camera.view is None:
        return "not measured"
    pose = "arm pose recorded" if camera.view.joints else "arm pose not known"
    return f"{camera.view.source}, {pose}, SHA-256 {camera.view.sha256[:12]}..."


def _lens(name: str, lens: IntrinsicsInfo | None) -> list[list[str]]:
    if lens is None:
        return [[name, "not measured"]]
    names = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    values = (lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion)
    spread = None if lens.covariance is None else 2 * np.sqrt(np.diagonal(np.array(lens.covariance)))
    said = [
        f"{key} {value:.6g}" + ("" if spread is None else f" ± {spread[index]:.2g}")
        for index, (key, value) in enumerate(zip(names, values, strict=False))
    ]
    quality = [
        f"{label} {value:.3g}{unit}"
        for label, value, unit in (
            ("views", lens.views, ""),
            ("RMS", lens.rms, " px"),
            ("held out", lens.held_out_rms, " px"),
            ("covered", None if lens.coverage is None else 100 * lens.coverage, " %"),
            (
                "greatest tilt",
                None if lens.greatest_tilt is None else np.degrees(lens.greatest_tilt),
                " degrees",
            ),
        )
        if value is not None
    ]
    return [
        [name, "; ".join([f"{lens.source}, {lens.model}", ", ".join(said), ", ".join(quality)]).rstrip("; ")]
    ]


def _mount(mount: MountInfo) -> list[list[str]]:
    rejected = ", ".join(map(str, mount.rejected)) or "none"
    return [
        ["mount", _transform(mount.transform)],
        ["board then", _transform(mount.board)],
        ["poses", f"{mount.poses}; rejected: {rejected}"],
        [
            "noise that they show",
            f"{mount.sigma_px:.2f} px, {np.degrees(mount.sigma_joint):.3f} degrees; dh_is_offset {mount.dh_is_offset}",
        ],
    ]


def _transform(info: TransformInfo) -> str:
    sigmas = None if info.covariance is None else np.sqrt(np.diagonal(np.array(info.covariance)))
    millimetres = ", ".join(
        f"{1e3 * value:.2f}" + ("" if sigmas is None else f" ± {2e3 * sigmas[3 + axis]:.2g}")
        for axis, value in enumerate(info.translation)
    )
    turns = (
        "" if sigmas is None else f"; ± {', '.join(f'{2 * np.degrees(s):.2g}' for s in sigmas[:3])} degrees"
    )
    quaternion = ", ".join(f"{value:.5f}" for value in info.quaternion)
    return f"{info.child} in {info.parent}: {millimetres} mm; wxyz {quaternion}{turns}"


def _mounts(calibration: Calibration) -> list[str]:
    parts = []
    mounts = mounts_figure(calibration)
    if mounts is None:
        parts.append(paragraph("No mount was measured, or none with its uncertainty."))
    else:
        parts.append(
            figure(
                mounts,
                "How uncertain each mount is, by axis of its parent frame; dashed and dotted: where a warning begins.",
                "Two standard deviations of rotation and translation of each mount",
            )
        )
    zeros = zeros_figure(calibration)
    if zeros is None:
        parts.append(paragraph("No joint's zero was measured."))
    else:
        rows = [
            [camera.role, *(_zero(camera.mount, joint) for joint in range(JOINTS))]
            for camera in calibration.cameras
            if camera.mount is not None
        ]
        parts += [
            figure(
                zeros,
                "What each joint's zero is off by, seen by the camera named, ± 2 sigma; shaded: no warning.",
                "Zero offsets of joints 2 to 5",
            ),
            table(["zero offsets, degrees", *(f"joint {joint + 1}" for joint in range(JOINTS))], rows),
        ]
    return parts


def _zero(mount: MountInfo, joint: int) -> str:
    if not mount.zero_sigmas[joint]:
        return "cannot tell"
    return f"{np.degrees(mount.zero_offsets[joint]):.2f} ± {2 * np.degrees(mount.zero_sigmas[joint]):.2f}"


def _time(calibration: Calibration) -> str:
    rows = [
        [
            camera.role,
            f"{-1e3 * camera.latency.seconds:.1f} ± {2e3 * camera.latency.sigma:.1f}",
            f"{camera.latency.against} arm",
        ]
        for camera in calibration.cameras
        if camera.latency is not None
    ]
    if not rows:
        return paragraph("Latency was not measured.")
    return table(["", "a frame's stamp is late by, ms, ± 2 sigma", "against the feedback of"], rows)


def _board(calibration: Calibration) -> str:
    board, bases = calibration.board, calibration.bases
    rows = [["board", "not described"]]
    if board is not None:
        measured = (
            f"{1e3 * board.measured:.2f} mm over {board.columns} squares"
            if board.measured
            else "not measured"
        )
        rows = [
            [
                "board",
                f"{board.columns} x {board.rows}, {board.dictionary}{', legacy' if board.legacy else ''}",
            ],
            ["square, marker", f"{1e3 * board.square:.3f} mm, {1e3 * board.marker:.3f} mm"],
            ["ruler", measured],
        ]
    rows.append(["right base in left base", "not measured" if bases is None else _transform(bases)])
    rows += [
        ["witness", f"{len(each.looks)} looks of the {each.side} arm, {len(each.front)} of the front camera"]
        for each in calibration.witnesses
    ]
    return table(["", ""], rows, prose=(1,))


def _origin(calibration: Calibration, chain: Chain, captures: Sequence[KeptCapture]) -> list[str]:
    versions = [[name, version] for name, version in sorted(calibration.versions.items())]
    links = [[link.file.name, f"{link.created:%Y-%m-%d %H:%M}", link.sha256] for link in chain.links]
    kept = [
        [each.info.purpose, each.info.subject, each.info.folder, each.problem or "unaltered"]
        for each in captures
    ]
    parts = [table(["file", "made (UTC)", "SHA-256"], links, left=(1, 2))]
    if chain.broken:
        parts.append(paragraph(f"The chain breaks: {chain.broken}."))
    parts.append(
        table(["captures", "of", "folder", ""], kept, left=(1, 2), prose=(3,))
        if kept
        else paragraph("No captures are named: nothing here can be solved again.")
    )
    parts += [table(["made with", ""], versions), paragraph(f"Conventions: {CONVENTIONS}")]
    return parts
