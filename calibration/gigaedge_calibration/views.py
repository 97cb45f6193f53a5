"""What has become of a camera's view: a live picture against the reference, judged in the pixels that the policy sees.

Scenery that stands still is compared by its features; of a wrist camera only where the arm is where it was, else its
own gripper, which is rigid with it. A view that cannot be told is a failure, with that cause. Nothing is undistorted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import CalibrationError
from gigaedge.robot import JOINTS, CameraRole, Side, arm_slice
from gigaedge.tiles import Tile
from gigaedge_calibration.acceptance import (
    CLIPPED,
    COLOUR,
    FOCUS,
    LUMINANCE,
    VIEW_FRONT,
    VIEW_OTHER,
    VIEW_ROLL,
    VIEW_SCALE,
    VIEW_WRIST,
)
from gigaedge_calibration.aiming import Aim, aim, arrows
from gigaedge_calibration.gripper import GripperOffset, gripper_offset
from gigaedge_calibration.light_score import clipped, light_score
from gigaedge_calibration.matching import Features, Match, find_features, match
from gigaedge_calibration.references import Reference
from gigaedge_calibration.verdicts import Judgement, Limit, Verdict, judged

Array = NDArray[np.float64]

SAME_POSE: Final = float(np.radians(0.5))
"""A wrist view is compared when no joint is further from where it was, rad: about 1.5 px of the composite."""
SAME_OPENING: Final = 0.003
"""The gripper is compared when its opening differs by less, m."""
_WEAK: Final = 0.15
"""With a smaller part of the reference's features found again, a mirrored picture is tried."""
_CLEARLY: Final = 2
"""So many times the matches, and it is another view."""
_FRONT_SLACK: Final = 24.0
_WRIST_SLACK: Final = 48.0
"""Composite px; the limits VIEW_FRONT and VIEW_WRIST are of a 640x480 picture's slack."""


@dataclass(frozen=True)
class Comparison:
    """One camera's view against its reference."""

    role: CameraRole
    judgements: tuple[Judgement, ...]
    notes: tuple[str, ...]
    """What was not compared, and why."""
    match: Match | None
    """Of the scenery; None: not compared, or not found again."""
    gripper: GripperOffset | None
    hint: str
    """How to re-aim the camera, in words; empty: no need, or not known."""


def compare(
    reference: Reference,
    image: NDArray[np.uint8],
    state: NDArray[np.float64] | None = None,
    others: tuple[Reference, ...] = (),
) -> Comparison:
    """Judge a live RGB picture, shape (height, width, 3).

    `state`: of the robot now, 14 values; None: not known. `others`: the references of the other cameras, to see
    whether two have changed places.
    """
    size = (image.shape[1], image.shape[0])
    there = reference.tile(size)
    notes: list[str] = []
    same_size = size == reference.size
    region = reference.info.gripper if same_size else None
    features = find_features(image, there, without=region)
    elsewhere = pose_difference(reference, state)
    found = None if elsewhere else match(reference.features, features)
    strange = _exchanged(reference, features, found, others)
    rows: list[Judgement] = []
    seen: Aim | None = None
    if strange is not None:
        rows.append(strange)
        found = None
    elif found is not None and _upright(found):
        if reference.lens is not None and same_size:
            seen = aim(found, there, reference.lens, reference.distance)
        rows += _view_rows(reference.role, found, there, _mend(found, seen, mirror=reference.mirror), seen)
    elif not elsewhere:
        rows.append(_odd_view(reference, features, found, image))
        found = None
    offset = None
    if region is not None and strange is None:
        opening = opening_difference(reference, state)
        if opening:
            notes.append(f"{reference.role}: gripper not compared: {opening}")
        else:
            offset, gripper_rows = _gripper(reference, image, there, sure=found is None)
            rows += gripper_rows
    if elsewhere and offset is None and strange is None:
        rows.append(_not_compared(reference, elsewhere))
    elif elsewhere and strange is None:
        notes.append(f"{reference.role}: scenery not compared: {elsewhere}")
    if not same_size:
        before = "x".join(map(str, reference.size))
        notes.append(
            f"{reference.role}: light not compared: pictures are {size[0]}x{size[1]} px, were {before} px"
        )
    else:
        rows += _light_rows(reference, image, found, offset, comparable=not elsewhere and strange is None)
    hint = _mend(found, seen, mirror=reference.mirror) if found is not None and seen is not None else ""
    return Comparison(reference.role, tuple(rows), tuple(notes), found, offset, hint)


