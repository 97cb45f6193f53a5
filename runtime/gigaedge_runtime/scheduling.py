"""Real time, where the system permits it, and an account of where a late thread's time went."""

from __future__ import annotations

import ctypes
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

CONTROL_PRIORITY = 10
"""SCHED_FIFO: above every normal process, below the kernel's own threads."""
HARDWARE_PRIORITY = 11
"""Simulated hardware does not wait for software: above control."""

SWITCH_INTERVAL = 5e-5
"""s; after so long the control thread gets Python's interpreter lock from a thread that reads a bus."""

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
"""linux/mman.h. With ONFAULT only pages that are touched are kept, not whole thread stacks."""
_CAP_IPC_LOCK = 14


def raise_priority(priority: int) -> str:
    """Ask for SCHED_FIFO for the calling thread and those it starts; returns in words what was granted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return "normal priority; real time is not permitted (`ulimit -r` or CAP_SYS_NICE would permit it)"
    return f"SCHED_FIFO priority {priority}"


def lock_memory() -> str:
    """Keep this process' pages in memory, now and later; returns in words what was granted.

    Not asked for below an unlimited `ulimit -l`: a finite limit would make later allocations fail.
    """
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    if not (unlimited or _may_lock()):
        return "memory not locked (`ulimit -l unlimited` or CAP_IPC_LOCK would permit it)"
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return f"memory not locked ({os.strerror(ctypes.get_errno())})"
    return "memory locked"


def _may_lock() -> bool:
    with open("/proc/self/status", encoding="ascii") as status:
        granted = next(line for line in status if line.startswith("CapEff:"))
    return bool(int(granted.split()[1], 16) >> _CAP_IPC_LOCK & 1)


class Turnstile:
    """Keeps threads that take in what comes from outside out of the way while a tick runs.

    They share Python's interpreter lock with it: a tick that makes a system call would find one of them in its place,
    and wait, a dozen times a tick. What came meanwhile has its time stamp, and lies in the kernel's queue.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held = False

    def __enter__(self) -> None:
        self._lock.acquire()
        self._held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = False
        self._lock.release()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """For the thread that may hold it: inside, the others pass."""
        held = self._held
        if held:
            self.__exit__(None, None, None)
        try:
            yield
        finally:
            if held:
                self.__enter__()

    def pass_through(self) -> None:
        """For the others: wait while it is held."""
        with self._lock:
            pass


READERS = Turnstile()
"""Of this process: the control loop holds it, the readers of its buses pass through with every frame."""


@dataclass(frozen=True)
class Usage:
    """What a thread has used and waited for since it began."""

    computed: float
    """On a processor, s."""
    queued: float
    """Ready to run, but another thread had the processor, s; 0 where the kernel does not say."""
    faults: int
    """Pages that had to be read from a disk."""
    others: float = 0.0
    """What the process' other threads computed, s."""


class ThreadAccount:
    """Reads the `Usage` of the thread that opened it, in some 3 us. A context manager."""

    def __enter__(self) -> ThreadAccount:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # a kernel without CONFIG_SCHED_INFO
            self._file = -1
        self._stat = os.open("/proc/stat", os.O_RDONLY | os.O_CLOEXEC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)
        os.close(self._stat)

    def stolen(self) -> float:
        """Time for which a hypervisor ran something else than this computer, all processors together, s.

        Takes far longer than `read`; counted in steps of 10 ms.
        """
        return int(os.pread(self._stat, 256, 0).split()[8]) / os.sysconf("SC_CLK_TCK")

    def read(self) -> Usage:
        """The usage so far; to be called by the thread that entered."""
        queued = int(os.pread(self._file, 80, 0).split()[1]) * 1e-9 if self._file >= 0 else 0.0
        computed = time.thread_time()
        faults = resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
        return Usage(computed, queued, faults, time.process_time() - computed)
