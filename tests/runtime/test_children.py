"""Lifelines, launch records and outcomes of child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gigaedge.errors import BundleError, CameraError, GigaedgeError, ProcessError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import Site
from gigaedge_runtime.children import (
    Child,
    Launch,
    Lifeline,
    StopFlag,
    child_main,
    error_of,
    memory_file,
    read_memory_file,
    wait_until,
)

pytestmark = pytest.mark.realtime

SITE = Site.model_validate(
    {
        "bundle": Path("bundle"),
        "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
        "arms": [{"side": "left", "driver": "sim"}, {"side": "right", "driver": "absent", "pose": [0.0] * 7}],
    }
)


def launch() -> Launch:
    return Launch(site=SITE, board=memory_file("b"), supervisor=memory_file("s"), policy=memory_file("p"),
                  outcome=memory_file("o"))  # fmt: skip


def close(record: Launch) -> None:
    for fd in (record.board, record.supervisor, record.policy):
        os.close(fd)


def child(code: str, record: Launch) -> Child:
    return Child("test", (sys.executable, "-c", code), record)


def test_a_launch_survives_json() -> None:
    record = Launch(site=SITE, board=1, supervisor=2, policy=3, outcome=4, dry_run=True)
    assert Launch.model_validate_json(record.model_dump_json(by_alias=True)) == record


def test_a_lifeline_breaks_when_the_other_process_is_killed() -> None:
    read, write = os.pipe()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[write])
    lifeline = Lifeline(read)
    assert lifeline.intact(), "this process holds the write end, too"
    os.close(write)
    assert lifeline.intact()
    other.kill()
    begin = time.monotonic()
    assert wait_until(lambda: not lifeline.intact(), 5.0, 0.0005)
    assert time.monotonic() - begin < 0.2
    other.wait()
    assert not lifeline.intact()
    os.close(read)


def test_memory_files_are_read_from_the_beginning() -> None:
    fd = memory_file("test", b"abc")
    os.write(fd, b"def")
    assert read_memory_file(fd) == read_memory_file(fd) == b"abcdef"
    os.close(fd)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CameraError", CameraError),
        ("BundleError", BundleError),
        ("GigaedgeError", GigaedgeError),
        ("NoSuchError", ProcessError),
        ("annotations", ProcessError),
    ],
)
def test_errors_keep_their_class(name: str, kind: type[GigaedgeError]) -> None:
    error = error_of(name, "text")
    assert type(error) is kind
    assert str(error) == "text"


def run_child(record: Launch, body: object) -> int:
    """`child_main` in this process, with descriptors of its own as after an exec."""
    fd = memory_file("launch", record.model_dump_json(by_alias=True).encode())
    return child_main("test", ["--launch", str(fd)], body)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> object:
    from gigaedge_runtime.children import stop_on_signals

    with stop_on_signals(StopFlag()):
        yield


def test_a_child_leaves_its_report_or_its_error() -> None:
    record = launch()
    assert run_child(record, lambda launch, stop: {"chunks": 3}) == 0
    outcome = json.loads(read_memory_file(record.outcome))
    assert outcome["report"] == {"chunks": 3}
    assert 1 << 20 < outcome["peak_memory"] < 1 << 40
    close(record)
    os.close(record.outcome)

    def fail(record: Launch, stop: StopFlag) -> dict[str, object]:
        raise CameraError("no picture")

    record = launch()
    assert run_child(record, fail) == 3
    outcome = json.loads(read_memory_file(record.outcome))
    assert outcome["error"] == {"class": "CameraError", "message": "no picture"}
    assert outcome["peak_memory"] > 1 << 20, "of a child that failed, too"
    close(record)
    os.close(record.outcome)


def test_a_child_without_memory_says_so() -> None:
    def exhaust(record: Launch, stop: StopFlag) -> dict[str, object]:
        raise MemoryError

    record = launch()
    assert run_child(record, exhaust) == 3
    assert b"the test process ran out of memory; close other programs" in read_memory_file(record.outcome)
    close(record)
    os.close(record.outcome)


def test_signals_ask_for_an_orderly_end() -> None:
    record, seen = launch(), []

    def body(record: Launch, stop: StopFlag) -> dict[str, object]:
        seen.append(stop.requested)
        os.kill(os.getpid(), 15)
        seen.append(stop.requested)
        return {}

    assert run_child(record, body) == 0
    assert seen == [False, True]
    close(record)
    os.close(record.outcome)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(5)", r"the test process \(pid \d+\) ended with exit code 5"),
        ("import os; os.kill(os.getpid(), 9)", r"the test process \(pid \d+\) was killed by SIGKILL"),
    ],
)
def test_a_child_that_says_nothing_is_a_process_error(code: str, message: str) -> None:
    record = launch()
    made = child(code, record)
    assert made.join(10)
    error = made.error()
    assert isinstance(error, ProcessError)
    with pytest.raises(ProcessError, match=message):
        raise error
    assert made.report() is None
    made.close()
    close(record)


def test_a_child_that_ended_well_has_no_error() -> None:
    record = launch()
    made = child("pass", record)
    assert made.join(10)
    assert made.error() is None
    assert not made.running
    made.close()
    close(record)


def test_a_child_that_does_not_end_is_made_to() -> None:
    record = launch()
    made = child("import time; time.sleep(60)", record)
    assert made.running
    assert made.error() is None
    assert not made.join(0.05)
    assert not made.running
    made.close()
    close(record)


def test_closing_kills_what_still_runs() -> None:
    record = launch()
    made = child("import time; time.sleep(60)", record)
    made.close()
    assert not made.running
    close(record)