def shift_limits(role: CameraRole, place: Tile) -> tuple[Limit, Limit]:
    """How far a view may be shifted horizontally and vertically: a quarter of what training varied is good, half is
    usable, and where it varied nothing the noise and a judgement decide.
    """
    base, trained = (VIEW_FRONT, _FRONT_SLACK) if role == "cam_high" else (VIEW_WRIST, _WRIST_SLACK)
    limits = []
    for slack in place.slack:
        part = slack / trained
        wide = replace(
            base,
            warn=base.warn * part,
            fail=base.fail * part,
            why=base.why.replace(f"{trained:g}", f"{slack:g}"),
        )
        limits.append(wide if wide.warn > VIEW_OTHER.warn else VIEW_OTHER)
    return limits[0], limits[1]


def side_of(role: CameraRole) -> Side | None:
    """The arm that a camera sits on; None: it is fixed."""
    return {"cam_left_wrist": "left", "cam_right_wrist": "right"}.get(role)  # type: ignore[return-value]


def pose_difference(reference: Reference, state: NDArray[np.float64] | None) -> str:
    """Why a camera is not where it was, as far as its arm says; empty: it is."""
    side = side_of(reference.role)
    if side is None:
        return ""
    if reference.info.joints is None:
        return "where the arm was is not known; capture a reference with the arms on"
    if state is None:
        return "where the arm is is not known"
    joints = arm_slice(side)
    change = np.array(reference.info.joints)[joints][:JOINTS] - state[joints][:JOINTS]
    far = [
        f"joint {joint + 1} by {np.degrees(change[joint]):+.1f}"
        for joint in range(JOINTS)
        if abs(change[joint]) > SAME_POSE
    ]
    return f"the {side} arm is elsewhere; move {', '.join(far)} degrees" if far else ""


def opening_difference(reference: Reference, state: NDArray[np.float64] | None) -> str:
    """Why a gripper is not as it was; empty: it is, or nobody knows."""
    side = side_of(reference.role)
    if side is None or state is None or reference.info.joints is None:
        return ""
    before, now = reference.info.joints[arm_slice(side)][JOINTS], float(state[arm_slice(side)][JOINTS])
    if abs(before - now) <= SAME_OPENING:
        return ""
    return f"the {side} gripper is open {now * 1e3:.0f} mm; open it {before * 1e3:.0f} mm as it was"


def _upright(found: Match) -> bool:
    return not found.mirrored and abs(found.roll) < np.pi / 4


def _exchanged(
    reference: Reference, features: Features, found: Match | None, others: tuple[Reference, ...]
) -> Judgement | None:
    """A failure when the picture is clearly that of another camera."""
    own = found.inliers if found is not None else 0
    matches = [(other.role, match(other.features, features)) for other in others]
    count, role = max(((m.inliers, role) for role, m in matches if m is not None), default=(0, None))
    if count <= _CLEARLY * own:
        return None
    return Judgement(
        "view",
        reference.role,
        Verdict.FAIL,
        cause=f"shows what {role} should see ({count} features against {own})",
        mend="swap their cables, or their serials in the site file (`gigaedge calibrate roles` proves which)",
    )


