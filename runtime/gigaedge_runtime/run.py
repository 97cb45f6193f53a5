"""Run a site: start control, then the policy; watch both; end with the arms holding; report.

    supervisor (this process; hosts simulated arms)
    |-- control   owns the arms, 200 Hz            } each in a session of its own,
    |-- policy    cameras and ONNX Runtime         } joined by shared memory and lifelines
    `-- recorder  writes the flight record, if any }

Whatever ends first, the arms slow down and hold, powered: control sees the others' lifelines break. What is started
and watched is in `supervisor.py`; this file says in which order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from threading import current_thread, main_thread
from typing import Literal

from gigaedge.errors import GigaedgeError
from gigaedge.files import write_text
from gigaedge.site import Site
from gigaedge_runtime.children import StopFlag, stop_on_signals
from gigaedge_runtime.hosting import physical_world, simulated_arms
from gigaedge_runtime.latch import refuse_latched
from gigaedge_runtime.mailbox import Order
from gigaedge_runtime.preflight import check_cameras
from gigaedge_runtime.recording import Recording
from gigaedge_runtime.report import RunReport
from gigaedge_runtime.supervisor import Programs, Progress, Run


def run_site(
    site: Site,
    *,
    duration: float | None = None,
    dry_run: bool = False,
    park: bool = False,
    report: Path | None = None,
    record: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: StopFlag | None = None,
    programs: Programs = Programs(),
) -> RunReport:
    """Run a site for `duration` s (None: until SIGINT or SIGTERM), then let the arms hold.

    Args:
        site: the robot cell.
        duration: counted from when arms, cameras and policy are ready.
        dry_run: read the arms and compute chunks, but neither enable nor command an arm.
        park: at the end, move the arms slowly to their park poses, unless the run ended at fault or never powered
            them; a signal (another one, where a signal ended the run) stops that where it is.
        report: also write the report there, as JSON, or as a page (which needs matplotlib) where the name ends in
            `.html`; written after a failed run, too.
        record: the flight record (MCAP) to write; replaced. That it fails never ends a run.
        on_progress: called every half second from this thread.
        stop: another way to end it as a signal does; the signals work all the same.
        programs: the children; tests put others in their place.

    Raises what a child raised at its start (BundleError, CameraError, ArmError, ...); ArmError, ProcessError
    or CheckFailedError for a run that ended in `fault`, after the arms were brought to hold; ArmError for an
    arm that is still latched from an earlier run, and ConfigError for one without a park pose or a camera that
    is not the calibrated one, before anything is started.
    """
    if park:
        site.require_park()
    check_cameras(site)
    if not dry_run:
        refuse_latched(site)

    def drive(run: Run) -> None:
        run.start_arms()
        run.start_policy()
        run.watch(duration, on_progress)
        if park:
            run.park()

    return _supervise(
        site, drive, dry_run=dry_run, report=report, record=record, stop=stop, programs=programs
    )


def attend_arms(
    site: Site, order: Literal[Order.HOLD, Order.PARK], *, programs: Programs = Programs()
) -> RunReport:
    """Power the arms without a policy and let them hold where they are (HOLD), or park them (PARK).

    Raises ArmError: an arm is absent, latched, cannot be powered or came to fault; ConfigError: no park pose.
    """
    if order is Order.PARK:
        site.require_park()
    refuse_latched(site)

    def drive(run: Run) -> None:
        run.start_arms()
        run.attend(order)

    return _supervise(site, drive, programs=programs)


def _supervise(
    site: Site,
    drive: Callable[[Run], None],
    *,
    dry_run: bool = False,
    report: Path | None = None,
    record: Path | None = None,
    stop: StopFlag | None = None,
    programs: Programs,
) -> RunReport:
    """Let `drive` drive a run, whatever happens bring it to its end, and say what there is to say of it."""
    stop = stop or StopFlag()
    in_main_thread = current_thread() is main_thread()
    with ExitStack() as stack:
        # Signals come first and go last: from here to the end, Ctrl-C means an orderly end.
        stack.enter_context(stop_on_signals(stop) if in_main_thread else nullcontext())
        recording = None
        if record is not None:
            recording = Recording(record, site)
            stack.callback(recording.release)
        hosted = tuple(arm.side for arm in site.arms if arm.driver == "sim")
        physics = physical_world(site)
        site = stack.enter_context(simulated_arms(site, physics))
        run = stack.enter_context(Run.started(site, hosted, dry_run, programs, stop, recording))
        error: GigaedgeError | None = None
        try:
            drive(run)
        except GigaedgeError as problem:
            error = problem
        finally:
            run.end()
        error = error or run.failure()
        run.latch_lost_control(error)
        result = run.report(error, physics.report() if physics is not None else None)
        if report is not None:
            _write(result, report)
        if error is not None:
            raise error
        return result


def _write(result: RunReport, target: Path) -> None:
    if target.suffix != ".html":
        result.write(target)
        return
    # Matplotlib is an extra, and a run without a page needs none.
    from gigaedge_runtime.report_page import render

    write_text(target, render(result))
