"""What a calibration file proves and what it does not: every quantity judged, those that nobody measured named.

Nothing live is looked at: `gigaedge calibrate check` says whether the cell still is as the file says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gigaedge.calibration import Calibration, CameraCalibration, IntrinsicsInfo
from gigaedge.calibration_chain import Chain, KeptCapture
from gigaedge.robot import CAMERA_ROLES, SIDES, CameraRole, Side
from gigaedge_calibration import acceptance
from gigaedge_calibration.mounts import judge_answer
from gigaedge_calibration.verdicts import Judgement, Verdict, gravest, judged

BASES = "right base in left base"


def judge_file(calibration: Calibration, sides: Sequence[Side] = SIDES) -> list[Judgement]:
    """One row per quantity of every camera, then the board, the arms (those in `sides` are there) and the witness."""
    rows: list[Judgement] = []
    for role in CAMERA_ROLES:
        camera = calibration.camera(role)
        if camera is None:
            rows.append(
                _missing(
                    "role",
                    role,
                    "nothing is known of this camera",
                    "gigaedge calibrate roles SITE",
                    required=True,
                )
            )
            continue
        rows += [
            *_identity(camera),
            *_light(camera),
            *_view(camera),
            *_intrinsics(camera),
            *_mount(camera),
            *_latency(camera),
        ]
    rows += _skew(calibration)
    rows += _board(calibration)
    if len(sides) > 1:
        rows += _bases(calibration)
    rows += _witness(calibration, sides)
    return rows


def judge_kept(chain: Chain, captures: list[KeptCapture]) -> list[Judgement]:
    """Whether the file's history and the pictures that it was computed from are still there."""
    rows = [
        Judgement(
            "chain of files",
            "file",
            Verdict.WARN,
            cause=chain.broken,
            mend="copy the older files back beside it",
        )
        if chain.broken
        else Judgement("chain of files", "file", Verdict.PASS)
    ]
    broken = [each for each in captures if each.problem]
    for each in broken:
        name = f"captures: {each.info.purpose}"
        rows.append(
            Judgement(name, each.info.subject, Verdict.WARN, cause=each.problem, mend="copy them back")
        )
    if not broken:
        rows.append(Judgement("captures kept", "file", Verdict.PASS))
    return rows


def summary(judgements: Sequence[Judgement]) -> tuple[Verdict, str]:
    """The gravest verdict, and how many there are of each."""
    counts = {
        verdict: sum(row.verdict is verdict for row in judgements if row.measured) for verdict in Verdict
    }
    missing = sum(not row.measured for row in judgements)
    parts = [f"{counts[verdict]} {verdict.name}" for verdict in reversed(Verdict) if counts[verdict]]
    if missing:
        parts.append(f"{missing} not measured")
    return gravest(judgements), ", ".join(parts)


def _identity(camera: CameraCalibration) -> Iterator[Judgement]:
    role = camera.role
    if camera.proof == "motion":
        yield Judgement("role, proven by motion", role, Verdict.PASS)
    else:
        yield Judgement(
            "role, proven by motion",
            role,
            Verdict.WARN,
            cause="its serial number alone says so: cameras that changed places keep their numbers",
            mend="gigaedge calibrate roles SITE",
        )
    if camera.usb.startswith("2"):
        yield Judgement(
            "USB link",
            role,
            Verdict.FAIL,
            cause=f"USB {camera.usb} is too slow",
            mend="another cable or port",
        )
    elif camera.usb == "unknown":
        yield _missing(
            "USB link", role, "a slow link shows as dropped frames", "gigaedge calibrate roles SITE"
        )
    else:
        yield Judgement("USB link", role, Verdict.PASS)


def _light(camera: CameraCalibration) -> Iterator[Judgement]:
    light, role = camera.light, camera.role
    mend = "gigaedge calibrate light SITE"
    if light is None:
        cost = "colours may wander with the room's light; training varied none"
        yield _missing("light locked", role, cost, mend, required=True)
        return
    free = [name for name in ("exposure", "white_balance") if getattr(light, name) is None]
    if free:
        what = " and ".join(name.replace("_", " ") for name in free)
        cause = f"{what} not fixed: they may wander with the room's light; training varied no colours"
        yield Judgement("light locked", role, Verdict.WARN, cause=cause, mend=mend)
    else:
        yield Judgement("light locked", role, Verdict.PASS)