def _odd_view(
    reference: Reference, features: Features, found: Match | None, image: NDArray[np.uint8]
) -> Judgement:
    """Mirrored, turned by a quarter or half, or not found again."""
    wanted = len(reference.features.points)
    if found is None or found.inliers < _WEAK * wanted:
        reflected = match(reference.mirrored, features)
        if reflected is not None and reflected.inliers > _CLEARLY * (
            found.inliers if found is not None else 0
        ):
            found = reflected
    if found is None:
        change = float(image.mean()) / max(float(reference.image.mean()), 1.0) - 1
        mend = "look at both pictures: is it the right camera, is something in front of it, was the cell rebuilt?"
        cause = f"cannot tell: the reference is not found again among {len(features.points)} features"
        if LUMINANCE.judge(100 * abs(change)) is not Verdict.PASS:
            cause += f", the picture is {abs(100 * change):.0f} % {'brighter' if change > 0 else 'darker'}"
            mend = "correct exposure and light first"
        return Judgement("view", reference.role, Verdict.FAIL, cause=cause, mend=mend)
    degrees = float(np.degrees(found.roll))
    upside_down = abs(degrees) > 135
    if found.mirrored:
        mend = f"change `flip` of this camera by a {'vertical' if upside_down else 'horizontal'} mirror"
        return Judgement("view", reference.role, Verdict.FAIL, cause="the picture is mirrored", mend=mend)
    if upside_down:
        cause = "the picture is upside down"
        mend = "turn the camera by half, or correct `flip` (`both` is a half turn)"
    else:
        cause, mend = f"the picture is turned by {degrees:.0f} degrees", "mount the camera as it was"
    return Judgement("view roll", reference.role, Verdict.FAIL, abs(degrees), None, VIEW_ROLL, cause, mend)


def _not_compared(reference: Reference, why: str) -> Judgement:
    mend = "or capture its reference with `--gripper LEFT,TOP,RIGHT,BOTTOM`, which needs no arm pose"
    return Judgement("view", reference.role, Verdict.WARN, cause=f"not compared: {why}", mend=mend)


def _mend(found: Match, seen: Aim | None, *, mirror: bool) -> str:
    if seen is not None:
        return arrows(seen, mirror=mirror)
    x, y = found.shift
    steps = [
        f"{abs(value):.0f} px {words[int(value > 0)]}"
        for value, words in ((x, ("right", "left")), (y, ("down", "up")))
        if abs(value) >= 1
    ]
    return f"aim it until the picture has moved {' and '.join(steps)}" if steps else ""


def _view_rows(role: CameraRole, found: Match, place: Tile, mend: str, seen: Aim | None) -> list[Judgement]:
    cause = "the camera was moved or turned"
    if seen is not None:
        cause = "the camera was moved, not only turned" if seen.parallax else "the camera was turned"
    sigma = found.spread / np.sqrt(found.inliers)
    rows = [
        judged(
            f"view shift, {axis}", role, abs(float(shift)), limit, sigma=float(sigma), cause=cause, mend=mend
        )
        for axis, shift, limit in zip(
            ("horizontal", "vertical"), found.shift, shift_limits(role, place), strict=True
        )
    ]
    roll = abs(float(np.degrees(found.roll)))
    rows.append(judged("view roll", role, roll, VIEW_ROLL, cause="the camera is rolled", mend=mend))
    scale = 100 * abs(found.scale - 1)
    cause = f"everything appears {'larger' if found.scale > 1 else 'smaller'}"
    closer = "move the camera away" if found.scale > 1 else "move the camera nearer"
    rows.append(
        judged(
            "view scale", role, scale, VIEW_SCALE, cause=cause, mend=f"{closer}, or restore the stream's size"
        )
    )
    return rows


