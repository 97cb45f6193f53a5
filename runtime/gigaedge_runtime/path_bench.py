"""The whole loop, measured without hardware: from the exposure of simulated cameras to the CAN frame of simulated arms.

What runs is what runs on a robot: the processes of `run.run_site`, librealsense, ONNX Runtime, the limits, piper_sdk.
What is simulated shares the computer with it, and falls short of hardware like this:

- Cameras are librealsense software devices in the policy process. A picture is handed over in memory when it is
  stamped: `transport` has no exposure, no readout and no USB in it.
- Arms are simulated PiPERs in this process, on a bus that is a Unix socket (`devices/sim_bus.py`). Taking a frame is
  one system call, as with SocketCAN; there is no adapter and no arbitration behind it.
- Pictures show a moving pattern: the policy's motions have no meaning, and any chunk is followed, however far it
  begins from the arms.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from gigaedge.benchmark import Distribution, PathInfo
from gigaedge.bundle import Manifest, open_bundle
from gigaedge.errors import ArmError, CameraError, CheckFailedError, InputError, ProcessError
from gigaedge.robot import CAMERA_ROLES, SIDES
from gigaedge.sampling import Solver
from gigaedge.site import Site
from gigaedge_runtime.executor import takes_guidance
from gigaedge_runtime.hosting import SIM_HOME
from gigaedge_runtime.providers import Provider
from gigaedge_runtime.report import RunReport, Spread
from gigaedge_runtime.run import run_site
from gigaedge_runtime.supervisor import Progress

SIMULATED: Final = (
    "exposure to CAN: cameras and arms are simulated on this computer (real librealsense, real piper_sdk); exposure "
    "time, USB, the CAN adapter and the wire are not in these figures"
)
"""What a report that holds a `PathInfo` has to say."""

REPLAN: Final = 6
"""Actions until the next chunk is due: 0.2 s at 30 Hz, so that some seconds hold many chunks. A slower policy computes
one chunk after the other."""

MAX_IMAGE_AGE: Final = 0.5
MAX_FEEDBACK_AGE: Final = 0.2
"""s; above a robot's own: what delivers pictures and feedback waits for the same processors as what takes them."""

ANYWHERE: Final = 10.0
"""rad; more than any joint turns."""


def measure_path(
    bundle: Path,
    *,
    arms: int,
    seconds: float,
    provider: Provider = "cpu",
    threads: int = 0,
    steps: int | None = None,
    solver: Solver = "euler",
    progress: Callable[[Progress], None] | None = None,
) -> PathInfo:
    """Run a bundle on a simulated cell for `seconds`; every chunk that the arms follow is a sample.

    Args:
        bundle: a bundle's folder.
        arms: 1 or 2; the policy always sees two, a missing one stands still.
        seconds: counted from when cameras, arms and policy are ready.
        provider: where the graphs run.
        threads: of ONNX Runtime on the CPU; 0 leaves one core to control and cameras.
        steps: of the sampler; None: the bundle's first count.
        solver: of the sampler.
        progress: called every half second from this thread.

    Raises BundleError, DeviceError: as `Policy.load`; ProcessError: the run came to a fault, as on a machine that is
    too busy; CheckFailedError: no chunk came in time to be followed; InputError: not 1 or 2 arms; KeyboardInterrupt.
    """
    if arms not in (1, 2):
        raise InputError(f"arms: expected 1 or 2, got {arms}")
    manifest = open_bundle(bundle).manifest
    site = _cell(bundle, manifest, arms, seconds)
    inference = site.inference.model_copy(
        update={"provider": provider, "threads": threads, "steps": steps, "solver": solver}
    )
    site = site.model_copy(update={"inference": inference})
    try:
        report = run_site(site, duration=seconds, on_progress=progress)
    except (ArmError, CameraError, ProcessError) as error:
        raise ProcessError(
            f"the simulated cell with {_count(arms)} did not run to its end: {error}; the devices are simulated, so "
            "this machine was too busy: close other programs, then try again"
        ) from error
    if report.ended_by == "signal":
        raise KeyboardInterrupt
    return path_info(report, arms, manifest.action.chunk / manifest.action.rate_hz)


def path_info(report: RunReport, arms: int, lasts: float) -> PathInfo:
    """What a run with `arms` arms, whose chunks last `lasts` s, found of its path.

    Raises CheckFailedError: the arms followed no chunk.
    """
    control, policy = report.control, report.policy
    path = policy.path if policy is not None else None
    if control is None or policy is None or path is None:
        took = policy.stages["total"].p50 if policy is not None and policy.chunks else None
        when = "none was made" if took is None else f"half of them took {took:.2f} s from exposure, or longer"
        raise CheckFailedError(
            f"the simulated cell with {_count(arms)}: no chunk came in time to be followed; "
            f"a chunk lasts {lasts:.2f} s, {when}; run longer, or choose fewer steps or a faster provider"
        )
    return PathInfo(
        arms=arms,
        duration_s=report.duration,
        chunks=path.exposure_to_can.count,
        stages={name: distribution(spread) for name, spread in path.stages.items()},
        exposure_to_can=distribution(path.exposure_to_can),
        host=distribution(path.host),
        tick_work=distribution(control.work),
        tick_period=distribution(control.period),
        deadline_misses=control.missed,
        late={str(cause): count for cause, count in control.late.items()},
    )


def distribution(spread: Spread) -> Distribution:
    """The same in ms."""
    return Distribution(
        count=spread.count,
        mean=1e3 * spread.mean,
        sd=1e3 * spread.sd,
        min=1e3 * spread.min,
        p50=1e3 * spread.p50,
        p90=1e3 * spread.p90,
        p99=1e3 * spread.p99,
        p999=1e3 * spread.p999,
        max=1e3 * spread.max,
    )


def _cell(bundle: Path, manifest: Manifest, arms: int, seconds: float) -> Site:
    """Three cameras as a D435 delivers them, and the arms."""
    sampling = manifest.graphs["step" if manifest.layout == "split" else "policy"]
    absent = {"driver": "absent", "pose": SIM_HOME}
    return Site.model_validate(
        {
            "bundle": bundle,
            "cameras": [
                {"role": role, "driver": "sim", "width": 640, "height": 480, "fps": 30}
                for role in CAMERA_ROLES
            ],
            "arms": [
                {"side": side, **({"driver": "sim"} if index < arms else absent)}
                for index, side in enumerate(SIDES)
            ],
            "timing": {
                "max_image_age": MAX_IMAGE_AGE,
                "max_skew": MAX_IMAGE_AGE,
                "max_feedback_age": MAX_FEEDBACK_AGE,
                "replan_after": min(REPLAN, max(1, manifest.action.chunk // 2)),
                "resume_tolerance": ANYWHERE,
                "approach_timeout": seconds + 60.0,
            },
            "execution": {"handover": "rtc" if takes_guidance(sampling) else "crossfade"},
        }
    )


def _count(arms: int) -> str:
    return f"{arms} arm" + ("s" if arms > 1 else "")