def _view(camera: CameraCalibration) -> Iterator[Judgement]:
    view, role = camera.view, camera.role
    mend = "gigaedge calibrate views SITE --capture"
    if view is None:
        cost = "nobody can say whether the policy still sees what it saw in training"
        yield _missing("reference view", role, cost, mend, required=True)
    elif view.joints is None and role != "cam_high":
        cause = "the arm's pose in the reference is not known: a wrist view depends on it"
        yield Judgement("reference view", role, Verdict.WARN, cause=cause, mend=mend)
    else:
        yield Judgement("reference view", role, Verdict.PASS)


def _intrinsics(camera: CameraCalibration) -> Iterator[Judgement]:
    lens, role = camera.intrinsics, camera.role
    mend = f"gigaedge calibrate intrinsics SITE --role {role}"
    if lens is None:
        cost = "hand-eye, witness and overlays rest on the factory's lens, or on none"
        yield _missing("lens", role, cost, mend)
        return
    if lens.rms is None:
        yield _missing("lens, reprojection error", role, f"the lens is {lens.source}", mend)
    else:
        yield judged(
            "lens, reprojection error",
            role,
            lens.rms,
            acceptance.INTRINSICS_RMS,
            cause="corners are found badly: blur, noise, a bent board, or another board than described",
            mend=mend,
        )
    if lens.rms and lens.held_out_rms is not None:
        yield judged(
            "lens, held-out error",
            role,
            lens.held_out_rms / lens.rms,
            acceptance.INTRINSICS_HELD_OUT,
            cause="the views do not predict each other: too few for this lens",
            mend=mend,
        )
    if lens.coverage is not None:
        yield judged(
            "lens, picture not covered",
            role,
            100 * (1 - lens.coverage),
            acceptance.INTRINSICS_UNCOVERED,
            cause="where no corner was seen, the lens is a guess",
            mend=mend,
        )
    yield from _uncertainty(lens, role, mend)
    if camera.factory is not None and lens.source != "factory":
        apart = 100 * max(abs(lens.fx / camera.factory.fx - 1), abs(lens.fy / camera.factory.fy - 1))
        yield judged(
            "lens, focal length against the factory's",
            role,
            apart,
            acceptance.INTRINSICS_FACTORY,
            cause="one of the two is wrong, or the board's squares are not square",
            mend="measure the print in both directions",
        )


def _uncertainty(lens: IntrinsicsInfo, role: CameraRole, mend: str) -> Iterator[Judgement]:
    if lens.covariance is None:
        cost = f"the lens is {lens.source} and comes without its uncertainty"
        yield _missing("lens, uncertainty", role, cost, mend)
        return
    if lens.projection_sigma is not None:
        yield judged(
            "lens, uncertainty in the policy's crop",
            role,
            lens.projection_sigma,
            acceptance.INTRINSICS_SIGMA,
            cause="parts of the picture, or the focal length, are known too little",
            mend=mend,
        )
    sigmas = np.sqrt(np.diagonal(np.array(lens.covariance)))
    yield judged(
        "lens, focal length, two sigma",
        role,
        200 * float(max(sigmas[0] / lens.fx, sigmas[1] / lens.fy)),
        acceptance.INTRINSICS_FOCAL,
        cause="focal length and distance are hard to tell apart in these views",
        mend="tilt the board by 30 to 45 degrees, another way each time",
    )


def _mount(camera: CameraCalibration) -> Iterator[Judgement]:
    mount, role = camera.mount, camera.role
    mend = f"gigaedge calibrate hand-eye SITE --camera {role}"
    if mount is None:
        cost = "no overlay, no witness: a joint or a camera that moved is not found"
        yield _missing("mount", role, cost, mend)
        return
    if mount.transform.covariance is None:
        yield _missing("mount, uncertainty", role, "the mount comes without its uncertainty", mend)
    if mount.held_out_ratio is None:
        yield _missing("mount, held-out error", role, "no pose was kept out to test it on", mend)
    yield from judge_answer(role, mount)
    for text in mount.causes:
        yield Judgement("mount, suspicion", role, Verdict.WARN, cause=text, mend=mend)
    offsets = np.degrees(np.abs(mount.zero_offsets))
    worst = int(np.argmax(offsets))
    yield judged(
        "joint zeros, greatest offset",
        role,
        float(offsets[worst]),
        acceptance.WITNESS_JOINT,
        sigma=float(np.degrees(mount.zero_sigmas[worst])),
        cause=f"joint {worst + 1} stands {offsets[worst]:.2f} degrees from where the arm says it does",
        mend="see `dh_is_offset`, or set that joint's zero anew; then calibrate again",
    )


