"""Runs of three processes with a fourth that records them, and what its death or a full disk does: nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from gigaedge.errors import InputError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import Site
from gigaedge_runtime.flight_reader import FlightRecord
from gigaedge_runtime.recording import partial_path
from gigaedge_runtime.replay import replay_control
from gigaedge_runtime.report import RunReport
from gigaedge_runtime.run import run_site
from gigaedge_runtime.supervisor import Programs, Progress

pytestmark = pytest.mark.realtime

FAKE = (sys.executable, str(Path(__file__).with_name("fake_policy.py")), "ramp")


def site() -> Site:
    home = (-2.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03)
    return Site.model_validate(
        {
            "bundle": "no-such-bundle",
            "cameras": [
                {"role": role, "driver": "sim", "width": 160, "height": 120} for role in CAMERA_ROLES
            ],
            "arms": [{"side": side, "driver": "sim", "home": home} for side in ("left", "right")],
            "timing": {"replan_after": 15, "max_feedback_age": 0.2},
        }
    )


def recorder_with(code: str) -> Programs:
    """A recorder that does something first."""
    main = "; import sys, gigaedge_runtime.record_process as r; sys.exit(r.main(sys.argv[1:]))"
    return Programs(policy=FAKE, recorder=(sys.executable, "-c", code + main))


def assert_undisturbed(report: RunReport) -> None:
    assert report.error is None
    assert report.control is not None
    assert report.control.fault is None
    assert [change.state for change in report.control.states][-1] == "stopped"
    assert report.control.sends > 0


def test_a_recorded_run_is_replayed(tmp_path: Path) -> None:
    target = tmp_path / "new" / "run.mcap"
    report = run_site(site(), duration=1.5, record=target, programs=Programs(policy=FAKE))
    assert_undisturbed(report)
    recording = report.recording
    assert recording is not None
    assert (recording.file, recording.stopped) == (str(target), None)
    assert (recording.ticks_dropped, recording.chunks_dropped, recording.packets_dropped) == (0, 0, 0)
    assert recording.chunks == report.chunks
    assert sorted(tmp_path.rglob("*.mcap")) == [target]
    record = FlightRecord(target)
    found = replay_control(record)
    assert found.equal, found
    assert report.control is not None
    assert found.ticks == recording.ticks == report.control.ticks
    assert record.site == site()
    assert [seen.id for seen in record.observations()] == list(range(1, report.chunks + 1))
    events = {event.source: event.text for event in record.events()}
    assert events == {"supervisor": "ended by duration", "control": "stopped: asked to stop"}
    assert record.manifest is None


def test_a_killed_recorder_leaves_what_it_wrote(tmp_path: Path) -> None:
    target = tmp_path / "run.mcap"
    pid_file = tmp_path / "pid"
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.elapsed > 1.0 and not killed:
            killed.append(int(pid_file.read_text()))
            os.kill(killed[0], signal.SIGKILL)

    programs = recorder_with(f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid()))")
    report = run_site(
        site(),
        duration=2.0,
        record=target,
        report=tmp_path / "r.json",
        on_progress=kill,
        programs=programs,
    )
    assert_undisturbed(report)
    assert killed
    partial = partial_path(target)
    assert report.recording is not None
    assert report.recording.file == str(partial)
    assert report.recording.stopped == (
        f"recording stopped: the recorder process (pid {killed[0]}) was killed by SIGKILL"
    )
    assert json.loads((tmp_path / "r.json").read_text())["recording"]["stopped"] == report.recording.stopped
    assert not target.exists()
    record = FlightRecord(partial)
    found = replay_control(record)
    assert found.equal, found
    assert record.ended_early
    assert found.ticks > 50


def test_a_recorder_that_stands_still_holds_nobody_up(tmp_path: Path) -> None:
    target, pid_file = tmp_path / "run.mcap", tmp_path / "pid"

    def stop_and_go(progress: Progress) -> None:
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGSTOP if progress.elapsed < 2.0 else signal.SIGCONT)

    programs = recorder_with(f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid()))")
    report = run_site(site(), duration=3.0, record=target, on_progress=stop_and_go, programs=programs)
    assert_undisturbed(report)
    recording = report.recording
    assert recording is not None
    assert report.control is not None
    assert recording.stopped is None
    assert recording.ticks + recording.ticks_dropped == report.control.ticks, "each is there or accounted for"
    # With a buffer as small as an ordinary user's, ticks are lost while it stands still.
    assert replay_control(FlightRecord(target)).equal is (recording.ticks_dropped == 0)


def test_a_full_disk_ends_the_recording_only(tmp_path: Path) -> None:
    limit = 60_000
    programs = recorder_with(
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    )
    target = tmp_path / "run.mcap"
    report = run_site(site(), duration=2.0, record=target, programs=programs)
    assert_undisturbed(report)
    recording = report.recording
    assert recording is not None
    partial = partial_path(target)
    assert recording.stopped == f"recording stopped: {partial}: File too large"
    assert partial.stat().st_size <= limit
    assert recording.packets_dropped == 0, "what cannot be written is taken all the same"
    assert replay_control(FlightRecord(partial)).equal


def test_a_recorder_that_cannot_start(tmp_path: Path) -> None:
    programs = recorder_with("raise SystemExit(3)")
    report = run_site(site(), duration=0.5, record=tmp_path / "run.mcap", programs=programs)
    assert_undisturbed(report)
    assert report.recording is not None
    assert report.recording.stopped is not None
    assert report.recording.stopped.startswith("recording stopped: the recorder process (pid ")
    assert report.recording.stopped.endswith("ended with exit code 3")


def test_a_folder_that_cannot_be_written_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .*; choose another --record"):
        run_site(site(), duration=1, record=tmp_path / "file" / "run.mcap")


def test_what_is_written_beside_the_target() -> None:
    assert partial_path(Path("a/run.mcap")) == Path("a/run.partial.mcap")
