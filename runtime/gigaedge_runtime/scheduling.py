"""Real-time scheduling, where the system permits it."""

from __future__ import annotations

import os

CONTROL_PRIORITY = 10
"""SCHED_FIFO: above every normal process, below the kernel's own threads."""
HARDWARE_PRIORITY = 11
"""Simulated hardware does not wait for software: above control."""


def raise_priority(priority: int) -> str:
    """Ask for SCHED_FIFO for the calling thread and those it starts; returns in words what was granted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return "normal priority; real time is not permitted (`ulimit -r` or CAP_SYS_NICE would permit it)"
    return f"SCHED_FIFO priority {priority}"
