"""Locked memory, and where a late tick's time went."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from gigaedge.robot import CAMERA_ROLES, SIDES
from gigaedge.site import Site
from gigaedge_runtime import scheduling
from gigaedge_runtime.limits import Limiter, Limits
from gigaedge_runtime.report import ControlReport, LateCause
from gigaedge_runtime.scheduling import ThreadAccount, Turnstile, Usage, lock_memory
from gigaedge_runtime.states import Machine, Thresholds
from gigaedge_runtime.statistics import LATE, ControlStatistics

pytestmark = pytest.mark.realtime

SITE = Site.model_validate(
    {
        "bundle": "demo",
        "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
        "arms": [{"side": side, "driver": "sim"} for side in SIDES],
    }
)


def test_locked_memory_shows_in_the_process() -> None:
    program = (
        "from gigaedge_runtime.scheduling import lock_memory\n"
        "print(lock_memory())\n"
        "print(next(l for l in open('/proc/self/status') if l.startswith('VmLck')).split()[1])\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    words, locked = run.stdout.splitlines()
    assert (words == "memory locked") == (int(locked) > 0), words


def test_memory_is_not_locked_below_a_finite_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "_may_lock", lambda: False)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (65536, 65536))
    assert "ulimit -l unlimited" in lock_memory()


def test_a_thread_account_tells_computing_from_sleeping() -> None:
    with ThreadAccount() as account:
        begin = account.read()
        time.sleep(0.05)
        slept = account.read()
        while time.thread_time() - slept.computed < 0.05:
            pass
        computed = account.read()
    assert slept.computed - begin.computed < 0.02
    assert computed.computed - slept.computed >= 0.05
    assert computed.queued >= slept.queued >= begin.queued >= 0.0


def test_stolen_time_is_what_the_kernel_counts() -> None:
    with ThreadAccount() as account:
        before, after = account.stolen(), account.stolen()
    with open("/proc/stat", encoding="ascii") as stat:
        counted = int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")
    assert 0.0 <= before <= after <= counted


class FakeAccount(ThreadAccount):
    """Says what it is told."""

    def __init__(self, usages: list[Usage], stolen: float = 0.0) -> None:
        """`stolen`: how much was when it is asked for the second time."""
        self._usages: Iterator[Usage] = iter(usages)
        self._stolen = iter((0.0, *[stolen] * 1000))

    def stolen(self) -> float:
        return next(self._stolen)

    def read(self) -> Usage:
        return next(self._usages)


def report(*ticks: float, after: list[Usage], stolen: float = 0.0, worked: float = 0.03) -> ControlReport:
    """The report of ticks at these times, with what the thread had used at each of them."""
    statistics = ControlStatistics(SIDES)
    statistics.watch(FakeAccount([Usage(0.0, 0.0, 0), *after], stolen))
    for now in ticks:
        statistics.tick(now)
        statistics.worked(worked)
    limiter = Limiter(Limits.of(SITE), 0.005)
    return statistics.report(Machine(Thresholds(0.3, 0.05, 20.0)), limiter, {}, "normal")


@pytest.mark.parametrize(
    ("usage", "cause"),
    [
        (Usage(0.025, 0.001, 0), "computing"),
        (Usage(0.001, 0.025, 0), "queued"),
        (Usage(0.001, 0.025, 1), "paging"),
        (Usage(0.001, 0.002, 0), "blocked"),
        (Usage(0.001, 0.002, 0, others=0.02), "interpreter"),
    ],
)
def test_every_late_tick_has_a_cause(usage: Usage, cause: LateCause) -> None:
    said = report(5.0, 5.005, 5.035, after=[Usage(0.0, 0.0, 0), Usage(0.0, 0.0, 0), usage])
    assert said.late == {cause: 1}
    (late,) = said.late_ticks
    assert (late.cause, late.computed, late.queued) == (cause, usage.computed, usage.queued)
    assert late.time == pytest.approx(0.035)
    assert late.period == pytest.approx(0.03)


@pytest.mark.parametrize(("stolen", "cause"), [(0.02, "stolen"), (0.0, "blocked")])
def test_a_virtual_computer_that_stood_still_is_told_from_a_thread_that_waited(
    stolen: float, cause: LateCause
) -> None:
    said = report(5.0, 5.005, 5.035, after=[Usage(0.0, 0.0, 0)] * 3, stolen=stolen)
    assert said.late == {cause: 1}
    assert said.late_ticks[0].stolen == stolen


def test_a_thread_that_nobody_woke_is_told_from_one_that_waited_within_its_tick() -> None:
    usages = [Usage(0.0, 0.0, 0)] * 3
    assert report(5.0, 5.005, 5.035, after=usages, worked=0.001).late == {"timer": 1}
    assert report(5.0, 5.005, 5.035, after=usages, worked=0.029).late == {"blocked": 1}


def test_a_tick_in_time_is_not_late() -> None:
    said = report(5.0, 5.0 + LATE - 1e-3, after=[Usage(0.0, 0.0, 0)] * 2)
    assert not said.late
    assert not said.late_ticks


def test_only_the_first_late_ticks_are_kept_but_all_are_counted() -> None:
    said = report(*(float(i) for i in range(151)), after=[Usage(0.0, 0.0, 0)] * 151)
    assert said.late == {"timer": 150}
    assert len(said.late_ticks) == 100


def test_readers_wait_while_the_turnstile_is_held_and_pass_where_it_is_opened() -> None:
    turnstile, passed = Turnstile(), threading.Semaphore(0)
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            turnstile.pass_through()
            passed.release()
            time.sleep(0.001)

    def let_through() -> bool:
        """Whether anybody passes from now on; one may have been half-way."""
        while passed.acquire(blocking=False):
            pass
        passed.acquire(timeout=0.05)
        return passed.acquire(timeout=0.2)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert let_through()
        with turnstile:
            assert not let_through()
            with turnstile.opened():
                assert let_through()
            assert not let_through()
        assert let_through()
        with turnstile.opened():
            assert let_through(), "nothing to open where it is not held"
    finally:
        ended.set()
        thread.join()
