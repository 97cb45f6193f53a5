"""A run's report as a page: how it ended, from seeing to moving, what the loop and the cameras did, what limits held.

Everything on it is in the JSON report, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gigaedge.benchmark import PATH_STAGES
from gigaedge.benchmark_plots import number
from gigaedge.pages import banner, bullets, details, figure, page, paragraph, section, table, tiles
from gigaedge_runtime.report import (
    CameraHealth,
    ControlReport,
    PolicyReport,
    RecordingReport,
    RunReport,
    Spread,
)
from gigaedge_runtime.report_plots import CAUSES, clamps_figure, spreads_figure, story_figure, way_figure

SPREAD_HEADER: Final = ("count", "mean", "sd", "min", "p50", "p90", "p99", "p99.9", "max")
SHORT_HEADER: Final = ("count", "p50", "p90", "p99", "p99.9", "max")

_CAMERA_HEADER: Final = (
    *(
        "camera",
        "serial",
        "USB",
        "firmware",
        "frames",
        "Hz",
        "dropped",
        "late",
        "twice",
        "stamp not believed",
    ),
    *("not as set", "reconnects", "transport p50 / p99, ms", "skew p50 / p99, ms", "stamps", "set to"),
)


def render(report: RunReport) -> str:
    """The whole page. Needs matplotlib."""
    control, policy = report.control, report.policy
    parts = [
        _banner(report),
        tiles(_headline(report)),
        section("Run", table(["", ""], _facts(report), prose=(1,))),
    ]
    notices = [] if control is None else control.notices
    if notices:
        parts.append(section("Notices", bullets(notices)))
    parts.append(_way(report, policy))
    if control is not None:
        parts += [_story(control), _loop(control), _limits(control), _seams(control)]
    if policy is not None and policy.cameras:
        parts.append(_cameras(policy))
    if control is not None:
        parts.append(_joints(control))
    if report.recording is not None:
        parts.append(_recording(report.recording))
    return page("Run report", parts)


def _banner(report: RunReport) -> str:
    fault = None if report.control is None else report.control.fault
    if report.error is not None or fault is not None:
        return banner("FAULT" if fault is not None else "FAILED", "fail", report.error or fault or "")
    how = "after the time asked for" if report.ended_by == "duration" else f"by {report.ended_by}"
    done = "dry run; the arms were only read" if report.dry_run else "the arms hold"
    return banner("ENDED AS ASKED", "pass", f"Ended {how}; {done}.")


def _headline(report: RunReport) -> list[tuple[str, str]]:
    found = [(f"{report.duration:.1f} s", "duration"), (str(report.chunks), "chunks")]
    policy, control = report.policy, report.control
    if policy is not None and policy.path is not None:
        found.append((f"{_both(policy.path.exposure_to_can)} ms", "exposure to CAN, p50 / p99"))
    elif policy is not None and "inference" in policy.stages:
        found.append((f"{_both(policy.stages['inference'])} ms", "inference, p50 / p99"))
    if control is not None:
        found.append((f"{_both(control.work)} ms", "work of a control tick, p50 / p99"))
        found.append((str(control.missed), f"control ticks missed, of {control.ticks}"))
        found.append((str(sum(control.clamps.totals().values())), "times a limit held back a target"))
    return found


def _both(spread: Spread) -> str:
    return f"{number(1e3 * spread.p50)} / {number(1e3 * spread.p99)}"


def _facts(report: RunReport) -> list[list[str]]:
    rows = [["ended by", report.ended_by], ["duration", f"{report.duration:.1f} s"]]
    if report.dry_run:
        rows.append(["dry run", "no arm was enabled or commanded"])
    processes = [
        f"{name} {pid}" + (f" ({report.memory[name] / 1e6:.0f} MB at most)" if name in report.memory else "")
        for name, pid in report.pids.items()
    ]
    rows.append(["processes", ", ".join(processes) or "none"])
    if (cell := report.physics) is not None:
        done = (
            "not done" if cell.done_after is None else f"done after {cell.done_after:.1f} s of simulated time"
        )
        rows.append(
            ["physical cell", f"{cell.task}, seed {cell.seed}: {done}; {cell.skipped:.1f} s left out"]
        )
    policy, control = report.policy, report.control
    if policy is None:
        rows.append(["policy", "ended without a report"])
    else:
        ran = ", ".join(f"{name} ({nodes or 'uncounted'} nodes)" for name, nodes in policy.ran_on.items())
        rows += [
            ["policy ran on", ran or "not told"],
            ["chunks", f"{policy.chunks} made, {policy.guided} of them to continue the one before"],
            ["observations refused", _counts(policy.refused)],
            ["odd camera frames", _counts(policy.odd_frames)],
        ]
    if control is None:
        rows.append(["control", "ended without a report"])
    else:
        enabled = ", ".join(f"{side} {'yes' if on else 'no'}" for side, on in control.enabled.items())
        rows += [
            ["last state", control.state],
            ["arms enabled", enabled or "none"],
            [
                "firmware",
                ", ".join(f"{side} {text or 'not told'}" for side, text in control.firmware.items()) or "-",
            ],
            ["commands", f"{control.sends} sent, {control.failed_sends} failed"],
            ["chunks too late", str(control.chunks_late)],
            ["scheduling", control.scheduling],
        ]
        if control.fault is not None:
            rows += [
                ["fault", f"{control.fault} ({control.fault_code})"],
                ["command stood still after", _seconds(control.held_after)],
                ["arms stood still after", _seconds(control.standstill_after)],
            ]
    return rows


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} x {count}" for name, count in counts.items()) or "none"


def _seconds(duration: float | None) -> str:
    return "not known" if duration is None else f"{1e3 * duration:.0f} ms"


def _cells(spread: Spread, scale: float = 1e3) -> list[str]:
    """Under `SPREAD_HEADER`; s become ms."""
    values = (spread.mean, spread.sd, spread.min, spread.p50, spread.p90, spread.p99, spread.p999, spread.max)
    return [str(spread.count), *(number(scale * value) for value in values)]


def _short(spread: Spread, scale: float) -> list[str]:
    """Under `SHORT_HEADER`."""
    values = (spread.p50, spread.p90, spread.p99, spread.p999, spread.max)
    return [str(spread.count), *(number(scale * value) for value in values)]


def _way(report: RunReport, policy: PolicyReport | None) -> str:
    parts = []
    path = None if policy is None else policy.path
    if path is None:
        why = "this was a dry run" if report.dry_run else "none was followed by an arm that had power"
        parts.append(paragraph(f"No chunk reached the CAN bus: {why}."))
    else:
        caption = (
            "Each stage begins where the usual one before it ended; the thin line reaches to its own p99. The last "
            "bar is the whole, chunk by chunk: percentiles of stages do not add up to it."
        )
        whole = path.exposure_to_can
        parts.append(
            figure(way_figure(path), caption, f"Stages from exposure to CAN: p50 / p99 {_both(whole)} ms")
        )
        rows = []
        for name in PATH_STAGES:
            rows.append([name.replace("_", " "), *_cells(path.stages[name])])
            if name == "inference":
                rows += [[f"of it {part}", *_cells(spread)] for part, spread in path.inference.items()]
        rows += [
            ["exposure to CAN", *_cells(whole)],
            ["to the last frame", *_cells(path.exposure_to_last_frame)],
            ["host", *_cells(path.host)],
        ]
        parts.append(table(["stage, ms", *SPREAD_HEADER], rows))
        said = "Host: state, compose and publish. Last frame: of that command, of both arms and grippers."
        if path.by_arrival:
            said += f" In {path.by_arrival} chunks the picture's stamp was not believed: transport counts as 0 there."
        parts.append(paragraph(said))
    if policy is not None and policy.stages:
        rows = [[name.replace("_", " "), *_cells(spread)] for name, spread in policy.stages.items()]
        every = "All chunks, followed by the arms or not, up to their publication"
        parts.append(details(every, table(["stage, ms", *SPREAD_HEADER], rows)))
    return section("From seeing to moving", *parts)


def _story(control: ControlReport) -> str:
    if not control.states:
        return section("What happened", paragraph(f"The state was {control.state} throughout."))
    rows = [[f"{change.time:.3f}", change.state, change.reason] for change in control.states]
    caption = "The states of the control loop" + (
        ", and ticks that came late." if control.late_ticks else "."
    )
    alt = f"States over time: {', '.join(change.state for change in control.states[:8])}"
    return section(
        "What happened",
        figure(story_figure(control), caption, alt),
        table(["time, s", "state", "because"], rows, left=(1,), prose=(2,)),
    )


def _loop(control: ControlReport) -> str:
    spreads = {"period": control.period, "work": control.work}
    spreads |= {f"of it {name}": spread for name, spread in control.stages.items()}
    spreads = {name: spread for name, spread in spreads.items() if spread.count}
    parts = []
    if spreads:
        parts += [
            figure(
                spreads_figure(spreads, "time of a control tick (ms)"),
                "Dot: p50; thick: up to p99; mark: p99.9; thin: up to the largest.",
                f"Control ticks: work {_both(control.work)} ms, period {_both(control.period)} ms, p50 / p99",
            ),
            table(
                ["tick, ms", *SPREAD_HEADER], [[name, *_cells(spread)] for name, spread in spreads.items()]
            ),
        ]
    late: dict[str, int] = {cause: control.late[cause] for cause in CAUSES if cause in control.late}
    said = f"{control.ticks} ticks, {control.missed} missed. Late ticks, by cause: {_counts(late)}."
    parts.append(paragraph(said))
    if control.late_ticks:
        rows = [
            [
                f"{tick.time:.3f}",
                tick.cause,
                *(
                    number(1e3 * value)
                    for value in (
                        tick.period,
                        tick.worked,
                        tick.computed,
                        tick.queued,
                        tick.others,
                        tick.stolen,
                    )
                ),
            ]
            for tick in control.late_ticks
        ]
        header = [
            "time, s",
            "cause",
            "period, ms",
            "tick before",
            "computed",
            "queued",
            "other threads",
            "stolen",
        ]
        parts.append(table(header, rows, left=(1,)))
    return section("Control loop", *parts)


def _limits(control: ControlReport) -> str:
    clamps = control.clamps
    totals = clamps.totals()
    if not sum(totals.values()):
        return section("Limits", paragraph("No limit held back a target."))
    parts = [paragraph(f"How often a target was held back: {_counts(totals)}.")]
    names = list(control.travel_measured)
    by_joint = (clamps.position, clamps.velocity, clamps.acceleration, clamps.jerk, clamps.lead)
    if names and any(sum(counts.values()) for counts in by_joint):
        caption = (
            "Lead: the target was too far from the measured pose. Workspace and clearance are of whole arms."
        )
        parts.append(figure(clamps_figure(names, clamps), caption, f"Limits by joint: {_counts(totals)}"))
    return section("Limits", *parts)


def _seams(control: ControlReport) -> str:
    seam = control.seam
    if not seam.position.count:
        return section("Hand-overs between chunks", paragraph("No chunk handed over to another."))
    shown = [
        ("jump, mrad", seam.position, 1e3),
        ("jump of velocity, mrad/s", seam.velocity, 1e3),
        ("jump of acceleration, rad/s²", seam.acceleration, 1.0),
        ("after the observation, ms", seam.delay, 1e3),
        ("expected of the same, ms", seam.planned_delay, 1e3),
        ("later than expected, ms", seam.late, 1e3),
    ]
    rows = [[name, *_short(spread, scale)] for name, spread, scale in shown if spread.count]
    return section("Hand-overs between chunks", table(["", *SHORT_HEADER], rows))


def _cameras(policy: PolicyReport) -> str:
    rows = [_camera(camera) for camera in policy.cameras]
    return section("Cameras", table(_CAMERA_HEADER, rows, left=(len(_CAMERA_HEADER) - 1,)))


def _camera(health: CameraHealth) -> list[str]:
    settings = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in health.settings.items())
    counts = (
        *(health.dropped, health.out_of_order, health.duplicates, health.untrusted_stamps, health.unlocked),
        health.reconnects,
    )
    spreads = [_both(spread) if spread.count else "-" for spread in (health.transport, health.skew)]
    return [
        *(health.role, health.serial or health.source, health.usb or "-", health.firmware or "-"),
        *(str(health.frames), f"{health.rate:.1f}"),
        *map(str, counts),
        *spreads,
        _counts(health.stamps),
        settings or "auto",
    ]


def _joints(control: ControlReport) -> str:
    rows = [
        [
            name.replace("_", " "),
            f"{control.travel_commanded.get(name, 0.0):.3f}",
            f"{travel:.3f}",
            f"{control.end_error[name]:+.4f}" if name in control.end_error else "-",
        ]
        for name, travel in control.travel_measured.items()
    ]
    header = ["joints in rad, grippers in m", "commanded travel", "measured travel", "error at the end"]
    return section("Joints", table(header, rows) if rows else paragraph("No arm was read."))


def _recording(recording: RecordingReport) -> str:
    rows = [
        ["file", recording.file],
        ["ticks", f"{recording.ticks}, {recording.ticks_dropped} dropped"],
        ["chunks", f"{recording.chunks}, {recording.chunks_dropped} dropped"],
        ["packets dropped", str(recording.packets_dropped)],
        ["complete", "yes" if recording.stopped is None else f"no: {recording.stopped}"],
    ]
    return section("Flight record", table(["", ""], rows, prose=(1,)))