def _gripper(
    reference: Reference, image: NDArray[np.uint8], place: Tile, *, sure: bool
) -> tuple[GripperOffset | None, list[Judgement]]:
    """`sure`: nothing else tells where the camera is."""
    role, region = reference.role, reference.info.gripper
    if region is None:
        return None, []
    try:
        offset = gripper_offset(reference.image, image, region)
    except CalibrationError as error:
        verdict = Verdict.FAIL if sure else Verdict.WARN
        return None, [Judgement("gripper", role, verdict, cause=f"cannot tell: {error}")]
    cause, mend = (
        "the camera turned on its bracket",
        "bring it back until the gripper is where it was; fix the bracket",
    )
    rows = []
    for axis, limit in enumerate(shift_limits(role, place)):
        value = abs(float(offset.shift[axis])) * place.scale[axis]
        sigma = float(np.sqrt(offset.covariance[axis, axis])) * place.scale[axis]
        name = f"gripper shift, {('horizontal', 'vertical')[axis]}"
        rows.append(judged(name, role, value, limit, sigma=sigma, cause=cause, mend=mend))
    roll = abs(float(np.degrees(offset.roll)))
    sigma = float(np.degrees(np.sqrt(offset.covariance[2, 2])))
    rows.append(judged("gripper roll", role, roll, VIEW_ROLL, sigma=sigma, cause=cause, mend=mend))
    return offset, rows


def _light_rows(
    reference: Reference,
    image: NDArray[np.uint8],
    found: Match | None,
    offset: GripperOffset | None,
    *,
    comparable: bool,
) -> list[Judgement]:
    role = reference.role
    rows = []
    if comparable:
        more = [now - before for now, before in zip(clipped(image), clipped(reference.image), strict=True)]
        cause, mend = "parts of the picture are white", "shorten the exposure, or take the glare away"
        if more[1] > more[0]:
            cause, mend = (
                "parts of the picture are black",
                "lengthen the exposure, add light, look at the lens cap",
            )
        rows.append(judged("exposure", role, 100 * max(0.0, *more), CLIPPED, cause=cause, mend=mend))
    score = None
    if found is not None:
        score = light_score(reference.image, image, _in_pixels(found, reference.tile(reference.size)))
    elif offset is not None and reference.info.gripper is not None:
        score = light_score(
            reference.image, image, _gripper_transform(offset, reference.info.gripper), reference.info.gripper
        )
    if score is None:
        if comparable:
            change = 100 * (float(image.mean()) / max(float(reference.image.mean()), 1.0) - 1)
            rows.append(_luminance(role, change))
        return rows
    rows.append(_luminance(role, 100 * score.luminance))
    for name, value in (("red", score.red_to_green), ("blue", score.blue_to_green)):
        cause = f"{abs(100 * value):.0f} % {'more' if value > 0 else 'less'} {name} to green than in the reference"
        rows.append(
            judged(
                f"colour, {name} to green",
                role,
                100 * abs(value),
                COLOUR,
                cause=cause,
                mend="lock the white balance (`gigaedge calibrate light SITE --lock`), then look at the lamps",
            )
        )
    mend = "clean the lens; if that does not help, the focus has changed"
    rows.append(judged("focus", role, score.focus, FOCUS, cause="less sharp than the reference", mend=mend))
    return rows


def _luminance(role: CameraRole, change: float) -> Judgement:
    cause = f"{abs(change):.0f} % {'brighter' if change > 0 else 'darker'} than the reference"
    mend = "lock the exposure (`gigaedge calibrate light SITE --lock`), then look at the lamps"
    return judged("luminance", role, abs(change), LUMINANCE, cause=cause, mend=mend)


def _in_pixels(found: Match, place: Tile) -> Array:
    """The similarity in px of the picture, shape (2, 3)."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    moved = place.picture(place.composite(corners) @ found.transform[:, :2].T + found.transform[:, 2])
    return np.column_stack([moved[1] - moved[0], moved[2] - moved[0], moved[0]])


def _gripper_transform(offset: GripperOffset, region: tuple[int, int, int, int]) -> Array:
    left, top, right, bottom = region
    middle = np.array([(left + right - 1) / 2, (top + bottom - 1) / 2])
    cosine, sine = np.cos(offset.roll), np.sin(offset.roll)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turn, middle + offset.shift - turn @ middle])