def _latency(camera: CameraCalibration) -> Iterator[Judgement]:
    if camera.latency is None:
        cost = "state and picture are paired by time stamps that nobody checked"
        yield _missing("latency", camera.role, cost, "gigaedge calibrate time SITE")
        return
    yield judged(
        "latency, sigma",
        camera.role,
        1e3 * camera.latency.sigma,
        acceptance.LATENCY_SIGMA,
        cause="too little motion, or too noisy",
        mend="gigaedge calibrate time SITE --seconds 12",
    )


def _skew(calibration: Calibration) -> Iterator[Judgement]:
    known = [camera.latency for camera in calibration.cameras if camera.latency is not None]
    if len(known) < 2:
        cost = "pictures of one observation may be of different moments"
        yield _missing("skew between cameras", "cameras", cost, "gigaedge calibrate time SITE")
        return
    first, last = min(known, key=lambda each: each.seconds), max(known, key=lambda each: each.seconds)
    yield judged(
        "skew between cameras",
        "cameras",
        1e3 * (last.seconds - first.seconds),
        acceptance.SKEW,
        sigma=1e3 * float(np.hypot(first.sigma, last.sigma)),
        cause="pictures of one observation are of different moments",
        mend="the same model, firmware and rate for all cameras",
    )


def _board(calibration: Calibration) -> Iterator[Judgement]:
    board = calibration.board
    used = any(camera.mount is not None for camera in calibration.cameras)
    mend = "gigaedge calibrate board SITE --measured-mm ..."
    if board is not None and board.measured is not None:
        yield Judgement("board measured with a ruler", "board", Verdict.PASS)
    elif board is not None and used:
        cause = "0.5 % too large or small costs a mount 0.9 mm and shows in no residual"
        yield Judgement("board measured with a ruler", "board", Verdict.FAIL, cause=cause, mend=mend)
    else:
        yield _missing("board measured with a ruler", "board", "no mount can be calibrated without", mend)


def _bases(calibration: Calibration) -> Iterator[Judgement]:
    if calibration.bases is None:
        cost = "where the arms stand to each other is what the site file says"
        yield _missing(
            BASES,
            "arms",
            cost,
            "gigaedge calibrate hand-eye SITE for both wrists, the board fixed in the cell",
        )
    else:
        yield Judgement(BASES, "arms", Verdict.PASS)


def _witness(calibration: Calibration, sides: Sequence[Side]) -> Iterator[Judgement]:
    known = {witness.side: witness for witness in calibration.witnesses}
    for side in sides:
        mend = f"gigaedge calibrate witness SITE --side {side}"
        witness = known.get(side)
        if witness is None:
            cost = "a joint or camera that moves from now on is not named"
            yield _missing("witness", side, cost, mend)
        elif len(witness.looks) < 3 or not witness.front:
            lacking = f"{len(witness.looks)} looks" + ("" if witness.front else " and no front view")
            cause = f"{lacking}: some movements cannot be told apart, joint 1 from the board among them"
            yield Judgement(
                "witness",
                side,
                Verdict.WARN,
                cause=cause,
                mend=f"{mend} --looks 3",
            )
        else:
            yield Judgement("witness", side, Verdict.PASS)


def _missing(check: str, subject: str, cost: str, mend: str, *, required: bool = False) -> Judgement:
    """Not measured: a warning where the policy needs it, else a row without a verdict of its own."""
    verdict = Verdict.WARN if required else Verdict.PASS
    return Judgement(check, subject, verdict, cause=f"not measured: {cost}", mend=mend, measured=False)
